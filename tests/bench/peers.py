"""Time SynthSAEBench on one thread, beside SAELens's own generator where it is installed: ``python tests/bench/peers.py``.

Prints a table: the miniature (1,024 concepts, d = 128) in batches of 1,024, hidden vectors and latents included, with the hierarchy alone
and with the copula too; how the cost grows with the number of concepts while the number of active ones stays; and, with ``--full``, the
16k model and the memory that streaming it takes.
"""

from __future__ import annotations

import argparse
import importlib.util
import resource
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits

from generators.peers.sae_lens_model import SAELensModel
from generators.peers.synth_sae_bench import SynthSAEBench
from testbed.contracts import Instance

BATCH, REPEATS = 1024, 5


def rate(call: Callable[[], Any], rows: int) -> float:
    """Rows per CPU second of this process: median of `REPEATS` calls after one to warm up."""
    call()
    found = []
    for _ in range(REPEATS):
        clock = time.process_time()
        call()
        found.append(rows / (time.process_time() - clock))
    return statistics.median(found)


def streaming(instance: Instance, batches: int) -> Callable[[], Any]:
    def run() -> None:
        for index, _ in enumerate(instance.stream(BATCH, 1)):
            if index + 1 == batches:
                return

    return run


def miniatures(table: Table) -> None:
    """The miniature, ours and theirs in turn, and their ratio."""
    installed = importlib.util.find_spec("sae_lens") is not None
    for name, rank in (("hierarchy alone", 0), ("hierarchy and rank-25 copula", 25)):
        ours = rate(streaming(SynthSAEBench.miniature(correlation_rank=rank).draw(0), 200), 200 * BATCH)
        theirs = None
        if installed:
            model = SAELensModel.miniature(correlation_rank=rank, orthogonal_steps=0).draw(0).model  # type: ignore[attr-defined]
            state = torch.random.get_rng_state()
            with torch.no_grad():
                theirs = rate(lambda model=model: [model.sample_with_features(BATCH) for _ in range(20)], 20 * BATCH)  # type: ignore[misc]
            torch.random.set_rng_state(state)
        beside = ("sae-lens not installed", "") if theirs is None else (f"{theirs:,.0f}", f"{ours / theirs:.0f}x")
        table.add_row(f"miniature, {name}", f"{ours:,.0f}", *beside)


def growth(table: Table) -> None:
    """Time against the number of concepts at a fixed number of active ones: free concepts get rarer as there are more of them."""
    for rank in (0, 25):
        for concepts in (1024, 4096, 16_384, 65_536):
            spec = SynthSAEBench.miniature(concepts=concepts, correlation_rank=rank, orthogonal_steps=0)
            law = spec.law(0)
            free = law.starts[-1]
            fire = law.fire.clone()
            fire[free:] *= 0.5 / float((fire[free:] * law.keep[free:]).sum())
            instance = _with_fire(spec, fire)
            l0 = instance.truth.settings["l0"]  # type: ignore[union-attr]
            found = rate(streaming(instance, 40), 40 * BATCH)
            table.add_row(f"n = {concepts:,}, rank {rank}, L0 = {l0:.1f}", f"{found:,.0f}", "", "")


def _with_fire(spec: SynthSAEBench, fire: torch.Tensor) -> Instance:
    from dataclasses import replace

    from generators.mixing import random_directions
    from generators.peers.gated_instance import GatedInstance, gated_truth

    law = replace(spec.law(0), fire=fire)
    atoms = random_directions(spec.concepts, spec.dimension, torch.Generator().manual_seed(0))
    return GatedInstance(gated_truth(law, atoms, torch.zeros(spec.dimension), *spec.magnitudes(0), 0), law, spec.scaled)


def full(table: Table) -> None:
    """The 16k model: time to draw it, rows per second, and the largest memory of this process."""
    clock = time.perf_counter()
    instance = SynthSAEBench().draw(0)
    drawn = time.perf_counter() - clock
    found = rate(streaming(instance, 40), 40 * BATCH)
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    table.add_row(f"16k model (drawn in {drawn:.0f} s, at most {memory:.2f} GiB in all)", f"{found:,.0f}", "", "")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--full", action="store_true", help="only the 16k model, whose memory is then this process's")
    parser.add_argument("--growth", action="store_true", help="only the growth with the number of concepts")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = Table("what", "rows per CPU second", "SAELens", "ratio")
    with threadpool_limits(1):
        if arguments.full:
            full(table)
        elif arguments.growth:
            growth(table)
        else:
            miniatures(table)
    Console(width=140).print(table)


if __name__ == "__main__":
    main()
