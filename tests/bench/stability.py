"""Does agreement of fit seeds tell what is recovered? ``python tests/bench/stability.py RUN --out results/stability``.

RUN is a folder of the suite stability. Spearman correlations of each stability score with each recovery score (averaged over the
same fit seeds), in three ways. *Within instance*: over estimators on one instance, averaged over instances: which method to trust on given
data? *Within estimator*: over instances of all worlds, averaged over estimators: which data to trust given a method? *Overall*:
over everything. Each for all estimators, and for the sparse autoencoders alone, since PCA and random directions are told apart by much
else. Scores that do not vary count as no correlation. 95 % intervals resample instances as clusters (within instance: `mean_interval`).
Writes ``table.csv`` and ``table.md``.
"""

from __future__ import annotations

import argparse
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from testbed.results import Results, gather
from testbed.stats import Interval, mean_interval

STABILITY = ("seed_agreement", "code_agreement", "subspace_angles", "consensus", "consensus/mean_seeds")
RECOVERY = ("decoder_mcc", "activation_mcc")
WAYS = ("within instance", "within estimator", "overall")
RESAMPLES = 999


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a run of the suite stability")
    parser.add_argument("--out", type=Path, default=Path("results/stability"))
    given = parser.parse_args()
    wide = gathered(gather(given.run))
    table = correlated(wide)
    given.out.mkdir(parents=True, exist_ok=True)
    table.round(4).to_csv(given.out / "table.csv", index=False)
    page = written(table, wide)
    (given.out / "table.md").write_text(page)
    print(page)


def gathered(results: Results) -> pd.DataFrame:
    """One row per world, instance and estimator; one column per score, averaged over fit seeds where it has one for each."""
    scores = results.scores
    name = scores["evaluator"].where(scores["part"] == "", scores["evaluator"] + "/" + scores["part"])
    keys = ["generator", "instance", "estimator"]
    wide = scores.assign(score=name).pivot_table(index=keys, columns="score", values="value", aggfunc="mean", sort=False)
    wide = wide[[*STABILITY, *RECOVERY]].dropna().reset_index()
    return wide.assign(cluster=wide["generator"] + "/" + wide["instance"].astype(str))


def correlated(wide: pd.DataFrame) -> pd.DataFrame:
    """One row per set of estimators, stability score, recovery score and way."""
    rows: list[dict[str, Any]] = []
    for who, kept in (("all", wide), ("autoencoders", wide[wide["estimator"].str.contains("sae")])):
        for stability in STABILITY:
            for recovery in RECOVERY:
                for way in WAYS:
                    found = correlation(kept, stability, recovery, way)
                    about = {"estimators": who, "stability": stability, "recovery": recovery, "way": way}
                    rows.append({**about, "spearman": found.mean, "low": found.low, "high": found.high, "n": found.n})
    return pd.DataFrame(rows)


def correlation(wide: pd.DataFrame, x: str, y: str, way: str) -> Interval:
    """A Spearman correlation with its interval; n is what it is averaged over, or the number of points."""
    if way == "within instance":
        found = mean_interval([spearman(here[x], here[y]) for _, here in wide.groupby("cluster", sort=False)])
        return replace(found, low=max(found.low, -1.0), high=min(found.high, 1.0))
    clusters = list(wide["cluster"].unique())
    members = {cluster: np.flatnonzero(wide["cluster"] == cluster) for cluster in clusters}
    names, values = wide["estimator"].to_numpy(), wide[[x, y]].to_numpy()

    def of(rows: Any) -> float:
        if way == "overall":
            return spearman(values[rows, 0], values[rows, 1])
        each = [rows[names[rows] == name] for name in dict.fromkeys(names)]
        return float(np.mean([spearman(values[own, 0], values[own, 1]) for own in each]))

    rng = np.random.default_rng(0)
    drawn = [of(np.concatenate([members[clusters[i]] for i in rng.integers(len(clusters), size=len(clusters))])) for _ in range(RESAMPLES)]
    low, high = np.quantile(drawn, [0.025, 0.975])
    return Interval(of(np.arange(len(wide))), float(low), float(high), len(wide), "percentile bootstrap of clusters")


def spearman(x: Any, y: Any) -> float:
    """Rank correlation; 0 where one of the two does not vary."""
    a, b = pd.Series(np.asarray(x)).rank().to_numpy(), pd.Series(np.asarray(y)).rank().to_numpy()
    if np.ptp(a) == 0 or np.ptp(b) == 0:
        return 0.0
    return float(np.corrcoef(a, b)[0, 1])


def written(table: pd.DataFrame, wide: pd.DataFrame) -> str:
    names = list(wide["estimator"].unique())
    lines = [
        f"Spearman correlation of stability over fit seeds with recovery, and its 95 % interval: {wide['generator'].nunique()} worlds, "
        f"{wide['cluster'].nunique()} instances, {len(names)} estimators, of which {sum('sae' in name for name in names)} autoencoders.",
        "",
    ]
    for who in ("all", "autoencoders"):
        for recovery in RECOVERY:
            lines += [f"## {recovery}, {who if who != 'all' else 'all estimators'}", "", f"| | {' | '.join(WAYS)} |", "|---" * 4 + "|"]
            for stability in STABILITY:
                here = table[(table["estimators"] == who) & (table["recovery"] == recovery) & (table["stability"] == stability)]
                cells = [f"{r.spearman:.2f} ({r.low:.2f} to {r.high:.2f})" for r in here.itertuples()]
                lines.append(f"| `{stability}` | {' | '.join(cells)} |")
            lines.append("")
    columns = [*STABILITY, *RECOVERY]
    for by in ("estimator", "generator"):
        lines += [f"## Means by {by}", "", f"| {by} | {' | '.join(f'`{c}`' for c in columns)} |", "|---" * (1 + len(columns)) + "|"]
        means = wide.groupby(by, sort=False)[columns].mean()
        lines += [f"| {name} | {' | '.join(f'{row[c]:.3f}' for c in columns)} |" for name, row in means.iterrows()]
        lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    main()
