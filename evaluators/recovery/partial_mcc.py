"""How well codes follow what each concept has for itself, beyond what the other concepts of its level say of it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from evaluators.calibration import (
    COMMON_FACTOR,
    ORACLE,
    PERMUTED_CODES,
    RANDOM_ROTATION,
    checked_codes,
    concepts,
    means_by_level,
    shown_levels,
    truth_of,
)
from testbed.contracts import Evaluator, NotApplicable, Outcome, Rows, Scores
from testbed.numerics.covariances import compressed, covariance, variance
from testbed.numerics.matching import match

RIDGE = 1e-6
"""Added to the variance 1 of each standardised concept before its covariance is inverted."""
LEAST = 1e-8
"""Share of a variance below which what is left of it is rounding and ridge."""


class PartialMCC(Evaluator):
    r"""Mean correlation of true concepts and their matched codes after the level's other concepts are regressed out of both.

    Let z be the standardised concepts of a level, :math:`\hat z_i` the regression of :math:`z_i` on the others, and
    :math:`a_j = \sum_k B_{kj} z_k + g_j` the regression of a code on all of them. Out of the concept goes what the others say of it, and
    out of the code, for every concept that it is made of, what the others say of that one:

    .. math:: e_i = z_i - \hat z_i, \qquad \tilde a_j = a_j - \sum_k B_{kj} \hat z_k, \qquad p_{ij} = |\mathrm{corr}(e_i, \tilde a_j)|.

    A concept itself scores 1, whatever the correlations. Where concepts are uncorrelated, p is the plain correlation. Where they are
    correlated, p is about what the plain one would be if they were not: copies of what d concepts share score of order 1/d (plain: .95
    at correlation .9), a rotation what it scores on independent concepts. With K the inverse of the concepts' covariance,
    :math:`e_i = (K z)_i / K_{ii}` [1]_: one factorisation instead of c regressions. Regressions and assignment come from the first half
    of the rows, p from the second. The mean is over *all* concepts that the view shows. One without a code, that never varies, or that
    the others determine (nothing is left of it) counts 0, for the oracle too.

    The part ``partial_correlation`` is the textbook's partial correlation [2]_ of the same pairs, in which the code loses what its
    regression on the *others* alone explains. It cannot tell a mixture without noise from the concept: any invertible linear map of the
    concepts scores 1, since the one concept is all that is left of it. So it is not the value.

    What p does not show: whether a code follows the concept as it is. A code that is the concept's own part :math:`e_i` alone scores
    near 1 although it may correlate little with :math:`z_i`; read it beside the plain coefficient. Noise weighs the more, the less a
    concept has for itself. What is regressed out is linear, and within a level.

    Memory: covariances of order c^2 (of each level's concepts) and c m numbers in float64, whatever n is; time grows with c^3 and c^2 m.

    References
    ----------
    .. [1] Lauritzen (1996), Graphical models, section 5.1.3 (partial regressions from the inverse covariance).
    .. [2] Whittaker (1990), Graphical models in applied multivariate statistics, chapter 5.
    """

    equivalence = "permutation, sign and scale of each code"
    invariances = ("permutation", "sign", "scale", "shift")
    kinds = ("sparse", "real")
    chance = PERMUTED_CODES
    ceiling = ORACLE
    floors = (RANDOM_ROTATION, COMMON_FACTOR)

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``level_0``, ``level_1`` ... and ``partial_correlation``; details: how much of a concept the others do not explain."""
        levels = shown_levels(outcome, self.kinds)
        codes = compressed(checked_codes(outcome))
        z = [compressed(concepts(outcome, (level,))) for level in levels]
        half, most = len(codes) // 2, max(one.shape[1] for one in z)
        if half < most + 2:
            raise NotApplicable(f"regressions on {most - 1} other concepts take at least {most + 2} rows in each half, not {half}")
        first, second = slice(0, half), slice(half, len(codes))
        fitted = [_Moments.of(one[first], codes[first]) for one in z]
        own = [_Own.of(moments) for moments in fitted]
        fit, _ = _stacked(own, fitted)
        score, textbook = _stacked(own, [_Moments.of(one[second], codes[second]) for one in z])
        concept, code = match(fit)
        truth, share = truth_of(outcome), torch.cat([one.share for one in own])
        matched = _at(score, concept, code)
        parts = means_by_level(matched, truth, levels) | {"partial_correlation": float(_at(textbook, concept, code).mean())}
        details = {
            "share of a concept's variance that the others do not explain": means_by_level(share, truth, levels),
            "share of concepts of which nothing is left": means_by_level((share <= LEAST).double(), truth, levels),
        }
        return Scores(float(matched.mean()), parts, details=details)


@dataclass(frozen=True, slots=True)
class _Moments:
    """Covariances of a level's concepts, shape (c, c), and of them with codes, (c, m); variances of both, (c,) and (m,)."""

    zz: Tensor
    za: Tensor
    of_z: Tensor
    of_a: Tensor

    @classmethod
    def of(cls, z: Rows, codes: Rows) -> _Moments:
        return cls(covariance(z, z), covariance(z, codes), variance(z), variance(codes))


@dataclass(frozen=True, slots=True)
class _Own:
    """What takes the other concepts of a level out of concepts and codes; z is standardised by `scale` alone, the mean drops out.

    Attributes
    ----------
    scale : Tensor, shape (c,)
        Reciprocal standard deviations of the concepts; 0 if constant.
    residual : Tensor, shape (c, c)
        W, with e = W z.
    slopes : Tensor, shape (c, m)
        B, the regression of each code on all concepts.
    share : Tensor, shape (c,)
        Share of each concept's variance that the others do not explain, on the rows of the fit; 0 if it is constant.
    """

    scale: Tensor
    residual: Tensor
    slopes: Tensor
    share: Tensor

    @classmethod
    def of(cls, fit: _Moments) -> _Own:
        """From the moments of the rows of the fit."""
        scale = torch.where(fit.of_z > 0, fit.of_z.rsqrt(), 0.0)
        unit = fit.zz * scale[:, None] * scale
        precision = torch.cholesky_inverse(torch.linalg.cholesky(unit + RIDGE * torch.eye(len(unit), dtype=unit.dtype)))
        residual = precision / precision.diagonal()[:, None]
        slopes = precision @ (fit.za * scale[:, None])
        return cls(scale, residual, slopes, ((residual @ unit) * residual).sum(dim=1))

    def correlations(self, rows: _Moments) -> tuple[Tensor, Tensor]:
        """p and the textbook's partial correlation on rows with these moments, both absolute and of shape (c, m)."""
        zz = rows.zz * self.scale[:, None] * self.scale
        za, spread = rows.za * self.scale[:, None], rows.of_a

        def without(part: Tensor) -> tuple[Tensor, Tensor]:
            """Covariance of e with what is left of the codes without ``part.T z``, shape (c, m), and its variance, (m,)."""
            explained = zz @ part
            return self.residual @ (za - explained), spread - (part * (2 * za - explained)).sum(dim=0)

        of_own = ((self.residual @ zz) * self.residual).sum(dim=1).where(self.share > LEAST, 0.0)[:, None]
        # Without sum_k B_kj (z_k - e_k).
        both, left = without(self.slopes - self.residual.T @ self.slopes)
        own = _ratio(both, of_own, left, spread)
        # Without B_j z, but with B_ij e_i: what the regression on the others alone leaves.
        both, left = without(self.slopes)
        given = self.slopes * of_own
        return own, _ratio(both + given, of_own, left + self.slopes * (2 * both + given), spread)


def _stacked(own: list[_Own], rows: list[_Moments]) -> tuple[Tensor, Tensor]:
    """Correlations of all levels, one below the other, shape (c, m) each."""
    found = [one.correlations(moments) for one, moments in zip(own, rows, strict=True)]
    return torch.cat([p for p, _ in found]), torch.cat([p for _, p in found])


def _ratio(both: Tensor, of_own: Tensor, left: Tensor, spread: Tensor) -> Tensor:
    """Absolute correlation from a covariance and two variances; 0 where nothing but rounding is left of either."""
    there = (of_own > LEAST) & (left > LEAST * spread)
    return torch.where(there, both.abs() / torch.where(there, of_own * left, 1.0).sqrt(), 0.0).clamp_max(1.0)


def _at(values: Tensor, concept: Tensor, code: Tensor) -> Tensor:
    """Values of matched pairs, 0 for a concept without a code, shape (c,)."""
    out = values.new_zeros(len(values))
    out[concept] = values[concept, code]
    return out
