"""Rows per CPU second of `sparse_concepts`, hidden vectors included, on one thread. Not a test, since a shared machine decides.

Writes ``sampling.json``: the miniature with its hierarchy alone, with low-rank correlation and with noise; the plain sampler beside it;
and time against the number of concepts at a fixed number of active ones.
"""

from __future__ import annotations

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from generators.selection.messages import draw_states, tables
from generators.selection.sparse import SparseConcepts, SparseInstance
from testbed.contracts import BLOCK
from testbed.store import write_json

REPEATS = 25


def miniature(times: int = 1, **params: Any) -> SparseInstance:
    """1,024 concepts x `times` in 128 dimensions: 8 x `times` roots over three levels of exclusive fours, about 6.5 active (more free ones
    where there are more concepts, so that as many are active).
    """
    leaves = 856 * times
    rank = torch.arange(1, leaves + 1, dtype=torch.float64)
    rate = 2.3 / float((rank**-0.5).sum())
    setting = {
        "levels": [8 * times, 32 * times, 128 * times, leaves],
        "branching": 4,
        "rule": "exclusive",
        "all_on": 1.0,
        "lone_firing": 0.0,
        "rate": rate,
        "rate_floor": 1e-9,
        "dimension": 128,
        "noise": 0.0,
        "bias": 0.5,
    }
    return SparseConcepts(**{**setting, **params}).draw(0)


def plain_block(instance: SparseInstance) -> Callable[[], Any]:
    """The same rows in law by the plain sampler: dense uniforms, dense magnitudes, one matrix product."""
    world = instance.world
    look_up = tables(world.forest, world.compositions, world.tilts)
    atoms = instance.truth.dictionary("mixed")

    def block() -> Any:
        states = draw_states(look_up, world.forest.sizes, BLOCK, torch.Generator().manual_seed(1))
        values = world.magnitudes.draw(states, world.forest.constituents, torch.Generator().manual_seed(2))
        return world.biases["mixed"] + torch.cat(values, dim=1) @ atoms

    return block


def measure(call: Callable[[], Any], repeats: int = REPEATS) -> dict[str, float]:
    """Rows per CPU second: median, slowest and fastest of `repeats` blocks after two to warm up."""
    call()
    call()
    rates = []
    for _ in range(repeats):
        clock = time.process_time()
        call()
        rates.append(BLOCK / (time.process_time() - clock))
    return {"median": statistics.median(rates), "slowest": min(rates), "fastest": max(rates)}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/speed"), help="folder for sampling.json")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    found: dict[str, dict[str, float]] = {}
    table = Table("what", "active", "rows per CPU second (median)", "slowest", "fastest")

    def report(name: str, instance: SparseInstance, call: Callable[[], Any], repeats: int = REPEATS) -> None:
        found[name] = {"l0": instance.truth.settings["l0"], **measure(call, repeats)}
        table.add_row(
            name, *(f"{found[name][key]:,.{digits}f}" for key, digits in (("l0", 1), ("median", 0), ("slowest", 0), ("fastest", 0)))
        )

    with threadpool_limits(1):
        for name, params in (
            ("miniature", {}),
            ("miniature, correlation of rank 25", {"correlation": 0.1, "correlation_rank": 25}),
            ("miniature, noise .05", {"noise": 0.05}),
        ):
            instance = miniature(**params)
            report(name, instance, lambda instance=instance: instance.block(3))  # type: ignore[misc]
        instance = miniature()
        report("miniature, plain sampler", instance, plain_block(instance), repeats=5)
        for times in (1, 4, 16, 64):
            instance = miniature(times)
            report(f"{1024 * times} concepts", instance, lambda instance=instance: instance.block(3))  # type: ignore[misc]
    Console().print(table)
    about = {"command": "python tests/bench/sampling.py", "repeats": REPEATS, "threads": 1, "block": BLOCK, "torch": torch.__version__}
    about |= {"python": platform.python_version(), "cores": os.cpu_count(), "machine": platform.machine()}
    write_json(out / "sampling.json", {**about, "rows_per_cpu_second": found})


if __name__ == "__main__":
    main()
