"""Whether codes that follow concepts under selection still do where nothing is selected."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from evaluators.calibration import (
    COMMON_NOISE,
    PERMUTED_CODES,
    checked_codes,
    concepts,
    first_component,
    half_of,
    means_by_level,
    shown_levels,
    truth_of,
    uniform_rotation,
)
from testbed.contracts import Codes, Evaluator, InvalidInput, NotApplicable, Outcome, Reference, Scores, Unselectable
from testbed.numerics.matching import check_finite, cross_correlation, dense, held_out_correlation, match


class SelectionShift(Evaluator):
    r"""Mean absolute correlation of concepts and codes on the *unselected* rows of the same instance.

    Codes are matched to concepts, one to one, on the held-out selected rows. Then the same encoder is given rows of the instance without
    its potentials, where constituents are independent, and each concept is correlated with the code that it was matched to:

    .. math:: s = \frac1c \sum_i \big| \mathrm{corr}_{\phi = 1} (z_i, a_{\pi(i)}) \big|, \quad
              \pi = \arg\max_\pi \sum_i \big| \mathrm{corr}_\phi (z_i, a_{\pi(i)}) \big|.

    Copies of the common factor of c concepts fall from nearly 1 to :math:`c^{-1/2}`, the truth stays at 1: what selection alone makes alike
    is told apart. A code that mixes a few concepts evenly (a sum of two: .71) falls less. An estimator whose encoder is right on
    selected rows and extrapolates badly falls too, though it mixes nothing. Parts: the same on selected rows, ``selected`` (assignment
    from one half, score from the other), and the mean over each level.

    Parameters
    ----------
    rows : int
        Unselected rows, at most as many as there are held-out ones.

    References
    ----------
    .. [1] Bareinboim, Tian & Pearl (2014), Recovering from selection bias in causal and statistical inference: what holds in the selected
       law need not hold outside it.
    """

    equivalence = "permutation, sign and scale of each code"
    invariances = ("permutation", "sign", "scale")
    kinds = ("sparse", "real")
    chance = PERMUTED_CODES

    def __init__(self, rows: int = 20_000) -> None:
        self.rows = rows

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Match on selected rows, score on unselected ones.

        Raises
        ------
        NotApplicable
            If there is no truth, no encoder, or the instance does not know its law without selection.
        InvalidInput
            If the encoder gives another number of codes on unselected rows.
        """
        levels = shown_levels(outcome, self.kinds)
        instance: object = outcome.instance
        if not isinstance(instance, Unselectable):
            raise NotApplicable("the instance does not know its own law without selection")
        if outcome.encode is None:
            raise NotApplicable("there is no encoder to give unselected rows to")
        z, codes = concepts(outcome, levels), checked_codes(outcome)
        half = half_of(len(z))
        sample = instance.unselected().sample(min(len(z), self.rows), outcome.seed, outcome.part)
        there = replace(outcome, sample=sample)
        moved: Codes = outcome.encode(sample.observed)
        if moved.shape[1] != codes.shape[1]:
            raise InvalidInput(f"the encoder gives {moved.shape[1]} codes on unselected rows and {codes.shape[1]} on selected ones")
        check_finite(moved, "codes of unselected rows hold NaN or infinity: check the encoder")
        selected = held_out_correlation((z[:half], codes[:half]), (z[half:], codes[half:]))
        here = cross_correlation(z, codes)
        concept, code = match(here)
        found = torch.zeros(z.shape[1], dtype=torch.float64)
        found[concept] = cross_correlation(concepts(there, levels), moved)[concept, code]
        found[concept[here[concept, code] == 0]] = 0.0  # a code that is dead on selected rows was matched to nothing
        parts = means_by_level(found, truth_of(outcome), levels) | {"selected": float(selected.mean())}
        return Scores(float(found.mean()), parts, details={"fall": float(selected.mean() - found.mean())})


# ------------------------------------------------------------------------------------- references that can code other rows


def _oracle_codes(outcome: Outcome) -> Callable[[Any], Tensor]:
    truth, view = truth_of(outcome), outcome.view
    return lambda observed: dense(truth.codes(observed, view)).float()


def _encoder(outcome: Outcome, encode: Callable[[Any], Tensor]) -> Outcome:
    return replace(outcome, codes=encode(outcome.sample.observed), dictionary=None, decode=None, encode=encode)


def _oracle(outcome: Outcome, seed: int) -> Outcome:
    return _encoder(outcome, _oracle_codes(outcome))


def _mixed(outcome: Outcome, matrix: Callable[[Tensor], Tensor], noise: float, seed: int) -> Outcome:
    """The oracle's codes, standardised as selected rows are, times a matrix made from those."""
    oracle = _oracle_codes(outcome)
    here = oracle(outcome.sample.observed)
    mean, scale = here.mean(dim=0), here.std(dim=0, correction=0)
    scale = torch.where(scale > 0, scale, 1.0)
    mixing = matrix((here - mean) / scale)

    def encode(observed: Any) -> Tensor:
        codes = ((oracle(observed) - mean) / scale) @ mixing
        return codes + noise * torch.randn(codes.shape, generator=torch.Generator().manual_seed(seed))

    return _encoder(outcome, encode)


def _rotation(outcome: Outcome, seed: int) -> Outcome:
    return _mixed(outcome, lambda z: uniform_rotation(z.shape[1], seed), 0.0, seed)


def _common_factor(outcome: Outcome, seed: int) -> Outcome:
    def matrix(z: Tensor) -> Tensor:
        direction = first_component(z)
        factor: Tensor = direction / (z @ direction).std().clamp_min(1e-6)
        return factor[:, None].expand(-1, z.shape[1])

    return _mixed(outcome, matrix, COMMON_NOISE, seed)


SelectionShift.ceiling = Reference("oracle", "instance", _oracle)
SelectionShift.floors = (Reference("random_rotation", "instance", _rotation), Reference("common_factor", "instance", _common_factor))
