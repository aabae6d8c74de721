"""Ranks made Gaussian: what is left of a column when every increasing map of it is to mean the same."""

from __future__ import annotations

import torch
from torch import Tensor


def normal_scores(columns: Tensor) -> Tensor:
    r"""Normal scores of each column, :math:`\Phi^{-1}((r - 1/2) / n)` with r its mid-ranks, then mean 0 and variance 1.

    They do not change under increasing maps, flip their sign under decreasing ones, and have no heavy tails [1]_.

    Parameters
    ----------
    columns : Tensor, shape (n, k)

    Returns
    -------
    Tensor, shape (n, k), float32
        Ties share their mid-rank; a constant column gives zeros.

    References
    ----------
    .. [1] van der Waerden (1952), Order tests for the two-sample problem and their power.
    """
    pieces = [_scores(piece) for piece in torch.split(columns, 256, dim=1)]  # so that float64 ranks of few columns are held at once
    return torch.cat(pieces, dim=1) if pieces else columns.float()


def _scores(columns: Tensor) -> Tensor:
    n = len(columns)
    values, order = columns.sort(dim=0)
    place = torch.arange(n, device=columns.device)[:, None].expand_as(order)
    starts = torch.ones_like(values, dtype=torch.bool)
    starts[1:] = values[1:] != values[:-1]
    ends = torch.ones_like(starts)
    ends[:-1] = starts[1:]
    first = torch.where(starts, place, 0).cummax(dim=0).values
    last = torch.where(ends, place, n).flip(0).cummin(dim=0).values.flip(0)
    sorted_scores = torch.special.ndtri(((first + last).double() / 2 + 0.5) / n)
    scores = torch.empty_like(sorted_scores).scatter_(0, order, sorted_scores)
    scores -= scores.mean(dim=0)
    deviation = scores.square().mean(dim=0).sqrt()
    return torch.where(deviation > 1e-9, scores / deviation.clamp_min(1e-9), 0.0).float()
