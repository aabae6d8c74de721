"""SynthSAEBench beside SAELens's own generator, how costs grow, and the memory of the 16k model: ``python tests/bench/peers.py``.

One thread, CPU seconds, batches of 1,024 with hidden vectors and latents; both sides of every ratio in the same run, in turn. Writes
``peers.json`` (rows per CPU second of every repeat) and claims into ``claims.json``. Needs the package sae-lens (``make bench`` makes an
environment that has it) but for ``--growth`` and ``--memory``, which run alone what they say.
"""

from __future__ import annotations

import argparse
import json
import platform
import resource
import statistics
import subprocess
import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from claims import claim, interleaved, merge
from rich.console import Console
from rich.table import Table
from sampling import miniature
from threadpoolctl import threadpool_limits

from generators.mixing import random_directions
from generators.peers.gated_instance import GatedInstance, gated_truth
from generators.peers.sae_lens_model import SAELensModel
from generators.peers.synth_sae_bench import SynthSAEBench
from testbed.contracts import Instance
from testbed.store import write_json

BATCH, REPEATS = 1024, 10
OURS, THEIRS, GROWTH = 200, 20, 40
"""Batches per call."""
RANKS = {"hierarchy": 0, "hierarchy and correlation": 25}
CONCEPTS = (1024, 4096, 16_384, 65_536)
Found = dict[str, list[float]]


def streaming(instance: Instance, batches: int) -> Callable[[], Any]:
    def run() -> None:
        for index, _ in enumerate(instance.stream(BATCH, 1)):
            if index + 1 == batches:
                return

    return run


def their_batches(model: Any) -> Callable[[], Any]:
    def run() -> None:
        with torch.no_grad():
            for _ in range(THEIRS):
                model.sample_with_features(BATCH)

    return run


def against_saelens() -> Found:
    """Rows per CPU second of the miniature, ours and theirs."""
    calls, rows = {}, {}
    for name, rank in RANKS.items():
        calls[name] = streaming(SynthSAEBench.miniature(correlation_rank=rank).draw(0), OURS)
        model = SAELensModel.miniature(correlation_rank=rank, orthogonal_steps=0).draw(0).model  # type: ignore[attr-defined]
        calls[f"{name}, SAELens"] = their_batches(model)
        rows |= {name: OURS * BATCH, f"{name}, SAELens": THEIRS * BATCH}
    with torch.random.fork_rng(devices=[]):
        seconds = interleaved(calls, REPEATS)
    return {name: [rows[name] / s for s in taken] for name, taken in seconds.items()}


def growth() -> Found:
    """Rows per CPU second against the number of concepts, about 7 of them active: free concepts get rarer as there are more of them."""
    found: Found = {}
    for family in (*RANKS, "sparse_concepts"):
        instances = {f"{family}, {n:,} concepts": _instance(family, n) for n in CONCEPTS}
        seconds = interleaved({name: streaming(instance, GROWTH) for name, instance in instances.items()}, REPEATS)
        found |= {name: [GROWTH * BATCH / s for s in taken] for name, taken in seconds.items()}
    return found


def _instance(family: str, concepts: int) -> Instance:
    if family == "sparse_concepts":
        return miniature(concepts // 1024)
    spec = SynthSAEBench.miniature(concepts=concepts, correlation_rank=RANKS[family], orthogonal_steps=0)
    law = spec.law(0)
    free = law.starts[-1]
    fire = law.fire.clone()
    fire[free:] *= 0.5 / float((fire[free:] * law.keep[free:]).sum())
    law = replace(law, fire=fire)
    atoms = random_directions(concepts, spec.dimension, torch.Generator().manual_seed(0))
    return GatedInstance(gated_truth(law, atoms, torch.zeros(spec.dimension), *spec.magnitudes(0), 0), law, spec.scaled)


def memory() -> tuple[float, float]:
    """GiB that this process takes at most while it draws and streams the 16k model, and rows per CPU second.

    One step of orthogonalisation instead of 100: the same memory in a hundredth of the time.
    """
    seconds = interleaved({"16k": streaming(SynthSAEBench(orthogonal_steps=1).draw(0), GROWTH)}, 1)["16k"]
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, GROWTH * BATCH / seconds[0]


def memories(repeats: int = 3) -> Found:
    """The same, each in a process of its own."""
    runs = [subprocess.run([sys.executable, __file__, "--memory"], check=True, capture_output=True, text=True) for _ in range(repeats)]
    pairs = [json.loads(run.stdout.splitlines()[-1]) for run in runs]
    return {"16k model, GiB": [gib for gib, _ in pairs], "16k model": [rate for _, rate in pairs]}


def claims_of(found: Mapping[str, Sequence[float]]) -> list[dict[str, Any]]:
    """What the measurements say about the bars."""
    claims = []
    bars = {"hierarchy": (80, 150), "hierarchy and correlation": (12, 25)}
    for name, (bar, aim) in bars.items():
        if f"{name}, SAELens" in found:
            ratios = [ours / theirs for ours, theirs in zip(found[name], found[f"{name}, SAELens"], strict=True)]
            statement = f"SynthSAEBench miniature, {name}: rows per CPU second over those of SAELens {version('sae-lens')}"
            claims.append(claim(f"peers/{name.replace(' ', '_')}", statement, ratios, bar, aim))
    for family in (*RANKS, "sparse_concepts"):
        first, last = (found.get(f"{family}, {n:,} concepts") for n in (CONCEPTS[0], CONCEPTS[-1]))
        if first and last:
            ratios = [few / many for few, many in zip(first, last, strict=True)]
            statement = f"{family}: time per row with 65,536 concepts over that with 1,024, about 7 active in either"
            claims.append(claim(f"growth/{family.replace(' ', '_')}", statement, ratios, 2, test="below"))
    if "16k model, GiB" in found:
        statement = "SynthSAEBench 16k, drawn and streamed: largest memory of the process in GiB"
        note = f"streams at {statistics.median(found['16k model']):,.0f} rows per CPU second"
        claims.append(claim("memory/synth_sae_bench_16k", statement, found["16k model, GiB"], 2, test="below", note=note))
    return claims


def show(found: Mapping[str, Sequence[float]]) -> None:
    table = Table("what", "rows per CPU second (median)", "slowest", "fastest")
    for name, values in found.items():
        digits = 2 if "GiB" in name else 0
        table.add_row(name, *(f"{v:,.{digits}f}" for v in (statistics.median(values), min(values), max(values))))
    Console(width=140).print(table)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/speed"), help="folder for peers.json and claims.json")
    parser.add_argument("--growth", action="store_true", help="only the growth with the number of concepts; print, write nothing")
    parser.add_argument("--memory", action="store_true", help="only the 16k model's memory and rate, in this process")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        if arguments.memory:
            print(json.dumps(memory()))
            return
        if arguments.growth:
            show(growth())
            return
        found = against_saelens() | growth() | memories()
    show(found)
    about = {"command": "make bench", "repeats": REPEATS, "batch": BATCH, "threads": 1, "python": platform.python_version()}
    about |= {"torch": torch.__version__, "sae_lens": version("sae-lens"), "machine": platform.machine()}
    write_json(arguments.out / "peers.json", {**about, "rows_per_cpu_second": found})
    merge(arguments.out, claims_of(found))


if __name__ == "__main__":
    main()
