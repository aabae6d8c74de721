"""What 95 % intervals of a mean cover: ``python tests/bench/intervals.py --out results/intervals``.

Samples of 3 to 50 instances from laws that scores have: symmetric ones, as paired differences are; skewed ones, as scores near a ceiling
are; long tails; a method that now and then finds everything. The interval is `testbed.stats.mean_interval`'s; beside it, at 20 and 50, what
the bias-corrected and accelerated bootstrap (scipy's) covers on a fifth of the samples. Writes ``table.csv`` and ``table.md``.
"""

from __future__ import annotations

import argparse
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from scipy import stats

from testbed.stats.intervals import BOOTSTRAP_FROM, LEVEL, RESAMPLES, symmetric_quantiles

SIZES = (3, 5, 10, 20, 50)

Draw = Callable[[np.random.Generator, tuple[int, int]], Any]

LAWS: dict[str, tuple[str, Draw, float]] = {
    "normal": ("paired differences, mostly", lambda g, s: g.normal(size=s), 0.0),
    "uniform": ("short tails", lambda g, s: g.uniform(size=s), 0.5),
    "Laplace": ("paired differences with some outliers", lambda g, s: g.laplace(size=s), 0.0),
    "Student 3": ("symmetric, very long tails", lambda g, s: g.standard_t(3, size=s), 0.0),
    "beta 8, 1": ("scores near their ceiling", lambda g, s: g.beta(8, 1, size=s), 8 / 9),
    "beta 2, 1/2": ("scores piled up at their ceiling", lambda g, s: g.beta(2, 0.5, size=s), 0.8),
    "two camps": ("one instance in five by far the best", lambda g, s: (g.random(s) < 0.2) + 0.1 * g.normal(size=s), 0.2),
    "exponential": ("skewed", lambda g, s: g.exponential(size=s), 1.0),
    "log-normal 1": ("heavily skewed", lambda g, s: g.lognormal(size=s), math.exp(0.5)),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/intervals"))
    parser.add_argument("--samples", type=int, default=10_000)
    given = parser.parse_args()
    rows = []
    for law in LAWS:
        for n in SIZES:
            row = {"law": law, "what": LAWS[law][0], "n": n, "covered": covered(law, n, given.samples)}
            row["bca"] = bca_covered(law, n, given.samples // 5) if n >= BOOTSTRAP_FROM else math.nan
            rows.append(row)
            print(row, flush=True)
    table = pd.DataFrame(rows)
    given.out.mkdir(parents=True, exist_ok=True)
    table.round(4).to_csv(given.out / "table.csv", index=False)
    (given.out / "table.md").write_text(written(table, given.samples))


def covered(law: str, n: int, samples: int, seed: int = 0) -> float:
    """Share of samples whose interval holds the true mean."""
    _, draw, mean = LAWS[law]
    rng = np.random.default_rng([seed, n, list(LAWS).index(law)])
    inside = 0
    for start in range(0, samples, 1000):
        x = draw(rng, (min(1000, samples - start), n))
        t = np.abs(x.mean(axis=1) - mean) / (x.std(axis=1, ddof=1) / math.sqrt(n))
        quantile = np.full(len(x), stats.t.ppf((1 + LEVEL) / 2, n - 1))
        if n >= BOOTSTRAP_FROM:
            found = symmetric_quantiles(x)
            quantile = np.where(np.isfinite(found), found, quantile)
        inside += int((t <= quantile).sum())
    return inside / samples


def bca_covered(law: str, n: int, samples: int) -> float:
    _, draw, mean = LAWS[law]
    x = draw(np.random.default_rng([1, n, list(LAWS).index(law)]), (samples, n))
    found = stats.bootstrap(
        (x,), np.mean, axis=1, n_resamples=RESAMPLES, batch=50, confidence_level=LEVEL, rng=np.random.default_rng(0)
    ).confidence_interval
    return float(((found.low <= mean) & (mean <= found.high)).mean())


def written(table: pd.DataFrame, samples: int) -> str:
    wide = table.pivot_table(index="law", columns="n", values="covered", sort=False)
    bca = table.pivot_table(index="law", columns="n", values="bca", sort=False)

    def cell(value: float) -> str:
        return f"{value:.3f}" if 0.93 <= value <= 0.97 else f"**{value:.3f}**"

    lines = [
        f"Share of {samples:,} samples whose 95 % interval holds the true mean; bold outside .93 to .97. Below {BOOTSTRAP_FROM} instances "
        f"Student-t, from there on the symmetric bootstrap-t; BCa, on {samples // 5:,} samples, for comparison.",
        "",
        f"| law | stands for | {' | '.join(f'n = {n}' for n in SIZES)} | {' | '.join(f'BCa, {n}' for n in bca.columns)} |",
        "|---" * (2 + len(SIZES) + len(bca.columns)) + "|",
    ]
    for law in wide.index:
        cells = [cell(wide.loc[law, n]) for n in SIZES] + [cell(bca.loc[law, n]) for n in bca.columns]
        lines.append(f"| {law} | {LAWS[law][0]} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    main()
