"""Whether two fits describe the same subspace, whatever directions they take in it."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import scipy.linalg
import torch
from numpy.typing import NDArray

from evaluators.calibration import RANDOM_DICTIONARY, checked_codes, dictionary_of
from evaluators.stability.fits import pairs_of, several
from testbed.contracts import Codes, Evaluator, InvalidInput, Outcome, Scores, SparseRows


class SubspaceAngles(Evaluator):
    r"""Mean squared cosine of the principal angles between the subspaces of two fits, over all pairs of fit seeds [1]_ [2]_.

    .. math:: \frac{1}{\max(r_a, r_b)} \sum_k \cos^2 \theta_k

    The subspace of a fit is spanned by the r leading left singular vectors of its dictionary, each row times its code's root mean square:
    as few as hold `share` of the sum of squares. Parts: the mean number r of directions, the largest angle in degrees (mean over pairs),
    and the lowest and highest of the pairs.

    Agreement here says nothing about single concepts: any rotation within the subspace leaves it alone. It is the control beside
    `seed_agreement`: high here and low there means that fits see the same part of the view and cut it up differently. Where r reaches the
    width of the view every subspace is the whole, and the score 1 by construction; its chance level is 1 there, too. Where many directions
    hold about as much as the last one taken, which of them are taken is an accident, and the score falls although little has moved.

    Parameters
    ----------
    share : float
        Of the sum of squares; 1 takes the whole span of the living rows.

    References
    ----------
    .. [1] Bjorck & Golub (1973), Numerical methods for computing angles between linear subspaces.
    .. [2] Raghu et al. (2017), SVCCA, section 2: subspaces of layers, cut where they hold most of the variance.
    """

    equivalence = "rotation within the subspace; permutation, sign and scale of each code"
    invariances = ("permutation", "sign", "scale")
    scope = "seeds"
    chance = RANDOM_DICTIONARY
    ceiling = 1.0

    def __init__(self, share: float = 0.9) -> None:
        self.share = share

    def score(self, outcome: Sequence[Outcome], *, seed: int) -> Scores:
        if not 0 < self.share <= 1:
            raise InvalidInput(f"share is {self.share}: a number above 0, at most 1, is wanted")
        bases = [self._basis(one) for one in several(outcome)]
        found = [_overlap(bases[a], bases[b]) for a, b in pairs_of(len(bases))]
        overlaps = [overlap for overlap, _ in found]
        parts = {
            "lowest": min(overlaps),
            "highest": max(overlaps),
            "largest_angle": sum(angle for _, angle in found) / len(found),
            "directions": sum(basis.shape[1] for basis in bases) / len(bases),
        }
        return Scores(sum(overlaps) / len(overlaps), parts)

    def _basis(self, outcome: Outcome) -> NDArray[np.float64]:
        """Orthonormal basis of a fit's subspace, shape (d, r); r is 0 where no code is ever active."""
        dictionary, codes = dictionary_of(outcome), checked_codes(outcome)
        weighted = dictionary.double().cpu() * _root_mean_square(codes).cpu()[:, None]  # (m, d)
        moments = (weighted.T @ weighted).numpy()
        values, vectors = np.linalg.eigh(moments)
        values, vectors = values[::-1].clip(min=0.0), vectors[:, ::-1]
        if values[0] <= 0:
            return vectors[:, :0]
        held = np.cumsum(values) / values.sum()
        rank = int((values > 1e-10 * values[0]).sum())
        return vectors[:, : min(rank, int((held < self.share - 1e-12).sum()) + 1)]


def _root_mean_square(codes: Codes) -> torch.Tensor:
    """Of each code over the rows, shape (m,), float64."""
    if isinstance(codes, SparseRows):
        squares = codes.values.double().square()
        total = squares.new_zeros(codes.shape[1]).index_add_(0, codes.indices, squares)
        return (total / max(len(codes), 1)).sqrt()
    return codes.double().square().mean(dim=0).sqrt()


def _overlap(a: NDArray[np.float64], b: NDArray[np.float64]) -> tuple[float, float]:
    """Sum of squared cosines over the larger number of directions, and the largest angle in degrees (90 if one has none)."""
    if not a.shape[1] or not b.shape[1]:
        return 0.0, 90.0
    angles = scipy.linalg.subspace_angles(a, b)
    return float((np.cos(angles) ** 2).sum()) / max(a.shape[1], b.shape[1]), math.degrees(float(angles.max()))
