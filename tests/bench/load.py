"""Ten thousand trials that do next to nothing: what the testbed itself takes. ``python tests/bench/load.py``

The toy components of the tests (numpy and torch, a fraction of a millisecond each) on 500 instances with 20 fit seeds, serially, with the
progress that `testbed run` prints: plan, run, run again with nothing to do, read the results, write the report. Each repeat is a process of
its own with a store of its own. Writes ``load.json`` (CPU and wall seconds of every repeat) and claims into ``claims.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

TOYS = Path(__file__).resolve().parents[1] / "toys" / "toys.py"
FIT_SEEDS = 20
SUITE = """
name = "load"
instances = {instances}
fit_seeds = {fit_seeds}
data = {{ train = 64, test = 64, reference = 64 }}
generator = [{{ name = "toys:ToyGenerator", label = "gauss" }}]
estimator = [{{ name = "toys:ToyEstimator", label = "random" }}]
evaluator = [{{ name = "toys:ToySize", label = "size" }}]
"""


def child(instances: int) -> dict[str, dict[str, float]]:
    """All of it in the working folder: per step CPU and wall seconds, and of the report its bytes."""
    from testbed.claims import judge
    from testbed.report import write_report
    from testbed.results import gather
    from testbed.runner import execute, plan_suite
    from testbed.terminal import Bars

    found: dict[str, dict[str, float]] = {}

    @contextmanager
    def timed(name: str) -> Iterator[None]:
        cpu, wall = time.process_time(), time.perf_counter()
        yield
        found[name] = {"cpu": time.process_time() - cpu, "wall": time.perf_counter() - wall}

    shutil.copy(TOYS, "toys.py")
    (small,) = plan_suite(_suite("small.toml", 1))
    execute(small, "small")  # imports, pools
    path = _suite("load.toml", instances)
    with timed("plan"):
        (plan,) = plan_suite(path)
    with timed("run"), Bars(plan) as bars:
        summary = execute(plan, "out", watcher=bars)
    if summary.failed or len(plan.trials) != instances * FIT_SEEDS:
        raise SystemExit(f"{len(summary.failed)} jobs failed")
    with timed("again"):
        (plan,) = plan_suite(path)
        summary = execute(plan, "out")
    if summary.total_computed:
        raise SystemExit("a finished run was computed again")
    with timed("gather"):
        results = gather("out")
    with timed("report"):
        page = write_report(Path("out"), results, judge(results))
    found["report"]["bytes"] = page.stat().st_size
    return found


def _suite(name: str, instances: int) -> str:
    Path(name).write_text(SUITE.format(instances=instances, fit_seeds=FIT_SEEDS))
    return name


def measure(instances: int, folder: Path) -> dict[str, dict[str, float]]:
    """The same in a process and a folder of its own."""
    folder.mkdir()
    command = [sys.executable, __file__, "--child", "--instances", str(instances)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, cwd=folder, stdout=subprocess.PIPE, text=True, check=True, env=environment)
    found: dict[str, dict[str, float]] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/speed"), help="folder for load.json and claims.json")
    parser.add_argument("--instances", type=int, default=500, help=f"of {FIT_SEEDS} trials each")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--child", action="store_true", help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(child(given.instances)))
        return
    from claims import claim, merge

    from testbed.store import write_json

    trials = given.instances * FIT_SEEDS
    repeats = []
    # One folder for all: ext4 passes over what was deleted in the last minutes, one by one, so that the next repeat would pay for it.
    with tempfile.TemporaryDirectory(prefix="load-") as folder:
        for repeat in range(given.repeats):
            repeats.append(measure(given.instances, Path(folder, str(repeat))))
            print(", ".join(f"{name} {step['cpu']:.2f} s CPU, {step['wall']:.2f} s" for name, step in repeats[-1].items()), flush=True)

    def values(name: str, clock: str, times: float = 1.0) -> list[float]:
        return [times * repeat[name][clock] for repeat in repeats]

    def bar(id: str, statement: str, numbers: list[float], limit: float) -> dict[str, Any]:
        return claim(f"load/{id}", f"{trials:,} trivial trials: {statement}", numbers, limit, test="below")

    both = [sum(pair) for pair in zip(values("gather", "wall"), values("report", "wall"), strict=True)]
    merge(
        given.out,
        [
            bar("plan", "seconds to plan them", values("plan", "wall"), 2),
            bar("trial_cpu", "CPU milliseconds a trial, one process", values("run", "cpu", 1000 / trials), 5),
            bar("trial", "milliseconds a trial, one process", values("run", "wall", 1000 / trials), 5),
            bar("again", "seconds to find that nothing is left to do", values("again", "wall"), 5),
            bar("report", "seconds to read the results and write the report", both, 20),
            bar("report_size", "megabytes of the report", values("report", "bytes", 1e-6), 10),
        ],
    )
    about = {"command": "python tests/bench/load.py", "trials": trials, "python": platform.python_version()}
    about |= {"cores": os.cpu_count(), "machine": platform.machine()}
    write_json(given.out / "load.json", {**about, "repeats": repeats})


if __name__ == "__main__":
    main()
