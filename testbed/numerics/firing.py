"""When a code is on: thresholds from the code's own distribution, never from the truth."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from testbed.contracts import BLOCK, Codes, InvalidInput, SparseRows

GAIN = 1 / 3
"""Smallest gain of two parts over one. Magnitudes of an exponential law, which has one part, would gain .326, a uniform law 0."""
FEWEST = 5
"""Values in the smaller part, at least; fewer say nothing of its spread."""
SPARSE = 0.01
"""Share of rows on which a code must be exactly 0 to be read as one that rests at 0."""


@dataclass(frozen=True, slots=True)
class Firing:
    """When each of m codes is on.

    Attributes
    ----------
    rest : Tensor, shape (m,)
        The value of the code when it is off.
    direction : Tensor, shape (m,)
        0: it is on where it differs from `rest` by more than `threshold`. 1 or -1: where it lies above, or below, `rest` by more than that.
    threshold : Tensor, shape (m,)
    """

    rest: Tensor
    direction: Tensor
    threshold: Tensor

    def __call__(self, codes: Codes) -> SparseRows:
        """Ones where codes are on, shape (n, m).

        Raises
        ------
        InvalidInput
            If there are other than m codes.
        """
        if codes.shape[1] != len(self.rest):
            raise InvalidInput(f"there are {codes.shape[1]} codes, but thresholds for {len(self.rest)}: fit them on the same codes")
        if isinstance(codes, SparseRows) and not self.direction.any():
            on = codes.values.abs() > self.threshold[codes.indices]
            return SparseRows.from_entries(
                codes.row_of_entry()[on], codes.indices[on], torch.ones_like(codes.values[on]), (len(codes), codes.shape[1])
            )
        starts = range(0, max(1, len(codes)), BLOCK)
        return SparseRows.cat([SparseRows.from_dense(self._on(codes[i : i + BLOCK])) for i in starts])

    def _on(self, codes: Codes) -> Tensor:
        off = (codes.dense() if isinstance(codes, SparseRows) else codes) - self.rest
        return (torch.where(self.direction == 0, off.abs(), off * self.direction) > self.threshold).to(off)


def firing(codes: Codes) -> Firing:
    r"""Read off a sample of codes when each of them is on.

    A code that is exactly 0 on 1 % of the rows or more rests at 0, and is on where its magnitude exceeds a threshold: 0, unless its
    magnitudes have two parts (see `two_parts`), of which the lower one is then taken for noise. Any other code rests at its median and
    is on beyond a threshold on the side of its longer tail (by the third central moment about the median): a concept that is on less
    than half of the time, and its code's sign unknown. There, too, the threshold is 0 unless there are two parts.

    Parameters
    ----------
    codes : Tensor or SparseRows, shape (n, m)

    Returns
    -------
    Firing
        Which does not change when codes are scaled, or change sign.
    """
    n, m = codes.shape
    where = codes.values.device if isinstance(codes, SparseRows) else codes.device
    rest, direction, threshold = torch.zeros(3, m, dtype=torch.float64)
    for j, column in enumerate(_columns(codes)):  # the values other than 0
        if len(column) <= (1 - SPARSE) * n:
            threshold[j] = two_parts(np.abs(column))
            continue
        whole = np.concatenate([column, np.zeros(n - len(column))])
        middle = np.median(whole)
        off = whole - middle
        side = 1.0 if (off**3).sum() >= 0 else -1.0
        rest[j], direction[j], threshold[j] = middle, side, two_parts(side * off[side * off > 0])
    dtype = codes.values.dtype if isinstance(codes, SparseRows) else codes.dtype
    return Firing(*(t.to(where, dtype) for t in (rest, direction, threshold)))


def two_parts(values: NDArray[Any]) -> float:
    r"""The threshold between two parts of positive values by least error [1]_, or 0 if they have one part.

    .. math:: J(t) = 1 + 2 (p_1 \log s_1 + p_2 \log s_2) - 2 (p_1 \log p_1 + p_2 \log p_2)

    with p the shares and s the standard deviations of the values below and above t (eq. 15 there) is, up to a constant, minus twice the
    mean log-likelihood of two normal laws told apart at t. One normal law has :math:`1 + 2 \log s`. The best t is a threshold where it
    gains `GAIN` and no less than the information criterion's price of three parameters, :math:`3 \log(n) / n`; else there is one part.

    Parameters
    ----------
    values : array, shape (n,), all > 0

    References
    ----------
    .. [1] Kittler & Illingworth (1986), Minimum error thresholding, Pattern Recognition 19.
    """
    n = len(values)
    if n < 2 * FEWEST:
        return 0.0
    v = np.sort(values).astype(np.float64)
    v, unit = v / v[-1], float(v[-1])
    below = np.arange(1, n)
    share = below / n
    total, square = np.cumsum(v), np.cumsum(v * v)
    variance = square[-1] / n - (total[-1] / n) ** 2
    if variance <= 1e-12:
        return 0.0
    low = square[:-1] / below - (total[:-1] / below) ** 2
    high = (square[-1] - square[:-1]) / (n - below) - ((total[-1] - total[:-1]) / (n - below)) ** 2
    # A part of equal values has no spread, and would make any threshold perfect: 1 % of the whole's is the least.
    least = 1e-4 * variance
    fit = share * np.log(np.maximum(low, least)) + (1 - share) * np.log(np.maximum(high, least)) - np.log(variance)
    fit -= 2 * (share * np.log(share) + (1 - share) * np.log(1 - share))
    apart = np.diff(v) > 0  # between equal values there is no threshold
    fit[~apart | (below < FEWEST) | (n - below < FEWEST)] = np.inf
    best = int(fit.argmin())
    if fit[best] > -max(GAIN, 3 * np.log(n) / n):
        return 0.0
    return unit * float(v[best] + v[best + 1]) / 2


def _columns(codes: Codes) -> list[NDArray[Any]]:
    """Values other than 0 of each code."""
    if isinstance(codes, SparseRows):
        used = codes.values != 0
        column, value = codes.indices[used], codes.values[used]
        order = column.argsort(stable=True)
        counts = column.bincount(minlength=codes.shape[1])
        return np.split(value[order].double().cpu().numpy(), counts.cumsum(0)[:-1].cpu().numpy()) if codes.shape[1] else []
    return [column[column != 0].double().cpu().numpy() for column in codes.T]


def is_on(codes: Codes) -> NDArray[np.bool_]:
    """Whether each code is on, by its own distribution, shape (n, m)."""
    on: NDArray[np.bool_] = firing(codes)(codes).dense().cpu().numpy() > 0
    return on
