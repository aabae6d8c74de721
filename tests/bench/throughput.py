"""Time the hot paths on one thread: `make bench`. Not a test, since a shared machine decides how fast it is.

Writes ``throughput.json``: per line what was timed, how often, the median and the range.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from evaluators.recovery.activation_mcc import ActivationMCC
from generators.selection.sparse import SparseConcepts
from testbed.contracts import Outcome
from testbed.estimators.sparse.topk_sae import TopKSAE
from testbed.numerics.pursuit import orthogonal_matching_pursuit
from testbed.store import write_json

REPEATS = 5


def cases() -> Iterator[tuple[str, int, Callable[[], Any]]]:
    """What is timed: a name, the number of rows that one call handles, and the call."""
    for levels, dimension in (([16, 96], 64), ([8, 128, 888], 128)):
        instance = SparseConcepts(levels=levels, dimension=dimension, rate=0.02, rate_floor=0.002).draw(0)
        yield f"sample sparse_concepts {levels}, d {dimension}", 8192, lambda instance=instance: instance.sample(8192, 1)  # type: ignore[misc]
    instance = SparseConcepts(levels=[16, 96], dimension=64).draw(0)
    sample = instance.sample(32_768, 1)
    x = sample.observed.views["mixed"].values
    atoms = instance.truth.dictionary("mixed")  # type: ignore[union-attr]
    sae = TopKSAE(n_codes=256, k=16, samples=51_200)
    yield "topk_sae training, d 64, m 256, k 16", 51_200, lambda: sae.clone().fit(x, seed=0)
    fitted = sae.clone().fit(x, seed=0)
    yield "topk_sae encoding", len(x), lambda: fitted.encode(x)
    yield (
        "matching pursuit on 112 atoms, at most 16 active",
        len(x),
        lambda: orthogonal_matching_pursuit(x, atoms, max_active=16, threshold=0.3),
    )
    outcome = Outcome(fitted.encode(sample.observed), sample, "mixed", truth=instance.truth)
    yield "activation_mcc, 256 codes, 112 concepts", len(x), lambda: ActivationMCC().score(outcome, seed=0)


def measure(rows: int, call: Callable[[], Any]) -> dict[str, float]:
    """Rows per second: median, slowest and fastest of `REPEATS` calls after one to warm up."""
    call()
    rates = []
    for _ in range(REPEATS):
        clock = time.perf_counter()
        call()
        rates.append(rows / (time.perf_counter() - clock))
    return {"rows": rows, "median": statistics.median(rates), "slowest": min(rates), "fastest": max(rates)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/speed"), help="folder for throughput.json")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    found = {}
    table = Table("what", "rows per second (median)", "slowest", "fastest")
    with threadpool_limits(1):
        for name, rows, call in cases():
            found[name] = measure(rows, call)
            table.add_row(name, *(f"{found[name][key]:,.0f}" for key in ("median", "slowest", "fastest")))
    Console().print(table)
    about = {"command": "make bench", "repeats": REPEATS, "threads": 1, "torch": torch.__version__, "python": platform.python_version()}
    write_json(out / "throughput.json", {**about, "cores": os.cpu_count(), "machine": platform.machine(), "rows_per_second": found})
    print(json.dumps({"written": str(out / "throughput.json")}))


if __name__ == "__main__":
    main()
