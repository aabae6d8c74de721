"""Whether each code depends on its own concept and on no other, by conditional independence tests."""

from __future__ import annotations

import numpy as np
import torch
from scipy.stats import norm
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
from evaluators.recovery.information import Array, halves
from testbed.contracts import Evaluator, InvalidInput, Outcome, Scores
from testbed.numerics.covariances import correlation
from testbed.numerics.discretise import take
from testbed.numerics.linear_readout import standardiser
from testbed.numerics.matching import dense, match

MODELS = ("concept", "level")
RIDGE = 1e-6
"""Share of a concept's variance added to it, so that concepts which others determine can be inverted with."""
ROUNDING = 1e-4
"""Residual or coefficient, in standard deviations, below which it is taken for rounding."""


class TMEX(Evaluator):
    r"""Test-based measurement exclusivity [1]_.

    The paper takes codes as *measurements* of concepts. A measurement model W says which code may depend on which concept, and a
    test for each pair decides whether it does, given all other concepts:

    .. math:: \hat W_{ji} = 1 \iff \text{the test rejects } \hat a_j \perp z_i \mid z_{-i}, \qquad
        \text{T-MEX} = \sum_{ji} 1[\hat W_{ji} \ne W_{ji}]

    Derived from that definition, here: a code is first matched to each concept by correlation, on the first half of the rows, and W is the
    identity on the pairs so matched (`model` ``"concept"``), or lets a code depend on every concept of its concept's level (``"level"``,
    the paper's block identification). The test is the generalised covariance measure [2]_ with linear regressions, as in the authors'
    own simulations: the mean over the second half of the product of both residuals, in standard errors, is normal if they are independent.
    Regressions come from the first half. All c x c tests are had from two regressions: with r the residual of a code on *all*
    concepts, e_i that of concept i on the others and :math:`\beta_i` the code's coefficient, the code's residual without concept i is
    :math:`r + \beta_i e_i`.

    **Value.** A count of errors is dominated by the c (c - 1) pairs that should be empty: 1 - errors / c^2 is 1 - 1/c for codes that
    depend on nothing, so 1.00 at c = 1,024. The value is therefore F1 of the edges found against those of W, every concept counted:
    *precision* (exclusivity: found edges that are W's) and *recall* (W's edges that are found). Tests are corrected for their number by
    Benjamini and Hochberg's rule at `alpha`. The paper's count, uncorrected at the same level, is there as the part ``errors`` (per
    concept) and as ``agreement`` (1 - errors / c^2).

    What it cannot show: *it can be 1.00 on a rotation.* Under the model ``"level"`` a rotation within a level is perfect and the truth is
    not; ``agreement`` is near 1 for anything at large c; and with few rows, or weights that are small beside a code's noise, only the
    matched edge is found. It weighs significance and not size: at large n a leak of a hundredth counts as much as a mixture. Linear tests
    miss what is even in a concept, and reject falsely where a code is a bent function of its concept and concepts depend on each other. A
    concept that the others determine has no residual, cannot be tested, and is never found. Where a concept is on in few of the rows the
    normal law is a rough guide, and somewhat more than `alpha` of the edges found are false. States have no residuals here: no score.

    Parameters
    ----------
    model : {"concept", "level"}
        The measurement model.
    alpha : float
        False discovery rate of the edges; level of each test in ``errors`` and ``agreement``.
    max_rows : int
        Rows used, drawn by seed, half of them to fit.

    References
    ----------
    .. [1] Yao, Huang, Cadei, Zhang & Locatello (2025), The third pillar of causal analysis? A measurement perspective on causal
       representations, arXiv 2505.17708.
    .. [2] Shah & Peters (2020), The hardness of conditional independence testing and the generalised covariance measure.
    """

    equivalence = "permutation, sign and scale of each code"
    invariances = ("permutation", "sign", "scale", "shift")
    kinds = ("sparse", "real")
    chance = PERMUTED_CODES
    ceiling = ORACLE
    floors = (RANDOM_ROTATION, COMMON_FACTOR)

    def __init__(self, model: str = "concept", alpha: float = 0.05, max_rows: int = 16384) -> None:
        self.model = model
        self.alpha = alpha
        self.max_rows = max_rows

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``level_0`` ... (recall), ``precision``, ``recall``, ``errors``, ``agreement``."""
        if self.model not in MODELS:
            raise InvalidInput(f"model is {self.model!r}: {' or '.join(MODELS)}")
        levels = shown_levels(outcome, self.kinds)
        z, codes = concepts(outcome, levels), checked_codes(outcome)
        first, second = halves(len(codes), self.max_rows, seed)
        fit_z, fit_a = take(z, first), take(codes, first)
        concept, code = match(correlation(fit_z, fit_a).abs())
        parts = [dense(rows).float().cpu() for rows in (fit_z, fit_a, take(z, second), take(codes, second))]
        p, testable = independence_tests(parts[0], parts[1][:, code], parts[2], parts[3][:, code])  # (matched, c)
        truth = truth_of(outcome)
        level_of = np.repeat(levels, [truth.levels[level].size for level in levels])
        c = len(level_of)
        model = np.eye(c, dtype=bool) if self.model == "concept" else level_of[:, None] == level_of
        found, raw = np.zeros((2, c, c), bool)
        found[concept] = rejected(p, self.alpha)
        raw[concept] = p < self.alpha
        right = (found & model).sum()
        recall = (found & model).sum(axis=1) / model.sum(axis=1)
        errors = int((raw != model).sum())
        scores = {
            **means_by_level(torch.from_numpy(recall), truth, levels),
            "precision": float(right / max(1, found.sum())),
            "recall": float(right / model.sum()),
            "errors": errors / c,
            "agreement": 1 - errors / c**2,
        }
        details = {"concepts that the others determine": int((~testable).sum()), "rows tested": len(second)}
        return Scores(float(2 * right / (found.sum() + model.sum())), scores, details=details)


def independence_tests(z: Tensor, a: Tensor, z_new: Tensor, a_new: Tensor) -> tuple[Array, Array]:
    """P values of the hypothesis that a code is independent of a concept given all other concepts; fitted on `z` and `a`.

    Parameters
    ----------
    z, z_new : Tensor, shape (n, c) and (n', c)
    a, a_new : Tensor, shape (n, m) and (n', m)

    Returns
    -------
    p : array, shape (m, c)
        1 where a residual is rounding.
    testable : array of bool, shape (c,)
        Concepts that are no function of the others.
    """
    (z, z_new), (a, a_new) = _standardised(z, z_new), _standardised(a, a_new)
    n = len(z_new)
    gram = (z.T @ z).double() / len(z)
    gram.diagonal().add_(RIDGE)
    precision = torch.linalg.inv(gram)
    beta = precision @ ((z.T @ a).double() / len(z))  # (c, m)
    e = z_new @ (precision / precision.diagonal()).to(z.dtype)  # residuals of each concept on the others
    r = a_new - z_new @ beta.to(z.dtype)
    spread = e.double().square().mean(dim=0).sqrt()
    testable = spread > 10 * ROUNDING
    e = torch.where(testable, e, 0.0)
    r = torch.where(r.double().square().mean(dim=0).sqrt() > ROUNDING, r, 0.0)
    beta = torch.where((beta.abs() * spread[:, None] > ROUNDING) & testable[:, None], beta, 0.0)
    e2, r2 = e.square(), r.square()
    mean = (e.T @ r).double() / n + beta * e2.double().mean(dim=0)[:, None]
    square = (e2.T @ r2).double() + 2 * beta * ((e2 * e).T @ r).double()
    square = square / n + beta.square() * e2.double().square().mean(dim=0)[:, None]
    variance = square - mean.square()
    # Errors of the two regressions have a product of their own, of variance c / len(z)^2 where residuals have variance 1.
    inflation = (1 + z.shape[1] * n / len(z) ** 2) ** 0.5
    statistic = torch.where(variance > 1e-12 * square, n**0.5 * mean / variance.clamp_min(1e-300).sqrt() / inflation, 0.0)
    return 2 * norm.sf(statistic.abs().T.numpy()), testable.numpy()


def rejected(p: Array, alpha: float) -> Array:
    """Hypotheses that Benjamini and Hochberg's rule rejects at a false discovery rate of `alpha`; of any shape."""
    order = np.sort(p, axis=None)
    passed = np.flatnonzero(order <= alpha * np.arange(1, len(order) + 1) / max(1, len(order)))
    return np.asarray(p <= order[passed[-1]]) if len(passed) else np.zeros(p.shape, bool)


def _standardised(rows: Tensor, new: Tensor) -> tuple[Tensor, Tensor]:
    """Both in standard deviations of the first about its mean."""
    mean, scale = standardiser(rows)
    return (rows - mean) * scale, (new - mean) * scale
