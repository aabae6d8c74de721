"""Seconds to compress a long corpus: 1M rows of 64 tokens, six levels, one thread: ``python tests/bench/discrete_recovery.py``.

A random hierarchy model (v 8, m 2, gap .1) drawn once and sampled apart; `ContextStates` is timed from tokens to tables, its positions
given, and, on 10,000 rows, with its tuples to find among 64 columns. Writes claims into ``claims.json``.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
import torch
from claims import claim, merge
from threadpoolctl import threadpool_limits

from generators.selection.discrete.random_hierarchy import RandomHierarchy
from testbed.estimators.discrete.context_states import ContextStates


def seconds_of(estimator: ContextStates, x: torch.Tensor) -> float:
    """CPU seconds of a fit."""
    clock = time.process_time()
    estimator.fit(x, seed=0)
    return time.process_time() - clock


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/speed"), help="folder for claims.json")
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--repeats", type=int, default=2)
    options = parser.parse_args()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        instance = RandomHierarchy(v=8, s=2, m=2, L=6, minimum_gap=0.1).draw(0)
        x = instance.sample(options.rows, 1).observed.views["tokens"].values.to(torch.uint8)
        estimator = ContextStates()
        taken = [seconds_of(estimator, x) for _ in range(options.repeats)]
        right = int(np.sum(np.array(estimator.n_states_[1:-64]) == 8))
        found = ContextStates(tuples="found", arity=2)
        searched = [seconds_of(found, x[:10_000]) for _ in range(options.repeats)]
    composites = len(estimator.n_states_) - 65
    same = sorted(map(tuple, found.blocks_[0])) == [(j, j + 1) for j in range(0, 64, 2)]
    note = f"{right} of {composites} composites below the top have 8 states"
    merge(
        options.out,
        [
            claim("discrete_recovery/corpus", f"states of {options.rows:,} rows of 64 tokens: CPU seconds", taken, 300, 60, "below", note),
            claim(
                "discrete_recovery/search",
                "the same with tuples to find, 10,000 rows: CPU seconds",
                searched,
                60,
                test="below",
                note=f"pairs of leaves {'all' if same else 'NOT all'} found",
            ),
        ],
    )
    print(f"{np.mean(taken):.1f} s; {note}; tuples to find: {np.mean(searched):.1f} s, {'all' if same else 'not all'} found")


if __name__ == "__main__":
    main()
