"""Modularity, explicitness and compactness from information."""

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
from evaluators.recovery.information import Array, halves, information_on_halves, ratio_by_concept, sampled_concepts, targets
from testbed.contracts import Evaluator, Outcome, Scores
from testbed.numerics.discretise import take
from testbed.numerics.linear_readout import explained_out_of_sample
from testbed.numerics.matching import dense


class InfoMEC(Evaluator):
    r"""InfoM, InfoE and InfoC [1]_ by a rule that keeps sparse codes; the value is the smallest of the three.

    With :math:`N_{ij} = I(z_i; a_j) / H(z_i)`, over c concepts and m' informative codes,

    .. math:: \mathrm{InfoM} = \frac{\frac{1}{m'} \sum_j \max_i N_{ij} / \sum_i N_{ij} - \frac1c}{1 - \frac1c}, \qquad
        \mathrm{InfoC} = \frac{\frac1c \sum_i \max_j N_{ij} / \sum_j N_{ij} - \frac1{m'}}{1 - \frac1{m'}}

    and InfoE is the share of a concept's variance (of its states' indicators) that a linear readout of all codes explains out of sample.
    The value is the least of them, since each alone can be had without recovering anything: InfoE by a rotation, InfoM by a few copies of
    a few concepts.

    **Which codes count.** The published code drops a latent whose range is under a twentieth of the largest range, and by that a code's
    scale decides; a rule by variance drops what is rarely on. Here a code counts if it *tells of some concept*: its table with at least one
    concept is significant on the first half (G test at `alpha` for the code as a whole), and of its entries those that are so count,
    measured on the second half. Scale and rate play no part. Codes that tell nothing are left out of InfoM (their number is the part
    ``silent``, so that a crowd of them shows), and a concept that no code tells of counts 0 in InfoC.

    What it cannot show: where concepts depend on each other, the truth's own codes tell of several concepts and InfoM falls for them as
    for a mixture: read it against its ceiling. InfoE is linear: a code that is another function of its concept than the
    concept's scale loses there. Labels of more than two states are read as numbers in InfoE (not in the others).

    Parameters
    ----------
    bins, on_bins : int
        States of a column that is not sparse, and of the on part of one that is.
    alpha : float
        Rate at which a code that says nothing is taken for one that does.
    max_rows : int
        Rows that InfoE is measured on, drawn by seed, half of them to fit.

    References
    ----------
    .. [1] Hsu, Dorrell, Whittington, Wu & Finn (2023), Disentanglement via latent quantization, section 5.
    """

    equivalence = "permutation, sign and scale of each code"
    invariances = ("permutation", "sign", "scale", "state relabelling")
    kinds = ("sparse", "real", "states")
    chance = PERMUTED_CODES
    ceiling = ORACLE
    floors = (RANDOM_ROTATION, COMMON_FACTOR)

    def __init__(self, bins: int = 10, on_bins: int = 4, alpha: float = 0.01, max_rows: int = 16384) -> None:
        self.bins = bins
        self.on_bins = on_bins
        self.alpha = alpha
        self.max_rows = max_rows

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``infom``, ``infoe``, ``infoc``, ``silent`` (share of codes that tell of nothing); ``level_0`` ... of InfoC's terms."""
        levels = shown_levels(outcome, self.kinds)
        first, second = information_on_halves(outcome, levels, bins=self.bins, on_bins=self.on_bins, seed=seed)
        share = np.where(first.significant(self.alpha), second.normalised(), 0.0)  # (c, m)
        telling = share.sum(axis=0) > 0
        share = share[:, telling]
        modular, compact = largest_share(share.T), largest_share(share)
        infom = float(modular.mean()) if telling.any() else 0.0
        infoc = float(compact.mean())
        infoe = float(self._explicit(outcome, levels, seed).mean())
        parts = {"infom": infom, "infoe": infoe, "infoc": infoc, "silent": float(1 - telling.mean()) if len(telling) else 1.0}
        return Scores(min(infom, infoe, infoc), parts | means_by_level(torch.from_numpy(compact), truth_of(outcome), levels))

    def _explicit(self, outcome: Outcome, levels: tuple[int, ...], seed: int) -> Array:
        """Share of each concept's variance that codes explain linearly, shape (c,)."""
        codes = checked_codes(outcome)
        chosen = sampled_concepts(outcome, levels, 2**31, seed)
        parts = [
            (dense(take(codes, rows)).float(), *targets(outcome, levels, rows, chosen)) for rows in halves(len(codes), self.max_rows, seed)
        ]
        (x, y, owner), (x_new, y_new, _) = parts
        return ratio_by_concept(*explained_out_of_sample(x.cpu(), y, x_new.cpu(), y_new), owner, len(chosen))


def largest_share(weights: Array) -> Array:
    """Largest entry of each row as a share of its sum, rescaled so that equal entries give 0 and a single one 1; 0 for a row of zeros."""
    width = weights.shape[1]
    total = weights.sum(axis=1)
    if width < 2:
        return np.asarray(total > 0, np.float64)
    share = np.divide(weights.max(axis=1), total, out=np.full(len(weights), 1 / width), where=total > 0)
    return np.asarray((share - 1 / width) / (1 - 1 / width))
