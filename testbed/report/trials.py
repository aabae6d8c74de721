"""Every trial of a run, packed: the page unpacks it when its reader asks for trials, and is no slower for holding thousands."""

from __future__ import annotations

import base64
import gzip
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from testbed.plan import seed_of_fit, seed_of_instance
from testbed.report.listing import Setting, ending, settings
from testbed.report.tables import EDGE
from testbed.report.text import brief, plain
from testbed.results import Results, calibrate

BUDGET = 3_000_000
"""Characters that packed trials may take; parts of scores are left out beyond it, then the last trials, and the page says so."""

TRACES = 100
"""Different tracebacks that the page holds; a later failure is there with its error only."""

DIGITS = 6
"""Digits of a score."""

SHORT = 12
"""Digits of a stage's key that are shown, here as in `testbed show`."""

STATES = ("done", "failed", "unfinished", "not run")

Places = Mapping[str, Sequence[int]]
"""Which trials a name stands for: a trial's own, a group's (all its fit seeds) and an instance's."""


@dataclass(frozen=True)
class Trials:
    """What the page holds of a run's trials.

    Attributes
    ----------
    packed : str
        Gzip, in base64, of JSON by columns.
    total, held : int
        Trials of the run, and those that there was room for.
    counts : tuple of (str, int)
        Each state that occurs, and how many trials are in it.
    whole : bool
        Whether the parts of scores are there too.
    """

    packed: str
    total: int
    held: int
    counts: tuple[tuple[str, int], ...]
    whole: bool


def trials(results: Results) -> Trials:
    """Pack every trial: where it stands, its settings, seeds and scores, and what failed."""
    total = held = len(results.run["trials"])
    table, whole = _table(results, held), True
    states = [STATES[state] for state in table["trials"]["state"]]
    packed = _pack(table)
    while len(packed) > BUDGET and held:
        if whole and any(column["part"] for column in table["scores"]):
            whole = False
        else:
            held = int(0.95 * held * BUDGET / len(packed))
        table = _table(results, held, whole)
        packed = _pack(table)
    return Trials(packed, total, held, tuple((state, states.count(state)) for state in STATES if state in states), whole)


def _pack(table: Mapping[str, Any]) -> str:
    text = json.dumps(table, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return base64.b64encode(gzip.compress(text.encode("utf-8", "replace"), 9, mtime=0)).decode("ascii")


def _table(results: Results, held: int, parts: bool = True) -> dict[str, Any]:
    """The first `held` trials by columns. What recurs (labels, settings, texts) is there once, and a number says where."""
    run = results.run
    kept = run["trials"][:held]
    generators, estimators, evaluators = (
        {use["label"]: i for i, use in enumerate(run[kind])} for kind in ("generators", "estimators", "evaluators")
    )
    places = _places(kept)
    told: list[set[str]] = [set() for _ in kept]  # evaluators that have said something, if only why they say nothing
    for entry in (*results.skipped, *results.details):
        for i in places.get(_unit(entry), ()):
            told[i].add(entry["evaluator"])
    scores = _scores(results, places, told, parts)
    failed, errors = _failed(results, places)
    uses = {use["label"]: use for use in run["estimators"]}
    fits = {fit["id"]: fit for fit in results.fits}
    sets: dict[tuple[Setting, ...], int] = {}
    seed = run["suite"]["seed"]
    return {
        "edge": EDGE,
        "states": STATES,
        "generators": [{"label": u["label"], "path": u["path"], "settings": _rows(settings(u, {}))} for u in run["generators"]],
        "estimators": [{"label": u["label"], "path": u["path"]} for u in run["estimators"]],
        "evaluators": _evaluators(results),
        "samples": {f"{generators[s['generator']]}/{s['instance']}": s["sample"][:SHORT] for s in run["samples"]},
        # Seeds are text, since numbers of a script are exact below 2**53 only.
        "instance_seeds": {str(i): str(seed_of_instance(seed, i)) for i in {t["instance"]: 0 for t in kept}},
        "fit_seeds": {f"{i}/{j}": str(seed_of_fit(seed, i, j)) for i, j in {(t["instance"], t["fit_seed"]): 0 for t in kept}},
        "trials": {
            "generator": [generators[t["generator"]] for t in kept],
            "instance": [t["instance"] for t in kept],
            "estimator": [estimators[t["estimator"]] for t in kept],
            "fit_seed": [t["fit_seed"] for t in kept],
            "state": [_state(t, i in failed, t["id"] in fits, told[i]) for i, t in enumerate(kept)],
            "seconds": [brief(fits[t["id"]]["seconds"]) if t["id"] in fits else None for t in kept],
            "settings": [sets.setdefault(_settings(uses[t["estimator"]], fits.get(t["id"])), len(sets)) for t in kept],
            "fit": [t["fit"][:SHORT] for t in kept],
            "encode": [t["encode"][:SHORT] for t in kept],
        },
        "settings": [_rows(each) for each in sets],
        "scores": scores,
        "skipped": _skipped(results, places, evaluators),
        "failed": failed,
        "errors": errors,
    }


def _places(kept: Sequence[Mapping[str, Any]]) -> Places:
    found: dict[str, list[int]] = {}
    for i, trial in enumerate(kept):
        instance = f"{trial['generator']}/{trial['instance']}"
        for name in (trial["id"], f"{instance}/{trial['estimator']}", instance):
            found.setdefault(name, []).append(i)
    return found


def _unit(entry: Mapping[str, Any]) -> str:
    """The trial, or the group of all fit seeds, that an entry of `Results` is about."""
    group = f"{entry['generator']}/{entry['instance']}/{entry['estimator']}"
    return group if entry["fit_seed"] is None else f"{group}/{entry['fit_seed']}"


def _rows(found: Sequence[Setting]) -> list[tuple[str, str, int, int]]:
    return [(s.name, s.value, int(s.given), int(s.from_truth)) for s in found]


def _settings(use: Mapping[str, Any], fit: Mapping[str, Any] | None) -> tuple[Setting, ...]:
    """Of one fit: what the suite gives, and what it was resolved to."""
    resolved = (fit or {}).get("params") or {}
    return settings(use, {name: [plain(value)] for name, value in resolved.items()})


def _evaluators(results: Results) -> list[dict[str, Any]]:
    told = results.scores[results.scores["part"] == ""]
    directions = dict(zip(told["evaluator"], told["direction"], strict=True))  # those recorded, which may depend on parameters
    return [
        {
            "label": use["label"],
            "direction": directions.get(use["label"], use["constants"].get("direction", "none")),
            "together": int(use["constants"].get("scope") == "seeds"),
        }
        for use in results.run["evaluators"]
    ]


def _scores(results: Results, places: Places, told: Sequence[set[str]], parts: bool) -> list[dict[str, Any]]:
    """One entry per evaluator and part: value, chance and ceiling of every trial, null where there is none; evaluators in order.

    `scale` is 1 where chance and ceiling are far enough apart to say where the value stands between them.
    """
    order = {use["label"]: i for i, use in enumerate(results.run["evaluators"])}
    found: dict[tuple[int, str], dict[str, Any]] = {}
    table = results.scores
    names = ("trial", "evaluator", "part", "value", "chance", "ceiling", "direction", "floors")
    for unit, evaluator, part, value, chance, ceiling, direction, floors in zip(*(table[name].tolist() for name in names), strict=True):
        if part and not parts:
            continue
        column = found.setdefault((order[evaluator], part), {"floors": {}})
        levels = {"value": value, "chance": chance, "ceiling": ceiling}
        known = {name: brief(level, DIGITS) for name, level in levels.items() if math.isfinite(level)}
        known["scale"] = int(calibrate(value, chance, ceiling, direction) is not None)
        for i in places.get(unit, ()):
            told[i].add(evaluator)
            for name, level in known.items():
                column.setdefault(name, [None] * len(told))[i] = level
            for name, level in floors.items():
                if level is not None:
                    column["floors"].setdefault(name, [None] * len(told))[i] = brief(level, DIGITS)
    return [{"evaluator": evaluator, "part": part, **found[evaluator, part]} for evaluator, part in sorted(found, key=lambda key: key[0])]


def _skipped(results: Results, places: Places, evaluators: Mapping[str, int]) -> dict[str, list[Any]]:
    """Which evaluator says nothing of which trial, and why."""
    reasons: dict[str, int] = {}
    rows = [
        (i, evaluators[entry["evaluator"]], reasons.setdefault(entry["reason"], len(reasons)))
        for entry in results.skipped
        for i in places.get(_unit(entry), ())
    ]
    return {**{name: [row[k] for row in rows] for k, name in enumerate(("trial", "evaluator", "reason"))}, "reasons": list(reasons)}


def _failed(results: Results, places: Places) -> tuple[dict[int, list[tuple[int, int]]], list[tuple[str, str, str]]]:
    """Of each trial what failed (which error, after how many attempts); and the errors: stage, sentence, end of the traceback."""
    labels = {key: label for unit in (*results.run["trials"], *results.run["groups"]) for label, key in unit["scores"].items()}
    failed: dict[int, list[tuple[int, int]]] = {}
    errors: dict[tuple[str, str, str], int] = {}
    for failure in results.failures:
        stage = f"score {labels[failure['key']]}" if failure["stage"] == "score" else failure["stage"]
        trace = ending(failure.get("traceback") or "") if len(errors) < TRACES else ""
        error = errors.setdefault((stage, failure["error"], trace), len(errors))
        for i in places.get(failure["trial"], ()):
            failed.setdefault(i, []).append((error, failure.get("attempts", 1)))
    return failed, list(errors)


def _state(trial: Mapping[str, Any], failed: bool, fitted: bool, told: set[str]) -> int:
    """Where a trial stands; one that was fitted is unfinished as long as an evaluator has neither a score nor a reason for none."""
    if failed:
        return STATES.index("failed")
    if not fitted:
        return STATES.index("not run")
    return STATES.index("unfinished" if trial["scores"].keys() - told else "done")
