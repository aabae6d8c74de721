"""Correlations of concepts with codes whose rows arrive in chunks: of all pairs, or of matched pairs alone. Memory does not grow with n."""

from __future__ import annotations

import math
from typing import Any

import torch
from numpy.typing import NDArray
from torch import Tensor

from testbed.contracts import BLOCK, InvalidInput, Rows, SparseRows
from testbed.numerics.products_kernel import add_matched_products, add_products
from testbed.numerics.rows import check_finite, dense

CHUNK = 16 * BLOCK
"""Sparse rows that are multiplied at once: sorting them by concept takes some memory."""
SPARSE = 1 / 32
"""Share of products that are not 0 up to which going through them one by one is faster than a dense product."""
FAR = 1e4
"""Product of two ratios of mean to deviation beyond which rounding of sums about 0 could reach 1e-9 of a correlation."""
CONSTANT = 1e-7
"""A deviation of this size of the column, which is that of rounding, is a constant: dividing by it would invent a correlation."""


class Columns:
    r"""Count, mean and sum of squares about the mean of columns whose rows arrive in chunks, in float64.

    Two chunks merge without a difference of large squares [1]_: with :math:`\delta = \bar x_b - \bar x_a`,

    .. math:: S = S_a + S_b + \delta^2 \frac{n_a n_b}{n_a + n_b}.

    Attributes
    ----------
    count : int
    mean, spread : Tensor, shape (m,)

    References
    ----------
    .. [1] Chan, Golub & LeVeque (1983), Algorithms for computing the sample variance, eq. 2.1.
    """

    def __init__(self, width: int, device: Any = None) -> None:
        self.count = 0
        self.mean = torch.zeros(width, dtype=torch.float64, device=device)
        self.spread = self.mean.clone()

    def update(self, rows: Rows) -> None:
        """Take in rows, shape (n, m)."""
        step = max(1, len(rows)) if isinstance(rows, SparseRows) else BLOCK
        for start in range(0, len(rows), step):
            part = rows[start : start + step]
            self._join(len(part), *(_sparse_moments(part) if isinstance(part, SparseRows) else _dense_moments(part)))

    def merge(self, other: Columns) -> None:
        """Take in the rows that another one has seen."""
        self._join(other.count, other.mean, other.spread)

    def _join(self, n: int, mean: Tensor, spread: Tensor) -> None:
        both = max(1, self.count + n)
        delta = mean - self.mean
        self.spread += spread + delta.square() * (self.count * n / both)
        self.mean += delta * (n / both)
        self.count += n

    @property
    def scale(self) -> Tensor:
        """Reciprocal standard deviations, 0 for a constant column, shape (m,)."""
        variance = self.spread / max(1, self.count)
        deviation, size = variance.sqrt(), (variance + self.mean.square()).sqrt()
        return torch.where(deviation > CONSTANT * size, 1 / deviation.clamp_min(torch.finfo(torch.float64).tiny), 0.0)


def _sparse_moments(rows: SparseRows) -> tuple[Tensor, Tensor]:
    n, m = rows.shape
    values = rows.values.detach().double()
    mean = values.new_zeros(m).index_add_(0, rows.indices, values) / n
    spread = values.new_zeros(m).index_add_(0, rows.indices, (values - mean[rows.indices]).square())
    return mean, spread + (n - rows.indices.bincount(minlength=m)) * mean.square()


def _dense_moments(rows: Tensor) -> tuple[Tensor, Tensor]:
    wide = rows.detach().double()
    mean = wide.mean(dim=0)
    return mean, (wide - mean).square_().sum(dim=0)


class StreamedCorrelation:
    r"""Pearson correlation of every concept with every code, from rows that arrive in chunks.

    .. math:: r_{ij} = \frac{S_{ij} - n\,(\bar z_i - o_i)(\bar a_j - o'_j)}{n\, s(z_i)\, s(a_j)}, \quad
        S_{ij} = \sum_t (z_{ti} - o_i)(a_{tj} - o'_j)

    The offsets o are 0 where a side begins with sparse rows, which are then multiplied entry by entry: 30 active concepts and 30
    active codes cost 900 products a row, however many there are. A side that begins with dense rows has their mean as offset, so that a
    mean far from 0 costs no digits. Sums are in float64.

    Parameters
    ----------
    c, m : int
        Number of concepts and of codes. The sums take 8 c m bytes; the number of rows does not matter.
    device : device, optional
    """

    def __init__(self, c: int, m: int, device: Any = None) -> None:
        self.products = torch.zeros(c, m, dtype=torch.float64, device=device)
        self.concepts, self.codes = Columns(c, device), Columns(m, device)
        self._offsets: tuple[Tensor, ...] | None = None
        self._one_by_one = False

    def update(self, concepts: Rows, codes: Rows) -> None:
        """Take in rows of concepts, shape (n, c), and the same rows of codes, shape (n, m).

        Raises
        ------
        InvalidInput
            If the rows differ in number, or a value is not finite.
        """
        check_pair(concepts, codes)
        if not len(concepts):
            return
        self.concepts.update(concepts)
        self.codes.update(codes)
        if self._offsets is None:
            whole = self._far_from_0() or not sparse_enough(concepts, codes)
            self._offsets = tuple(side.mean.clone() if whole else torch.zeros_like(side.mean) for side in (self.concepts, self.codes))
            self._one_by_one = not whole
        if self._one_by_one and sparse_enough(concepts, codes):
            add_cross_products(self.products, concepts, codes)
            return
        for start in range(0, len(concepts), BLOCK):
            z, a = (dense(rows[start : start + BLOCK]).detach() for rows in (concepts, codes))
            self.products.addmm_((z - self._offsets[0]).T, a - self._offsets[1])

    def _far_from_0(self) -> bool:
        """Whether means are so large beside deviations that sums of products about 0 lose digits that a correlation needs."""
        ratios = ((side.mean * side.scale).abs() for side in (self.concepts, self.codes))
        return math.prod(float(ratio.max()) if len(ratio) else 0.0 for ratio in ratios) > FAR

    def correlation(self) -> Tensor:
        """Correlations of the rows so far, shape (c, m), float64, in [-1, 1]; a constant column (a dead code) has 0 with everything."""
        return self._into(self.products.clone())

    def finish(self) -> Tensor:
        """The same in the memory of the sums, after which no more rows can be taken in."""
        return self._into(self.products)

    def _into(self, out: Tensor) -> Tensor:
        z, a = self.concepts, self.codes
        n = max(1, z.count)
        offset, other = self._offsets or (0.0, 0.0)
        mean_z, mean_a = z.mean - offset, a.mean - other
        for start in range(0, len(out), BLOCK):  # in place, block by block: at 16,384 x 16,384 a copy takes 2 GiB
            part = slice(start, start + BLOCK)
            out[part].addr_(mean_z[part], mean_a, alpha=-n).mul_(z.scale[part, None] / n).mul_(a.scale).clamp_(-1.0, 1.0)
        return out


class MatchedCorrelation:
    r"""Pearson correlation of given pairs of a concept and a code, with its sign, from rows that arrive in chunks.

    What a matching from one half of the rows is worth on the other takes k sums, not c m.

    Parameters
    ----------
    concept, code : Tensor, shape (k,), int64
        Pairs, no concept twice.
    c, m : int
        Number of concepts and of codes.
    """

    def __init__(self, concept: Tensor, code: Tensor, c: int, m: int) -> None:
        self.concept, self.code = concept, code
        self.concepts, self.codes = Columns(c, concept.device), Columns(m, concept.device)
        self.scatter = torch.zeros(len(concept), dtype=torch.float64, device=concept.device)
        self._pair = torch.full((c,), -1, device=concept.device).index_copy_(0, concept, torch.arange(len(concept), device=concept.device))

    def update(self, concepts: Rows, codes: Rows) -> None:
        """Take in rows, as in `StreamedCorrelation`."""
        check_pair(concepts, codes)
        step = CHUNK if sparse_enough(concepts, codes) else BLOCK
        for start in range(0, len(concepts), step):
            self._merge(concepts[start : start + step], codes[start : start + step])

    def _merge(self, concepts: Rows, codes: Rows) -> None:
        z, a = (Columns(rows.shape[1], self.concept.device) for rows in (concepts, codes))
        z.update(concepts)
        a.update(codes)
        if isinstance(concepts, SparseRows) and isinstance(codes, SparseRows) and sparse_enough(concepts, codes):
            scatter = torch.zeros(len(self.concept), dtype=torch.float64)
            add_matched_products(scatter.numpy(), self._pair.numpy(), self.code.numpy(), *_arrays(concepts), *_arrays(codes))
            scatter -= z.count * z.mean[self.concept] * a.mean[self.code]
        else:
            left = dense(concepts).detach()[:, self.concept].double() - z.mean[self.concept]
            scatter = left.mul_(dense(codes).detach()[:, self.code] - a.mean[self.code]).sum(dim=0)
        n, more = self.concepts.count, z.count
        delta = (z.mean - self.concepts.mean)[self.concept] * (a.mean - self.codes.mean)[self.code]
        self.scatter += scatter + delta * (n * more / (n + more))
        self.concepts.merge(z)
        self.codes.merge(a)

    def correlation(self) -> Tensor:
        """Correlations of the rows so far, shape (k,), float64, in [-1, 1]; 0 where the concept or the code is constant."""
        scale = self.concepts.scale[self.concept] * self.codes.scale[self.code]
        return (self.scatter * scale / max(1, self.concepts.count)).clamp(-1.0, 1.0)


def add_cross_products(total: Tensor, left: Rows, right: Rows) -> None:
    r"""Add :math:`\sum_t x_{ti} y_{tj}` of sparse rows on the CPU to `total`, entry by entry.

    Parameters
    ----------
    total : Tensor, shape (c, m)
        Of any float type; sums of ones are exact in float32 up to 2**24.
    left, right : SparseRows, shape (n, c) and (n, m)
    """
    for start in range(0, len(left), CHUNK):
        x, y = left[start : start + CHUNK], right[start : start + CHUNK]
        assert isinstance(x, SparseRows)
        assert isinstance(y, SparseRows)
        add_products(total.numpy(), *_arrays(x), *_arrays(y))


def matched_cross_products(left: SparseRows, right: SparseRows, row: Tensor, column: Tensor) -> Tensor:
    r""":math:`\sum_t x_{t i_p} y_{t j_p}` of pairs (i_p, j_p), no i twice, of sparse rows; shape (k,), float64, on the CPU."""
    pair = torch.full((left.shape[1],), -1).index_copy_(0, row.cpu(), torch.arange(len(row)))
    total = torch.zeros(len(row), dtype=torch.float64)
    add_matched_products(total.numpy(), pair.numpy(), column.cpu().numpy(), *_arrays(left), *_arrays(right))
    return total


def check_pair(concepts: Rows, codes: Rows) -> None:
    """Raise InvalidInput unless both are finite and of the same rows."""
    if len(concepts) != len(codes):
        raise InvalidInput(f"concepts have {len(concepts)} rows and codes {len(codes)}: score them on the same sample")
    check_finite(concepts, "concepts hold NaN or infinity: check the generator's latents before scoring")
    check_finite(codes, "codes hold NaN or infinity: check the encoder's output before scoring it")


def sparse_enough(left: Rows, right: Rows) -> bool:
    """Whether so few products are not 0 that they are best made one by one."""
    if not isinstance(left, SparseRows) or not isinstance(right, SparseRows) or left.values.is_cuda or right.values.is_cuda:
        return False
    cells = max(1, left.shape[0] * left.shape[1]), max(1, right.shape[0] * right.shape[1])
    return len(left.values) / cells[0] * len(right.values) / cells[1] <= SPARSE


def _arrays(rows: SparseRows) -> tuple[NDArray[Any], NDArray[Any], NDArray[Any]]:
    return rows.indptr.cpu().numpy(), rows.indices.cpu().numpy(), rows.values.detach().cpu().numpy()
