"""Say which metric gets which hand-made codes wrong: ``python tests/bench/metric_table.py runs/metrics --out results/metrics``.

Reads a run of the suite ``metrics`` and writes ``metrics.csv`` and ``metrics.md``. A score is calibrated per instance,
(score - chance) / (ceiling - chance), and averaged over instances. With r the share of concepts that single codes recover by the right
verdict of ``docs/metrics.md`` (1 component by component, 0 else, the true share where in part), a metric is *wrong* about codes

- if its calibrated score is above 0.8 although r is 0, or below 0.8 although r is 1;
- if it is more than 0.2 from r, where r lies between;
- of the monotone warp it is not said to be wrong for a low score if it does not claim to be invariant to monotone maps.
"""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import pandas as pd

from testbed.contracts import implied
from testbed.results import Results, gather

BEGIN, END = "<!-- made by tests/bench/metric_table.py -->", "<!-- end -->"
SHOWN = {
    "correlation 0": ("rotation", "common-factor copies", "duplicated", "split", "merged", "sign-even"),
    "correlation 0.9": ("rotation", "common-factor copies", "split", "merged", "pairs rotated"),
    "selection": ("rotation", "common-factor copies", "merged"),
}
"""Cells that the documentation shows of each metric."""

HIGH, NEAR = 0.8, 0.2
RECOVERED: dict[str, float] = {
    "perfect": 1,
    "permuted + scaled": 1,
    "monotone warp": 1,
    "rotation": 0,
    "common-factor copies": 0,
    "row-permuted": 0,
    "noise": 0,
    "noise, 64 c codes": 0,
    "64-of-1,024 copy": 1 / 16,
    "duplicated": 1,
    "split": 0,
    "split by another": 0,
    "merged": 0,
    "dead-laden": 1,
    "pairs rotated": 1 / 2,
    "shear of some": 1 / 2,
    "shear of all": 0,
    "sign-even": 0,
    "heavy-tailed noise": 0,
    "perfect + heavy-tailed noise": 1,
}
"""Share of concepts that a single code is, by the right verdict."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="folder of a run of the suite metrics")
    parser.add_argument("--out", type=Path, default=Path("results/metrics"))
    parser.add_argument("--page", type=Path, help="page of the documentation whose table is to be renewed")
    given = parser.parse_args()
    results = gather(given.run)
    table = calibrated(results)
    given.out.mkdir(parents=True, exist_ok=True)
    table.round(4).to_csv(given.out / "metrics.csv", index=False)
    page = written(table)
    (given.out / "metrics.md").write_text(page)
    if given.page is not None:
        before, _, rest = given.page.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        given.page.write_text(f"{before}{BEGIN}\n\n{rows(table)}\n{END}{after}")
    print(page)


def calibrated(results: Results) -> pd.DataFrame:
    """One row per metric, law and codes: mean score, chance, ceiling, calibrated score, and whether it is wrong."""
    scores = results.scores[results.scores["part"] == ""].copy()
    span = scores["ceiling"] - scores["chance"]
    scores["calibrated"] = ((scores["value"] - scores["chance"]) / span).where(span.abs() > 1e-6)
    columns = ["value", "chance", "ceiling", "calibrated"]
    table = scores.groupby(["evaluator", "generator", "estimator"], sort=False)[columns].mean().reset_index()
    table["recovered"] = table["estimator"].map(RECOVERED)
    table["wrong"] = [_wrong(row, results.tested.get(str(row.evaluator), {})) for row in table.itertuples()]
    return table


def _wrong(row: Any, tested: dict[str, Any]) -> str:
    if pd.isna(row.calibrated):
        return ""
    if row.estimator == "monotone warp" and "monotone" not in implied(tested.get("invariances", ())):
        return ""
    if row.recovered == 0:
        return "too high" if row.calibrated > HIGH else ""
    if row.recovered == 1:
        return "too low" if row.calibrated < HIGH else ""
    off = row.calibrated - row.recovered
    return "" if abs(off) <= NEAR else "too high" if off > 0 else "too low"


def written(table: pd.DataFrame) -> str:
    """For each metric what it gets wrong, then a table of calibrated scores for each law."""
    lines = [
        "# Which metric gets which codes wrong",
        "",
        "Made by `testbed run metrics` and `python tests/bench/metric_table.py`, where the rule of *wrong* stands. Scores are calibrated:",
        "0 is chance, 1 the ceiling, both on the same instance. `matched`, `own` and other details of a metric are in its docstring.",
        "",
        "| metric | cells | wrong | too high on | too low on |",
        "|---|---|---|---|---|",
    ]
    for metric, rows in table.groupby("evaluator", sort=False):
        judged = rows.dropna(subset=["calibrated"])
        sides = []
        for side in ("too high", "too low"):
            wrong = judged[judged["wrong"] == side]
            sides.append(
                "; ".join(f"{codes} ({', '.join(map(_law, at['generator']))})" for codes, at in wrong.groupby("estimator", sort=False))
            )
        lines.append(f"| {metric} | {len(judged)} | {int((judged['wrong'] != '').sum())} | {sides[0] or 'none'} | {sides[1] or 'none'} |")
    for law, here in table.groupby("generator", sort=False):
        wide = here.pivot_table(index="estimator", columns="evaluator", values="calibrated", sort=False)
        marks = here.set_index(["estimator", "evaluator"])["wrong"]
        metrics = [name for name in dict.fromkeys(here["evaluator"]) if name in wide]
        lines += ["", f"## {law}", "", f"| codes | recovered | {' | '.join(metrics)} |", f"|---|---|{'---|' * len(metrics)}"]
        for codes, row in wide.iterrows():
            cells = []
            for name in metrics:
                number = "" if pd.isna(row[name]) else f"{row[name]:.2f}"
                cells.append(f"**{number}**" if marks.get((codes, name), "") else number)
            lines.append(f"| {codes} | {RECOVERED[str(codes)]:.3g} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def rows(table: pd.DataFrame) -> str:
    """One row for each metric: calibrated scores of some cells, wrong ones bold, and how many of all cells are wrong."""
    short = {"common-factor copies": "copies", "pairs rotated": "half rotated"}
    cells = [(law, codes) for law, kinds in SHOWN.items() for codes in kinds]
    heads = [f"{short.get(codes, codes)}, {_law(law)}" for law, codes in cells]
    wanted = [RECOVERED[codes] for _, codes in cells]
    lines = [f"| metric | {' | '.join(heads)} | wrong |", f"|---|{'---|' * len(cells)}---|"]
    lines.append(f"| *right* | {' | '.join(f'*{r:.3g}*' for r in wanted)} | |")
    for metric, here in table.groupby("evaluator", sort=False):
        at = here.set_index(["generator", "estimator"])
        numbers = []
        for cell in cells:
            score = at["calibrated"].get(cell)
            number = "" if score is None or pd.isna(score) else f"{score:.2f}"
            numbers.append(f"**{number}**" if at["wrong"].get(cell) else number)
        judged = here.dropna(subset=["calibrated"])
        lines.append(f"| `{metric}` | {' | '.join(numbers)} | {int((judged['wrong'] != '').sum())} of {len(judged)} |")
    return "\n".join(lines) + "\n"


def _law(generator: str) -> str:
    return generator.replace("correlation ", "")


if __name__ == "__main__":
    main()
