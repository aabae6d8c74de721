"""Tokens per CPU second of a discrete hierarchy, sampled and explained by exact posteriors: ``python tests/bench/discrete.py``.

The random hierarchy model with v = 8, s = 2, m = 4, L = 6: 64 tokens a row. One thread. Writes claims into ``claims.json``.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import torch
from claims import claim, interleaved, merge
from threadpoolctl import threadpool_limits

from generators.selection.discrete.random_hierarchy import RandomHierarchy
from testbed.contracts import BLOCK

REPEATS, TOKENS = 10, 64


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/speed"), help="folder for claims.json")
    out = parser.parse_args().out
    torch.set_num_threads(1)
    with threadpool_limits(1):
        instance = RandomHierarchy(v=8, s=2, m=4, L=6).draw(0)
        observed = instance.sample(BLOCK, 1).observed
        seconds = interleaved({"sample": lambda: instance.block(3), "posteriors": lambda: instance.posteriors(observed)}, REPEATS)
    rates = {name: [BLOCK * TOKENS / s for s in taken] for name, taken in seconds.items()}
    merge(
        out,
        [
            claim("discrete/sample", "discrete, v 8, s 2, m 4, L 6: tokens drawn per CPU second", rates["sample"], 1e6),
            claim("discrete/posteriors", "the same: tokens explained per CPU second by exact posteriors", rates["posteriors"], 1e5),
        ],
    )
    print({name: f"{sum(values) / len(values):,.0f} tokens per CPU second" for name, values in rates.items()})


if __name__ == "__main__":
    main()
