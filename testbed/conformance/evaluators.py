"""What every evaluator promises."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from typing import Any

import torch

from testbed.conformance.outcomes import (
    CHANGES,
    HARD,
    SECOND,
    first_rows,
    meaningless,
    noise,
    one_concept,
    reseeded,
    spoiled,
    world,
)
from testbed.conformance.promises import Broken, Check, constructor_only_stores, dense, global_randomness_untouched, keep, refuses, run
from testbed.contracts import INVARIANCES, Evaluator, NotApplicable, Outcome, Reference, Scores, SparseRows, implied
from testbed.results import calibrate

KINDS = ("sparse", "real", "states")
REACHED = 0.9
"""On the way from chance (0) to ceiling (1): what perfect codes reach."""
EMPTY = (
    ("codes of other rows with random directions", meaningless, 0.3),
    ("codes that never fire", HARD["codes that never fire"], 0.5),
)
"""Codes that hold nothing, and how far on that way they may get (chance is itself a draw on few rows)."""


def check_evaluator(evaluator: Evaluator) -> list[Check]:
    """Check an evaluator against its contract, on codes made by hand.

    The codes are of sparse, real and discrete concepts as far as it declares those kinds; those of an evaluator that declares none are of
    sparse concepts, or of a tiny language model or an instance with a dial where only these have what it needs.

    Returns
    -------
    list of Check
    """
    found: dict[str, Any] = {}
    perfect: dict[str, float] = {}  # scores of the same outcomes

    def worlds() -> Iterator[tuple[str, Any]]:
        if not found:
            raise Broken("no outcome could be scored")
        yield from found.items()

    def score(outcome: Any) -> Scores:
        return evaluator.score(outcome, seed=5)

    def value_of(outcome: Any) -> torch.Tensor:
        return torch.tensor(score(outcome).value)

    def given(outcome: Outcome) -> Any:
        return [outcome, reseeded(outcome)] if evaluator.scope == "seeds" else outcome

    def declares() -> None:
        keep(evaluator.direction in ("higher", "lower", "none"), f"direction is {evaluator.direction!r}: higher, lower or none")
        keep(evaluator.scope in ("trial", "seeds"), f"scope is {evaluator.scope!r}: trial or seeds")
        for level in (evaluator.chance, evaluator.ceiling, *evaluator.floors):
            keep(
                level is None or isinstance(level, int | float | Reference),
                f"{level!r} is no reference: use a number or contracts.Reference",
            )
        keep(set(evaluator.kinds) <= set(KINDS), f"kinds are {evaluator.kinds}: states, real, sparse")
        unknown = set(evaluator.invariances) - set(INVARIANCES)
        keep(not unknown, f"invariances name {', '.join(sorted(unknown))}: use {', '.join(INVARIANCES)}")

    def scores() -> None:
        reasons = []
        for name in evaluator.kinds or ("sparse", "model", "dial"):
            for variant in (name, SECOND[name]) if name in SECOND else (name,):
                outcome = given(world(variant))
                try:
                    result = score(outcome)
                except NotApplicable as reason:
                    reasons.append(f"{variant}: {reason}")
                    continue
                _is_scores(result)
                found[variant], perfect[variant] = outcome, result.value
                break
            if found and not evaluator.kinds:
                return
        keep(found, f"it applies to none of the hand-made outcomes ({'; '.join(reasons)}): see testbed.conformance.outcomes")

    def other_kinds() -> None:
        for name in KINDS if evaluator.kinds else ():
            if name not in evaluator.kinds:
                try:
                    score(given(world(name)))
                except NotApplicable:
                    continue
                raise Broken(f"it scores {name} concepts, which its kinds {evaluator.kinds} leave out: add it, or raise NotApplicable")

    def repeats() -> None:
        for name, outcome in worlds():
            before = _fingerprint(outcome)
            with global_randomness_untouched():
                first = score(outcome)
            keep(_fingerprint(outcome) == before, f"it changes the codes or the sample that it was given ({name}): copy them first")
            torch.manual_seed(4321)
            keep(score(outcome) == first, f"two calls with the same seed give different scores ({name}): draw from the seed alone")

    def calibrated() -> None:
        """Chance, ceiling and what lies between them."""
        for name, outcome in worlds():
            value = perfect[name]
            if evaluator.kinds and evaluator.direction != "none":
                bad = score(_each(outcome, noise)).value
                better = value > bad if evaluator.direction == "higher" else value < bad
                keep(better, f"perfect codes score {value:.4f} and noise {bad:.4f} ({name}), although {evaluator.direction} is better")
            chance, ceiling = (_level(evaluator, level, outcome) for level in (evaluator.chance, evaluator.ceiling))
            if ceiling is None or evaluator.direction == "none":
                continue
            if chance is None or not evaluator.kinds:
                below = ceiling - value if evaluator.direction == "higher" else value - ceiling
                keep(below <= 0.1 * max(1.0, abs(ceiling)), f"perfect codes score {value:.4f}, not the ceiling {ceiling:.4f} ({name})")
                continue
            share = calibrate(value, chance, ceiling, evaluator.direction)
            keep(share is not None, f"its chance level {chance:.4f} and its ceiling {ceiling:.4f} are not told apart ({name})")
            about = f"from chance {chance:.4f} to ceiling {ceiling:.4f} ({name})"
            keep(share is None or share >= REACHED, f"perfect codes score {value:.4f}, {_percent(share)} of the way {about}")
            for what, change, limit in EMPTY:
                try:
                    empty = score(_each(outcome, change)).value
                except NotApplicable:
                    continue
                share = calibrate(empty, chance, ceiling, evaluator.direction)
                keep(
                    share is None or share <= limit,
                    f"{what} score {empty:.4f}, {_percent(share)} of the way {about}: they hold nothing, so it rewards something else",
                )

    def invariant() -> None:
        for name, outcome in worlds():
            value = perfect[name]
            for word in sorted(implied(evaluator.invariances), key=list(INVARIANCES).index):
                other = score(_each(outcome, CHANGES[word])).value
                keep(
                    math.isclose(other, value, rel_tol=1e-4, abs_tol=1e-5),
                    f"its invariances are {', '.join(evaluator.invariances)}, but {INVARIANCES[word]} ({word}) moves it "
                    f"from {value:.5f} to {other:.5f} ({name}): leave {word!r} out, or make it so",
                )

    def sparse_alike() -> None:
        for name, outcome in worlds():
            value = perfect[name]
            other = score(_each(outcome, lambda one, _: replace(one, codes=SparseRows.from_dense(dense(one.codes))))).value
            keep(
                math.isclose(other, value, rel_tol=1e-5, abs_tol=1e-6),
                f"the same codes score {value:.6f} as a dense tensor and {other:.6f} as SparseRows ({name})",
            )

    def hard_codes() -> None:
        for name, outcome in worlds():
            for what, change in HARD.items():
                _survives(partial(score, _each(outcome, change)), f"{what} ({name})", refusable=False)

    def small_samples() -> None:
        for name, outcome in worlds():
            for n in (1, 2, 4, 20):
                _survives(partial(score, _each(outcome, partial(first_rows, n=n))), f"{n} rows ({name})", refusable=True)
        for kind in evaluator.kinds:
            _survives(partial(score, given(one_concept(kind))), f"a single concept ({kind})", refusable=False)

    def refuses_unusable() -> None:
        for name, outcome in worlds():
            for value in (math.nan, math.inf):
                bad = _each(outcome, partial(spoiled, value=value))
                refuses(partial(value_of, bad), f"{value} in codes, dictionary and decoded rows ({name})")
            fewer = _each(outcome, lambda one, _: replace(one, codes=one.codes[:-1]))
            refuses(partial(score, fewer), f"a row of codes less than rows of data ({name})")

    def without_truth() -> None:
        for name, outcome in worlds() if evaluator.kinds else ():
            try:
                score(_each(outcome, lambda one, _: replace(one, truth=None, sample=type(one.sample)(one.sample.observed))))
            except NotApplicable:
                continue
            raise Broken(f"it gives a score although there is no truth ({name}): raise NotApplicable")

    def references() -> None:
        for _, outcome in worlds():
            for level in (evaluator.chance, evaluator.ceiling, *evaluator.floors):
                _level(evaluator, level, outcome)

    return run(
        [
            ("the constructor only stores its arguments", lambda: constructor_only_stores(evaluator)),
            ("direction, scope, kinds, invariances and references are declared", declares),
            ("it gives finite Scores with details that are JSON", scores),
            ("it does not apply to kinds of concept that it does not declare", other_kinds),
            ("the same outcome and seed give the same score; nothing is changed, no global randomness used", repeats),
            ("its references can be made and scored", references),
            ("perfect codes reach the ceiling, codes without content stay near chance", calibrated),
            ("it keeps the invariances that it claims", invariant),
            ("SparseRows and dense codes score alike", sparse_alike),
            ("dead, single, surplus, missing, constant and tied codes are scored", hard_codes),
            ("few rows and a single concept end in a score or a sentence", small_samples),
            ("NaN, infinity and other rows are refused with a sentence", refuses_unusable),
            ("without a truth it says that it does not apply", without_truth),
        ]
    )


def _is_scores(result: Any) -> None:
    keep(isinstance(result, Scores), f"score gives a {type(result).__name__}, not testbed.contracts.Scores")
    for name, value in {"value": result.value, **result.parts, **result.groups}.items():
        keep(isinstance(value, int | float) and math.isfinite(value), f"{name} is {value!r}: give a finite number, or raise NotApplicable")
    json.dumps(dict(result.details), allow_nan=False)


def _survives(action: Callable[[], Scores], what: str, *, refusable: bool) -> None:
    """A score, or NotApplicable; where input may be refused, a ValueError with a sentence too."""
    try:
        _is_scores(action())
    except NotApplicable:
        return
    except Broken as broken:
        raise Broken(f"{what}: {broken}") from None
    except ValueError as error:
        if refusable and len(str(error).split()) >= 4 and "Traceback" not in str(error):
            return
        raise Broken(f"{what} end in {type(error).__name__}: {error}; count 0 where nothing is found") from error
    except Exception as error:
        raise Broken(f"{what} end in {type(error).__name__}: {error}; give a score, or raise NotApplicable") from error


def _level(evaluator: Evaluator, level: Reference | float | None, outcome: Any) -> float | None:
    """Score of a reference, made as a run makes it; None where it does not apply."""
    if not isinstance(level, Reference):
        return None if level is None else float(level)
    if level.scope == "instance":
        keep(
            evaluator.scope == "trial",
            f"reference {level.name!r} is made per instance, which has no fit seeds: use scope 'trial'",
        )
        outcome = replace(outcome, codes=torch.zeros(len(outcome.codes), 0), dictionary=None, decode=None, encode=None, structure=None)
    try:
        made = _each(outcome, level.make)
        result = evaluator.score(made, seed=11)
    except NotApplicable:
        return None
    _is_scores(result)
    return float(result.value)


def _each(outcome: Any, change: Callable[[Outcome, int], Outcome]) -> Any:
    """A change of an outcome, or of each of a list with a seed of its own."""
    return [change(one, 17 + i) for i, one in enumerate(outcome)] if isinstance(outcome, list) else change(outcome, 17)


def _percent(share: float | None) -> str:
    return "an unknown part" if share is None else f"{100 * share:.0f} %"


def _fingerprint(outcome: Any) -> list[str]:
    found = []
    for one in outcome if isinstance(outcome, list) else [outcome]:
        views = [view.values for view in one.sample.observed.views.values()]
        known = [one.codes, *views, *one.sample.latents.values(), *([] if one.dictionary is None else [one.dictionary])]
        found += [hashlib.sha256(dense(t).contiguous().numpy().tobytes()).hexdigest() for t in known]
    return found
