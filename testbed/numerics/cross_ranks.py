"""Ranks of cross-covariances of sets of columns, tested in batches: how many hidden numbers explain what two sets have in common."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc

from testbed.contracts import InvalidInput
from testbed.numerics.independence import correlations

Index = NDArray[np.int64]
Float = NDArray[np.float64]

SINGULAR = 1e-9
"""Smallest share of variance that a column of a set may keep beside the others."""
NUMBERS = 2**22
"""Numbers that a batch holds at once."""


class RankTest:
    r"""Whether the cross-covariance of A and B given C has rank r or less, by canonical correlations and Bartlett's test [1]_.

    With canonical correlations :math:`\rho_1 \ge \rho_2 \ge \dots` of A (a columns) and B (b columns) after C (c columns) is taken out,

    .. math:: -\Bigl(n - c - 1 - \frac{a + b + 1}{2}\Bigr) \sum_{k > r} \log(1 - \rho_k^2) \sim \chi^2_{(a - r)(b - r)}

    under rank r, for Gaussian columns. In a linear model without cycles the rank is the size of the smallest set that t-separates A and
    B [2]_: a tree's quartets have rank 1 across its inner edges and 2 along them. Rank 0 with one column each is the test of a partial
    correlation.

    Parameters
    ----------
    values : array, shape (n, p)

    Raises
    ------
    InvalidInput
        If a column is constant or a copy; in questions, if columns of A and C, or of B and C, are linearly dependent, or rows too few.

    References
    ----------
    .. [1] Bartlett (1941), The statistical significance of canonical correlations, Biometrika 32.
    .. [2] Sullivant, Talaska & Draisma (2010), Trek separation for Gaussian graphical models, Annals of Statistics 38, theorem 2.8.
    """

    def __init__(self, values: NDArray[Any]) -> None:
        self.rows, self.variables = values.shape
        self.correlations = correlations(values)

    def canonical_correlations(self, a: Index, b: Index, given: Index | None = None) -> Float:
        """Largest first, shape (t, min(a, b)), of the sets ``a[t]`` and ``b[t]``, given ``given[t]``: shapes (t, a), (t, b), (t, c)."""
        t = len(a)
        inside = np.zeros((t, 0), dtype=np.int64) if given is None else given
        size = (a.shape[1] + b.shape[1] + inside.shape[1]) ** 2
        step = max(1, NUMBERS // size)
        parts = [self._some(a[i : i + step], b[i : i + step], inside[i : i + step]) for i in range(0, t, step)]
        return np.concatenate(parts) if parts else np.zeros((0, min(a.shape[1], b.shape[1])))

    def p_values(self, a: Index, b: Index, given: Index | None = None) -> Float:
        """p of rank r or less for r = 0, 1, ..., min(a, b) - 1, shape (t, min(a, b)); sets as in `canonical_correlations`."""
        width_a, width_b, width_c = a.shape[1], b.shape[1], 0 if given is None else given.shape[1]
        scale = self.rows - width_c - 1 - (width_a + width_b + 1) / 2
        if scale <= 0:
            raise InvalidInput(f"sets of {width_a}, {width_b} and {width_c} columns need more than {self.rows} rows: give more rows")
        rho = self.canonical_correlations(a, b, given)
        terms = -np.log1p(-np.minimum(rho**2, 1 - 1e-15))
        statistic = scale * np.cumsum(terms[:, ::-1], axis=1)[:, ::-1]
        r = np.arange(rho.shape[1])
        return np.asarray(chdtrc((width_a - r) * (width_b - r), statistic))

    def ranks(self, a: Index, b: Index, given: Index | None = None, alpha: float = 0.01) -> Index:
        """The smallest rank that is not rejected, shape (t,)."""
        kept = self.p_values(a, b, given) > alpha
        full = np.ones((len(kept), 1), dtype=bool)
        return np.asarray(np.argmax(np.concatenate([kept, full], axis=1), axis=1), dtype=np.int64)

    def _some(self, a: Index, b: Index, given: Index) -> Float:
        r = self.correlations
        aa, bb, ab = (r[x[:, :, None], y[:, None, :]] for x, y in ((a, a), (b, b), (a, b)))
        if given.shape[1]:
            root = _cholesky(r[given[:, :, None], given[:, None, :]])
            to_a, to_b = (np.linalg.solve(root, r[given[:, :, None], x[:, None, :]]) for x in (a, b))  # (t, c, width)
            aa = aa - to_a.transpose(0, 2, 1) @ to_a
            bb = bb - to_b.transpose(0, 2, 1) @ to_b
            ab = ab - to_a.transpose(0, 2, 1) @ to_b
        left = np.linalg.solve(_cholesky(aa), ab)
        both = np.linalg.solve(_cholesky(bb), left.transpose(0, 2, 1))
        return np.asarray(np.clip(np.linalg.svd(both, compute_uv=False), 0.0, 1.0))


def _cholesky(matrices: Float) -> Float:
    """Lower triangular roots, shape (t, w, w); refuses what is singular."""
    try:
        root = np.linalg.cholesky(matrices)
    except np.linalg.LinAlgError:
        root = np.zeros_like(matrices)
    if len(root) and np.square(np.diagonal(root, axis1=1, axis2=2)).min() < SINGULAR:
        raise InvalidInput("a set holds a linear function of its other columns, so that correlations are singular: leave one of them out")
    return np.asarray(root)
