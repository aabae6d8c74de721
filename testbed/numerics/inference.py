"""From rows and a dictionary to codes, whoever learned the dictionary; what each method needs to be told is set without the truth."""

from __future__ import annotations

import math
from typing import Literal, TypedDict

import torch
from torch import Tensor

from testbed.contracts import BLOCK, InvalidInput, SparseRows
from testbed.numerics.firing import two_parts
from testbed.numerics.pursuit import check_fit, orthogonal_matching_pursuit, unit_rows
from testbed.numerics.regression import nonnegative_lasso, nonnegative_refit

Method = Literal["pursuit", "regression", "encoder"]
METHODS: tuple[Method, ...] = ("pursuit", "regression", "encoder")

ROWS = 512
"""Rows that the noise is estimated from."""
ROUNDS = 20
"""Rounds of that estimate, at most; it moves by less than 1 % before."""
NORMAL = 1.4826
"""Standard deviations per median absolute deviation of a normal law."""


class Settings(TypedDict):
    """What `infer` is told besides rows and dictionary.

    threshold : float
        Smallest correlation with a unit atom that is worth an entry (pursuit), or the penalty (regression).
    max_active : int
        Most codes per row (pursuit).
    floor : Tensor, shape (m,)
        Values at or below which a code is off.
    rest : Tensor, shape (m,)
        Value of :math:`x \\cdot d_j / \\|d_j\\|^2` when code j is off (encoder).
    """

    threshold: float
    max_active: int
    floor: Tensor
    rest: Tensor


def infer(
    x: Tensor,
    dictionary: Tensor,
    method: Method,
    *,
    threshold: float,
    max_active: int,
    floor: Tensor | None = None,
    rest: Tensor | None = None,
) -> SparseRows:
    r"""Non-negative codes of centred rows in a given dictionary.

    - ``pursuit``: orthogonal matching pursuit, until no atom correlates with the residual by `threshold`, or `max_active` atoms are used.
    - ``regression``: the lasso with penalty `threshold`; codes at or below `floor` are dropped, and least squares refit the others.
    - ``encoder``: the decoder transposed, :math:`a_j = x \cdot d_j / \|d_j\|^2 - \mathrm{rest}_j` where that exceeds `floor`, else 0.
      `rest` stands for the encoder's bias: what other codes write along :math:`d_j` most of the time.

    A row's codes do not depend on the rows beside it.

    Parameters
    ----------
    x : Tensor, shape (n, d)
        Rows from which the decoder's bias has been taken.
    dictionary : Tensor, shape (m, d)
    method : {"pursuit", "regression", "encoder"}
    threshold, max_active, floor, rest
        See `Settings`; `calibrate` finds them. None is 0.

    Returns
    -------
    SparseRows, shape (n, m)
        Entries > 0, by ascending column.

    Raises
    ------
    InvalidInput
        If there is no such method, or rows and dictionary do not fit.
    """
    check_method(method)
    check_fit(x, dictionary)
    zero = x.new_zeros(len(dictionary))
    floor, rest = zero if floor is None else floor.to(x), zero if rest is None else rest.to(x)
    if method == "pursuit":
        return _above(orthogonal_matching_pursuit(x, dictionary, max_active=max_active, threshold=threshold), floor)
    if method == "regression":
        return nonnegative_refit(x, dictionary, _above(nonnegative_lasso(x, dictionary, penalty=threshold), floor))
    pieces = []
    for start in range(0, max(1, len(x)), BLOCK):
        off = transposed(x[start : start + BLOCK], dictionary) - rest
        pieces.append(SparseRows.from_dense(torch.where(off > floor, off, 0.0).clamp_min(0)))
    return SparseRows.cat(pieces)


def calibrate(x: Tensor, dictionary: Tensor, method: Method, *, threshold: float | None = None, max_active: int | None = None) -> Settings:
    r"""Settings of a method, from rows and dictionary alone.

    `threshold` is :math:`\sigma \sqrt{2 \log m}`, below which the largest of m correlations with noise stays [1]_, with :math:`\sigma` from
    `noise_scale`; `max_active` half the dimensions. For the regression a code's floor lies between the two parts of its values, where
    there are two, and is 0 otherwise (`testbed.numerics.firing.two_parts`). For the encoder `rest` is the median, and the floor lies
    between two parts of what exceeds it, or at :math:`s_j \sqrt{2 \log m}` with :math:`s_j` the robust spread about the median.

    Parameters
    ----------
    x : Tensor, shape (n, d)
        Centred rows to read them off; some thousands.
    dictionary : Tensor, shape (m, d)
    method : {"pursuit", "regression", "encoder"}
    threshold, max_active : float, int, optional
        Taken as they are given.

    References
    ----------
    .. [1] Donoho & Johnstone (1994), Ideal spatial adaptation by wavelet shrinkage.
    """
    check_method(method)
    check_fit(x, dictionary)
    m, d = dictionary.shape
    most = min(m, max(1, d // 2)) if max_active is None else max_active
    floor, rest = x.new_zeros(m), x.new_zeros(m)
    if method == "encoder":
        scores = transposed(x, dictionary)
        rest = scores.median(dim=0).values
        off = scores - rest
        spread = NORMAL * off.abs().median(dim=0).values * math.sqrt(2 * math.log(max(2, m)))
        parts = x.new_tensor([two_parts(column[column > 0].double().cpu().numpy()) for column in off.T])
        floor = torch.where(parts > 0, parts, spread)
        return Settings(threshold=0.0, max_active=most, floor=floor, rest=rest)
    if threshold is None:
        threshold = noise_scale(x, dictionary) * math.sqrt(2 * math.log(max(2, m)))
    if method == "regression":
        codes = nonnegative_lasso(x, dictionary, penalty=threshold)
        order = codes.indices.argsort(stable=True)
        columns = torch.split(codes.values[order], codes.indices.bincount(minlength=m).tolist())
        floor = x.new_tensor([two_parts(column.double().cpu().numpy()) for column in columns])
    return Settings(threshold=threshold, max_active=most, floor=floor, rest=rest)


def noise_scale(x: Tensor, dictionary: Tensor) -> float:
    r"""Standard deviation per coordinate of what a dictionary does not explain sparsely.

    The fixed point of :math:`\sigma^2 = \sum_t \|r_t\|^2 / \sum_t (d - k_t)`, from above, where :math:`r_t` is the residual and
    :math:`k_t` the number of atoms of a matching pursuit that stops at :math:`\sigma \sqrt{2 \log m}`: sparsity and noise level found
    together, as by the scaled lasso [1]_, but from all rows at once.

    Parameters
    ----------
    x : Tensor, shape (n, d)
        Centred rows; the first 512 are used.
    dictionary : Tensor, shape (m, d)

    References
    ----------
    .. [1] Sun & Zhang (2012), Scaled sparse linear regression, Biometrika 99.
    """
    x = x[:ROWS]
    m, d = dictionary.shape
    sigma = float(x.square().mean().sqrt())
    for _ in range(ROUNDS):
        bar = sigma * math.sqrt(2 * math.log(max(2, m)))
        codes = orthogonal_matching_pursuit(x, dictionary, max_active=max(1, d // 2), threshold=bar)
        error = float((x - codes.dense() @ dictionary).square().sum())
        new = math.sqrt(error / max(1, len(x) * d - len(codes.values)))
        if new >= 0.99 * sigma:
            return min(sigma, new)
        sigma = new
    return sigma


def transposed(x: Tensor, dictionary: Tensor) -> Tensor:
    r""":math:`x \cdot d_j / \|d_j\|^2`, shape (n, m): the code of an atom that fires alone; 0 for an atom of zeros."""
    unit, norm = unit_rows(dictionary)
    return x @ unit.T / norm.clamp_min(torch.finfo(x.dtype).tiny)


def check_method(method: str) -> None:
    """Raise InvalidInput if there is no such method."""
    if method not in METHODS:
        raise InvalidInput(f"there is no inference method {method!r}: choose one of {', '.join(METHODS)}")


def _above(codes: SparseRows, floor: Tensor) -> SparseRows:
    used = codes.values > floor[codes.indices]
    return SparseRows.from_entries(codes.row_of_entry()[used], codes.indices[used], codes.values[used], codes.shape)
