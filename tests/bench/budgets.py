"""Budgets at which all estimators of a suite take equal CPU time: ``python tests/bench/budgets.py [--write]``.

Measured on one thread, over one instance of each of the suite's worlds, drawn from a seed that no suite uses. The first estimator sets the
time; the others' `samples` follow by regula falsi. ``--write`` puts them into the suite; without it they are printed.
"""

from __future__ import annotations

import argparse
import re
import time
import tomllib
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits

from testbed.contracts import Observed
from testbed.registry import resolve
from testbed.stages import construct
from testbed.store import write_json
from testbed.suite import Suite, read

SEED = 4_000
ONCE = ("ksvd", "nmf", "fast_ica", "varimax")
"""Read each row once at most: more rows than there are change nothing."""
ROUNDS = 3


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--suite", type=Path, default=Path("suites/comparison.toml"))
    parser.add_argument("--out", type=Path, default=Path("results/comparison"), help="folder for budgets.json")
    parser.add_argument("--write", action="store_true", help="put the budgets into the suite")
    given = parser.parse_args()
    suite = read(given.suite)
    torch.set_num_threads(1)
    with threadpool_limits(1):
        data = worlds(suite)
        found = budgets(suite, data)
    given.out.mkdir(parents=True, exist_ok=True)
    write_json(given.out / "budgets.json", found)
    if given.write:
        given.suite.write_text(with_budgets(given.suite.read_text(), {label: row["samples"] for label, row in found.items()}))


def worlds(suite: Suite) -> list[Observed]:
    """Rows to learn from, of one instance per world."""
    drawn = [construct("generator", resolve("generators", g.name), g.params).draw(SEED) for g in suite.generator]
    return [instance.sample(suite.data.train, SEED).observed for instance in drawn]


def budgets(suite: Suite, data: list[Observed]) -> dict[str, dict[str, Any]]:
    """Per estimator, ``samples`` and the CPU seconds per world that it then took; the first keeps the suite's."""
    found: dict[str, dict[str, Any]] = {}
    goal = 0.0
    for entry in suite.estimator:
        if "samples" not in entry.params:
            continue
        seconds_at(entry.name, {**entry.params, "samples": 2_000}, data[:1])  # imports and compilation
        samples = int(entry.params["samples"])
        taken = seconds_at(entry.name, entry.params, data)
        goal = goal or taken
        before = (0, 0.0)
        for _ in range(ROUNDS if found else 0):
            slope = (taken - before[1]) / (samples - before[0]) if samples != before[0] else 0.0
            wanted = samples + (goal - taken) / slope if slope > 0 else samples * goal / taken
            wanted = min(max(wanted, samples / 5), samples * 5, suite.data.train if entry.name in ONCE else float("inf"))
            if abs(wanted - samples) <= 0.03 * samples:
                break
            before, samples = (samples, taken), max(300, rounded(wanted))
            taken = seconds_at(entry.name, {**entry.params, "samples": samples}, data)
        found[entry.label] = {"samples": samples, "seconds per fit": round(taken / len(data), 3)}
        print(f"{entry.label}: samples = {samples:_}, {taken / len(data):.2f} CPU seconds per fit", flush=True)
    return found


def seconds_at(name: str, params: dict[str, Any], data: list[Observed]) -> float:
    """CPU seconds of fitting each of the worlds."""
    clock = time.process_time()
    for observed in data:
        construct("estimator", resolve("estimators", name), params).fit(observed, seed=SEED)
    return time.process_time() - clock


def rounded(value: float) -> int:
    """To two digits."""
    scale = 10 ** (len(str(int(value))) - 2)
    return int(round(value / scale) * scale)


def with_budgets(text: str, samples: dict[str, int]) -> str:
    """The text of a suite with other `samples`, comments and all else kept."""
    head, *blocks = re.split(r"(?=^\[\[)", text, flags=re.MULTILINE)
    out = [head]
    for block in blocks:
        entry = tomllib.loads(block.partition("\n[presets")[0]).get("estimator", [{}])[0]
        label = entry.get("label", entry.get("name"))
        out.append(re.sub(r"samples = [\d_]+", f"samples = {samples[label]:_}", block, count=1) if label in samples else block)
    return "".join(out)


if __name__ == "__main__":
    main()
