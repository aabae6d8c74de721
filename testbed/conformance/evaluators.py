"""What every evaluator promises."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch

from generators.assumptions.dialed import Dialed
from generators.language_model import LanguageModel
from generators.selection.sparse import SparseConcepts
from testbed.conformance.promises import Broken, Check, constructor_only_stores, dense, global_randomness_untouched, keep, refuses, run
from testbed.contracts import Codes, Evaluator, Instance, NotApplicable, Outcome, Reference, Scores

ROWS = 2000


def check_evaluator(evaluator: Evaluator) -> list[Check]:
    """Check an evaluator against its contract, on hand-made codes of sparse concepts and of a tiny language model.

    Returns
    -------
    list of Check
    """
    found: list[Any] = []

    def perfect() -> Any:
        if not found:
            raise Broken("no outcome could be scored")
        return found[0]

    def score(outcome: Any) -> Scores:
        return evaluator.score(outcome, seed=5)

    def declares() -> None:
        keep(evaluator.direction in ("higher", "lower", "none"), f"direction is {evaluator.direction!r}: higher, lower or none")
        keep(evaluator.scope in ("trial", "seeds"), f"scope is {evaluator.scope!r}: trial or seeds")
        for level in (evaluator.chance, evaluator.ceiling, *evaluator.floors):
            keep(
                level is None or isinstance(level, int | float | Reference),
                f"{level!r} is no reference: use a number or contracts.Reference",
            )
        keep(set(evaluator.kinds) <= {"states", "real", "sparse"}, f"kinds are {evaluator.kinds}: states, real, sparse")

    def scores() -> None:
        reasons = []
        for make in (_concepts, _model, _dialed):
            outcome = make()
            given = [outcome, _turned(outcome)] if evaluator.scope == "seeds" else outcome
            try:
                result = score(given)
            except NotApplicable as reason:
                reasons.append(str(reason))
                continue
            _is_scores(result)
            found.append(given)
            return
        raise Broken(f"it applies to codes of no known concepts and of no language model: {'; '.join(reasons)}")

    def repeats() -> None:
        before = _fingerprint(perfect())
        with global_randomness_untouched():
            first = score(perfect())
        torch.manual_seed(4321)
        keep(score(perfect()).value == first.value, "two calls with the same seed give different scores")
        keep(_fingerprint(perfect()) == before, "it changes the codes or the sample that it was given")

    def ranks() -> None:
        if not evaluator.kinds or evaluator.direction == "none":
            return
        good, bad = score(perfect()).value, score(_each(perfect(), _noise)).value
        better = good > bad if evaluator.direction == "higher" else good < bad
        keep(better, f"perfect codes score {good:.4f} and noise {bad:.4f}, although {evaluator.direction} is better")

    def invariant() -> None:
        value = score(perfect()).value
        for word, change in (("permutation", _permuted), ("scale", _scaled), ("sign", _flipped)):
            if word in evaluator.equivalence:
                other = score(_each(perfect(), change)).value
                keep(
                    math.isclose(other, value, rel_tol=1e-4, abs_tol=1e-5),
                    f"its class is {evaluator.equivalence!r}, but a change of {word} moves it from {value:.5f} to {other:.5f}",
                )

    def hard_codes() -> None:
        for what, change in (
            ("dead codes", _with_dead),
            ("one code", _one),
            ("codes that never fire", _silent),
            ("twice the codes", _twice),
        ):
            try:
                _is_scores(score(_each(perfect(), change)))
            except NotApplicable:
                continue
            except Exception as error:
                raise Broken(f"{what} end in {type(error).__name__}: {error}") from error

    def refuses_nan() -> None:
        refuses(lambda: torch.tensor(score(_each(perfect(), _spoiled)).value), "NaN in codes, dictionary and decoded rows")

    def without_truth() -> None:
        if not evaluator.kinds:
            return
        try:
            score(_each(perfect(), lambda o: replace(o, truth=None, sample=type(o.sample)(o.sample.observed))))
        except NotApplicable:
            return
        raise Broken("it gives a score although there is no truth: raise NotApplicable")

    def references() -> None:
        levels = [level for level in (evaluator.chance, evaluator.ceiling, *evaluator.floors) if isinstance(level, Reference)]
        for level in levels:
            given = perfect()
            if level.scope == "instance":
                keep(evaluator.scope == "trial", f"reference {level.name!r} is made per instance, which has no fit seeds to compare")
                given = replace(given, codes=torch.zeros(len(given.codes), 0), dictionary=None, decode=None, encode=None)
            try:
                _is_scores(score(_each(given, lambda outcome, level=level: level.make(outcome, 11))))  # type: ignore[misc]
            except NotApplicable:
                continue

    return run(
        [
            ("the constructor only stores its arguments", lambda: constructor_only_stores(evaluator)),
            ("direction, scope, kinds and references are declared", declares),
            ("it gives finite Scores with details that are JSON", scores),
            ("the same outcome and seed give the same score; nothing is changed, no global randomness used", repeats),
            ("perfect codes score better than noise", ranks),
            ("it keeps the invariances that its equivalence class names", invariant),
            ("dead, single, silent and surplus codes are scored", hard_codes),
            ("NaN is refused with a sentence", refuses_nan),
            ("without a truth it says that it does not apply", without_truth),
            ("its references can be made and scored", references),
        ]
    )


def _is_scores(result: Any) -> None:
    keep(isinstance(result, Scores), f"score gives a {type(result).__name__}, not testbed.contracts.Scores")
    for name, value in {"value": result.value, **result.parts, **result.groups}.items():
        keep(isinstance(value, int | float) and math.isfinite(value), f"{name} is {value!r}: give a finite number, or raise NotApplicable")
    json.dumps(dict(result.details), allow_nan=False)


# ----------------------------------------------------------------------------------------------------------- outcomes


def _outcome(instance: Instance, codes: Codes, atoms: torch.Tensor, rows: int) -> Outcome:
    sample = instance.sample(rows, 9, "test")
    view = sample.observed.name_of(None)
    x = dense(sample.observed.views[view].values)
    mean = x.mean(dim=0)

    def decode(given: Codes) -> torch.Tensor:
        return dense(given)[:, : len(atoms)] @ atoms[: given.shape[1]] + mean

    def encode(observed: Any) -> torch.Tensor:
        given = observed if isinstance(observed, torch.Tensor) else dense(observed.views[view].values)
        return (given - mean) @ atoms.T

    return Outcome(codes, sample, view, atoms, decode, instance.truth, instance, encode, "test", 9)


def _concepts() -> Outcome:
    """Perfect codes: the true concepts themselves, with the true atoms."""
    instance = SparseConcepts.small().draw(7)
    sample = instance.sample(ROWS, 9, "test")
    codes = torch.cat([dense(sample.latents[level]) for level in sorted(sample.latents)], dim=1)
    if instance.truth is None:
        raise Broken("the world of the checks has no truth")
    return _outcome(instance, codes, instance.truth.dictionary(sample.observed.name_of(None)), ROWS)


def _model() -> Outcome:
    """Projections of a tiny language model's activations on an orthonormal basis: a perfect reconstruction."""
    instance = LanguageModel.small().draw(7)
    rows = 64
    x = dense(next(iter(instance.sample(rows, 9, "test").observed.views.values())).values)
    basis = torch.linalg.qr(torch.randn(x.shape[1], x.shape[1], generator=torch.Generator().manual_seed(1)))[0]
    return _outcome(instance, (x - x.mean(dim=0)) @ basis, basis, rows)


def _dialed() -> Outcome:
    """Rows of an instance with a dial on one of its assumptions, as they are."""
    instance = Dialed(params={"levels": [2, 6], "dimension": 16}).draw(7)
    rows = 64
    x = dense(next(iter(instance.sample(rows, 9, "test").observed.views.values())).values)
    return _outcome(instance, x - x.mean(dim=0), torch.eye(x.shape[1]), rows)


def _each(outcome: Any, change: Callable[[Outcome], Outcome]) -> Any:
    return [change(one) for one in outcome] if isinstance(outcome, list) else change(outcome)


def _with(outcome: Outcome, codes: torch.Tensor, atoms: torch.Tensor | None) -> Outcome:
    return replace(outcome, codes=codes, dictionary=atoms)


def _turned(outcome: Outcome) -> Outcome:
    atoms = outcome.dictionary
    noise = torch.randn(atoms.shape, generator=torch.Generator().manual_seed(3)) if atoms is not None else None
    return replace(outcome, dictionary=None if atoms is None or noise is None else atoms + 0.05 * noise)


def _parts(outcome: Outcome) -> tuple[torch.Tensor, torch.Tensor]:
    if outcome.dictionary is None:
        raise Broken("the world of the checks has no dictionary")
    return dense(outcome.codes), outcome.dictionary


def _noise(outcome: Outcome) -> Outcome:
    codes, atoms = _parts(outcome)
    g = torch.Generator().manual_seed(13)
    return _with(outcome, torch.randn(codes.shape, generator=g), torch.randn(atoms.shape, generator=g))


def _permuted(outcome: Outcome) -> Outcome:
    codes, atoms = _parts(outcome)
    order = torch.randperm(codes.shape[1], generator=torch.Generator().manual_seed(17))
    return _with(outcome, codes[:, order], atoms[order])


def _scaled(outcome: Outcome) -> Outcome:
    codes, atoms = _parts(outcome)
    scale = torch.rand(codes.shape[1], generator=torch.Generator().manual_seed(19)) + 0.5
    return _with(outcome, codes * scale, atoms / scale[:, None])


def _flipped(outcome: Outcome) -> Outcome:
    codes, atoms = _parts(outcome)
    sign = torch.ones(codes.shape[1])
    sign[::2] = -1.0
    return _with(outcome, codes * sign, atoms * sign[:, None])


def _with_dead(outcome: Outcome) -> Outcome:
    codes, atoms = _parts(outcome)
    return _with(outcome, torch.cat([codes, torch.zeros(len(codes), 3)], dim=1), torch.cat([atoms, atoms[:1].expand(3, -1)]))


def _one(outcome: Outcome) -> Outcome:
    codes, atoms = _parts(outcome)
    return _with(outcome, codes[:, :1], atoms[:1])


def _silent(outcome: Outcome) -> Outcome:
    codes, atoms = _parts(outcome)
    return _with(outcome, torch.zeros_like(codes), atoms)


def _twice(outcome: Outcome) -> Outcome:
    codes, atoms = _parts(outcome)
    return _with(outcome, torch.cat([codes, codes], dim=1), torch.cat([atoms, atoms]))


def _spoiled(outcome: Outcome) -> Outcome:
    codes, atoms = _parts(outcome)
    codes, atoms = codes.clone(), atoms.clone()
    codes[3, 0] = float("nan")
    atoms[0, 0] = float("nan")
    decode = outcome.decode
    return replace(_with(outcome, codes, atoms), decode=None if decode is None else lambda given: decode(given) * float("nan"))


def _fingerprint(outcome: Any) -> list[float]:
    outcomes = outcome if isinstance(outcome, list) else [outcome]
    found = []
    for one in outcomes:
        views = [view.values for view in one.sample.observed.views.values()]
        found += [float(dense(t).double().sum()) for t in (one.codes, *views, *one.sample.latents.values())]
    return found
