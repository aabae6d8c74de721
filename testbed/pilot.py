"""How many instances a comparison takes, from a run that serves as its pilot."""

from __future__ import annotations

import difflib
import math
from collections.abc import Sequence
from dataclasses import dataclass

from testbed.claims import by_instance
from testbed.contracts import InvalidInput
from testbed.results import Results, by_fit
from testbed.stats import Interval, Needed, mean_interval, seeds_needed, variance_components


@dataclass(frozen=True)
class Answer:
    """What a pilot says of one generator.

    Attributes
    ----------
    generator : str
    found : Interval or None
        The mean paired difference in the pilot.
    needed : Needed or None
    from_fits : float or None
        Share of the variance of a paired difference that comes from fit seeds, at the pilot's number of them: what more
        of them could take away. None where each estimator has one fit.
    reason : str
        Why there is no number, where there is none.
    """

    generator: str
    found: Interval | None = None
    needed: Needed | None = None
    from_fits: float | None = None
    reason: str = ""


def instances_needed(
    results: Results, score: str, estimators: tuple[str, str], difference: float, generator: str | None, power: float, alpha: float
) -> list[Answer]:
    """Instances with which a paired t-test would show `difference` between two estimators, for one generator or each.

    Raises
    ------
    InvalidInput
        If the run has no such score, estimator or generator, or power or difference are out of range.
    """
    evaluator, _, part = score.partition("/")
    table = results.scores
    known = sorted({e + (f"/{p}" if p else "") for e, p in zip(table["evaluator"], table["part"], strict=True)})
    _check("score", score, known)
    for name in estimators:
        _check("estimator", name, [use["label"] for use in results.run["estimators"]])
    labels = [use["label"] for use in results.run["generators"]]
    if generator is not None:
        _check("generator", generator, labels)
    if difference == 0 or not math.isfinite(difference):
        raise InvalidInput(f"a difference of {difference:g} cannot be shown: give its size, such as --difference .02")
    if not 0 < alpha < power < 1:
        raise InvalidInput(f"power {power:g} and alpha {alpha:g}: 0 < alpha < power < 1 is wanted")
    here = table[(table["evaluator"] == evaluator) & (table["part"] == part)]
    having = {name: set(here.loc[here["estimator"] == name, "generator"]) for name in estimators}
    asked = [label for label in labels if generator in (None, label) and all(label in having[name] for name in estimators)]
    if not asked:
        raise InvalidInput(f"{estimators[0]} and {estimators[1]} have no generator in common where both have {score}")
    return [_answer(results, score, estimators, difference, label, power, alpha) for label in asked]


def _answer(
    results: Results, score: str, estimators: tuple[str, str], difference: float, generator: str, power: float, alpha: float
) -> Answer:
    a, b = (by_instance(results, score, generator, name, "value") for name in estimators)
    paired = [a[i] - b[i] for i in a if i in b]
    if not paired:
        return Answer(generator, reason="the two share no instance")
    found = mean_interval(paired)
    try:
        needed = seeds_needed(paired, difference, power, alpha)
    except ValueError as reason:
        return Answer(generator, found, reason=str(reason))
    return Answer(generator, found, needed, _from_fits(results, score, estimators, generator, needed.spread**2))


def _from_fits(results: Results, score: str, estimators: tuple[str, str], generator: str, variance: float) -> float | None:
    noise = 0.0
    for name in estimators:
        try:
            nested = by_fit(results, score, generator, name)
        except InvalidInput:  # a score that compares fits
            return None
        single = {i: {fit: _mean(value) for fit, value in fits.items()} for i, fits in nested.items()}
        if len(single) < 2 or all(len(fits) < 2 for fits in single.values()):
            return None
        fits_each = sum(map(len, single.values())) / len(single)
        noise += variance_components(single).fit_seed / fits_each
    return min(1.0, noise / variance)


def _mean(value: float | list[float]) -> float:
    return sum(value) / len(value) if isinstance(value, list) else value


def _check(kind: str, name: str, known: Sequence[str]) -> None:
    if name not in known:
        close = difflib.get_close_matches(name, known, n=1)
        offered = f"did you mean {close[0]!r}?" if close else f"it has {', '.join(map(repr, known))}"
        raise InvalidInput(f"the run has no {kind} {name!r}: {offered}")
