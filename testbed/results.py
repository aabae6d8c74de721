"""What a run left in its store, gathered into tables. Reads JSON only: no component is imported, nothing is computed again."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed.contracts import InvalidInput
from testbed.runfile import read_run, sound
from testbed.stats import mean_interval
from testbed.store import Record, Store

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "generator",
    "instance",
    "estimator",
    "fit_seed",
    "evaluator",
    "part",
    "value",
    "chance",
    "ceiling",
    "floors",
    "direction",
    "needs_truth",
    "trial",
    "key",
)


@dataclass(frozen=True)
class Results:
    """A run as tables.

    Attributes
    ----------
    run : mapping
        The plan and the circumstances, as ``run.json`` has them: suite, device, generators, estimators, evaluators, samples, trials,
        groups, command, environment, counts.
    scores : DataFrame
        One row per trial (or group), evaluator and part; the headline has part "". Columns as in `COLUMNS`; `floors` is a dictionary.
    details : list of dict
        What evaluators left for the reader: generator, instance, estimator, fit_seed, evaluator, details.
    groups : list of dict
        Scores per group of rows (document): generator, instance, estimator, fit_seed, evaluator, groups.
    fits : list of dict
        Per trial: id, generator, instance, estimator, fit_seed, seconds, params (resolved), history, needs_truth, state, reason.
    skipped : list of dict
        Evaluators that do not apply, with the reason.
    failures : list of dict
        Stages that failed and have not succeeded since: trial, stage, key, error, traceback, attempts.
    samples : list of dict
        Per instance: generator, instance, seconds, views, rows, truth, about.
    tested : dict
        Of each evaluator that scored something: kinds and invariances.
    """

    run: Mapping[str, Any]
    scores: pd.DataFrame
    details: list[dict[str, Any]]
    groups: list[dict[str, Any]]
    fits: list[dict[str, Any]]
    skipped: list[dict[str, Any]]
    failures: list[dict[str, Any]]
    samples: list[dict[str, Any]]
    tested: dict[str, dict[str, Any]] = field(default_factory=dict)


def gather(folder: str | Path) -> Results:
    """Read the last run in a folder.

    Raises
    ------
    InvalidInput
        If the folder holds no run, or its ``run.json`` is not what a run writes.
    Damaged
        If a stage's result is not what that stage gives.
    """
    import pandas as pd

    store = Store(folder)
    run = read_run(store)
    needs_truth = {use["label"]: bool(use["constants"].get("needs_truth", False)) for use in run["estimators"]}
    out = Results(run, pd.DataFrame(columns=list(COLUMNS)), [], [], [], [], [], [])
    rows: list[dict[str, Any]] = []
    for sample in run["samples"]:
        record = _read(store, "sample", sample["sample"])
        about = {k: sample[k] for k in ("generator", "instance")}
        if record is not None:
            out.samples.append({**about, "seconds": record.provenance["seconds"], **record.result})
        _add_failure(store, out, "sample", sample["sample"], f"{sample['generator']}/{sample['instance']}")
    for trial in run["trials"]:
        about = {k: trial[k] for k in ("generator", "instance", "estimator", "fit_seed")}
        fit = _read(store, "fit", trial["fit"])
        if fit is not None:
            needs_truth[trial["estimator"]] = bool(fit.result["needs_truth"])
            out.fits.append({"id": trial["id"], **about, "seconds": fit.provenance["seconds"], **fit.result})
        for stage in ("fit", "encode"):
            _add_failure(store, out, stage, trial[stage], trial["id"])
        _add_scores(store, out, rows, trial, about, needs_truth[trial["estimator"]])
    for group in run["groups"]:
        about = {**{k: group[k] for k in ("generator", "instance", "estimator")}, "fit_seed": None}
        _add_scores(store, out, rows, group, about, needs_truth[group["estimator"]])
    table = pd.DataFrame(rows, columns=list(COLUMNS))
    for name in ("value", "chance", "ceiling"):
        table[name] = table[name].astype(float)
    return Results(run, table, out.details, out.groups, out.fits, out.skipped, out.failures, out.samples, out.tested)


def _read(store: Store, stage: str, key: str) -> Record | None:
    """A record whose result is what its stage gives."""
    record = store.record(stage, key)
    return None if record is None else sound(record)


def _add_failure(store: Store, out: Results, stage: str, key: str, trial: str) -> None:
    failure = store.failure(stage, key) if store.record(stage, key) is None else None
    if failure is not None:
        out.failures.append({"trial": trial, "stage": stage, "key": key, **failure})


def _add_scores(
    store: Store, out: Results, rows: list[dict[str, Any]], unit: Mapping[str, Any], about: Mapping[str, Any], needs_truth: bool
) -> None:
    for evaluator in (use["label"] for use in out.run["evaluators"]):
        if evaluator not in unit["scores"]:
            continue
        key = unit["scores"][evaluator]
        record = _read(store, "score", key)
        _add_failure(store, out, "score", key, unit["id"])
        if record is None:
            continue
        here = {**about, "evaluator": evaluator}
        if record.result["status"] != "scored":
            out.skipped.append({**here, "reason": record.result["reason"]})
            continue
        out.tested[evaluator] = {name: record.result[name] for name in ("kinds", "invariances") if name in record.result}
        rows += _score_rows(record, {**here, "needs_truth": needs_truth, "trial": unit["id"], "key": key})
        if record.result["details"]:
            out.details.append({**here, "details": record.result["details"]})
        if record.result["groups"]:
            out.groups.append({**here, "groups": record.result["groups"]})


def _score_rows(record: Record, here: Mapping[str, Any]) -> list[dict[str, Any]]:
    result = record.result

    def at(level: Mapping[str, Any] | None, part: str) -> float | None:
        if level is None:
            return None
        found: float | None = level["value"] if part == "" else level["parts"].get(part)
        return found

    def direction(part: str) -> str:
        # A part that a reference has too is the same score on less (a level); another is a number of its own (a cross-entropy).
        levels = (result["chance"], result["ceiling"], *result["floors"].values())
        shared = part == "" or any(level is not None and part in level["parts"] for level in levels)
        return str(result["direction"]) if shared else "none"

    return [
        {
            **here,
            "part": part,
            "value": value,
            "chance": at(result["chance"], part),
            "ceiling": at(result["ceiling"], part),
            "floors": {name: at(floor, part) for name, floor in result["floors"].items()},
            "direction": direction(part),
        }
        for part, value in {"": result["value"], **result["parts"]}.items()
    ]


APART = 0.02
"""Chance level and ceiling that differ by less than this share of the larger of the two leave no scale to read a score on."""


def calibrate(value: float, chance: float, ceiling: float, direction: str = "higher") -> float | None:
    r"""Where a score stands on the way from its chance level (0) to its ceiling (1), :math:`(s - chance) / (ceiling - chance)`.

    None where there is no such way: the two differ by less than `APART`, the ceiling is not on the better side (`direction`), or one of
    the three is NaN.
    """
    way = ceiling - chance
    better = way if direction == "higher" else -way
    if direction == "none" or not better > APART * max(abs(chance), abs(ceiling)):
        return None
    return None if math.isnan(value) else (value - chance) / way


def leaderboard(results: Results) -> pd.DataFrame:
    """Mean over instances (averaged over fit seeds first) of every score, with its 95 % interval.

    Returns
    -------
    DataFrame
        One row per generator, evaluator, part and estimator, best first: columns generator, evaluator, part, estimator, mean, low, high, n,
        chance, ceiling, needs_truth, direction, and

        - calibrated, calibrated_low, calibrated_high: mean and interval of what `calibrate` gives per instance; NaN unless each has one;
        - floor, floor_mean: the best floor, "" and NaN where there is none;
        - above_floor: whether the interval of score minus floor, instance by instance, lies on the better side (of one instance: whether
          the difference does); None where there is no floor.
    """
    import pandas as pd

    rows = []
    kept = ["generator", "evaluator", "part", "estimator"]
    for names, group in results.scores.groupby(kept, sort=False):
        by_instance = group.groupby("instance")[["value", "chance", "ceiling"]].mean()
        found = mean_interval(by_instance["value"].tolist())
        direction = str(group["direction"].iloc[0])
        rows.append(
            {
                **dict(zip(kept, names, strict=True)),
                "mean": found.mean,
                "low": found.low,
                "high": found.high,
                "n": found.n,
                "chance": float(by_instance["chance"].mean()),
                "ceiling": float(by_instance["ceiling"].mean()),
                **_calibrated(by_instance, direction),
                **_floor(group, direction),
                "needs_truth": bool(group["needs_truth"].iloc[0]),
                "direction": direction,
            }
        )
    table = pd.DataFrame(rows)
    if table.empty:
        return table
    order = table["mean"].where(table["direction"] == "lower", -table["mean"])
    first = {key: i for i, key in enumerate(dict.fromkeys(zip(table["generator"], table["evaluator"], table["part"], strict=True)))}
    place = [first[key] for key in zip(table["generator"], table["evaluator"], table["part"], strict=True)]
    return (
        table.assign(_place=place, _order=order).sort_values(["_place", "_order"]).drop(columns=["_place", "_order"]).reset_index(drop=True)
    )


def _calibrated(by_instance: pd.DataFrame, direction: str) -> dict[str, float]:
    """Mean and interval over instances of the calibrated score."""
    columns = (by_instance[name].tolist() for name in ("value", "chance", "ceiling"))
    shares = [calibrate(value, chance, ceiling, direction) for value, chance, ceiling in zip(*columns, strict=True)]
    known = [share for share in shares if share is not None]
    if len(known) < len(shares):
        return {"calibrated": math.nan, "calibrated_low": math.nan, "calibrated_high": math.nan}
    found = mean_interval(known)
    return {"calibrated": found.mean, "calibrated_low": found.low, "calibrated_high": found.high}


def _floor(group: pd.DataFrame, direction: str) -> dict[str, Any]:
    """The best floor of an estimator's scores, and whether the scores lie above it (below, where lower is better)."""
    sign = -1.0 if direction == "lower" else 1.0
    known: dict[str, dict[int, list[tuple[float, float]]]] = {}
    for instance, value, floors in zip(group["instance"], group["value"], group["floors"], strict=True):
        for name, level in floors.items():
            if level is not None and direction != "none":
                known.setdefault(name, {}).setdefault(instance, []).append((sign * value, sign * level))
    if not known:
        return {"floor": "", "floor_mean": math.nan, "above_floor": None}
    levels = {name: _mean([_mean([level for _, level in pairs]) for pairs in by.values()]) for name, by in known.items()}
    best = max(levels, key=lambda name: levels[name])
    gap = mean_interval([_mean([value - level for value, level in pairs]) for pairs in known[best].values()])
    least = gap.mean if math.isnan(gap.low) else gap.low
    return {"floor": best, "floor_mean": sign * levels[best], "above_floor": least > 0}


def _mean(values: Sequence[float]) -> float:
    return sum(values) / len(values)


def by_fit(results: Results, score: str, generator: str, estimator: str) -> dict[Hashable, dict[Hashable, float | list[float]]]:
    """Scores by instance and fit seed: one number each, or one per group of rows (a document) where the evaluator gives them.

    What `testbed.stats.variance_components` and `testbed.stats.nested_bootstrap` take, which tell noise of instances, fits and rows apart.

    Parameters
    ----------
    score : str
        An evaluator, or a part of one: ``decoder_mcc/level_0``.

    Raises
    ------
    InvalidInput
        If there is no such score, or it compares fit seeds, so that no fit has one of its own.
    """
    evaluator, _, part = score.partition("/")
    out: dict[Hashable, dict[Hashable, float | list[float]]] = {}
    if not part:
        for entry in results.groups:
            if (entry["evaluator"], entry["generator"], entry["estimator"]) == (evaluator, generator, estimator):
                out.setdefault(entry["instance"], {})[entry["fit_seed"]] = [v for _, v in sorted(entry["groups"].items())]
    if out:
        return out
    table = results.scores
    here = table[
        (table["evaluator"] == evaluator) & (table["part"] == part) & (table["generator"] == generator) & (table["estimator"] == estimator)
    ].dropna(subset=["fit_seed"])
    for instance, fit, value in zip(here["instance"], here["fit_seed"], here["value"], strict=True):
        out.setdefault(instance, {})[fit] = float(value)
    if not out:
        raise InvalidInput(f"no fit of {estimator!r} on {generator!r} has a score {score!r}")
    return out


def write_index(folder: str | Path, results: Results) -> Path:
    """The scores as Parquet: derived, and made anew after every run."""
    path = Path(folder) / "index.parquet"
    table = results.scores.copy()
    table["floors"] = [json.dumps(floors, sort_keys=True) for floors in table["floors"]]
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")  # two runs on one folder may end at once
    try:
        table.to_parquet(draft, index=False)
        draft.replace(path)
    finally:
        draft.unlink(missing_ok=True)
    return path
