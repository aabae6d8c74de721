"""By how much the most informative code of a concept leads the second."""

from __future__ import annotations

import numpy as np
import torch

from evaluators.calibration import COMMON_FACTOR, ORACLE, PERMUTED_CODES, RANDOM_ROTATION, means_by_level, shown_levels, truth_of
from evaluators.recovery.information import information_on_halves
from testbed.contracts import Evaluator, Outcome, Scores


class MIG(Evaluator):
    r"""Mutual information gap [1]_.

    .. math:: \frac1c \sum_i \frac{I(z_i; a_{(1)}) - I(z_i; a_{(2)})}{H(z_i)}

    (eq. 6 there) with :math:`a_{(1)}, a_{(2)}` the codes that tell most and second most of concept i. The two are chosen on the first
    half of the rows and their gap is measured on the second, with the information's bias taken out, so that codes which say nothing
    have a gap of 0 on average. Concepts and codes have a few states each, see `testbed.numerics.discretise`: a sparse one is off or in one
    of `on_bins` parts of equal counts. The mean is over all concepts that the view shows; a constant one counts 0.

    What it cannot show: it looks from each concept at its codes and never from a code at its concepts, so that one code which serves
    many concepts is not held against them. Where concepts depend on each other, a neighbour's code also tells of a concept, and even the
    truth has a small gap: read it against its ceiling. Two copies of a right code have a gap of 0.

    Parameters
    ----------
    bins : int
        States of a column that is not sparse.
    on_bins : int
        States of the on part of a sparse one.

    References
    ----------
    .. [1] Chen, Li, Grosse & Duvenaud (2018), Isolating sources of disentanglement in variational autoencoders, section 4.1.
    """

    equivalence = "permutation and increasing or decreasing map of each code (sign and scale among them)"
    invariances = ("permutation", "sign", "scale", "state relabelling")
    kinds = ("sparse", "real", "states")
    chance = PERMUTED_CODES
    ceiling = ORACLE
    floors = (RANDOM_ROTATION, COMMON_FACTOR)

    def __init__(self, bins: int = 10, on_bins: int = 4) -> None:
        self.bins = bins
        self.on_bins = on_bins

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``level_0`` ..., and ``information``: the mean share of a concept's entropy that its first code has."""
        levels = shown_levels(outcome, self.kinds)
        first, second = information_on_halves(outcome, levels, bins=self.bins, on_bins=self.on_bins, seed=seed)
        best = np.zeros((len(first.corrected), 2))
        order = np.argsort(-first.corrected, axis=1, kind="stable")[:, :2]
        best[:, : order.shape[1]] = np.take_along_axis(second.normalised(), order, axis=1)
        gap = torch.from_numpy(best[:, 0] - best[:, 1])
        parts = means_by_level(gap, truth_of(outcome), levels) | {"information": float(best[:, 0].mean())}
        return Scores(float(gap.mean()), parts, details={"rows counted in each half": [first.n, second.n]})
