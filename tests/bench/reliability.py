"""What a run survives, tried out: ``python tests/bench/reliability.py --out docs/reliability.md``; ``--only NAME`` renews some lines.

Each trial starts the toy suite of the tests (numpy only) as a user would, does something to it, runs the same command again, and holds the
records against those of an undisturbed run: all fields but provenance must be the same. What the machine does not allow (mounting a small
file system takes root) is named as not tried.
"""

from __future__ import annotations

import argparse
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import psutil
from fuzzing import READERS, Ground

from testbed.store import Store
from testbed.upkeep import collect, garbage, repair, verify

TOYS = Path(__file__).resolve().parents[1] / "toys"
RUN = [sys.executable, "-m", "testbed", "run", "toy.toml", "--out", "out"]
PATIENCE = 240

Records = dict[tuple[str, str], tuple[object, object, object]]


@dataclass
class Tried:
    """One line of the table: what was done, how often, how often all was as it should be, and what was seen."""

    what: str
    times: int
    good: int
    seen: str


@contextmanager
def place(folder: str | None = None) -> Iterator[Path]:
    """An empty working folder with the toys in it."""
    with tempfile.TemporaryDirectory(prefix="reliability-", dir=folder) as name:
        for file in TOYS.iterdir():
            if file.is_file():
                shutil.copy(file, name)
        yield Path(name)


def records(folder: Path) -> Records:
    """Every record without its provenance."""
    return {(r.stage, r.key): (r.material, r.result, r.files) for r in Store(folder).records()}


def finish(at: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """The command once more, to its end."""
    return subprocess.run([*RUN, *options], cwd=at, capture_output=True, text=True, timeout=PATIENCE)


def begin(at: Path, *options: str) -> subprocess.Popen[str]:
    heeds = {"preexec_fn": lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)}  # a job in the background would inherit that it is ignored
    quiet = {"stdout": subprocess.PIPE, "stderr": subprocess.STDOUT}
    return subprocess.Popen([*RUN, *options], cwd=at, text=True, start_new_session=True, **heeds, **quiet)  # type: ignore[call-overload]


def whole() -> tuple[Records, float]:
    """Records of an undisturbed run, and how long it takes."""
    with place() as at:
        clock = time.perf_counter()
        assert finish(at).returncode == 0
        return records(at / "out"), time.perf_counter() - clock


def same_after(at: Path, expected: Records) -> bool:
    """Whether running again ends well, with the very same records and a store in order."""
    done = finish(at)
    repaired = repair(verify(at / "out"))
    return done.returncode == 0 and not repaired and records(at / "out") == expected


def killed_runs(expected: Records, seconds: float, times: int, seed: int = 0) -> Tried:
    """kill -9 of the whole run, workers and all, at moments spread over its duration."""
    chance = random.Random(seed)
    good, left = 0, []
    for i in range(times):
        with place() as at:
            process = begin(at, "--jobs", "2" if i % 2 else "1")
            time.sleep(seconds * (0.15 + 0.85 * chance.random()))
            os.killpg(process.pid, signal.SIGKILL)
            process.communicate()
            left.append(len(records(at / "out")) if (at / "out").exists() else 0)
            good += same_after(at, expected)
    return Tried(
        "kill -9 of the whole run at a random moment, then the same command",
        times,
        good,
        f"{min(left)} to {max(left)} of {len(expected)} stages were there",
    )


def killed_workers(expected: Records, seconds: float, times: int, seed: int = 1) -> Tried:
    """kill -9 of one worker: its trial may fail, the others go on; running again completes it."""
    chance = random.Random(seed)
    good, failed = 0, 0
    for _ in range(times):
        with place() as at:
            process = begin(at, "--jobs", "2")
            children: list[psutil.Process] = []
            deadline = time.time() + PATIENCE
            while not children and process.poll() is None and time.time() < deadline:
                children = [c for c in psutil.Process(process.pid).children(recursive=True) if _is_worker(c)]
                time.sleep(0.05)
            time.sleep(0.3 * seconds * chance.random())
            for child in children[:1]:
                _kill(child)
            process.communicate(timeout=PATIENCE)
            failed += process.returncode != 0
            good += same_after(at, expected)
    return Tried("kill -9 of one worker, then the same command", times, good, f"{failed} runs reported a failed trial; none hung")


def _is_worker(process: psutil.Process) -> bool:
    try:
        return "resource_tracker" not in " ".join(process.cmdline())
    except psutil.Error:
        return False


def _runs(process: psutil.Process) -> bool:
    """Whether it still does something: what has ended may wait a while for whoever adopted it to notice."""
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.Error:
        return False


def _kill(process: psutil.Process) -> None:
    with suppress(psutil.Error):
        process.kill()


STOPS = {
    "interrupted": ("Ctrl-C", signal.SIGINT, (0, 130, -signal.SIGINT)),  # the last: everything was done, and Python on its way out
    "terminated": ("SIGTERM, as schedulers send it,", signal.SIGTERM, (0, 143, -signal.SIGTERM)),
    "killed-alone": ("kill -9 of the run but not of its workers", signal.SIGKILL, (-signal.SIGKILL,)),
}
"""Ways to stop a run's own process: in words, the signal, and the codes that it may exit with."""


def stopped(how: str, expected: Records, seconds: float, times: int, seed: int = 2) -> Tried:
    """A signal to the run's own process: it stops soon, leaves no process, and goes on."""
    words, number, codes = STOPS[how]
    chance = random.Random(seed)
    good, waits = 0, []
    for i in range(times):
        with place() as at:
            process = begin(at, "--jobs", str(1 + i % 2))
            deadline = time.time() + PATIENCE
            while not (at / "out" / "stages").exists() and process.poll() is None and time.time() < deadline:
                time.sleep(0.02)
            time.sleep(0.3 * seconds * chance.random())
            children = _children(process.pid)
            process.send_signal(number)
            clock = time.perf_counter()
            process.wait(timeout=PATIENCE)
            while (alive := [child for child in children if _runs(child)]) and time.perf_counter() - clock < 10:
                time.sleep(0.02)
            waits.append(time.perf_counter() - clock)
            for child in alive:
                _kill(child)
            process.communicate()
            good += not alive and process.returncode in codes and same_after(at, expected)
    return Tried(f"{words} at a random moment, then the same command", times, good, f"all gone after {max(waits):.1f} s at most")


def _children(pid: int) -> list[psutil.Process]:
    try:
        return psutil.Process(pid).children(recursive=True)
    except psutil.Error:
        return []


def two_writers(expected: Records, times: int, seed: int = 3) -> Tried:
    """Two runs on one folder at once: every stage is computed once."""
    good, twice = 0, 0
    for _ in range(times):
        with place() as at:
            both = [begin(at, "--jobs", "1"), begin(at, "--jobs", "1")]
            texts = [process.communicate(timeout=PATIENCE)[0] for process in both]
            computed = sum(_computed(text) for text in texts)
            twice += computed != len(expected)
            good += all(process.returncode == 0 for process in both) and records(at / "out") == expected and computed == len(expected)
    return Tried("two runs on one folder at once", times, good, f"stages computed twice: {twice or 'none'}; the same records")


def two_writers_one_killed(expected: Records, seconds: float, times: int, seed: int = 4) -> Tried:
    """Two runs on one folder, one of them killed: the other ends, and nothing waits for a dead one."""
    chance = random.Random(seed)
    good = 0
    for _ in range(times):
        with place() as at:
            first, second = begin(at), begin(at)
            time.sleep(seconds * (0.4 + 0.5 * chance.random()))
            os.killpg(first.pid, signal.SIGKILL)
            first.communicate()
            second.communicate(timeout=PATIENCE)
            good += second.returncode == 0 and records(at / "out") == expected
    return Tried("two runs on one folder, one of them killed (kill -9)", times, good, "the other ended by itself with all records")


def _computed(text: str) -> int:
    for line in text.splitlines():
        words = line.split()
        if len(words) > 2 and words[1:3] in (["stages", "computed"], ["stage", "computed"]):
            return int(words[0].replace(",", ""))
    return 0


def damaged(expected: Records, times: int, seed: int = 5) -> Tried:
    """One random byte of a random file flipped, or a random file cut short: found by its hash, and computed again."""
    chance = random.Random(seed)
    good, found = 0, 0
    with place() as at:
        finish(at)
        for _ in range(times):
            files = [p for p in sorted((at / "out" / "stages").rglob("*")) if p.is_file()]
            path = chance.choice(files)
            data = bytearray(path.read_bytes())
            if chance.random() < 0.5:
                data[chance.randrange(len(data))] ^= 1 << chance.randrange(8)
            else:
                del data[chance.randrange(len(data)) :]
            path.write_bytes(data)
            problems = verify(at / "out")
            harmless = path.name == "record.json" and not problems  # a digit of the provenance
            found += bool(problems) or harmless
            repair(problems)
            shutil.rmtree(at / "out" / "stages" / "score", ignore_errors=True)
            good += finish(at).returncode == 0 and records(at / "out") == expected
    return Tried("a bit flipped in, or the end cut off, a random file of the store", times, good, f"found {found} times; computed again")


def full_disk(expected: Records) -> Tried:
    """A file system of a few hundred kilobytes: a sentence, an exit code, and all that was finished kept."""
    what = "the disk is full (a small tmpfs), then space is made and the same command"
    with tempfile.TemporaryDirectory(prefix="reliability-") as mount:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=700k", "tmpfs", mount], capture_output=True).returncode:
            return Tried(what, 0, 0, "not tried: mounting takes root")
        try:
            with place(mount) as at:
                first = finish(at)
                kept = records(at / "out")
                subprocess.run(["mount", "-o", "remount,size=50m", mount], check=True)
                told = first.returncode != 0 and "No space left" in first.stdout + first.stderr
                good = told and set(kept) <= set(expected) and finish(at).returncode == 0 and records(at / "out") == expected
            return Tried(what, 1, int(good), f"a sentence, exit code {first.returncode}, {len(kept)} finished stages kept")
        finally:
            subprocess.run(["umount", mount], check=True)


def read_only() -> Tried:
    """A file system that cannot be written to."""
    what = "the folder is read-only"
    with tempfile.TemporaryDirectory(prefix="reliability-") as mount:
        if subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", mount], capture_output=True).returncode:
            return Tried(what, 0, 0, "not tried: mounting takes root")
        try:
            with place() as at:
                done = subprocess.run([*RUN[:-1], f"{mount}/out"], cwd=at, capture_output=True, text=True, timeout=PATIENCE)
                text = done.stdout + done.stderr
                return Tried(
                    what,
                    1,
                    int(done.returncode == 2 and "cannot be written to" in text and "Traceback" not in text),
                    "one sentence, exit code 2",
                )
        finally:
            subprocess.run(["umount", mount], check=True)


def vanished(expected: Records, seconds: float, times: int) -> Tried:
    """The folder is deleted under a run: no hang; running again computes everything."""
    good = 0
    for i in range(times):
        with place() as at:
            process = begin(at)
            time.sleep(seconds * (0.5 + 0.4 * i / max(times - 1, 1)))
            shutil.rmtree(at / "out", ignore_errors=True)
            process.communicate(timeout=PATIENCE)
            shutil.rmtree(at / "out", ignore_errors=True)
            good += same_after(at, expected)
    return Tried("the folder is deleted under a run, then the same command", times, good, "no hang; all computed anew")


def clock_backwards(expected: Records) -> Tried:
    """A clock that runs backwards by an hour a second."""
    with place() as at:
        backwards = "import time\nreal = time.time\nstart = real()\ntime.time = lambda: start - 3600 * (real() - start)\n"
        (at / "sitecustomize.py").write_text(backwards)
        done = subprocess.run(RUN, cwd=at, capture_output=True, text=True, timeout=PATIENCE, env={**os.environ, "PYTHONPATH": str(at)})
        (at / "sitecustomize.py").unlink()
        return Tried("the clock goes backwards", 1, int(done.returncode == 0 and same_after(at, expected)), "only provenance shows it")


def collected(expected: Records) -> Tried:
    """Stages of earlier settings are garbage, and go without harm."""
    with place() as at:
        finish(at, "--set", "data.train=4600")
        finish(at)
        found = garbage(at / "out")
        collect(found)
        good = bool(found.paths) and records(at / "out") == expected and "nothing to do" in finish(at).stdout
        return Tried(
            "garbage is collected after a change of settings, then the same command",
            1,
            int(good),
            f"{len(found.paths)} stages deleted; nothing left to do",
        )


def bad_input() -> Tried:
    """Every line of the table of bad input in the tests: one sentence with the place and the remedy, an exit code that is not 0."""
    table = Path(__file__).resolve().parents[1] / "test_bad_input.py"
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", str(table), "-k", "test_bad_input_ends"]
    text = subprocess.run(command, capture_output=True, text=True, timeout=10 * PATIENCE).stdout
    passed, failed = (int(found[1]) if (found := re.search(rf"(\d+) {word}", text)) else 0 for word in ("passed", "failed"))
    return Tried(
        "bad input on the command line: suites, names, types, shapes, values, files, flags",
        passed + failed,
        passed,
        "one sentence with the place and the remedy, exit code 1 or 2, no traceback",
    )


FUZZED = {
    "suites": ("suites and settings", ("suite_files", "suite_trees", "settings")),
    "stores": ("records, run.json, claims and failure reports", ("records", "swapped", "runs", "failures", "claims", "exports")),
    "rows": ("manifests, shards, codes and fitted states", ("manifests", "shards", "codes", "states", "plain_states")),
    "others": ("checkpoints, instances, weights and texts", ("checkpoints", "instances", "weights", "texts")),
}
"""What is put before the readers of `fuzzing`, in words, and which readers."""


def fuzzed(kind: str, times: int, seed: int = 6) -> Tried:
    """Files with accidents, and with other values in them (and the hashes that those should have)."""
    words, names = FUZZED[kind]
    tried, good, taken, wrong = 0, 0, 0, {}
    with tempfile.TemporaryDirectory(prefix="reliability-") as folder:
        ground = Ground(Path(folder))
        with ground.here():
            for name in names:
                for i in range(max(1, times // 25) if name == "exports" else times):
                    tried += 1
                    try:
                        taken += not READERS[name](ground, random.Random(f"{seed} {name} {i}"))
                        good += 1
                    except Exception as error:
                        wrong.setdefault(f"{name}: {type(error).__name__}", i)
    seen = f"{taken:,} taken or counted as not there, {good - taken:,} refused in one sentence; nothing started, nothing written elsewhere"
    return Tried(f"{words} mutated ({', '.join(names)})", tried, good, f"{seen}; {wrong}" if wrong else seen)


def attempts(times: int, undisturbed: Callable[[], tuple[Records, float]]) -> dict[str, Callable[[], Tried]]:
    """Everything that is tried, by name, the long ones `times` times; `undisturbed` gives what `whole` does."""
    few = max(1, times // 5)
    return {
        "killed-runs": lambda: killed_runs(*undisturbed(), times),
        "killed-workers": lambda: killed_workers(*undisturbed(), few),
        **{how: lambda how=how: stopped(how, *undisturbed(), few) for how in STOPS},
        "two-writers": lambda: two_writers(undisturbed()[0], few),
        "two-writers-one-killed": lambda: two_writers_one_killed(*undisturbed(), few),
        "damaged": lambda: damaged(undisturbed()[0], times),
        "full-disk": lambda: full_disk(undisturbed()[0]),
        "read-only": read_only,
        "vanished": lambda: vanished(*undisturbed(), few),
        "clock-backwards": lambda: clock_backwards(undisturbed()[0]),
        "collected": lambda: collected(undisturbed()[0]),
        "bad-input": bad_input,
        **{f"fuzzed-{kind}": lambda kind=kind: fuzzed(kind, 100 * times) for kind in FUZZED},
    }


def line(tried: Tried) -> str:
    return f"| {tried.what} | {tried.times:,} | {f'{tried.good:,}' if tried.times else '-'} | {tried.seen} |"


def lines_in(path: Path) -> dict[str, str]:
    """The lines of a page that was written before, by what was done."""
    rows = [row for row in path.read_text().splitlines() if row.startswith("| ")] if path.exists() else []
    return {row.split(" | ")[0].removeprefix("| "): row for row in rows[1:]}


def page(lines: list[str], times: int) -> str:
    """The table as a page of the documentation."""
    return "\n".join(
        [
            "# Reliability",
            "",
            "What a run survives, tried out on the toy suite of the tests. Each time the records that are there at the end are held",
            "against those of an undisturbed run: *as it should be* means that all fields but provenance are the same, that nothing",
            "finished was lost, and that nothing hung. Of what is put before readers it means that they take it or refuse it in one",
            "sentence, and that nothing is started, written elsewhere, or waited for.",
            f"Written by `python tests/bench/reliability.py --times {times}`; a few of each are in `make test-all`.",
            "`--only NAME` renews one line.",
            "",
            "| what was done | times | as it should be | what was seen |",
            "|---|---|---|---|",
            *lines,
            "",
        ]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("docs/reliability.md"))
    parser.add_argument("--times", type=int, default=30, help="of the long ones")
    every = attempts(parser.parse_known_args()[0].times, cache(whole))
    parser.add_argument("--only", action="append", choices=list(every), help="renew only this line; repeatable")
    given = parser.parse_args()
    lines = lines_in(given.out) if given.only else {}
    tried = []
    for name in given.only or every:
        tried.append(every[name]())
        print(tried[-1], flush=True)
        lines[tried[-1].what] = line(tried[-1])
    given.out.write_text(page(list(lines.values()), given.times))
    if any(t.good < t.times for t in tried):
        raise SystemExit("something was not as it should be: see the table")


if __name__ == "__main__":
    main()
