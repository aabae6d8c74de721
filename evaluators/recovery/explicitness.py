"""Whether a linear classifier on all codes can read each concept, and whether each code is about one concept."""

from __future__ import annotations

from typing import Self

import numpy as np
import torch
from scipy.stats import rankdata
from torch import Tensor

from evaluators.calibration import COMMON_FACTOR, ORACLE, PERMUTED_CODES, RANDOM_ROTATION, checked_codes, shown_levels
from evaluators.recovery.information import Array, halves, information_on_halves, kinds_of, mean_by_level, sampled_concepts, targets
from testbed.contracts import Evaluator, Outcome, Scores
from testbed.numerics.discretise import take
from testbed.numerics.linear_readout import standardiser
from testbed.numerics.logistic import logistic_readouts
from testbed.numerics.matching import dense

QUARTILES = (0.25, 0.5, 0.75)
ALPHA = 0.01
"""Rate at which a code that says nothing passes, in modularity, for one that does."""


class Explicitness(Evaluator):
    r"""How well logistic regression on all codes tells each concept's events, one against the rest [1]_.

    .. math:: \frac1c \sum_i \frac{1}{K_i} \sum_k (2\, \mathrm{AUC}_{ik} - 1)

    with AUC the area under the receiver operating characteristic of event k of concept i, fitted on the first half of the rows and
    measured on the second. The paper takes the mean AUC; it is stretched here so that a readout that says nothing has 0, and is itself the
    part ``auc``. Events: a sparse concept is on; a concept of `states` is in each of its states; a real one lies above each of its
    quartiles (the paper's bins are not linearly separable even in the concept itself). Events that one of the halves has none of, or all,
    count 0.

    The part ``modularity`` is the paper's other half:
    :math:`1 - \sum_{i \ne i^*} I_{ij}^2 / (I_{i^* j}^2 (c - 1))` with :math:`i^*` the concept that code j tells most of, averaged over the
    codes that vary; information that is not significant (G test) is none, and a code that tells of nothing counts 0.

    What it cannot show: it is blind to mixing, since a linear readout undoes any rotation, which has the same explicitness as the
    truth. And modularity tends to 1 as c grows, whatever the codes: a code that tells of five concepts out of 1,024 alike has .996.

    Parameters
    ----------
    max_rows, max_concepts : int
        Rows (half of them to fit) and concepts that readouts are fitted for, drawn by seed where there are more.
    ridge : float
        Penalty on whitened codes, per row.
    max_iter : int

    References
    ----------
    .. [1] Ridgeway & Mozer (2018), Learning deep disentangled embeddings with the F-statistic loss, section 2.
    """

    equivalence = "permutation, sign and scale of each code"
    invariances = ("permutation", "sign", "scale", "shift")
    kinds = ("sparse", "real", "states")
    chance = PERMUTED_CODES
    ceiling = ORACLE
    floors = (RANDOM_ROTATION, COMMON_FACTOR)

    def __init__(self, max_rows: int = 8192, max_concepts: int = 32, ridge: float = 1e-2, max_iter: int = 30) -> None:
        self.max_rows = max_rows
        self.max_concepts = max_concepts
        self.ridge = ridge
        self.max_iter = max_iter

    @classmethod
    def small(cls) -> Self:
        """Few rows and concepts."""
        return cls(max_rows=400, max_concepts=6)

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``level_0`` ..., ``auc`` and ``modularity``."""
        levels = shown_levels(outcome, self.kinds)
        codes = checked_codes(outcome)
        chosen = sampled_concepts(outcome, levels, self.max_concepts, seed)
        first, second = halves(len(codes), self.max_rows, seed)
        x, x_new = (dense(take(codes, rows)).float().cpu() for rows in (first, second))
        (y, owner), (y_new, _) = (targets(outcome, levels, rows, chosen) for rows in (first, second))
        y, y_new, owner = events(y, y_new, owner, kinds_of(outcome, levels, chosen))
        area, converged = self._areas(x, y, x_new, y_new)
        count = np.bincount(owner, minlength=len(chosen))
        of_concept = np.bincount(owner, weights=2 * area - 1, minlength=len(chosen)) / np.maximum(count, 1)
        parts = mean_by_level(of_concept, chosen, outcome, levels)
        parts |= {"auc": float((1 + of_concept.mean()) / 2), "modularity": self._modularity(outcome, levels, seed)}
        details = {"concepts read": len(chosen), "rows fitted": len(first), "converged": converged}
        return Scores(float(of_concept.mean()), parts, details=details)

    def _areas(self, x: Tensor, y: Tensor, x_new: Tensor, y_new: Tensor) -> tuple[Array, bool]:
        """AUC of each event on the new rows, shape (t,); 1/2 where there is nothing to fit or to tell."""
        area = np.full(y.shape[1], 0.5)
        fit = (y.any(dim=0) & ~y.all(dim=0) & y_new.any(dim=0) & ~y_new.all(dim=0)).numpy()
        mean, scale = standardiser(x)
        if not fit.any() or not scale.any():
            return area, True
        alive = scale > 0
        x, x_new = ((rows - mean)[:, alive] * scale[alive] for rows in (x, x_new))
        weights, _, converged = logistic_readouts(x, y[:, fit], ridge=self.ridge, max_iter=self.max_iter)
        area[fit] = areas_under_curve((x_new @ weights).numpy(), y_new[:, fit].numpy())
        return area, converged

    def _modularity(self, outcome: Outcome, levels: tuple[int, ...], seed: int) -> float:
        _, second = information_on_halves(outcome, levels, bins=10, on_bins=4, seed=seed)
        told = np.where(second.significant(ALPHA), second.corrected, 0.0)  # noise alone tells of one concept most
        square = told[:, second.code_entropy > 0] ** 2  # (c, live codes)
        if not square.size:
            return 0.0
        largest = square.max(axis=0)
        others = np.divide(square.sum(axis=0) - largest, largest * max(1, len(square) - 1), out=np.ones_like(largest), where=largest > 0)
        return float(np.where(largest > 0, 1 - others, 0.0).mean())


def events(y: Tensor, y_new: Tensor, owner: Array, kinds: Array) -> tuple[Tensor, Tensor, Array]:
    """Each concept's events on both halves, bool, and whose they are; quartiles come from the first half."""
    pieces: list[Tensor] = []
    new_pieces: list[Tensor] = []
    owners = []
    for real in (False, True):
        which = np.flatnonzero((kinds[owner] == "real") == real)
        if not len(which):
            continue
        column = torch.from_numpy(which)
        cuts = torch.quantile(y[:, column].double(), torch.tensor(QUARTILES, dtype=torch.float64), dim=0) if real else [None]
        for cut in cuts:
            for out, rows in ((pieces, y), (new_pieces, y_new)):
                out.append(rows[:, column] != 0 if cut is None else rows[:, column] > cut)
            owners.append(owner[which])
    return torch.cat(pieces, dim=1), torch.cat(new_pieces, dim=1), np.concatenate(owners)


def areas_under_curve(scores: Array, events: Array) -> Array:
    """Area under the ROC curve of each column by Mann and Whitney's statistic, ties counted half; shapes (n, t) to (t,)."""
    ranks = rankdata(scores, axis=0)
    positive = events.sum(axis=0)
    negative = len(events) - positive
    return np.asarray(((ranks * events).sum(axis=0) - positive * (positive + 1) / 2) / (positive * negative))
