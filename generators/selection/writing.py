"""From active nodes to sparse rows per level and to dense vectors, touching only what is active."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import embedding_bag

from testbed.contracts import SparseRows

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]

CROWDED = 0.1
"""Share of active concepts from which a dense matrix product is the faster way to write them."""


def by_level(begin: Ints, nodes: Ints, values: Floats, sizes: tuple[int, ...]) -> list[SparseRows]:
    """Cut rows over all nodes, numbered level by level and ascending in each row, into sparse rows per level."""
    ends = np.cumsum(np.array(sizes))
    indptr, columns, parts = _split(begin, nodes, values, ends)
    out, first = [], 0
    for level, size in enumerate(sizes):
        here = slice(first, first + int(indptr[level, -1]))
        out.append(
            SparseRows(
                torch.from_numpy(indptr[level]), torch.from_numpy(columns[here]), torch.from_numpy(parts[here]), (len(begin) - 1, size)
            )
        )
        first = here.stop
    return out


@numba.njit(cache=True)
def _split(begin: Ints, nodes: Ints, values: Floats, ends: Ints) -> Any:
    n, levels = len(begin) - 1, len(ends)
    indptr = np.zeros((levels, n + 1), np.int64)
    for row in range(n):
        level = 0
        for entry in range(begin[row], begin[row + 1]):
            while nodes[entry] >= ends[level]:
                level += 1
            indptr[level, row + 1] += 1
        for level in range(levels):
            indptr[level, row + 1] += indptr[level, row]
    columns, parts = np.empty_like(nodes), np.empty_like(values)
    place = np.zeros(levels, np.int64)
    for level in range(1, levels):
        place[level] = place[level - 1] + indptr[level - 1, n]
    for row in range(n):
        level = 0
        for entry in range(begin[row], begin[row + 1]):
            while nodes[entry] >= ends[level]:
                level += 1
            columns[place[level]] = nodes[entry] - (ends[level - 1] if level else 0)
            parts[place[level]] = values[entry]
            place[level] += 1
    return indptr, columns, parts


def write(begin: Ints, nodes: Ints, values: Floats, atoms: Tensor, first: int, bias: Tensor) -> Tensor:
    r""":math:`x = b + \sum_i a_i d_i` over the active nodes i of each row.

    Parameters
    ----------
    begin, nodes, values : ndarray, shapes (n + 1,), (nnz,), (nnz,)
        Rows over all nodes.
    atoms : Tensor, shape (c, d), float32
        Directions of the nodes ``first, ..., first + c - 1``; other nodes are not written.
    first : int
    bias : Tensor, shape (d,)

    Returns
    -------
    Tensor, shape (n, d), float32, on the device of `atoms`
    """
    n, last = len(begin) - 1, first + len(atoms)
    on_cpu = atoms.device.type == "cpu"
    if on_cpu and len(nodes) < CROWDED * n * len(atoms):
        return torch.from_numpy(_accumulate(begin, nodes, values, atoms.numpy(), first, bias.numpy()))
    shown = (nodes >= first) & (nodes < last)
    row = torch.from_numpy(np.repeat(np.arange(n), np.diff(begin))[shown])
    column, value = torch.from_numpy(nodes[shown] - first), torch.from_numpy(values[shown])
    if on_cpu:
        wide = torch.zeros(n, len(atoms))
        wide[row, column] = value
        return torch.addmm(bias, wide, atoms)
    start = row.bincount(minlength=n).cumsum(0).roll(1)
    start[0] = 0
    return bias + weighted_sums(start.to(atoms.device), column.to(atoms.device), value.to(atoms.device), atoms)


def weighted_sums(start: Tensor, column: Tensor, value: Tensor, atoms: Tensor) -> Tensor:
    """Sum of ``value * atoms[column]`` over the entries of each row, which begin at `start`, on any device, shape (n, d)."""
    return embedding_bag(column, atoms, start, mode="sum", per_sample_weights=value)


@numba.njit(cache=True, fastmath=True)
def _accumulate(begin: Ints, nodes: Ints, values: Floats, atoms: Floats, first: int, bias: Floats) -> Any:
    n, d = len(begin) - 1, atoms.shape[1]
    x = np.empty((n, d), np.float32)
    for row in range(n):
        entry, last = begin[row], begin[row + 1]
        while entry < last and nodes[entry] < first:
            entry += 1
        while last > entry and nodes[last - 1] >= first + len(atoms):
            last -= 1
        for k in range(d):
            x[row, k] = bias[k]
        while entry + 3 < last:  # four at a time: the row is loaded and stored a quarter as often
            a, b = nodes[entry] - first, nodes[entry + 1] - first
            c, e = nodes[entry + 2] - first, nodes[entry + 3] - first
            va, vb, vc, ve = values[entry], values[entry + 1], values[entry + 2], values[entry + 3]
            for k in range(d):
                x[row, k] += va * atoms[a, k] + vb * atoms[b, k] + vc * atoms[c, k] + ve * atoms[e, k]
            entry += 4
        while entry < last:
            a, va = nodes[entry] - first, values[entry]
            for k in range(d):
                x[row, k] += va * atoms[a, k]
            entry += 1
    return x
