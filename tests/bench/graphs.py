"""The PC skeleton, ours beside causal-learn's in the same run: ``python tests/bench/graphs.py``.

Linear-Gaussian data on random DAGs, 5,000 rows, alpha .01, one thread, CPU seconds. Ours at 200 and at 2,000 variables; causal-learn's
stable skeleton once at ``--peer-variables`` (0 leaves it out), where both must find the same. Writes claims into ``claims.json``.
"""

from __future__ import annotations

import argparse
import time
from pathlib import Path

import numpy as np
from claims import claim, interleaved, merge
from numpy.typing import NDArray
from threadpoolctl import threadpool_limits

from testbed.numerics.independence import FisherZ
from testbed.numerics.skeletons import skeleton

ROWS, ALPHA, REPEATS = 5_000, 0.01, 5


def linear_gaussian(p: int, degree: float, seed: int) -> NDArray[np.float64]:
    """Rows of a random DAG with `degree` neighbours on average and weights of .3 to .9 in size, shape (5000, p), columns shuffled."""
    generator = np.random.default_rng(seed)
    there = np.triu(generator.random((p, p)) < degree / (p - 1), 1)
    weight = there * generator.uniform(0.3, 0.9, (p, p)) * generator.choice([-1, 1], (p, p))
    x = generator.standard_normal((ROWS, p))
    for j in range(p):
        x[:, j] += x[:, :j] @ weight[:j, j]
    return np.ascontiguousarray(x[:, generator.permutation(p)])


def peer(x: NDArray[np.float64]) -> tuple[float, NDArray[np.bool_]]:
    """CPU seconds of causal-learn's stable skeleton, and its adjacencies."""
    from causallearn.utils.cit import CIT
    from causallearn.utils.PCUtils.SkeletonDiscovery import skeleton_discovery

    clock = time.process_time()
    graph = skeleton_discovery(x, ALPHA, CIT(x, "fisherz"), stable=True, show_progress=False).G.graph
    return time.process_time() - clock, graph != 0


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/speed"), help="folder for claims.json")
    parser.add_argument("--peer-variables", type=int, default=200, help="variables at which causal-learn is timed, once; 0: not at all")
    parser.add_argument("--degree", type=float, default=4.0, help="neighbours of a variable, on average")
    options = parser.parse_args()
    law = f"random DAGs with {options.degree:g} neighbours on average, 5,000 rows"
    with threadpool_limits(1):
        small, large = linear_gaussian(200, options.degree, 0), linear_gaussian(2_000, options.degree, 0)
        seconds = interleaved({"200": lambda: skeleton(FisherZ(small, ALPHA))}, REPEATS)["200"]
        many = interleaved({"2000": lambda: skeleton(FisherZ(large, ALPHA))}, REPEATS)["2000"]
        found = [
            claim("graphs/200", f"PC skeleton, 200 variables, {law}: CPU seconds", seconds, 2.0, test="below"),
            claim("graphs/2000", f"PC skeleton, 2,000 variables, {law}: CPU seconds", many, 15.0, test="below"),
        ]
        tests = {p: skeleton(FisherZ(x, ALPHA)).tests for p, x in ((200, small), (2_000, large))}
        print(f"200 variables: {np.mean(seconds):.3f} s, {tests[200]:,} tests; 2,000: {np.mean(many):.2f} s, {tests[2_000]:,} tests")
        if options.peer_variables:
            x = linear_gaussian(options.peer_variables, options.degree, 0)
            ours = interleaved({"ours": lambda: skeleton(FisherZ(x, ALPHA))}, REPEATS)["ours"]
            theirs, graph = peer(x)
            same = bool((skeleton(FisherZ(x, ALPHA)).adjacent == graph).all())
            ratios = [theirs / s for s in ours]
            text = f"PC skeleton, {options.peer_variables} variables, {law}: CPU seconds of causal-learn over ours"
            note = f"causal-learn timed once ({theirs:.1f} s); skeletons {'are identical' if same else 'DIFFER'}"
            found.append(claim(f"graphs/peer_{options.peer_variables}", text, ratios, 150.0, 400.0, note=note))
            print(f"{options.peer_variables} variables: causal-learn {theirs:.1f} s, {np.mean(ratios):,.0f} times ours; {note}")
            if not same:
                raise SystemExit("the skeletons differ")
    merge(options.out, found)


if __name__ == "__main__":
    main()
