"""Reference results of the hierarchical suites: ``python tests/bench/hierarchy.py runs/results/hierarchy --out results/hierarchy``.

Copies leaderboard, claims and some reports of every suite of a folder that ``testbed run hierarchy`` wrote. Writes ``table.md``: each claim
with its verdict, value, interval and bar, beside chance, floor and ceiling of the same score on the same instances; and ``seconds.csv``:
what fits of each estimator took.
"""

from __future__ import annotations

import argparse
import json
import math
import shutil
from pathlib import Path
from typing import Any

import pandas as pd

from testbed.results import gather, leaderboard
from testbed.store import write_atomic

DRAWN = ("concepts", "discrete")
"""Suites whose reports are committed, for their graphs; a report is over 2 MB."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--out", type=Path, default=Path("results/hierarchy"))
    given = parser.parse_args()
    lines, seconds = [], []
    for run in sorted(path.parent for path in given.folder.glob("*/run.json")):
        target = given.out / run.name
        target.mkdir(parents=True, exist_ok=True)
        for name in ("leaderboard.csv", "claims.json", *(["report.html"] if run.name in DRAWN else [])):
            shutil.copy(run / name, target / name)
        results = gather(run)
        board = leaderboard(results)
        lines += [f"| {run.name} | {' | '.join(row(claim, board))} |" for claim in json.loads((run / "claims.json").read_text())]
        fits = pd.DataFrame(results.fits)
        spent = fits.groupby(["generator", "estimator"], sort=False)["seconds"].agg(["count", "median", "max"]).reset_index()
        seconds.append(spent.assign(suite=run.name))
    shutil.copy(given.folder / "claims.json", given.out / "claims.json")
    head = "| suite | claim | on | verdict | value | 95 % interval | bar | chance | floor | ceiling | n |"
    text = "\n".join(["# Claims of `testbed run hierarchy`", "", head, "|" + "---|" * 11, *lines, ""])
    write_atomic(given.out / "table.md", text.encode())
    write_atomic(given.out / "seconds.csv", pd.concat(seconds).to_csv(index=False, float_format="%.2f").encode())
    print(text)


def row(claim: dict[str, Any], board: pd.DataFrame) -> list[str]:
    """The cells of one claim."""
    evaluator, _, part = claim["score"].partition("/")
    of = board[(board["evaluator"] == evaluator) & (board["part"] == part)]
    of = of[(of["generator"] == claim["generator"]) & (of["estimator"] == claim["estimator"])]
    levels = ["", "", ""] if of.empty else [number(of.iloc[0][name]) for name in ("chance", "floor_mean", "ceiling")]
    interval = "" if claim["low"] is None else f"{number(claim['low'])} to {number(claim['high'])}"
    sign = {"above": ">", "below": "<", "within": "within"}[claim["test"]]
    compared = claim["versus"] if not claim["versus"].replace(".", "").isdigit() else ""
    value = (
        number(claim["value"])
        + (f" ({claim['statistic']})" if claim["statistic"] != "mean" else "")
        + (f" over {compared}" if compared else "")
    )
    name = claim["id"].removesuffix(f" @ {claim['generator']}")
    return [name, claim["generator"], claim["verdict"], value, interval, f"{sign} {number(claim['bar'])}", *levels, str(claim["n"])]


def number(value: float | None) -> str:
    return "" if value is None or math.isnan(value) else f"{value:.3f}"


if __name__ == "__main__":
    main()
