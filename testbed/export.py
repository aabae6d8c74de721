"""A run's scores for other programs and for papers: CSV, Parquet, LaTeX tables, figures as SVG and PDF with their data."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed.claims import judge
from testbed.results import Results, leaderboard
from testbed.store import write_atomic

if TYPE_CHECKING:
    import pandas as pd

WIDTH, ROW = 5.5, 0.3
"""Inches of a figure: its width, and the height of an estimator."""
SPECIAL = {"&": r"\&", "%": r"\%", "$": r"\$", "#": r"\#", "_": r"\_", "{": r"\{", "}": r"\}", "~": r"\textasciitilde{}"}
SPECIAL |= {"^": r"\textasciicircum{}", "\\": r"\textbackslash{}"}


def export(results: Results, folder: str | Path) -> list[Path]:
    """Write everything that a run found into a folder.

    ``scores.csv`` and ``scores.parquet`` have one row per trial, evaluator and part; ``leaderboard.csv`` means over instances with their
    intervals; ``claims.csv`` the verdicts; ``tables/GENERATOR.tex`` a table of booktabs per generator; ``figures/GENERATOR-EVALUATOR`` a
    figure as ``.svg`` and ``.pdf`` beside the ``.csv`` that it draws.

    Returns
    -------
    list of Path
        The files.
    """
    import pandas as pd

    target = Path(folder)
    board = leaderboard(results)
    scores = results.scores.assign(floors=[json.dumps(floors, sort_keys=True) for floors in results.scores["floors"]])
    files = [_csv(target / "scores.csv", scores), _csv(target / "leaderboard.csv", board)]
    files.append(_csv(target / "claims.csv", pd.DataFrame([verdict.as_json() for verdict in judge(results)])))
    path = target / "scores.parquet"
    scores.to_parquet(path, index=False)
    files.append(path)
    if board.empty:
        return files
    heads = board[board["part"] == ""]
    for generator, part in heads.groupby("generator", sort=False):
        path = target / "tables" / f"{_slug(str(generator))}.tex"
        write_atomic(path, latex(part).encode())
        files.append(path)
        for evaluator, rows in part.groupby("evaluator", sort=False):
            stem = target / "figures" / f"{_slug(str(generator))}-{_slug(str(evaluator))}"
            files += [_csv(stem.with_suffix(".csv"), rows), *_figure(stem, rows, str(generator), str(evaluator))]
    return files


def latex(board: pd.DataFrame) -> str:
    """A table of booktabs: estimators by evaluators, mean and half of the 95 % interval; oracles below a rule, chance and ceiling last.

    Parameters
    ----------
    board : DataFrame
        Rows of `testbed.results.leaderboard` of one generator.
    """
    evaluators = list(dict.fromkeys(board["evaluator"]))
    cells = {(row["estimator"], row["evaluator"]): row for row in board.to_dict("records")}
    oracles = {row["estimator"]: bool(row["needs_truth"]) for row in board.to_dict("records")}
    lines = [r"\begin{tabular}{l" + "r" * len(evaluators) + "}", r"\toprule"]
    lines += [" & ".join(["", *map(_tex, evaluators)]) + r" \\", r"\midrule"]
    for seen in (False, True):
        names = [name for name, oracle in oracles.items() if oracle == seen]
        if names and seen:
            lines.append(r"\midrule")
        lines += [" & ".join([_tex(name), *(_cell(cells.get((name, e))) for e in evaluators)]) + r" \\" for name in names]
    lines.append(r"\midrule")
    for level in ("chance", "ceiling"):
        means = [board[board["evaluator"] == e][level].mean() for e in evaluators]
        lines.append(" & ".join([level, *("" if mean != mean else f"{mean:.3f}" for mean in means)]) + r" \\")
    return "\n".join([*lines, r"\bottomrule", r"\end{tabular}", ""])


def _cell(row: Mapping[Any, Any] | None) -> str:
    if row is None:
        return "--"
    if row["low"] != row["low"]:
        return f"${row['mean']:.3f}$"
    return rf"${row['mean']:.3f} \pm {(row['high'] - row['low']) / 2:.3f}$"


def _figure(stem: Path, rows: pd.DataFrame, generator: str, evaluator: str) -> Iterator[Path]:
    """Means with intervals, one line per estimator, between chance level and ceiling."""
    import matplotlib as mpl
    from matplotlib.figure import Figure

    with mpl.rc_context({"svg.hashsalt": "testbed", "font.size": 8, "svg.fonttype": "none"}):
        figure = Figure(figsize=(WIDTH, 0.9 + ROW * len(rows)), layout="constrained")
        axes = figure.subplots()
        for place, row in enumerate(rows.iloc[::-1].to_dict("records")):
            whole = row["low"] == row["low"]
            axes.plot([row["low"], row["high"]] if whole else [row["mean"]] * 2, [place] * 2, color="#1d5ea8", linewidth=1.5)
            axes.plot(row["mean"], place, "o", color="#1d5ea8", markersize=4, markerfacecolor="white" if row["needs_truth"] else "#1d5ea8")
            for level, style in (("chance", ":"), ("ceiling", "-")):
                if row[level] == row[level]:
                    axes.plot([row[level]] * 2, [place - 0.35, place + 0.35], style, color="#62676f", linewidth=1)
        axes.set_yticks(range(len(rows)), rows["estimator"].iloc[::-1])
        axes.set_xlabel(evaluator)
        axes.set_title(generator, loc="left")
        axes.spines[["top", "right", "left"]].set_visible(False)
        axes.tick_params(left=False)
        axes.grid(axis="x", color="#e2e2dc", linewidth=0.6)
        axes.set_axisbelow(True)
        for suffix, quiet in ((".svg", {"Date": None}), (".pdf", {"CreationDate": None})):
            path = stem.with_suffix(suffix)
            figure.savefig(path, metadata=quiet)
            yield path


def _csv(path: Path, table: pd.DataFrame) -> Path:
    write_atomic(path, table.to_csv(index=False).encode())
    return path


def _slug(name: str) -> str:
    """A file's name: letters, digits, dots and dashes."""
    return re.sub(r"[^A-Za-z0-9.=]+", "-", name).strip("-.") or "unnamed"


def _tex(text: str) -> str:
    return "".join(SPECIAL.get(letter, letter) for letter in text)
