"""Compiled inner loops of sparse autoencoders on the CPU: after the encoder's product everything touches active codes only.

Entries are the active codes of a batch in compressed rows: ``indptr`` (b + 1,), ``columns`` (e,) and ``values`` (e,). Every kernel has a
plain torch counterpart in `testbed.estimators.sparse.reference`, and the tests hold them together. All run without the interpreter's lock.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]
FAST = {"nnan", "ninf", "nsz", "arcp", "contract", "reassoc"}


@njit(cache=True, nogil=True, fastmath=FAST)
def decode(x: Array, indptr: Array, columns: Array, values: Array, dictionary: Array, weight: Array, error: Array, slopes: Array) -> float:
    r"""Errors of the reconstruction and the loss's slope in each active code.

    .. math::
        r_i = \sum_j a_{ij} d_j - x_i, \qquad \mathrm{error}_i = 2 w_i r_i, \qquad \mathrm{slope}_{ij} = \mathrm{error}_i \cdot d_j.

    Gives :math:`\sum_i w_i \|r_i\|^2`; `weight` holds :math:`w_i`, which the caller divides by the batch's size.
    """
    n, d = x.shape
    total = 0.0
    for i in range(n):
        row = error[i]
        for t in range(d):
            row[t] = -x[i, t]
        for e in range(indptr[i], indptr[i + 1]):
            atom = dictionary[columns[e]]
            a = values[e]
            for t in range(d):
                row[t] += a * atom[t]
        square = row.dtype.type(0)
        for t in range(d):
            square += row[t] * row[t]
        total += weight[i] * square
        scale = 2 * weight[i]
        for t in range(d):
            row[t] *= scale
        for e in range(indptr[i], indptr[i + 1]):
            atom = dictionary[columns[e]]
            dot = row.dtype.type(0)
            for t in range(d):
                dot += row[t] * atom[t]
            slopes[e] = dot
    return total


@njit(cache=True, nogil=True, fastmath=FAST)
def decode_nested(
    x: Array,
    indptr: Array,
    columns: Array,
    values: Array,
    dictionary: Array,
    weight: Array,
    ends: Array,
    error: Array,
    slopes: Array,
) -> float:
    """`decode` for nested prefixes: the mean over prefixes of the loss of each one's reconstruction.

    A row's entries must be sorted by column; `ends` are the prefixes' sizes, ascending, the last one m. `error`, shape (g, b, d), comes
    back with ``error[q, i]`` the slope of the loss in anything written by an atom of group q (between two ends): the sum over all
    prefixes that hold the group.
    """
    n, d = x.shape
    groups = len(ends)
    total = 0.0
    row = np.empty(d, x.dtype)
    for i in range(n):
        for t in range(d):
            row[t] = -x[i, t]
        e = indptr[i]
        share = weight[i] / groups
        for q in range(groups):
            while e < indptr[i + 1] and columns[e] < ends[q]:
                atom = dictionary[columns[e]]
                a = values[e]
                for t in range(d):
                    row[t] += a * atom[t]
                e += 1
            out = error[q, i]
            square = row.dtype.type(0)
            for t in range(d):
                square += row[t] * row[t]
                out[t] = 2 * share * row[t]
            total += share * square
        for q in range(groups - 2, -1, -1):
            out = error[q, i]
            after = error[q + 1, i]
            for t in range(d):
                out[t] += after[t]
        q = 0
        for e in range(indptr[i], indptr[i + 1]):
            while columns[e] >= ends[q]:
                q += 1
            atom = dictionary[columns[e]]
            out = error[q, i]
            dot = row.dtype.type(0)
            for t in range(d):
                dot += out[t] * atom[t]
            slopes[e] = dot
    return total


@njit(cache=True, nogil=True)
def by_column(indptr: Array, columns: Array, starts: Array, order: Array, owner: Array) -> None:
    """Counting sort of entries by column: `order` lists them, ``starts[j] : starts[j + 1]`` those of column j; `owner` are their rows."""
    m = len(starts) - 1
    for j in range(m + 1):
        starts[j] = 0
    for i in range(len(indptr) - 1):
        for e in range(indptr[i], indptr[i + 1]):
            starts[columns[e] + 1] += 1
            owner[e] = i
    for j in range(m):
        starts[j + 1] += starts[j]
    for e in range(indptr[-1]):
        j = columns[e]
        order[starts[j]] = e
        starts[j] += 1
    for j in range(m, 0, -1):
        starts[j] = starts[j - 1]
    starts[0] = 0


@njit(cache=True, nogil=True, fastmath=FAST)
def adam_row(parameter: Array, slope: Array, first: Array, second: Array, rate: float, beta1: float, beta2: float, bias2: float) -> None:
    """One row of Adam: `rate` is the learning rate over ``1 - beta1**t``, `bias2` is ``sqrt(1 - beta2**t)``, both for step t."""
    one = parameter.dtype.type(1)
    b1, b2 = parameter.dtype.type(beta1), parameter.dtype.type(beta2)
    step, root = parameter.dtype.type(rate), parameter.dtype.type(1 / bias2)
    tiny = parameter.dtype.type(EPS)
    for t in range(len(parameter)):
        g = slope[t]
        a = b1 * first[t] + (one - b1) * g
        b = b2 * second[t] + (one - b2) * g * g
        first[t] = a
        second[t] = b
        parameter[t] -= step * a / (math.sqrt(b) * root + tiny)


EPS = 1e-8
"""Adam's epsilon, as torch has it."""


@njit(cache=True, nogil=True, fastmath=FAST)
def update(
    x: Array,
    error: Array,
    ends: Array,
    starts: Array,
    order: Array,
    owner: Array,
    values: Array,
    slopes: Array,
    encoder: Array,
    encoder1: Array,
    encoder2: Array,
    bias: Array,
    bias1: Array,
    bias2: Array,
    dictionary: Array,
    dictionary1: Array,
    dictionary2: Array,
    rate: float,
    beta1: float,
    beta2: float,
    correction: float,
    learn_encoder: bool,
    learn_dictionary: bool,
    used: Array,
) -> None:
    r"""Slopes of encoder, bias and dictionary, latent by latent, each followed at once by Adam's step on its rows.

    .. math::
        \partial e_j = \sum_i s_{ij} x_i, \qquad \partial b_j = \sum_i s_{ij}, \qquad \partial d_j = \sum_i a_{ij}\, \mathrm{error}_i

    with s the slope in the pre-activation. Only the part of :math:`\partial d_j` along the sphere is followed, and :math:`d_j` keeps
    norm 1. Every row takes its step, inactive ones too: their momentum goes on. `used`, shape (m,), counts rows for which a latent fired.
    `error` has shape (g, b, d), one slice for each group of latents that ends at ``ends[q]``.
    """
    m, d = dictionary.shape
    slope_e = np.empty(d, x.dtype)
    slope_d = np.empty(d, x.dtype)
    zero = x.dtype.type(0)
    group = 0
    tiny = x.dtype.type(EPS)
    for j in range(m):
        while j >= ends[group]:
            group += 1
        for t in range(d):
            slope_e[t] = zero
            slope_d[t] = zero
        slope_b = zero
        for p in range(starts[j], starts[j + 1]):
            e = order[p]
            i = owner[e]
            s = slopes[e]
            a = values[e]
            slope_b += s
            if a > zero:
                used[j] += 1
            xs = x[i]
            err = error[group, i]
            for t in range(d):
                slope_e[t] += s * xs[t]
                slope_d[t] += a * err[t]
        if learn_encoder:
            adam_row(encoder[j], slope_e, encoder1[j], encoder2[j], rate, beta1, beta2, correction)
            g = slope_b
            bias1[j] = beta1 * bias1[j] + (1 - beta1) * g
            bias2[j] = beta2 * bias2[j] + (1 - beta2) * g * g
            bias[j] -= rate * bias1[j] / (math.sqrt(bias2[j]) / correction + tiny)
        if learn_dictionary:
            atom = dictionary[j]
            along = zero
            for t in range(d):
                along += slope_d[t] * atom[t]
            for t in range(d):
                slope_d[t] -= along * atom[t]
            adam_row(atom, slope_d, dictionary1[j], dictionary2[j], rate, beta1, beta2, correction)
            norm = zero
            for t in range(d):
                norm += atom[t] * atom[t]
            if norm > zero:
                scale = 1 / math.sqrt(norm)
                for t in range(d):
                    atom[t] *= scale


@njit(cache=True, nogil=True, fastmath=FAST)
def above(pre: Array, shift: Array, bar: Array, indptr: Array, columns: Array, values: Array) -> int:
    """Entries of ``pre + shift`` that exceed `bar`, shape (m,), in compressed rows by ascending column; gives their number.

    If that is more than `columns` holds, only `indptr` is right: call again with more room.
    """
    n, m = pre.shape
    width = 64
    room = len(columns) - width
    count = 0
    indptr[0] = 0
    for i in range(n):
        row = pre[i]
        for start in range(0, m, width):
            part, offset, level = row[start : start + width], shift[start : start + width], bar[start : start + width]
            hits = np.int32(0)
            for t in range(len(part)):
                hits += np.int32(part[t] + offset[t] > level[t])
            if hits == 0:
                continue
            if count <= room:
                at = count
                for t in range(len(part)):
                    v = part[t] + offset[t]
                    columns[at] = start + t
                    values[at] = v
                    at += 1 if v > level[t] else 0
            count += int(hits)
        indptr[i + 1] = count
    return count


def entries_above(pre: Array, shift: Array, bar: Array, expected: int) -> tuple[Array, Array, Array]:
    """Entries of ``pre + shift`` that exceed `bar`: indptr (b + 1,), columns, values (e,); `expected` is a guess of their number."""
    indptr = np.empty(len(pre) + 1, np.int64)
    room = min(pre.size, max(expected, len(pre))) + 64
    while True:
        columns, values = np.empty(room, np.int32), np.empty(room, pre.dtype)
        count = above(pre, shift, bar, indptr, columns, values)
        if count <= room - 64 or room >= pre.size + 64:
            return indptr, columns[:count], values[:count]
        room = count + 64


@njit(cache=True, nogil=True)
def sort_within_rows(indptr: Array, columns: Array, values: Array) -> None:
    """Sort each row's entries by column, in place (by insertion: rows are short)."""
    for i in range(len(indptr) - 1):
        for e in range(indptr[i] + 1, indptr[i + 1]):
            c, v = columns[e], values[e]
            at = e
            while at > indptr[i] and columns[at - 1] > c:
                columns[at] = columns[at - 1]
                values[at] = values[at - 1]
                at -= 1
            columns[at] = c
            values[at] = v
