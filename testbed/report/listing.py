"""What was run, what did not apply and what failed, as rows for the page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from testbed.contracts import PARTS
from testbed.report.text import counted, plain
from testbed.results import Results

FAILURES = 100
TRACEBACK = 6000
"""Failures that the page holds, and characters of each traceback (its end, which names the error)."""

VALUES = 6
"""Values of a setting that are listed, where fits resolved it to several."""


@dataclass(frozen=True)
class Setting:
    """A parameter: whether the suite set it, and whether its value was read off the truth."""

    name: str
    value: str
    given: bool
    from_truth: bool


@dataclass(frozen=True)
class Component:
    """A generator, estimator or evaluator as it was used."""

    label: str
    path: str
    settings: tuple[Setting, ...]
    notes: tuple[str, ...]


@dataclass(frozen=True)
class Absent:
    """Scores that are not there because an evaluator says nothing of an outcome."""

    evaluator: str
    reason: str
    estimators: str
    generators: str
    n: int


@dataclass(frozen=True)
class Failed:
    """A stage that failed; `opens` says whether it is one trial's, not an instance's or a group's."""

    trial: str
    stage: str
    error: str
    attempts: int
    traceback: str
    opens: bool


def components(results: Results) -> list[tuple[str, list[Component]]]:
    """Every component that the suite used, by kind."""
    samples: dict[str, Mapping[str, Any]] = {}
    for sample in results.samples:
        samples.setdefault(sample["generator"], sample)
    resolved: dict[str, dict[str, list[str]]] = {}
    for fit in results.fits:
        for name, value in (fit.get("params") or {}).items():
            values = resolved.setdefault(fit["estimator"], {}).setdefault(name, [])
            if plain(value) not in values:
                values.append(plain(value))
    oracles = {fit["estimator"] for fit in results.fits if fit["needs_truth"]}
    oracles |= {use["label"] for use in results.run["estimators"] if use["constants"].get("needs_truth")}
    run = results.run
    generators = [Component(u["label"], u["path"], settings(u, {}), _generator_notes(run, u["label"], samples)) for u in run["generators"]]
    estimators = [
        Component(u["label"], u["path"], settings(u, resolved.get(u["label"], {})), ("sees the truth",) if u["label"] in oracles else ())
        for u in run["estimators"]
    ]
    evaluators = [Component(u["label"], u["path"], settings(u, {}), _evaluator_notes(u)) for u in run["evaluators"]]
    return [("Generators", generators), ("Estimators", estimators), ("Evaluators", evaluators)]


def settings(use: Mapping[str, Any], resolved: Mapping[str, Sequence[str]]) -> tuple[Setting, ...]:
    """What the suite gives first, then what fits resolved; of a setting that came out in many ways the first few."""
    given = {name: [plain(value)] for name, value in use["params"].items()}
    marked = set(use["from_truth"])
    return tuple(
        Setting(name, _some(values), name in given, name in marked)
        for name, values in sorted({**given, **resolved}.items(), key=lambda item: item[0] not in given)
    )


def _some(values: Sequence[str]) -> str:
    more = f" / … ({len(values):,} values)" if len(values) > VALUES else ""
    return " / ".join(values[:VALUES]) + more


def _generator_notes(run: Mapping[str, Any], label: str, samples: Mapping[str, Mapping[str, Any]]) -> tuple[str, ...]:
    own = [sample for sample in run["samples"] if sample["generator"] == label]
    notes = [counted(len(own), "instance")]
    if own:
        notes.append("rows: " + ", ".join(f"{part} {own[0]['sizes'][part]:,}" for part in PARTS))
    sample = samples.get(label)
    if sample is not None:
        views = sample.get("views") or {}
        notes += [f"view {name}: {view['columns']} columns" for name, view in views.items()]
        levels = (sample.get("truth") or {}).get("levels") or ()
        notes += [f"level {i}: {size} {kind} concepts" for i, (kind, size, *_) in enumerate(levels)]
    return tuple(notes)


def _evaluator_notes(use: Mapping[str, Any]) -> tuple[str, ...]:
    constants = use["constants"]
    direction = {"higher": "higher is better", "lower": "lower is better"}.get(constants.get("direction", ""), "no direction")
    notes = [direction]
    if constants.get("equivalence") not in (None, "none", ""):
        notes.append(f"up to {constants['equivalence']}")
    if constants.get("scope") == "seeds":
        notes.append("compares fit seeds")
    return tuple(notes)


def absent(results: Results) -> list[Absent]:
    """Evaluators that do not apply, grouped by reason and estimators."""
    found: dict[tuple[str, str, str], dict[str, int]] = {}
    for skip in results.skipped:
        by = found.setdefault((skip["evaluator"], skip["reason"], skip["generator"]), {})
        by[skip["estimator"]] = by.get(skip["estimator"], 0) + 1
    merged: dict[tuple[str, str, str], tuple[list[str], int]] = {}
    for (evaluator, reason, generator), by in found.items():
        name = (evaluator, reason, ", ".join(by))
        generators, n = merged.get(name, ([], 0))
        merged[name] = ([*generators, generator], n + sum(by.values()))
    return [Absent(*name, ", ".join(generators), n) for name, (generators, n) in merged.items()]


def not_stored(results: Results) -> list[tuple[str, str, int]]:
    """Estimators whose fitted state cannot be stored: label, reason, number of fits."""
    found: dict[tuple[str, str], int] = {}
    for fit in results.fits:
        if fit.get("state", "") is None:
            name = (fit["estimator"], fit.get("reason") or "no reason given")
            found[name] = found.get(name, 0) + 1
    return [(*name, n) for name, n in found.items()]


def failures(results: Results) -> list[Failed]:
    """The first failures, each with the end of its traceback."""
    ids = {trial["id"] for trial in results.run["trials"]}
    out = []
    for failure in results.failures[:FAILURES]:
        trace = ending(failure.get("traceback") or "")
        opens = failure["trial"] in ids
        out.append(Failed(failure["trial"], failure["stage"], failure["error"], failure.get("attempts", 1), trace, opens))
    return out


def ending(trace: str) -> str:
    """The last lines of a traceback, which name the error."""
    if len(trace) <= TRACEBACK:
        return trace
    end = trace[-TRACEBACK:]
    return "…\n" + (end.partition("\n")[2] or end)
