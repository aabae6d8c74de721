"""Tests of conditional independence in batches, for constraint-based search: Fisher's z, G2, and d-separation in a known graph.

A test takes a batch of questions at once: is ``x[t]`` independent of each of ``others[t]`` given ``given[t]``? All questions of a batch
condition on equally many variables, so that what a node and a conditioning set have in common is computed once for all others.
The answer is a *margin*: above 0 means independent, and the larger, the more so.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc, ndtri

from testbed.contracts import InvalidInput

Index = NDArray[np.int64]
Float = NDArray[np.float64]

SINGULAR = 1e-10
"""Share of a column's variance below which what others leave of it is taken for rounding."""
MOST_STATES = 64
"""More values than this in one column are no states."""
CELLS = 2**22
"""Table cells and row numbers that G2 holds at once."""


class IndependenceTest(Protocol):
    """What a search asks; `variables` is the number of columns, `deepest` the largest conditioning set that the rows allow."""

    variables: int
    deepest: int

    def margin(self, x: Index, given: Index, others: Index) -> Float:
        """How independent ``x[t]`` and ``others[t, j]`` are given ``given[t]``: shapes (t,), (t, d), (t, k) to (t, k); above 0 if so."""


# ---------------------------------------------------------------------------------------------------------------- Fisher's z


class FisherZ:
    r"""Partial correlation by Fisher's z transform [1]_: independent if

    .. math:: \sqrt{n - |C| - 3}\; |\operatorname{artanh} r_{xy \cdot C}| < \Phi^{-1}(1 - \alpha / 2)

    or if the partial correlation itself is at most `effect`. The threshold on r is the same for all sets of one size: computed once.
    It is exact for Gaussian data; dependence without correlation is invisible to it.

    Parameters
    ----------
    values : array, shape (n, p)
    alpha : float
    effect : float
        Partial correlations up to this count as none, however many rows say otherwise.

    Raises
    ------
    InvalidInput
        If there are fewer than 4 rows, a column is constant, or two columns are copies of each other; in `margin`, if a column is a
        linear function of others.

    References
    ----------
    .. [1] Fisher (1924), The distribution of the partial correlation coefficient, Metron 3.
    """

    def __init__(self, values: NDArray[Any], alpha: float = 0.01, effect: float = 0.0) -> None:
        self.rows, self.variables = values.shape
        self.alpha, self.effect = alpha, effect
        self.deepest = self.rows - 4
        if self.rows < 4:
            raise InvalidInput(f"Fisher's z needs at least 4 rows, but there are {self.rows}: give more rows")
        self.correlations = correlations(values)

    def bound(self, depth: int) -> float:
        """The partial correlation below which sets of `depth` variables leave a pair independent."""
        return max(float(np.tanh(-ndtri(self.alpha / 2) / np.sqrt(self.rows - depth - 3))), self.effect)

    def margin(self, x: Index, given: Index, others: Index) -> Float:
        """Threshold minus partial correlation, both squared."""
        squared = squared_partial_correlations(self.correlations, x, given, others)
        return np.subtract(self.bound(given.shape[1]) ** 2, squared, out=squared)


def correlations(values: NDArray[Any]) -> Float:
    """Correlation matrix of the columns of `values`, shape (n, p), in float64; refuses constant columns and copies."""
    centred = np.asarray(values, dtype=np.float64)
    size = np.abs(centred).max(axis=0)
    centred = centred - centred.mean(axis=0)
    norm = np.sqrt(np.einsum("ij,ij->j", centred, centred))
    constant = np.flatnonzero(norm <= 1e-12 * np.maximum(size, 1e-300) * np.sqrt(len(values)))
    if len(constant):
        raise InvalidInput(f"column {constant[0]} is constant, so that nothing can depend on it: leave it out")
    centred /= norm
    r = centred.T @ centred
    np.fill_diagonal(r, 0.0)
    worst = int(np.abs(r).argmax())
    a, b = divmod(worst, len(r))
    if 1 - r[a, b] ** 2 < SINGULAR:
        raise InvalidInput(f"columns {min(a, b)} and {max(a, b)} are copies of each other up to scale: leave one of them out")
    np.fill_diagonal(r, 1.0)
    return np.asarray(r)


def squared_partial_correlations(r: Float, x: Index, given: Index, others: Index) -> Float:
    """Squared partial correlation of ``x[t]`` and ``others[t, j]`` given ``given[t]``, shape (t, k), from a correlation matrix (p, p).

    Gaussian elimination of the conditioning set, for all t and all others together: after each step the rest is a matrix of partial
    covariances.
    """
    depth = given.shape[1]
    cov = r[x[:, None], others]  # (t, k)
    if not depth:
        return np.asarray(cov * cov)
    left_x, left_y = np.ones(len(x)), np.ones(others.shape)
    inner = [[r[given[:, i], given[:, j]] for j in range(depth)] for i in range(depth)]  # (t,) each
    to_x = [r[given[:, i], x] for i in range(depth)]
    to_y = [r[given[:, i, None], others] for i in range(depth)]  # (t, k) each
    for i in range(depth):
        pivot = inner[i][i]
        _refuse_singular(pivot, given[:, i], given[:, :i])
        share = to_x[i] / pivot
        cov -= share[:, None] * to_y[i]
        left_x -= share * to_x[i]
        for j in range(i + 1, depth):
            factor = inner[i][j] / pivot
            for m in range(j, depth):
                inner[j][m] = inner[j][m] - factor * inner[i][m]
            to_x[j] = to_x[j] - factor * to_x[i]
            to_y[j] -= factor[:, None] * to_y[i]
        np.multiply(to_y[i], to_y[i], out=to_y[i])
        to_y[i] /= pivot[:, None]
        left_y -= to_y[i]
    _refuse_singular(left_x, x, given)
    lowest = left_y.min(axis=1)
    if lowest.min() < SINGULAR:
        t = int(lowest.argmin())
        _refuse_singular(left_y[t], others[t], np.broadcast_to(given[t], (others.shape[1], depth)))
    np.multiply(cov, cov, out=cov)
    cov /= left_y
    cov /= left_x[:, None]
    if len(cov) and cov.max() > 1 - SINGULAR:
        t, j = divmod(int(cov.argmax()), cov.shape[1])
        _refuse_singular(np.zeros(1), others[t, j : j + 1], np.append(given[t], x[t])[None])
    return np.asarray(cov)


def _refuse_singular(left: Float, of: Index, given: Index) -> None:
    if len(left) and left.min() < SINGULAR:
        t = int(left.argmin())
        columns = ", ".join(map(str, given[t].tolist()))
        raise InvalidInput(
            f"column {of[t]} is a linear function of columns {columns}, so that correlations are singular: leave one of them out"
        )


# ------------------------------------------------------------------------------------------------------------------------ G2


class G2:
    r"""Likelihood-ratio test of states [1]_: with counts N in the strata c of the conditioning set,

    .. math:: G^2 = 2 \sum_{x, y, c} N_{xyc} \log \frac{N_{xyc} N_{c}}{N_{xc} N_{yc}}

    against a chi-squared law whose degrees of freedom are summed over strata, counting the values that occur in each. It is asymptotic:
    with few rows per cell it is not to be trusted. A stratified pair without a degree of freedom counts as independent.
    `effect` is on the scale of a correlation [2]_: :math:`\sqrt{1 - e^{-2I}}`, where I = G2 / (2n) is conditional mutual information.

    Parameters
    ----------
    values : array, shape (n, p)
        States; any values, at most 64 different ones in a column.
    alpha, effect : float

    Raises
    ------
    InvalidInput
        If a column is constant or has too many values.

    References
    ----------
    .. [1] Spirtes, Glymour & Scheines (2000), Causation, prediction, and search, section 5.5.
    .. [2] Linfoot (1957), An informational measure of correlation, Information and Control 1.
    """

    def __init__(self, values: NDArray[Any], alpha: float = 0.01, effect: float = 0.0) -> None:
        self.rows, self.variables = values.shape
        self.alpha, self.effect = alpha, effect
        columns, self.states = [], np.zeros(self.variables, dtype=np.int64)
        for j in range(self.variables):
            different, state = np.unique(values[:, j], return_inverse=True)
            if len(different) < 2:
                raise InvalidInput(f"column {j} is constant, so that nothing can depend on it: leave it out")
            if len(different) > MOST_STATES:
                raise InvalidInput(
                    f"column {j} has {len(different)} different values, but G2 is for at most {MOST_STATES} states: bin it first"
                )
            columns.append(state.reshape(-1))
            self.states[j] = len(different)
        self.columns = np.ascontiguousarray(np.array(columns, dtype=np.int64))  # (p, n)
        self.deepest = int(np.log2(max(self.rows, 1)))  # beyond it two states each leave less than one row per stratum

    def margin(self, x: Index, given: Index, others: Index) -> Float:
        """p minus alpha; 1 where the effect is small."""
        out = np.empty(others.shape)
        widest = int(self.states.max())
        per = others.shape[1] * (self.rows + widest**2 * min(widest ** given.shape[1], self.rows))
        step = max(1, CELLS // per)
        for start in range(0, len(x), step):
            part = slice(start, start + step)
            statistic, freedom = self._statistic(x[part], given[part], others[part])
            p = np.where(freedom > 0, chdtrc(np.maximum(freedom, 1), statistic), 1.0)
            small = np.sqrt(-np.expm1(-statistic / self.rows)) <= self.effect
            out[part] = np.where(small, 1.0, p - self.alpha)
        return out

    def _statistic(self, x: Index, given: Index, others: Index) -> tuple[Float, Float]:
        """G2 and its degrees of freedom, shape (t, k) each."""
        t, k = others.shape
        a, b = int(self.states[x].max()), int(self.states[others].max())
        stratum, strata = self._strata(given)
        place = ((np.arange(t)[:, None] * strata + stratum) * a + self.columns[x])[:, None, :] * b + self.columns[others]  # (t, k, n)
        place += (np.arange(k) * (t * strata * a * b))[None, :, None]
        count = np.bincount(place.reshape(-1), minlength=k * t * strata * a * b).reshape(k, t, strata, a, b).astype(np.float64)
        of_x, of_y = count.sum(axis=4), count.sum(axis=3)
        of_c = of_x.sum(axis=3)
        entropy = [_n_log_n(one).sum(axis=tuple(range(2, one.ndim))) for one in (count, of_c, of_x, of_y)]
        statistic = 2 * (entropy[0] + entropy[1] - entropy[2] - entropy[3])
        freedom = (np.maximum((of_x > 0).sum(axis=3) - 1, 0) * np.maximum((of_y > 0).sum(axis=3) - 1, 0)).sum(axis=2)
        return np.maximum(statistic, 0.0).T, freedom.T.astype(np.float64)

    def _strata(self, given: Index) -> tuple[Index, int]:
        """The stratum of each row, shape (t, n), and the most that there are; renumbered where few of the possible ones occur."""
        stratum = np.zeros((len(given), self.rows), dtype=np.int64)
        most = 1
        for i in range(given.shape[1]):
            width = int(self.states[given[:, i]].max())
            stratum = stratum * width + self.columns[given[:, i]]
            most *= width
            if most > self.rows:
                stratum = np.stack([np.unique(one, return_inverse=True)[1].reshape(-1) for one in stratum])
                most = int(stratum.max()) + 1
        return stratum, most


def _n_log_n(count: Float) -> Float:
    return np.asarray(count * np.log(np.maximum(count, 1.0)))


# --------------------------------------------------------------------------------------------------------------- d-separation


class DSeparation:
    """The oracle: d-separation in a known DAG, with nodes that are always conditioned upon [1]_.

    Parameters
    ----------
    edges : array, shape (E, 2)
        From cause to effect, among nodes 0 to `nodes` - 1.
    nodes : int
    variables : int, optional
        The first ones are what a search sees; all by default.
    selected : sequence of int
        Nodes with a known value in every row, such as those that selection acts on.

    Raises
    ------
    InvalidInput
        If the graph has a cycle.

    References
    ----------
    .. [1] Shachter (1998), Bayes-ball, Uncertainty in Artificial Intelligence 14.
    """

    def __init__(self, edges: NDArray[Any], nodes: int, variables: int | None = None, selected: Sequence[int] = ()) -> None:
        self.variables = nodes if variables is None else variables
        self.deepest = self.variables
        self.child = np.zeros((nodes, nodes), dtype=np.float32)
        if len(edges):
            self.child[edges[:, 0], edges[:, 1]] = 1
        self.below = np.eye(nodes, dtype=np.float32)  # whether a path leads from i to j
        for _ in range(nodes):
            self.below = np.minimum(self.below @ (np.eye(nodes, dtype=np.float32) + self.child), 1)
        if (self.below * self.below.T).sum() > nodes:
            raise InvalidInput("the graph has a cycle: d-separation is defined for graphs without one")
        self.selected = np.zeros(nodes, dtype=bool)
        self.selected[list(selected)] = True

    @classmethod
    def of_selection(
        cls, constituents: Sequence[Sequence[int]], selected: Sequence[bool] | None = None, jointly: Sequence[Sequence[int]] = ()
    ) -> DSeparation:
        """Of compositions with potentials, each a selected common effect of what it weighs; parameters as in `graphs.selected_mag`."""
        nodes = len(constituents)
        weighed = [tuple_ for i, tuple_ in enumerate(constituents) if (selected is None or selected[i]) and len(tuple_)] + list(jointly)
        edges = [(j, i) for i, tuple_ in enumerate(constituents) for j in tuple_]
        edges += [(j, nodes + s) for s, together in enumerate(weighed) for j in together]
        everything = nodes + len(weighed)
        return cls(np.array(edges, dtype=np.int64).reshape(-1, 2), everything, nodes, range(nodes, everything))

    def margin(self, x: Index, given: Index, others: Index) -> Float:
        """1 where separated, -1 where not: the Bayes ball rolls from all x at once."""
        t = np.arange(len(x))
        known = np.repeat(self.selected[None], len(x), axis=0)  # (t, nodes)
        known[t[:, None], given] = True
        informed = (known.astype(np.float32) @ self.below.T) > 0  # known, or an ancestor of what is
        upward, downward = np.zeros_like(known), np.zeros_like(known)  # reached from an effect, from a cause
        upward[t, x] = True
        reached = -1
        while (now := int(upward.sum()) + int(downward.sum())) > reached:
            reached = now
            to_effects = (upward | downward) & ~known
            to_causes = (upward & ~known) | (downward & informed)
            upward |= (to_causes.astype(np.float32) @ self.child.T) > 0
            downward |= (to_effects.astype(np.float32) @ self.child) > 0
        return np.where((upward | downward)[t[:, None], others], -1.0, 1.0)
