"""Leaderboards as rows and cells. The statistics are those of `testbed.results.leaderboard`; here they are only laid out."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from testbed.report.classes import Mismatch, mismatches
from testbed.report.text import number, percent, span
from testbed.results import Results

if TYPE_CHECKING:
    import pandas as pd

ARROWS = {"higher": "↑", "lower": "↓", "none": ""}
EDGE = 0.12
"""What a cell's bar shows beyond chance and ceiling, as a share of the way between them; what lies further is drawn as an arrow."""

Key = tuple[str, str, str]


@dataclass(frozen=True)
class Bar:
    """Where a mean lies between chance (0) and ceiling (1), in percent of the bar's width; `beyond` is -1 or 1 where it lies outside."""

    chance: float
    ceiling: float
    mean: float
    low: float
    high: float
    beyond: int
    floors: tuple[tuple[str, float], ...]
    label: str


@dataclass(frozen=True)
class Cell:
    """One estimator under one evaluator; `state` says why there is no score where there is none.

    `calibrated` is the share of the way from chance to ceiling, with its interval; `floor` is a floor that the score is not above.
    """

    state: str = "scored"
    mean: float = math.nan
    text: str = "–"
    half: str = ""
    interval: str = ""
    n: int = 0
    bar: Bar | None = None
    calibrated: str = ""
    calibrated_range: str = ""
    floor: str = ""


@dataclass(frozen=True)
class Line:
    """One estimator's row."""

    estimator: str
    oracle: bool
    marked: bool
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Column:
    """An evaluator, or a part of one."""

    evaluator: str
    part: str
    direction: str
    warning: str = ""

    @property
    def arrow(self) -> str:
        return ARROWS[self.direction]


@dataclass(frozen=True)
class Table:
    """Estimators by evaluators (or by parts of evaluators), with the levels that scores are held against."""

    columns: tuple[Column, ...]
    lines: tuple[Line, ...]
    levels: tuple[tuple[str, tuple[str, ...]], ...]

    @property
    def groups(self) -> tuple[tuple[bool, tuple[Line, ...]], ...]:
        """Estimators first, then the oracles, each with whether it is the oracles' group."""
        split = ((oracle, tuple(line for line in self.lines if line.oracle == oracle)) for oracle in (False, True))
        return tuple((oracle, lines) for oracle, lines in split if lines)


@dataclass(frozen=True)
class Board:
    """Everything scored on one generator."""

    generator: str
    instances: int
    scores: Table
    parts: Table
    marked: bool
    has_bars: bool
    lead: str | None
    warnings: tuple[Mismatch, ...] = ()
    floored: bool = False


@dataclass(frozen=True)
class Standing:
    """What the page needs of `results.scores` beside the leaderboard: floors, and the value of each instance.

    Attributes
    ----------
    rows : mapping of (generator, evaluator, estimator) and part to a row of the leaderboard
    floors : the same to mapping of floor to its mean over instances
    values : mapping of (generator, evaluator, estimator) to mapping of instance to its mean over fit seeds; of whole scores only
    missing : mapping of (generator, evaluator, estimator) to why there is no score
    """

    rows: Mapping[tuple[Key, str], Mapping[str, Any]]
    floors: Mapping[tuple[Key, str], Mapping[str, float]]
    values: Mapping[Key, Mapping[int, float]]
    missing: Mapping[Key, str]
    order: Mapping[str, list[str]] = field(default_factory=dict)


def standing(results: Results, board: pd.DataFrame) -> Standing:
    """Arrange a leaderboard and its scores for the page."""
    rows: dict[tuple[Key, str], Mapping[str, Any]] = {}
    for row in board.to_dict("records"):
        rows[(str(row["generator"]), str(row["evaluator"]), str(row["estimator"])), str(row["part"])] = {str(k): v for k, v in row.items()}
    floors: dict[tuple[Key, str], dict[str, list[float]]] = {}
    values: dict[Key, dict[int, list[float]]] = {}
    for score in results.scores.to_dict("records"):
        key = (score["generator"], score["evaluator"], score["estimator"])
        for name, value in score["floors"].items():
            if value is not None:
                floors.setdefault((key, score["part"]), {}).setdefault(name, []).append(value)
        if score["part"] == "":
            values.setdefault(key, {}).setdefault(score["instance"], []).append(score["value"])
    return Standing(
        rows,
        {key: {name: sum(v) / len(v) for name, v in named.items()} for key, named in floors.items()},
        {key: {instance: sum(v) / len(v) for instance, v in by.items()} for key, by in values.items()},
        _missing(results),
        {use["label"]: _order(results, rows, use["label"]) for use in results.run["generators"]},
    )


def _missing(results: Results) -> dict[Key, str]:
    """Why scores are not there: the evaluator does not apply, or a stage before it failed."""
    found: dict[Key, str] = {}
    above: dict[str, list[Mapping[str, Any]]] = {}  # a trial under its own id, its instance's and, where it is in one, its group's
    for unit in (*results.run["trials"], *results.run["groups"]):
        for name in (unit["id"], f"{unit['generator']}/{unit['instance']}"):
            above.setdefault(name, []).append(unit)
    groups = {group["id"]: group for group in results.run["groups"]}
    for failure in results.failures:
        hit = list(above.get(failure["trial"], ()))
        if failure["stage"] in ("fit", "encode") and (group := groups.get(failure["trial"].rpartition("/")[0])):
            hit.append(group)
        for unit in hit:
            labels = [label for label, key in unit["scores"].items() if failure["stage"] != "score" or key == failure["key"]]
            found |= {(unit["generator"], label, unit["estimator"]): "failed" for label in labels}
    return found | {(s["generator"], s["evaluator"], s["estimator"]): "not applicable" for s in results.skipped}


def _order(results: Results, rows: Mapping[tuple[Key, str], Mapping[str, Any]], generator: str) -> list[str]:
    """Estimators of a generator, best first by its first evaluator with a direction; those without a score after them."""
    asked = [t["estimator"] for t in results.run["trials"] if t["generator"] == generator]
    lead = main_score(results, rows, generator)
    ranked = [key[2] for key, part in rows if key[:2] == (generator, lead) and part == ""]
    return list(dict.fromkeys([*ranked, *asked]))


def main_score(results: Results, rows: Mapping[tuple[Key, str], Mapping[str, Any]], generator: str) -> str | None:
    """The evaluator that a generator's estimators are ordered by: the first one with a direction."""
    directions = {key[1]: row["direction"] for (key, _), row in rows.items() if key[0] == generator}
    return next((use["label"] for use in results.run["evaluators"] if directions.get(use["label"], "none") != "none"), None)


def boards(results: Results, found: Standing) -> list[Board]:
    """One board per generator, in the suite's order."""
    marked = {use["label"] for use in results.run["estimators"] if use["from_truth"]}
    oracles = {use["label"]: bool(use["constants"].get("needs_truth")) for use in results.run["estimators"]}
    oracles |= {key[2]: bool(row["needs_truth"]) for (key, _), row in found.rows.items()}
    out = []
    for use in results.run["generators"]:
        generator = use["label"]
        instances = sum(sample["generator"] == generator for sample in results.run["samples"])
        warnings = tuple(mismatches(results, generator))
        told = {warning.evaluator: warning.text for warning in warnings}
        scores = _table(results, found, generator, False, marked, oracles, instances, told)
        parts = _table(results, found, generator, True, marked, oracles, instances, told)
        lead = main_score(results, found.rows, generator)
        has_bars = any(cell.bar for line in scores.lines for cell in line.cells)
        floored = any(cell.floor for line in (*scores.lines, *parts.lines) for cell in line.cells)
        any_marked = any(line.marked for line in scores.lines)
        out.append(Board(generator, instances, scores, parts, any_marked, has_bars, lead, warnings, floored))
    return out


def _table(
    results: Results,
    found: Standing,
    generator: str,
    parts: bool,
    marked: set[str],
    oracles: Mapping[str, bool],
    instances: int,
    told: Mapping[str, str],
) -> Table:
    keys = [(key, part) for key, part in found.rows if key[0] == generator and bool(part) == parts]
    seen = {(key[1], part): found.rows[key, part]["direction"] for key, part in keys}
    asked = {} if parts else {(e, ""): "none" for g, e, _ in found.missing if g == generator}
    place = {use["label"]: i for i, use in enumerate(results.run["evaluators"])}
    columns = [Column(*name, direction, told.get(name[0], "")) for name, direction in {**asked, **seen}.items()]
    columns.sort(key=lambda column: (place.get(column.evaluator, len(place)), column.part))
    lines = []
    for estimator in found.order[generator] if columns else ():
        cells = tuple(_cell(found, (generator, column.evaluator, estimator), column.part, instances) for column in columns)
        lines.append(Line(estimator, oracles.get(estimator, False), estimator in marked, cells))
    return Table(tuple(columns), tuple(lines), _levels(found, generator, columns))


def _cell(found: Standing, key: Key, part: str, instances: int) -> Cell:
    row = found.rows.get((key, part))
    if row is None:
        return Cell(state=found.missing.get(key, "") if not part else "")
    mean, low, high = float(row["mean"]), float(row["low"]), float(row["high"])
    known = math.isfinite(low)
    return Cell(
        mean=mean,
        text=number(mean),
        half=number((high - low) / 2, mean) if known else "",
        interval=f"{number(low, mean)} to {number(high, mean)}" if known else "",
        n=int(row["n"]) if row["n"] != instances else 0,
        bar=_bar(row, found.floors.get((key, part), {})) if not part else None,
        **_standing_of(row),
    )


def _standing_of(row: Mapping[str, Any]) -> dict[str, str]:
    """The calibrated score in words, and the floor that a score is not above."""
    share, low, high = (float(row[name]) for name in ("calibrated", "calibrated_low", "calibrated_high"))
    floor = f"{row['floor']} ({number(float(row['floor_mean']))})" if row["above_floor"] is False or row["above_floor"] == 0 else ""
    if not math.isfinite(share):
        return {"floor": floor}
    interval = f"{percent(low)} to {percent(high)}" if math.isfinite(low) else ""
    return {"calibrated": percent(share), "calibrated_range": interval, "floor": floor}


def _bar(row: Mapping[str, Any], floors: Mapping[str, float]) -> Bar | None:
    if not math.isfinite(row["calibrated"]):
        return None
    chance = float(row["chance"])
    way = float(row["ceiling"]) - chance

    def place(value: float) -> float:
        share = (value - chance) / way
        return round(100 * (min(max(share, -EDGE), 1 + EDGE) + EDGE) / (1 + 2 * EDGE), 2)

    share = (row["mean"] - chance) / way
    low, high = (row["mean"], row["mean"]) if not math.isfinite(row["low"]) else (row["low"], row["high"])
    beyond = -1 if share < -EDGE else 1 if share > 1 + EDGE else 0
    label = f"{percent(float(row['calibrated']))} of the way from chance ({number(chance)}) to ceiling ({number(row['ceiling'])})"
    label += "".join(f"; floor {name}: {number(value)}" for name, value in floors.items())
    ticks = tuple((name, place(value)) for name, value in floors.items())
    at = {"chance": place(chance), "ceiling": place(row["ceiling"]), "mean": place(row["mean"])}
    left, right = sorted((place(low), place(high)))
    return Bar(**at, low=left, high=right, beyond=beyond, floors=ticks, label=label)


def _levels(found: Standing, generator: str, columns: list[Column]) -> tuple[tuple[str, tuple[str, ...]], ...]:
    """Rows for the table's foot: chance, ceiling and floors of each column, as a span where they differ between estimators."""
    by: dict[str, list[list[float]]] = {"chance": [[] for _ in columns], "ceiling": [[] for _ in columns]}
    for i, column in enumerate(columns):
        for (key, part), row in found.rows.items():
            if (key[0], key[1], part) != (generator, column.evaluator, column.part):
                continue
            for name in ("chance", "ceiling"):
                by[name][i].append(float(row[name]))
            for name, value in found.floors.get((key, part), {}).items():
                by.setdefault(f"floor: {name}", [[] for _ in columns])[i].append(value)
    rows = {name: tuple(span(values) for values in cells) for name, cells in by.items()}
    return tuple((name, cells) for name, cells in rows.items() if any(cell != "–" for cell in cells))
