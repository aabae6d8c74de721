"""Our own estimator against every other of a run: ``python tests/bench/head_to_head.py RUN --out results/comparison``.

Differences are paired by instance. Per score, p values of paired t-tests are corrected by Holm over all worlds and all others. *Ahead* and
*behind*: the corrected p is below .05. *Level*: the 95 % interval of the difference holds 0, and the difference is below .02. All else is
undecided. Writes ``table.csv``, ``table.md`` and ``claims.json``.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

from testbed.results import Results, gather
from testbed.stats import holm, paired_difference, paired_test
from testbed.store import write_json

OURS, SCORES = "minimal_dictionary", ("decoder_mcc", "activation_f1")
LEVEL, ALPHA, WORLDS = 0.02, 0.05, 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a run of the suite comparison")
    parser.add_argument("--out", type=Path, default=Path("results/comparison"))
    given = parser.parse_args()
    results = gather(given.run)
    table = compared(results)
    given.out.mkdir(parents=True, exist_ok=True)
    table.round(4).to_csv(given.out / "table.csv", index=False)
    page = written(table, seconds(results))
    (given.out / "table.md").write_text(page)
    write_json(given.out / "claims.json", [claimed(table, score) for score in SCORES])
    print(page)


def compared(results: Results) -> pd.DataFrame:
    """One row per score, world and other estimator."""
    rows: list[dict[str, Any]] = []
    for score in SCORES:
        family = []
        scores = results.scores[(results.scores["evaluator"] == score) & (results.scores["part"] == "")]
        for world, here in scores.groupby("generator", sort=False):
            values = {name: dict(zip(g["instance"], g["value"], strict=True)) for name, g in here.groupby("estimator", sort=False)}
            own = values.pop(OURS)
            family += [{"score": score, "world": world, **difference(own, other), "estimator": name} for name, other in values.items()]
        for row, p in zip(family, holm([row["p"] for row in family]), strict=True):
            rows.append({**row, "p_holm": p, "verdict": verdict(row, p)})
    order = ["score", "world", "estimator", "ours", "theirs", "difference", "low", "high", "n", "p", "p_holm", "verdict"]
    return pd.DataFrame(rows)[order]


def difference(own: dict[int, float], other: dict[int, float]) -> dict[str, Any]:
    """Means, paired difference with its interval, and the p value of a paired t-test."""
    common = sorted(own.keys() & other.keys())
    found = paired_difference(own, other)
    p = paired_test(own, other).p if len(common) > 1 else 1.0
    ours, theirs = (sum(values[i] for i in common) / len(common) for values in (own, other))
    return {"ours": ours, "theirs": theirs, "difference": found.mean, "low": found.low, "high": found.high, "n": found.n, "p": p}


def verdict(row: dict[str, Any], p: float) -> str:
    if p < ALPHA:
        return "ahead" if row["difference"] > 0 else "behind"
    return "level" if row["low"] <= 0 <= row["high"] and abs(row["difference"]) < LEVEL else "undecided"


def seconds(results: Results) -> pd.Series:
    """Mean seconds of a fit, per estimator, by the clock on the wall."""
    return pd.DataFrame(results.fits).groupby("estimator", sort=False)["seconds"].mean()


def written(table: pd.DataFrame, taken: pd.Series) -> str:
    """The table as Markdown: mean scores of all, with the verdict on ours against each."""
    worlds = list(dict.fromkeys(table["world"]))
    marks = {"ahead": "", "level": " =", "behind": " **+**", "undecided": " ?"}
    lines = []
    for score in SCORES:
        here = table[table["score"] == score]
        ours = here.drop_duplicates("world").set_index("world")["ours"]
        lines += [f"## {score}", "", f"| | {' | '.join(worlds)} | seconds per fit |", "|---" * (len(worlds) + 2) + "|"]
        lines.append(f"| `{OURS}` | {' | '.join(f'**{ours[w]:.3f}**' for w in worlds)} | {taken[OURS]:.2f} |")
        means = here.groupby("estimator")["theirs"].mean().sort_values(ascending=False)
        for name in means.index:
            row = here[here["estimator"] == name].set_index("world")
            cells = [f"{row.loc[w, 'theirs']:.3f}{marks[row.loc[w, 'verdict']]}" for w in worlds]
            lines.append(f"| `{name}` | {' | '.join(cells)} | {taken[name]:.2f} |")
        counts = ", ".join(f"{n} {word}" for word, n in here["verdict"].value_counts().items())
        lines += ["", f"{claimed(table, score)['note'].partition('. Not so')[0]}; of {len(here)} comparisons {counts}.", ""]
    return "\n".join(
        [
            f"Means over {int(table['n'].min())} paired instances. `{OURS}` is ahead of a score without a mark; = level; **+** behind; "
            "? undecided",
            "(Holm over all worlds and others, per score).",
            "",
            *lines,
        ]
    )


def claimed(table: pd.DataFrame, score: str) -> dict[str, Any]:
    """The bar: ahead of, or level with, every other on at least four worlds of six."""
    here = table[table["score"] == score]
    kept = [world for world, rows in here.groupby("world", sort=False) if rows["verdict"].isin(["ahead", "level"]).all()]
    lost = here[~here["verdict"].isin(["ahead", "level"])]
    named = "; ".join(f"{r.world}: {r.verdict} against {r.estimator} ({r.difference:+.3f})" for r in lost.itertuples())
    return {
        "id": f"comparison/{score}",
        "statement": f"{OURS} is ahead of, or level with, every other estimator at equal CPU time on at least {WORLDS} of 6 worlds.",
        "verdict": "shown" if len(kept) >= WORLDS else "not shown",
        "value": float(len(kept)),
        "low": None,
        "high": None,
        "bar": float(WORLDS),
        "n": int(here["n"].min()),
        "unit": "instance",
        "test": "above",
        "score": score,
        "estimator": OURS,
        "generator": "",
        "versus": "every other",
        "note": f"ahead or level on {len(kept)} of {here['world'].nunique()} worlds ({', '.join(kept) or 'none'})"
        + (f". Not so: {named}" if named else ""),
    }


if __name__ == "__main__":
    main()
