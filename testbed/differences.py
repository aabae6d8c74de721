"""Two runs side by side: what was set otherwise, what came out otherwise."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from testbed.claims import judge
from testbed.results import Results
from testbed.stats import Interval, paired_difference

Name = tuple[str, str, str, str]
"""Generator, evaluator, part, estimator."""


@dataclass(frozen=True)
class Gap:
    """One score in both runs.

    Attributes
    ----------
    before, after : float
        Means over instances.
    difference : Interval
        After minus before, over instances (paired) where both saw the same rows; else without an interval.
    paired : bool
    """

    generator: str
    evaluator: str
    part: str
    estimator: str
    before: float
    after: float
    difference: Interval
    paired: bool


@dataclass(frozen=True)
class Differences:
    """What two runs do not share.

    Attributes
    ----------
    settings : tuple of (str, str, str)
        Place, and what it says in each run; "-" where it says nothing.
    claims : tuple of (str, str, str)
        Claims whose verdicts differ.
    gaps : tuple of Gap
        Every score that both have.
    only_before, only_after : tuple of str
        Scores that one run has.
    """

    settings: tuple[tuple[str, str, str], ...]
    claims: tuple[tuple[str, str, str], ...]
    gaps: tuple[Gap, ...]
    only_before: tuple[str, ...]
    only_after: tuple[str, ...]


def differences(before: Results, after: Results, *, parts: bool = False) -> Differences:
    """Compare two runs, of one suite or of any two.

    Parameters
    ----------
    before, after : Results
    parts : bool
        Whether parts of scores are compared too.
    """
    old, new = _scores(before, parts), _scores(after, parts)
    shared = [name for name in old if name in new]
    same = _same_rows(before, after)
    verdicts = [{v.id: v.verdict for v in judge(results)} for results in (before, after)]
    ids = dict.fromkeys([*verdicts[0], *verdicts[1]])
    claims = [(i, verdicts[0].get(i, "-"), verdicts[1].get(i, "-")) for i in ids]
    return Differences(
        tuple(_settings(before.run["suite"], after.run["suite"])),
        tuple(claim for claim in claims if claim[1] != claim[2]),
        tuple(_gap(name, old[name], new[name], same) for name in shared),
        tuple(" · ".join(filter(None, name)) for name in old if name not in new),
        tuple(" · ".join(filter(None, name)) for name in new if name not in old),
    )


def _scores(results: Results, parts: bool) -> dict[Name, dict[int, float]]:
    table = results.scores if parts else results.scores[results.scores["part"] == ""]
    found: dict[Name, dict[int, float]] = {}
    columns = ["generator", "evaluator", "part", "estimator", "instance"]
    means = table.groupby(columns, sort=False)["value"].mean().reset_index()
    for *name, instance, value in means.itertuples(index=False, name=None):
        found.setdefault((name[0], name[1], name[2], name[3]), {})[int(instance)] = float(value)
    return found


def _same_rows(before: Results, after: Results) -> set[tuple[str, int]]:
    """Generators and instances whose sample both runs have, under one key."""
    keys = [{(s["generator"], s["instance"]): s["sample"] for s in results.run["samples"]} for results in (before, after)]
    return {place for place, key in keys[0].items() if keys[1].get(place) == key}


def _gap(name: Name, old: Mapping[int, float], new: Mapping[int, float], same: set[tuple[str, int]]) -> Gap:
    means = [sum(values.values()) / len(values) for values in (old, new)]
    both = [instance for instance in old if instance in new and (name[0], instance) in same]
    if both:
        found = paired_difference({i: new[i] for i in both}, {i: old[i] for i in both})
    else:
        found = Interval(means[1] - means[0], math.nan, math.nan, min(len(old), len(new)), "other data")
    return Gap(*name, means[0], means[1], found, bool(both))


def _settings(before: Mapping[str, Any], after: Mapping[str, Any]) -> Iterator[tuple[str, str, str]]:
    old, new = dict(_leaves(before)), dict(_leaves(after))
    for place in dict.fromkeys([*old, *new]):
        a, b = old.get(place, "-"), new.get(place, "-")
        if a != b:
            yield place, a, b


def _leaves(value: Any, place: str = "") -> Iterator[tuple[str, str]]:
    """Every setting by its place; entries of lists by their label, name or id."""
    if isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _leaves(inner, f"{place}.{key}" if place else str(key))
    elif isinstance(value, list) and value and all(isinstance(entry, Mapping) for entry in value):
        for i, entry in enumerate(value):
            yield from _leaves(entry, f"{place}.{entry.get('label') or entry.get('name') or entry.get('id') or i}")
    elif value is not None:
        yield place, str(value)
