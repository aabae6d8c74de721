"""Disentanglement, completeness and informativeness."""

from __future__ import annotations

import numpy as np
import torch
from sklearn.ensemble import GradientBoostingRegressor
from torch import Tensor

from evaluators.calibration import COMMON_FACTOR, ORACLE, PERMUTED_CODES, RANDOM_ROTATION, checked_codes, shown_levels
from evaluators.recovery.information import Array, by_concept, halves, mean_by_level, ratio_by_concept, sampled_concepts, targets
from testbed.contracts import Evaluator, InvalidInput, Outcome, Scores
from testbed.numerics.discretise import take
from testbed.numerics.lasso_kernel import lasso_paths
from testbed.numerics.linear_readout import standardiser
from testbed.numerics.matching import dense

REGRESSORS = ("lasso", "trees")
SHARES = np.geomspace(1.0, 1e-3, 7)
"""Penalties that the lasso tries, as shares of the smallest that leaves no weight."""
SWEEPS = 30
"""Sweeps per penalty, at most."""
TREES, DEPTH, CANDIDATES = 20, 3, 32
"""Boosted trees per target, their depth, and the codes that they may choose from: those that correlate most with the target."""
TREE_CONCEPTS, TREE_ROWS = 16, 2048
"""Concepts and rows for trees, at most: they cost a hundred times what the lasso does."""


class DCI(Evaluator):
    r"""Disentanglement, completeness and informativeness [1]_; the value is the smallest of the three.

    A regressor predicts each concept from all codes. With :math:`R_{ij}` the importance of code j for concept i, its shares
    :math:`P_{ij} = R_{ij} / \sum_i R_{ij}` over concepts and :math:`\tilde P_{ij} = R_{ij} / \sum_j R_{ij}` over codes,

    .. math:: D = \sum_j \rho_j \big( 1 - H_c(P_{\cdot j}) \big), \quad \rho_j = \frac{\sum_i R_{ij}}{\sum_{ij} R_{ij}}, \qquad
        C = \frac1c \sum_i \big( 1 - H_m(\tilde P_{i \cdot}) \big)

    with entropies to base c and m, and I the mean R2 on rows that nothing was fitted on. Each is had alone without recovering anything: D
    by copies of a few concepts, I by a rotation; so the value is the least, and the three are parts. A concept that no code is
    important for counts 0 in C, and one that is not predicted counts 0 in I. D is weighted by importance as in the paper and does not see
    what is missing.

    ``"lasso"``: importance is the weight's size, in standard deviations of code and concept; the penalty is chosen per concept from a path
    on the last quarter of the first half of the rows: the largest whose error is within one standard error of the least, so that a
    concept which no code tells of has no weights. ``"trees"``: the gain of boosted regression trees, for a few drawn concepts and on the
    codes that correlate most with each. Concepts of kind `states` have an indicator per state, whose importances add up.

    What it cannot show: with the lasso, codes that are bent functions of their concept lose informativeness, and a label with more than
    two states is not linear in itself. Of two copies of a right code one may get all the importance. With trees D and C mean little where
    c is large: few concepts are drawn and few codes may be chosen from, so that at c = 1,024 noise has a D of .92 (I, and so the value,
    is 0). Entropies to base m forgive: a concept spread evenly over 10 of 1,024 codes still has a completeness of .67.

    Parameters
    ----------
    regressor : {"lasso", "trees"}
    max_rows, max_concepts : int
        Rows (half of them to fit) and concepts, drawn by seed where there are more; trees take no more than `TREE_ROWS` and
        `TREE_CONCEPTS`. With fewer concepts than there are, a code of one that was not drawn has no importance and does not count in D.

    References
    ----------
    .. [1] Eastwood & Williams (2018), A framework for the quantitative evaluation of disentangled representations, section 2.
    """

    equivalence = "permutation, sign and scale of each code"
    invariances = ("permutation", "sign", "scale", "shift")
    kinds = ("sparse", "real", "states")
    chance = PERMUTED_CODES
    ceiling = ORACLE
    floors = (RANDOM_ROTATION, COMMON_FACTOR)

    def __init__(self, regressor: str = "lasso", max_rows: int = 16384, max_concepts: int = 256) -> None:
        self.regressor = regressor
        self.max_rows = max_rows
        self.max_concepts = max_concepts

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``disentanglement``, ``completeness``, ``informativeness``; ``level_0`` ... are means of completeness."""
        if self.regressor not in REGRESSORS:
            raise InvalidInput(f"regressor is {self.regressor!r}: {' or '.join(REGRESSORS)}")
        trees = self.regressor == "trees"
        levels = shown_levels(outcome, self.kinds)
        codes = checked_codes(outcome)
        chosen = sampled_concepts(outcome, levels, min(self.max_concepts, TREE_CONCEPTS) if trees else self.max_concepts, seed)
        first, second = halves(len(codes), min(self.max_rows, TREE_ROWS) if trees else self.max_rows, seed)
        x, x_new = (dense(take(codes, rows)).float().cpu() for rows in (first, second))
        (y, owner), (y_new, _) = (targets(outcome, levels, rows, chosen) for rows in (first, second))
        (x, x_new), (y, y_new) = _standardised(x, x_new), _standardised(y, y_new)
        if trees:
            importance, predicted = boosted_trees(x, y, x_new, seed)
        else:
            importance, predicted = lasso(x, y, x_new)
        importance = by_concept(importance.T, owner, len(chosen)).T  # (concepts, m)
        left, total = (part.double().square().sum(dim=0).numpy() for part in (y_new - predicted, y_new))
        informative = ratio_by_concept(left, total, owner, len(chosen))
        complete = one_minus_entropy(importance)
        of_code, weight = one_minus_entropy(importance.T), importance.sum(axis=0)
        d = float((of_code * weight).sum() / weight.sum()) if weight.sum() > 0 else 0.0
        c, i = float(complete.mean()), float(informative.mean())
        parts = {"disentanglement": d, "completeness": c, "informativeness": i} | mean_by_level(complete, chosen, outcome, levels)
        return Scores(min(d, c, i), parts, details={"concepts predicted": len(chosen), "rows fitted": len(first)})


def lasso(x: Tensor, y: Tensor, x_new: Tensor) -> tuple[Array, Tensor]:
    """Sizes of the lasso's weights, shape (t, m), and its predictions on new rows, (n', t); all standardised."""
    fit = max(1, len(x) * 3 // 4)
    u, v = x[:fit], y[:fit]
    gram, cross = (u.T @ u / fit).numpy(), (v.T @ u / fit).contiguous().numpy()
    weights = np.zeros((len(SHARES), *cross.shape), np.float32)
    lasso_paths(gram, cross, SHARES, SWEEPS, 1e-4, weights)
    check, checked = (x[fit:], y[fit:]) if fit < len(x) else (x, y)
    squares = [(checked - check @ torch.from_numpy(w).T).double().square() for w in weights]  # (n, t) each
    error = torch.stack([square.mean(dim=0) for square in squares]).numpy()  # (l, t)
    noise = torch.stack([square.std(dim=0, correction=0) for square in squares]).numpy() / len(check) ** 0.5
    target = np.arange(len(cross))
    least = error.argmin(axis=0)
    # The first, which is the largest, of the penalties that pass.
    best = weights[(error <= error[least, target] + noise[least, target]).argmax(axis=0), target]  # (t, m)
    return np.abs(best), x_new @ torch.from_numpy(best).T


def boosted_trees(x: Tensor, y: Tensor, x_new: Tensor, seed: int) -> tuple[Array, Tensor]:
    """Gains of boosted trees times the variance they explain in the fit, shape (t, m), and predictions on new rows, (n', t)."""
    correlation = (y.T @ x / len(x)).abs()
    importance, predicted = np.zeros(correlation.shape), torch.zeros(len(x_new), y.shape[1])
    for t in range(y.shape[1]):
        used = correlation[t].argsort(descending=True, stable=True)[:CANDIDATES]
        used = used[correlation[t, used] > 0]
        if not len(used):
            continue
        model = GradientBoostingRegressor(
            n_estimators=TREES, max_depth=DEPTH, learning_rate=0.2, min_samples_leaf=5, random_state=seed % 2**32
        )
        target = y[:, t].double().numpy()
        model.fit(x[:, used].numpy(), target)
        importance[t, used.numpy()] = model.feature_importances_ * max(0.0, model.score(x[:, used].numpy(), target))
        predicted[:, t] = torch.from_numpy(model.predict(x_new[:, used].numpy()))
    return importance, predicted


def one_minus_entropy(weights: Array) -> Array:
    """One minus the entropy of each row's shares, to base of their number: 1 where one column has all the weight, 0 for a row of zeros."""
    total = weights.sum(axis=1)
    share = np.divide(weights, total[:, None], out=np.zeros_like(weights, dtype=np.float64), where=total[:, None] > 0)
    entropy = -(share * np.log(np.where(share > 0, share, 1.0))).sum(axis=1)
    return np.where(total > 0, 1 - entropy / np.log(max(2, weights.shape[1])), 0.0)


def _standardised(rows: Tensor, new: Tensor) -> tuple[Tensor, Tensor]:
    """Both in standard deviations of the first about its mean."""
    mean, scale = standardiser(rows)
    return (rows - mean) * scale, (new - mean) * scale
