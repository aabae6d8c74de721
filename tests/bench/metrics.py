"""Metrics at the size of real dictionaries, and the whole profile at a common size: ``python tests/bench/metrics.py``.

16,384 sparse codes against 16,384 sparse concepts, about 30 of each active, over streamed rows that are made on the fly (making them is
not timed): statistics of all pairs, exact assignment, and the matched pairs alone on further rows; the cosines of two dictionaries of
that size; and every registered evaluator on 1,024 concepts, 1,024 codes and 50,000 rows. One thread, CPU seconds, each case in a process
of its own, whose largest memory counts. Writes ``metrics.json`` and claims into ``claims.json``.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import torch
from claims import claim, merge
from rich.console import Console
from rich.table import Table
from sampling import miniature
from threadpoolctl import threadpool_limits

from evaluators.calibration import concepts, true_structure
from evaluators.dictionary.decoder_mcc import DecoderMCC
from evaluators.recovery.activation_f1 import ActivationF1
from evaluators.recovery.activation_mcc import ActivationMCC
from testbed.contracts import (
    BLOCK,
    Evaluator,
    InvalidInput,
    Level,
    NotApplicable,
    Observed,
    Outcome,
    Sample,
    Shows,
    SparseRows,
    Truth,
    View,
)
from testbed.numerics.correlation import MatchedCorrelation, StreamedCorrelation
from testbed.numerics.matching import match
from testbed.registry import load, names
from testbed.store import write_json

SIZE, ACTIVE, ROWS, DIMENSION = 16_384, 30, 500_000, 768
KINDS = ("found", "noise", "common factor")
"""Codes that are noisy copies of the concepts; codes that have nothing to do with them; and codes that share only how much is on."""
PROFILE_ROWS = 50_000
REPEATS = 3


@dataclass
class Clock:
    """CPU and wall seconds of what is done within it."""

    cpu: float = 0.0
    wall: float = 0.0
    _started: tuple[float, float] = field(default=(0.0, 0.0), repr=False)

    def __enter__(self) -> Clock:
        self._started = time.process_time(), time.perf_counter()
        return self

    def __exit__(self, *error: object) -> None:
        self.cpu += time.process_time() - self._started[0]
        self.wall += time.perf_counter() - self._started[1]


# ------------------------------------------------------------------------------------------------------------------- data


def chunks(kind: str, rows: int, seed: int) -> Iterator[tuple[SparseRows, SparseRows]]:
    """Concepts and codes, `BLOCK` rows at a time; some concepts are 30 times as frequent as others, and their order is hidden."""
    share = np.linspace(0.05, 1.5, SIZE)
    edges = np.cumsum(share / share.sum())
    hidden = np.random.default_rng(0).permutation(SIZE)
    for start in range(0, rows, BLOCK):
        r = np.random.default_rng([seed, start])
        n = min(BLOCK, rows - start)
        many = r.gamma(2.0, ACTIVE / 2, n) if kind == "common factor" else np.full(n, ACTIVE)
        row, column = drawn(r, many, edges)
        z = sparse(row, column, 0.5 + r.exponential(1.0, len(row)), n)
        if kind == "found":
            kept = r.random(len(row)) < 0.8
            extra_row, extra_column = drawn(r, np.full(n, 0.2 * ACTIVE), edges)
            value = z.values.numpy()[kept] * (1 + 0.3 * r.standard_normal(kept.sum()))
            yield (
                z,
                sparse(
                    np.concatenate([row[kept], extra_row]),
                    hidden[np.concatenate([column[kept], extra_column])],
                    np.concatenate([value, r.exponential(0.5, len(extra_row))]),
                    n,
                ),
            )
            continue
        row, column = drawn(r, many, edges)
        yield z, sparse(row, hidden[column], 0.5 + r.exponential(1.0, len(row)), n)


def drawn(r: np.random.Generator, many: Any, edges: Any) -> tuple[Any, Any]:
    """Rows and columns of entries that are on, a Poisson number with mean `many` in each row, none twice."""
    row = np.arange(len(many)).repeat(r.poisson(many))
    column = np.minimum(np.searchsorted(edges, r.random(len(row))), len(edges) - 1)
    row, column = np.divmod(np.unique(row * len(edges) + column), len(edges))
    return row, column


def sparse(row: Any, column: Any, value: Any, n: int) -> SparseRows:
    """Entries in any order, the first of two in the same place."""
    key, first = np.unique(row * SIZE + column, return_index=True)
    row, column = np.divmod(key, SIZE)
    return SparseRows.from_entries(torch.from_numpy(row), torch.from_numpy(column), torch.from_numpy(value[first]).float(), (n, SIZE))


class Flat(Truth):
    """One level of concepts with a dictionary and nothing else."""

    def oracle(self, observed: Observed, view: str) -> Any:
        raise NotApplicable("nothing is known beyond the dictionary")


def flat(z: SparseRows, codes: SparseRows, atoms: torch.Tensor, dictionary: torch.Tensor | None = None) -> Outcome:
    """An outcome whose view holds nothing, for metrics that do not look at it."""
    view = View(torch.zeros(1, 1).expand(len(z), 1), Shows(levels=(0,)))
    truth = Flat(levels=(Level("sparse", SIZE),), constituents={}, dictionaries={"mixed": {0: atoms}})
    return Outcome(codes, Sample(Observed({"mixed": view}), {0: z}), "mixed", dictionary, truth=truth)


# ------------------------------------------------------------------------------------------------------------------ cases


def streamed(kind: str, rows: int = ROWS) -> dict[str, Any]:
    """Statistics of all pairs over `rows` rows, the assignment, and the matched pairs over as many rows again."""
    warm_up()
    statistics_, assignment, held_out = Clock(), Clock(), Clock()
    stream = StreamedCorrelation(SIZE, SIZE)
    for z, a in chunks(kind, rows, 1):
        with statistics_:
            stream.update(z, a)
    with statistics_:
        similarity = stream.finish().abs_()
    with assignment:
        concept, code = match(similarity)
    total = float(similarity[concept, code].mean())
    del similarity, stream
    paired = MatchedCorrelation(concept, code, SIZE, SIZE)
    for z, a in chunks(kind, rows, 2):
        with held_out:
            paired.update(z, a)
    return {
        "statistics": statistics_.cpu,
        "statistics, wall": statistics_.wall,
        "assignment": assignment.cpu,
        "assignment, wall": assignment.wall,
        "matched pairs": held_out.cpu,
        "fitted mean": total,
        "held-out mean": float(paired.correlation().abs().mean()),
    }


def assigned(kind: str) -> dict[str, Any]:
    """The assignment alone, of similarities that no codes need to have: all alike, or the worst that is known, :math:`a_i b_j`."""
    warm_up()
    r = np.random.default_rng(0)
    similarity = torch.from_numpy(r.random((SIZE, SIZE), dtype=np.float32))
    if kind == "one factor":
        similarity = torch.outer(*torch.from_numpy(r.random((2, SIZE), dtype=np.float32)))
    match(similarity[:1024, :1024])
    with (clock := Clock()):
        concept, code = match(similarity)
    return {"assignment": clock.cpu, "assignment, wall": clock.wall, "mean": float(similarity[concept, code].mean())}


def evaluated(evaluator: Evaluator) -> dict[str, Any]:
    """An evaluator on all rows in memory, sparse."""
    warm_up()
    pieces = list(chunks("found", ROWS, 1))
    outcome = flat(*(SparseRows.cat(list(side)) for side in zip(*pieces, strict=True)), torch.zeros(SIZE, 1))
    del pieces
    with (clock := Clock()):
        value = evaluator.score(outcome, seed=0).value
    return {"score": clock.cpu, "wall": clock.wall, "value": value}


def decoder(kind: str) -> dict[str, Any]:
    """Decoder MCC of two dictionaries: a noisy permuted copy, or two that have nothing to do with each other."""
    warm_up()
    g = torch.Generator().manual_seed(0)
    atoms = torch.randn(SIZE, DIMENSION, generator=g)
    dictionary = torch.randn(SIZE, DIMENSION, generator=g)
    if kind == "found":
        dictionary = atoms[torch.randperm(SIZE, generator=g)] + 0.7 * dictionary
    everyone = SparseRows.from_entries(torch.zeros(SIZE, dtype=torch.long), torch.arange(SIZE), torch.ones(SIZE), (4, SIZE))
    with (clock := Clock()):
        value = DecoderMCC().score(flat(everyone, everyone, atoms, dictionary), seed=0).value
    return {"score": clock.cpu, "wall": clock.wall, "value": value}


def profile() -> dict[str, Any]:
    """CPU seconds of each evaluator that has something to say about 1,024 sparse concepts on four levels and 1,024 codes."""
    outcome = profiled(PROFILE_ROWS)
    short = profiled(BLOCK)
    seconds, left_out = {}, {}
    for name in names("evaluators"):
        try:
            evaluator = load(names("evaluators")[name])()
            if evaluator.scope == "seeds":
                left_out[name] = "over fit seeds"
                continue
            evaluator.score(short, seed=0)  # what it compiles
            with (clock := Clock()):
                evaluator.score(outcome, seed=0)
            seconds[name] = clock.cpu
        except (NotApplicable, InvalidInput) as reason:
            left_out[name] = str(reason)
    return {"seconds": seconds, "score": sum(seconds.values()), "left out": left_out}


def profiled(rows: int) -> Outcome:
    """The miniature, and codes that are noisy copies of its concepts in another order."""
    instance = miniature()
    truth, sample = instance.truth, instance.sample(rows, 0, "test")
    assert truth is not None
    g = torch.Generator().manual_seed(0)
    levels = tuple(range(len(truth.levels)))
    z = concepts(Outcome(torch.zeros(rows, 1), sample, "mixed", truth=truth), levels)
    assert isinstance(z, SparseRows)
    order = torch.randperm(z.shape[1], generator=g)
    kept = torch.rand(len(z.values), generator=g) < 0.9
    value = z.values * (1 + 0.3 * torch.randn(len(z.values), generator=g))
    codes = SparseRows.from_entries(z.row_of_entry()[kept], order[z.indices[kept]], value[kept], z.shape)
    atoms = truth.dictionary("mixed")
    dictionary = torch.empty_like(atoms)
    dictionary[order] = atoms + 0.2 * torch.randn(atoms.shape, generator=g) / atoms.shape[1] ** 0.5
    bias = truth.facts["bias/mixed"]

    def decode(a: Any) -> torch.Tensor:
        blocks = (a[i : i + BLOCK] for i in range(0, len(a), BLOCK))
        return torch.cat([(one.dense() if isinstance(one, SparseRows) else one) @ dictionary + bias for one in blocks])

    structure = true_structure(truth, levels)
    return Outcome(codes, sample, "mixed", dictionary, decode, truth, instance, structure=structure)


def warm_up() -> None:
    """Compile what the cases call."""
    stream, paired = StreamedCorrelation(1024, 1024), MatchedCorrelation(torch.arange(2), torch.arange(2), SIZE, SIZE)
    z = SparseRows.from_entries(torch.arange(4), torch.arange(4), torch.ones(4), (4, 1024))
    stream.update(z, z)
    match(stream.finish().abs_())
    wide = SparseRows(z.indptr, z.indices, z.values, (4, SIZE))
    paired.update(wide, wide)


CASES: dict[str, Callable[[], dict[str, Any]]] = {
    **{f"streamed, {kind}": lambda kind=kind: streamed(kind) for kind in KINDS},  # type: ignore[misc]
    "streamed, found, a tenth of the rows": lambda: streamed("found", ROWS // 10),
    "uniform": lambda: assigned("uniform"),
    "one factor": lambda: assigned("one factor"),
    "activation_mcc": lambda: evaluated(ActivationMCC()),
    "activation_mcc, spearman": lambda: evaluated(ActivationMCC("spearman", signed=True)),
    "activation_f1": lambda: evaluated(ActivationF1()),
    "decoder_mcc, found": lambda: decoder("found"),
    "decoder_mcc, noise": lambda: decoder("noise"),
    "profile": profile,
}


def measured(case: str, repeats: int) -> list[dict[str, Any]]:
    """A case, each time in a process of its own; ``GiB`` is the most memory that it took."""
    command = [sys.executable, __file__, "--case", case]
    runs = [subprocess.run(command, check=True, capture_output=True, text=True) for _ in range(repeats)]
    return [json.loads(run.stdout.splitlines()[-1]) for run in runs]


def claims_of(found: dict[str, list[dict[str, Any]]]) -> list[dict[str, Any]]:
    """What the measurements say about the bars."""
    size = "16,384 sparse codes and 16,384 sparse concepts"
    claims = []

    def add(id: str, statement: str, case: str, key: str, bar: float, note: str = "") -> None:
        if case in found:
            claims.append(claim(f"metrics/{id}", statement, [run[key] for run in found[case]], bar, test="below", note=note))

    for kind in KINDS:
        about = {"found": "", "noise": ", codes of noise", "common factor": ", codes that share only how much is on"}[kind]
        runs = found.get(f"streamed, {kind}", [])
        wall = {key: f"{statistics.median(run[f'{key}, wall'] for run in runs):.1f} s of wall time" if runs else "" for key in TIMED}
        case, id = f"streamed, {kind}", kind.replace(" ", "_")
        add(f"statistics_{id}", f"{size}, 500k streamed rows{about}: CPU s of the statistics", case, "statistics", 60, wall["statistics"])
        add(f"assignment_{id}", f"the same{about}: CPU s of the exact assignment", case, "assignment", 60, wall["assignment"])
        add(f"memory_{id}", f"the same{about}: largest memory of the process in GiB", case, "GiB", 6)
    worst = [run["assignment"] for run in found.get("one factor", [])]
    note = f"products of a row's and a column's number, the worst that is known: {statistics.median(worst):.0f} s" if worst else ""
    add("assignment_uniform", "exact assignment, 16,384 x 16,384 uniform numbers: CPU s", "uniform", "assignment", 60, note)
    for case in ("activation_mcc", "activation_mcc, spearman", "activation_f1"):
        id = case.replace(", ", "_")
        add(id, f"{case}: {size}, 500k rows in memory: CPU s", case, "score", 120)
        add(f"{id}_memory", f"the same, {case}: largest memory of the process in GiB", case, "GiB", 6)
    for kind in ("found", "noise"):
        case = f"decoder_mcc, {kind}"
        add(f"decoder_{kind}", f"decoder MCC, 16,384 x 16,384, d 768, {kind}: CPU s", case, "score", 60)
        add(f"decoder_{kind}_memory", f"the same, {kind}: largest memory of the process in GiB", case, "GiB", 6)
    if "profile" in found:
        slowest = sorted(found["profile"][0]["seconds"].items(), key=lambda pair: -pair[1])[:3]
        note = f"{len(found['profile'][0]['seconds'])} evaluators; slowest: " + ", ".join(f"{name} {s:.1f}" for name, s in slowest)
        add("profile", "every evaluator of sparse concepts, 1,024 codes and concepts, 50k rows: CPU s", "profile", "score", 20, note)
    few, many = found.get("streamed, found, a tenth of the rows"), found.get("streamed, found")
    if few and many:
        ratios = [b["GiB"] / a["GiB"] for a, b in zip(few, many, strict=True)]
        claims.append(claim("metrics/memory_growth", "the first: memory with 500k rows over that with 50k", ratios, 1.05, test="below"))
    return claims


TIMED = ("statistics", "assignment")


def show(found: dict[str, list[dict[str, Any]]]) -> None:
    table = Table("case", "what", "median", "least", "most")
    for case, runs in found.items():
        flat_runs = [{**run.get("seconds", {}), **{k: v for k, v in run.items() if isinstance(v, float)}} for run in runs]
        for key in flat_runs[0]:
            values = [run[key] for run in flat_runs]
            table.add_row(case, key, *(f"{v:.3f}" for v in (statistics.median(values), min(values), max(values))))
    Console(width=140).print(table)
    for name, reason in found.get("profile", [{}])[0].get("left out", {}).items():
        print(f"profile without {name}: {reason}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/speed"), help="folder for metrics.json and claims.json")
    parser.add_argument("--only", nargs="*", default=list(CASES), help="cases to measure; the others stay as they are")
    parser.add_argument("--repeats", type=int, default=REPEATS)
    parser.add_argument("--case", choices=list(CASES), help="one case in this process, as JSON")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    if arguments.case:
        with threadpool_limits(1):
            found_here = CASES[arguments.case]()
        print(json.dumps({**found_here, "GiB": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20}))
        return
    found = {case: measured(case, arguments.repeats) for case in arguments.only}
    show(found)
    about = {"command": "make bench", "threads": 1, "python": platform.python_version(), "torch": torch.__version__}
    about |= {"cores": os.cpu_count(), "machine": platform.machine()}
    path = arguments.out / "metrics.json"
    held = json.loads(path.read_text())["cases"] if path.exists() else {}
    write_json(path, {**about, "cases": held | found})
    merge(arguments.out, claims_of(held | found))


if __name__ == "__main__":
    main()
