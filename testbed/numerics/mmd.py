r"""Do two samples have one law? Maximum mean discrepancy, with a permutation test.

With a kernel k whose mean embedding determines the law (here a mixture of Gaussians, over several bandwidths),

.. math:: \mathrm{MMD}^2_u = \frac{1}{m (m - 1)} \sum_{i \ne j} k(x_i, x_j) + \frac{1}{n (n - 1)} \sum_{i \ne j} k(y_i, y_j)
          - \frac{2}{m n} \sum_{i, j} k(x_i, y_j)

is unbiased (Gretton et al. [1]_, eq. 3), and 0 on average iff the laws are the same. Under that hypothesis rows may be dealt out anew,
which makes the test exact at any sample size: its p-value is (1 + number of permutations with as large a value) / (1 + their number).

All pairs cost n squared. Random Fourier features [2]_, :math:`k(x, y) \approx \frac{1}{D} \sum_d \cos w_d \cdot (x - y)`, cost n D instead:
the same test with another kernel, still exact in level, at ten times the rows.

References
----------
.. [1] Gretton, Borgwardt, Rasch, Schölkopf & Smola (2012), A kernel two-sample test, JMLR 13, 723-773.
.. [2] Rahimi & Recht (2007), Random features for large-scale kernel machines, NeurIPS 20.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from testbed.contracts import InvalidInput

BANDWIDTHS = (0.25, 0.5, 1.0, 2.0)
"""Of the mixture, in units of the median distance between rows."""
REFERENCE = 500
"""Rows from which the median distance is taken."""
TOGETHER = 64
"""Permutations that are worked on at a time."""


@dataclass(frozen=True)
class TwoSample:
    """What a two-sample test found.

    Attributes
    ----------
    mmd2 : float
        The unbiased estimate; may be below 0.
    p_value : float
    """

    mmd2: float
    p_value: float


def median_distance(rows: Tensor) -> float:
    """Median distance between up to `REFERENCE` of the rows, shape (n, d).

    Raises
    ------
    InvalidInput
        If rows are not finite, or (nearly) all the same.
    """
    if rows.ndim != 2 or not bool(rows.isfinite().all()):
        raise InvalidInput(f"rows must be finite, of shape (n, d), not {tuple(rows.shape)} with NaN or infinity: clean them first")
    few = torch.pdist(rows[:: max(1, len(rows) // REFERENCE)])
    if not (few > 0).any():
        raise InvalidInput("rows are all the same, so that no distance between them sets a bandwidth: give rows that vary")
    return float(few[few > 0].median())


def kernel(rows: Tensor) -> Tensor:
    r"""Mean of Gaussian kernels :math:`\exp(-|x - y|^2 / 2 (b\, \mathrm{median})^2)` over `BANDWIDTHS`, shape (n, d) -> (n, n)."""
    median = median_distance(rows)
    square = torch.cdist(rows, rows).square_()
    out = torch.zeros_like(square)
    for bandwidth in BANDWIDTHS:
        out += (square / (-2 * (bandwidth * median) ** 2)).exp_()
    return out / len(BANDWIDTHS)


def fourier_features(rows: Tensor, count: int, generator: torch.Generator) -> Tensor:
    """Features whose scalar products approximate `kernel`, `count` frequencies each: shape (n, d) -> (n, 2 count), float32, of norm 1."""
    scales = torch.tensor(BANDWIDTHS, dtype=rows.dtype).repeat(-(-count // len(BANDWIDTHS)))[:count] * median_distance(rows)
    frequencies = torch.randn(rows.shape[1], count, generator=generator, dtype=rows.dtype) / scales
    angles = rows @ frequencies.to(rows.device)
    features: Tensor = torch.cat([angles.cos(), angles.sin()], dim=1).float() / float(count) ** 0.5
    return features


def two_sample_test(x: Tensor, y: Tensor, *, permutations: int = 999, seed: int = 0, features: int | None = None) -> TwoSample:
    """Test whether two samples have one law.

    Columns are scaled to unit deviation of both samples together; those that do not vary are left out.

    Parameters
    ----------
    x, y : Tensor, shapes (m, d) and (n, d)
        Independent rows; a few thousand together unless `features` are used.
    permutations : int
        Of the test; its smallest p-value is 1 / (1 + permutations).
    seed : int
    features : int, optional
        Frequencies of random Fourier features in the place of all pairs.

    Raises
    ------
    InvalidInput
        If a sample has fewer than 2 rows, columns differ in number, or rows are not finite or all the same.
    """
    if x.ndim != 2 or y.ndim != 2 or x.shape[1] != y.shape[1] or min(len(x), len(y)) < 2 or permutations < 1:
        raise InvalidInput(
            f"two samples of at least 2 rows and equal width and at least 1 permutation are needed, not {tuple(x.shape)}, {tuple(y.shape)} "
            f"and {permutations}: give more rows"
        )
    pooled = torch.cat([x, y]).double()
    spread = pooled.std(dim=0)
    moving = ~(spread <= 1e-12 * pooled.abs().amax(dim=0).clamp_min(1e-300))
    rows = pooled[:, moving] / spread[moving]
    m, n = len(x), len(y)
    generator = torch.Generator().manual_seed(seed)
    # Rows of `side` sum to the part of a group in all scalar products; k(x, x) = 1, which is left out of sums over pairs.
    side = kernel(rows) if features is None else fourier_features(rows, features, generator)
    everything = side.sum(dim=0)

    def statistic(first: Tensor) -> Tensor:
        """Of indicators of the rows that make the first sample, shape (b, m + n) -> (b,)."""
        mine = first @ side
        if features is None:
            within, between = (mine * first).sum(dim=1), (mine * (1 - first)).sum(dim=1)
            other = everything.sum() - within - 2 * between
        else:
            theirs = everything - mine
            within, between, other = (mine * mine).sum(dim=1), (mine * theirs).sum(dim=1), (theirs * theirs).sum(dim=1)
        return (within - m) / (m * (m - 1)) + (other - n) / (n * (n - 1)) - 2 * between / (m * n)

    dealt = torch.zeros(1, m + n, dtype=side.dtype, device=side.device)
    dealt[0, :m] = 1
    found = float(statistic(dealt)[0])
    larger = 0
    for start in range(0, permutations, TOGETHER):
        anew = torch.zeros(min(TOGETHER, permutations - start), m + n, dtype=side.dtype)
        for row in anew:
            row[torch.randperm(m + n, generator=generator)[:m]] = 1
        larger += int((statistic(anew.to(side.device)) >= found).sum())
    return TwoSample(found, (1 + larger) / (1 + permutations))
