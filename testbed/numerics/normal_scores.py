"""Ranks made Gaussian: what is left of a column when every increasing map of it is to mean the same."""

from __future__ import annotations

import torch
from torch import Tensor

from testbed.contracts import Rows, SparseRows
from testbed.numerics.ranks import centred_ranks


def normal_scores(rows: Rows) -> Tensor:
    r"""Normal scores of each column, :math:`\Phi^{-1}((r - 1/2) / n)` with r its mid-ranks, then mean 0 and variance 1.

    They do not change under increasing maps, flip their sign under decreasing ones, and have no heavy tails [1]_.

    Parameters
    ----------
    rows : Tensor or SparseRows, shape (n, k), finite
        Of sparse rows only the entries are sorted.

    Returns
    -------
    Tensor, shape (n, k), float32
        Ties share their mid-rank; a constant column gives zeros.

    References
    ----------
    .. [1] van der Waerden (1952), Order tests for the two-sample problem and their power.
    """
    n, k = rows.shape
    if not n or not k:
        return torch.zeros(n, k)
    # Twice a mid-rank is a whole number, so every score stands in a table: of 2 r - 1 at that place.
    table = torch.special.ndtri(torch.arange(2 * n, dtype=torch.float64) / (2 * n))
    ranks = centred_ranks(rows)
    if isinstance(ranks, SparseRows):
        return _of_entries(ranks, table)
    pieces = torch.split(ranks, 256, dim=1)  # so that float64 scores of few columns are held at once
    return torch.cat([_standardised(table[(2 * piece + n).long()]) for piece in pieces], dim=1)


def _standardised(scores: Tensor) -> Tensor:
    scores = scores - scores.mean(dim=0)
    deviation = scores.square().mean(dim=0).sqrt()
    return torch.where(deviation > 1e-9, scores / deviation.clamp_min(1e-9), 0.0).float()


def _of_entries(ranks: SparseRows, table: Tensor) -> Tensor:
    """Scores from ranks that are 0 where the value is, less the mid-rank of the zeros."""
    n, k = ranks.shape
    column, rank = ranks.indices, ranks.values.double()
    negative, used, stored = (column[which].bincount(minlength=k) for which in (rank < 0, rank != 0, slice(None)))
    zero = 2 * negative + n - used  # 2 r - 1 of the zeros
    scores, of_zeros = table[(2 * rank).long() + zero[column]], table[zero.clamp(1, 2 * n - 1)]

    def mean(of_entries: Tensor, otherwise: Tensor) -> Tensor:
        return (otherwise.new_zeros(k).index_add_(0, column, of_entries) + (n - stored) * otherwise) / n

    middle = mean(scores, of_zeros)
    scores, of_zeros = scores - middle[column], of_zeros - middle
    deviation = mean(scores.square(), of_zeros.square()).sqrt()
    scale = torch.where(deviation > 1e-9, 1 / deviation.clamp_min(1e-9), 0.0)
    out = (of_zeros * scale).float().expand(n, k).clone()
    out[ranks.row_of_entry(), column] = (scores * scale[column]).float()
    return out
