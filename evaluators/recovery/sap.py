"""By how much the code that predicts a concept best leads the second."""

from __future__ import annotations

import numpy as np
import torch

from evaluators.calibration import (
    COMMON_FACTOR,
    ORACLE,
    PERMUTED_CODES,
    RANDOM_ROTATION,
    checked_codes,
    means_by_level,
    shown_levels,
    truth_of,
)
from evaluators.recovery.information import Array, halves, information_on_halves
from testbed.contracts import Evaluator, Outcome, Rows, Scores
from testbed.numerics.covariances import covariance, mean, variance
from testbed.numerics.discretise import take


class SAP(Evaluator):
    r"""Separated attribute predictability [1]_.

    .. math:: \frac1c \sum_i \big( S_{i (1)} - S_{i (2)} \big)

    with :math:`S_{ij}` how well code j *alone* predicts concept i. For sparse and real concepts that is the R2 of a straight line, fitted
    on the first half of the rows and judged on the second, not below 0; the two codes are chosen on the first half, too. For
    `states`, where the paper takes a classifier's balanced accuracy, it is the share of the states' variance that the code's own states
    explain (Goodman and Kruskal's tau, without its bias), which is 1 for a relabelling and 0 for a code that says nothing. The mean is over
    all concepts that the view shows; a constant one counts 0.

    What it cannot show: as MIG it looks from each concept only, so that a code which serves many concepts is not held against them,
    and the truth itself loses where concepts are correlated or a right code comes twice. A line does not see what is not linear.

    References
    ----------
    .. [1] Kumar, Sattigeri & Balakrishnan (2018), Variational inference of disentangled latent concepts from unlabeled observations,
       section 3.
    """

    equivalence = "permutation, sign and scale of each code"
    invariances = ("permutation", "sign", "scale", "shift", "state relabelling")
    kinds = ("sparse", "real", "states")
    chance = PERMUTED_CODES
    ceiling = ORACLE
    floors = (RANDOM_ROTATION, COMMON_FACTOR)

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``level_0`` ..., and ``predictability``: the mean of the first code's."""
        levels = shown_levels(outcome, self.kinds)
        truth = truth_of(outcome)
        pieces = []
        for level in levels:
            if truth.levels[level].kind == "states":
                first, second = information_on_halves(outcome, (level,), bins=10, on_bins=4, seed=seed)
                pieces.append(_best_two(first.tau, second.tau))
            else:
                pieces.append(_best_two(*_lines(outcome.sample.latents[level], checked_codes(outcome))))
        best = np.concatenate(pieces)
        gap = torch.from_numpy(best[:, 0] - best[:, 1])
        return Scores(float(gap.mean()), means_by_level(gap, truth, levels) | {"predictability": float(best[:, 0].mean())})


def _best_two(first: Array, second: Array) -> Array:
    """Scores on the second half of the two codes that are best on the first, shape (c, 2)."""
    best = np.zeros((len(first), 2))
    order = np.argsort(-first, axis=1, kind="stable")[:, :2]
    best[:, : order.shape[1]] = np.take_along_axis(second, order, axis=1)
    return best


def _moments(z: Rows, a: Rows) -> tuple[Array, Array, Array, Array, Array]:
    """Means of concepts and of codes, their variances, and their covariances, shape (c, m)."""
    mean_z, mean_a, var_z, var_a, both = (t.numpy() for t in (mean(z), mean(a), variance(z), variance(a), covariance(z, a)))
    return mean_z, mean_a, var_z, var_a, both


def _lines(concepts: Rows, codes: Rows) -> tuple[Array, Array]:
    """R2 of a line from every code to every concept: on the rows it is fitted on, and on the others; shape (c, m) each."""
    first, second = halves(len(codes), 2 * len(codes), 0)
    mean_z, mean_a, var_z, var_a, cov = _moments(take(concepts, first), take(codes, first))
    slope = np.divide(cov, var_a, out=np.zeros_like(cov), where=var_a > 0)
    fitted = np.divide(slope * cov, var_z[:, None], out=np.zeros_like(cov), where=var_z[:, None] > 0)
    new_z, new_a, var_z, var_a, cov = _moments(take(concepts, second), take(codes, second))
    shift = (new_z - mean_z)[:, None] - slope * (new_a - mean_a)
    left = var_z[:, None] - 2 * slope * cov + slope**2 * var_a + shift**2
    total = (var_z + (new_z - mean_z) ** 2)[:, None]
    return fitted, np.clip(1 - np.divide(left, total, out=np.ones_like(left), where=var_z[:, None] > 0), 0.0, 1.0)
