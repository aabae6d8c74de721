"""What a suite asserted beforehand, held against its scores: shown, not shown, or undecided."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from pydantic import TypeAdapter, ValidationError

from testbed.contracts import InvalidInput
from testbed.results import Results
from testbed.stats import Interval, differences, mean_interval, median_interval, proportion_interval
from testbed.store import read_json
from testbed.suite import first_fault

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Verdict:
    """A claim's outcome. `value` with its interval stands against `bar`; both are None where there is nothing to compare."""

    id: str
    statement: str
    verdict: Literal["shown", "not shown", "undecided"]
    value: float | None
    low: float | None
    high: float | None
    bar: float
    n: int
    unit: str
    test: Literal["above", "below", "within"]
    score: str
    estimator: str
    generator: str
    versus: str
    note: str = ""
    statistic: str = "mean"

    def as_json(self) -> dict[str, Any]:
        return asdict(self)


def recorded(folder: Path) -> list[Verdict]:
    """Verdicts that a folder without a run keeps in its claims.json, as ``make bench`` writes it; none where there is no such file.

    Raises
    ------
    InvalidInput
        If the file is not a list of claims.
    """
    path = folder / "claims.json"
    if (folder / "run.json").exists() or not path.is_file():
        return []
    try:
        return TypeAdapter(list[Verdict]).validate_python(read_json(path))
    except ValueError as error:
        why = first_fault(error) if isinstance(error, ValidationError) else str(error)
        raise InvalidInput(f"{path} is not a list of claims ({why}): write it anew with make bench") from None


def judge(results: Results) -> list[Verdict]:
    """Verdicts on every claim of the suite, in its order; a claim that leaves the generator open is judged on each.

    A claim is *shown* when the 95 % interval lies wholly on its side of the bar, *not shown* when it lies wholly on the other side, else
    *undecided*. The unit is the instance (averaged over fit seeds), or a document where the claim says ``unit = "group"``.
    """
    return [_judge(results, claim, generator) for claim in results.run["suite"]["claim"] for generator in _generators(results, claim)]


def _generators(results: Results, claim: Mapping[str, Any]) -> Iterator[str]:
    wanted = claim["where"]["generator"]
    if isinstance(wanted, str):
        yield wanted
        return
    table = results.scores
    having = table[(table["estimator"] == claim["where"]["estimator"]) & (table["evaluator"] == claim["score"].partition("/")[0])]
    present = set(having["generator"])
    order = [use["label"] for use in results.run["generators"]]
    found = [label for label in (wanted or order) if label in present or wanted]
    yield from found or ["-"]


def _judge(results: Results, claim: Mapping[str, Any], generator: str) -> Verdict:
    versus = claim["versus"]
    margin = float(claim["margin"])
    several = not isinstance(claim["where"]["generator"], str) and sum(1 for _ in _generators(results, claim)) > 1
    about = {
        "id": f"{claim['id']} @ {generator}" if several else claim["id"],
        "statement": claim["statement"],
        "unit": "document" if claim["unit"] == "group" else "instance",
        "test": claim["test"],
        "score": claim["score"],
        "estimator": claim["where"]["estimator"],
        "generator": generator,
        "versus": _name(versus),
        "statistic": _statistic(claim),
    }
    number = float(versus) if isinstance(versus, int | float) else None
    sign = -1.0 if claim["test"] == "below" else 1.0
    bar = margin if claim["test"] == "within" or number is None else number + sign * margin
    bar = -margin if claim["test"] == "below" and number is None else bar
    try:
        found = _compare(results, claim, generator)
    except ValueError as reason:
        return Verdict(**about, verdict="undecided", value=None, low=None, high=None, bar=bar, n=0, note=str(reason))
    verdict = _verdict(found, claim["test"], bar)
    low, high = (None, None) if math.isnan(found.low) else (found.low, found.high)
    note = ("one value has no interval" if found.n == 1 else found.method) if low is None else ""
    return Verdict(**about, verdict=verdict, value=found.mean, low=low, high=high, bar=bar, n=found.n, note=note)


def _verdict(found: Interval, test: str, bar: float) -> Literal["shown", "not shown", "undecided"]:
    if math.isnan(found.low):
        return "undecided"
    if test == "within":
        inside = -bar < found.low and found.high < bar
        outside = found.low > bar or found.high < -bar
    elif test == "above":
        inside, outside = found.low > bar, found.high <= bar
    else:
        inside, outside = found.high < bar, found.low >= bar
    return "shown" if inside else "not shown" if outside else "undecided"


def _statistic(claim: Mapping[str, Any]) -> str:
    """What of the units is compared, in words."""
    kind = claim.get("statistic", "mean")
    return f"share of at least {claim['threshold']:g}" if kind == "share" else str(kind)


def _compare(results: Results, claim: Mapping[str, Any], generator: str) -> Interval:
    """The interval that a claim is about: of the score itself against a number, else of a paired difference."""
    values, kind = _values(results, claim, generator), claim.get("statistic", "mean")
    if kind == "share":
        return proportion_interval(sum(value >= claim["threshold"] for value in values), len(values))
    if kind == "minimum":
        return Interval(min(values), min(values), min(values), len(values), "the smallest of these")
    return median_interval(values) if kind == "median" else mean_interval(values)


def _values(results: Results, claim: Mapping[str, Any], generator: str) -> list[float]:
    """What is compared, per unit: the score, or its difference from what it is compared with."""
    versus, estimator = claim["versus"], claim["where"]["estimator"]
    shift = float(versus) if isinstance(versus, int | float) and claim["test"] == "within" else 0.0
    if claim["unit"] == "group":
        own = _by_group(results, claim["score"], generator, estimator)
        if isinstance(versus, int | float):
            return [value - shift for value in own.values()]
        if not isinstance(versus, dict):
            raise ValueError("a claim over documents compares with a number or with another estimator")
        return differences(own, _by_group(results, claim["score"], versus["generator"] or generator, versus["estimator"] or estimator))
    values = by_instance(results, claim["score"], generator, estimator, "value")
    if isinstance(versus, int | float):
        return [value - shift for value in values.values()]
    if isinstance(versus, str):
        return differences(values, by_instance(results, claim["score"], generator, estimator, versus))
    return differences(
        values, by_instance(results, claim["score"], versus["generator"] or generator, versus["estimator"] or estimator, "value")
    )


def _rows(results: Results, score: str, generator: str, estimator: str) -> pd.DataFrame:
    evaluator, _, part = score.partition("/")
    table = results.scores
    return table[
        (table["evaluator"] == evaluator) & (table["part"] == part) & (table["generator"] == generator) & (table["estimator"] == estimator)
    ]


def by_instance(results: Results, score: str, generator: str, estimator: str, column: str) -> dict[int, float]:
    """Mean over fit seeds of a score (or of its chance level, ceiling or floor) per instance."""
    rows = _rows(results, score, generator, estimator)
    if column.startswith("floor:"):
        name = column.removeprefix("floor:")
        rows = rows.assign(**{column: [floors.get(name) for floors in rows["floors"]]})
    rows = rows.dropna(subset=[column])
    if rows.empty:
        what = "score" if column == "value" else column
        raise ValueError(f"there is no {what} of {score} for {estimator} on {generator}")
    return {int(k): float(v) for k, v in rows.astype({column: float}).groupby("instance")[column].mean().items()}  # type: ignore[call-overload]


def _by_group(results: Results, score: str, generator: str, estimator: str) -> dict[tuple[int, str], float]:
    """Mean over fit seeds of each document's score."""
    found: dict[tuple[int, str], list[float]] = {}
    for entry in results.groups:
        if (entry["evaluator"], entry["generator"], entry["estimator"]) == (score, generator, estimator):
            for group, value in entry["groups"].items():
                found.setdefault((entry["instance"], group), []).append(value)
    if not found:
        raise ValueError(f"there is no score of {score} per document for {estimator} on {generator}")
    return {unit: sum(values) / len(values) for unit, values in found.items()}


def _name(versus: Any) -> str:
    return str(versus["estimator"] or versus["generator"]) if isinstance(versus, dict) else str(versus)
