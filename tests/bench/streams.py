"""Peak memory of streams of 64 columns, ten million rows beside one million: ``python tests/bench/streams.py``.

Each is a process of its own, on one thread. *Fitted as they are sampled*: PCA and a sparse autoencoder on rows that `sparse_concepts` draws
on the way. *Run*: a suite that samples to disk, fits both on the shards, encodes and scores, as `testbed run` does. Writes claims into
``claims.json``: memory of the longer over that of the shorter.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

SHORT, LONG, REPEATS = 1_000_000, 10_000_000, 3
WAYS = ("fitted as they are sampled", "run")
WORLD = {"levels": [8, 56], "dimension": 64}
SAE = {"n_codes": 128, "k": 8, "batch_size": 4096}


def peak() -> float:
    """Largest memory of this process so far, in MiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024


def fitted_as_sampled(rows: int) -> None:
    """Both estimators, each on a stream that ends nowhere."""
    from generators.selection.sparse import SparseConcepts
    from testbed.estimators.classical.pca import PCA
    from testbed.estimators.sparse.topk_sae import TopKSAE

    world = SparseConcepts(**WORLD).draw(0)  # type: ignore[arg-type]
    for estimator in (PCA(samples=rows), TopKSAE(samples=rows, **SAE)):  # type: ignore[arg-type]
        estimator.fit((sample.observed for sample in world.chunks(1)), seed=0)


def run(rows: int) -> None:
    """The same through a store in a temporary folder: samples, fits, codes, scores."""
    from testbed.plan import enumerate_trials
    from testbed.results import gather
    from testbed.runner import execute
    from testbed.suite import from_tree

    tree = {
        "name": "streams",
        "instances": 1,
        "data": {"train": rows, "test": 8_192, "reference": 8_192},
        "generator": [{"name": "sparse_concepts", "params": WORLD}],
        "estimator": [{"name": "pca", "params": {"samples": rows}}, {"name": "topk_sae", "params": {"samples": rows, **SAE}}],
        "evaluator": [{"name": "explained_variance"}, {"name": "decoder_mcc"}],
    }
    with tempfile.TemporaryDirectory(prefix="streams-") as folder:
        if execute(enumerate_trials(from_tree(tree)), folder).failed:
            raise SystemExit(f"a trial failed: {gather(folder).failures[0]['error']}")


def child(way: str, rows: int) -> dict[str, float]:
    """What it takes, in this process: MiB at the start, at most, and seconds."""
    import torch

    import testbed.stages  # noqa: F401  what every run imports

    torch.set_num_threads(1)
    work = {"fitted as they are sampled": fitted_as_sampled, "run": run}[way]
    work(20_000)  # imports, compiled loops, pools
    start, clock = peak(), time.perf_counter()
    work(rows)
    return {"start": start, "peak": peak(), "seconds": time.perf_counter() - clock}


def measure(way: str, rows: int) -> dict[str, float]:
    """The same in a process of its own."""
    command = [sys.executable, __file__, "--child", way, str(rows)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    found: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/speed"), help="folder for claims.json")
    parser.add_argument("--child", nargs=2, metavar=("WAY", "ROWS"), help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.child:
        print(json.dumps(child(given.child[0], int(given.child[1]))))
        return
    from claims import claim, merge

    found: list[Any] = []
    for way in WAYS:
        pairs = [(measure(way, SHORT), measure(way, LONG)) for _ in range(REPEATS)]
        for short, long in pairs:
            print(f"{way}: {short['peak']:.0f} MiB with {SHORT:,} rows, {long['peak']:.0f} MiB with {LONG:,}, {long['seconds']:.0f} s")
        name = way.split()[0]
        text = f"{LONG:,} x 64 rows, {way}: peak memory over that of {SHORT:,}"
        note = f"{pairs[0][1]['peak']:.0f} MiB, {pairs[0][1]['seconds']:.0f} s"
        found.append(claim(f"streams/{name}", text, [long["peak"] / short["peak"] for short, long in pairs], 1.1, test="below", note=note))
    merge(given.out, found)


if __name__ == "__main__":
    main()
