"""How little a code moves while its concept is held."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy.sparse
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
from evaluators.recovery.information import Array, concept_states, halves
from testbed.contracts import Evaluator, Outcome, Rows, Scores, SparseRows
from testbed.numerics.discretise import States, csr, take


class IRS(Evaluator):
    r"""Interventional robustness [1]_, from observed rows grouped by each concept's states.

    .. math:: R_{ij} = 1 - \sqrt{\frac{W_{ij}}{W_{ij} + B_{ij}}}, \qquad
        W_{ij} = \frac1K \sum_s \mathrm{var}(a_j \mid z_i = s), \qquad B_{ij} = \frac1K \sum_s \big( \mu_{ijs} - \bar\mu_{ij} \big)^2

    with :math:`\mu_{ijs} = E[a_j \mid z_i = s]`, each of the K states of concept i weighed alike, as in interventions that set it to each
    of them equally often; variances are unbiased, and B is so by taking the means' own noise out. Each code goes to the concept that it
    is most robust for, on the first half of the rows; a concept scores the best of its codes, on the second. One that no code goes to,
    or that is constant, counts 0.

    How this differs from the paper: the deviation is a root mean square, where the paper takes the largest one (its code a 0.99 quantile)
    and divides by the largest of all, which for a sparse code is one row's value; the spread is compared with that under
    the same interventions rather than with that of the sample, which would make a perfect code of a rare concept look fragile; codes
    are not weighted by their range, so that scale does not count; and the mean is over concepts. The mean over codes, as published, is the
    part ``codes``.

    What it cannot show: the rows are observed and not intervened on, so that what depends on a concept by selection counts as moved by it:
    under strong dependence copies of a common factor look robust. A code that is constant within each state is perfect, whatever function
    of the state it is; two concepts' shared code is held against neither. A real code of a real concept reaches about 1 - 1 / `bins`, since
    it moves within a state: read it against its ceiling.

    Parameters
    ----------
    bins, on_bins : int
        States of a concept that is not sparse, and of the on part of one that is.
    max_rows : int
        Rows used where codes are dense, drawn by seed, half of them to choose by.

    References
    ----------
    .. [1] Suter, Miladinovic, Scholkopf & Bauer (2019), Robustly disentangled causal mechanisms, section 4.
    """

    equivalence = "permutation, sign and scale of each code"
    invariances = ("permutation", "sign", "scale", "shift", "state relabelling")
    kinds = ("sparse", "real", "states")
    chance = PERMUTED_CODES
    ceiling = ORACLE
    floors = (RANDOM_ROTATION, COMMON_FACTOR)

    def __init__(self, bins: int = 10, on_bins: int = 4, max_rows: int = 16384) -> None:
        self.bins = bins
        self.on_bins = on_bins
        self.max_rows = max_rows

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``level_0`` ..., and ``codes``: the mean over codes that vary."""
        levels = shown_levels(outcome, self.kinds)
        codes = checked_codes(outcome)
        n = len(codes)
        found = []
        for index in halves(n, self.max_rows if not isinstance(codes, SparseRows) else n, seed):
            states = concept_states(outcome, levels, index, bins=self.bins, on_bins=self.on_bins)
            found.append(robustness(states, take(codes, index)))
        (chosen, _), (robust, varies) = found
        c, m = robust.shape
        of_concept = np.zeros(c)
        of_code = np.zeros(m)
        if m:
            concept = chosen.argmax(axis=0)
            of_code = np.where(chosen.max(axis=0) > 0, robust[concept, np.arange(m)], 0.0)
            np.maximum.at(of_concept, concept, of_code)
        parts = means_by_level(torch.from_numpy(of_concept), truth_of(outcome), levels)
        return Scores(float(of_concept.mean()), parts | {"codes": float(of_code[varies].mean()) if varies.any() else 0.0})


def robustness(states: States, codes: Rows) -> tuple[Array, Array]:
    """R of every concept with every code, shape (c, m), and which codes vary, shape (m,)."""
    n, c = states.table.shape
    width = int(states.n_states.max(initial=1))
    entries = states.table.tocoo()
    slot = entries.col.astype(np.int64) * width + entries.data
    groups = scipy.sparse.csr_array((np.ones(len(slot)), (slot, entries.row)), shape=(c * width, n))
    a = csr(codes).astype(np.float64) if isinstance(codes, SparseRows) else codes.detach().double().cpu().numpy()
    size = states.counts().astype(np.float64)[:, :, None]  # (c, width, 1)
    # In units of the code's own spread, about its mean: variances are differences of sums, which a large mean would drown.
    mean, square = _column_sum(a) / n, _column_sum(_squared(a)) / n
    varies = square - mean**2 > 1e-12 * square
    spread = np.where(varies, np.sqrt(np.maximum(square - mean**2, 0.0)), 1.0)
    if not scipy.sparse.issparse(a):
        a = (a - mean) / spread
    total, total_square = _column_sum(a), _column_sum(_squared(a))
    sums, squares = (_by_group(groups, part, whole, c, width) for part, whole in ((a, total), (_squared(a), total_square)))
    count = np.maximum(size, 1.0)
    middle = sums / count
    used = size >= 2
    within = np.where(used, np.maximum(squares - sums * middle, 0.0) / np.maximum(size - 1, 1.0), 0.0)
    k = np.maximum(used.sum(axis=1), 1)  # (c, 1)
    noise = (within / count).sum(axis=1) / k
    middle = np.where(used, middle, 0.0)
    centre = middle.sum(axis=1) / k
    between = (np.where(used, (middle - centre[:, None]) ** 2, 0.0)).sum(axis=1) / k - noise * (1 - 1 / k)
    inside = within.sum(axis=1) / k
    scale = square - mean**2 if scipy.sparse.issparse(a) else np.ones_like(mean)
    between = np.where(varies & (between > 1e-9 * scale), between, 0.0)
    inside = np.where(inside > 1e-9 * scale, inside, 0.0)  # rounding
    share = np.divide(inside, inside + between, out=np.ones_like(inside), where=between > 0)
    return 1 - np.sqrt(share), varies


def _by_group(groups: Any, values: Any, whole: Array, c: int, width: int) -> Array:
    """Sums of the values in each state of each concept, shape (c, width, m); state 0 gets what the others leave."""
    sums: Any = groups @ values
    out = (sums if isinstance(sums, np.ndarray) else sums.toarray()).reshape(c, width, -1)
    out[:, 0] = whole - out[:, 1:].sum(axis=1)
    return out


def _squared(a: Any) -> Any:
    return a * a  # of a sparse array entry by entry, too


def _column_sum(a: Any) -> Array:
    return np.asarray(a.sum(axis=0)).ravel()
