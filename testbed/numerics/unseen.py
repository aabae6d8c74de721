"""Which rows hold tuples of constituents that were held out from training."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from testbed.contracts import BLOCK, Observed, Rows, Sample, SparseRows, Truth, View
from testbed.numerics.rows import dense

FACT = "held_out/tuples"
"""Fact of a truth: [level, composite, numbers of its tuples] for each composite that holds tuples out. Tuples are numbered row-major."""


def unseen(latents: Mapping[int, Rows], truth: Truth) -> Tensor:
    """Whether each row holds a held-out tuple of each composite that has some, in the order of the fact, shape (n, composites), bool.

    The tuple of a composite of sparse concepts is which of its constituents are on.
    """
    held: Sequence[tuple[int, int, Sequence[int]]] = truth.facts.get(FACT, ())
    n = len(next(iter(latents.values())))
    found = torch.zeros(n, len(held), dtype=torch.bool)
    for start in range(0, n, BLOCK):
        rows = slice(start, min(n, start + BLOCK))
        states: dict[int, Tensor] = {}
        for place, (level, i, tuples) in enumerate(held):
            if level + 1 not in states:
                values = dense(latents[level + 1][rows]).cpu()
                states[level + 1] = (values != 0).long() if truth.levels[level + 1].kind == "sparse" else values.long()
            lower = truth.constituents[level][i]
            shape = tuple_shape(truth, level, i)
            number = torch.zeros(rows.stop - rows.start, dtype=torch.int64)
            for j, count in zip(lower, shape, strict=True):
                number = number * count + states[level + 1][:, j]
            out = torch.zeros(math.prod(shape), dtype=torch.bool)
            out[list(tuples)] = True
            found[rows, place] = out[number]
    return found


def tuple_shape(truth: Truth, level: int, composite: int) -> tuple[int, ...]:
    """Numbers of states of a composite's constituents: 2 each where they are on or off."""
    below = truth.levels[level + 1]
    return tuple(2 if below.kind == "sparse" else below.cardinalities[j] for j in truth.constituents[level][composite])


def take(rows: Rows, index: Tensor) -> Rows:
    """The rows of these numbers, shape (len(index), m)."""
    if not isinstance(rows, SparseRows):
        return rows[index.to(rows.device)]
    index = index.to(rows.indptr.device)
    count = rows.indptr.diff()[index]
    indptr = torch.cat([rows.indptr.new_zeros(1), count.cumsum(0)])
    # Entry t of the new row i sits t places after the start of the old row index[i].
    entry = torch.arange(int(indptr[-1]), device=index.device) + (rows.indptr[:-1][index] - indptr[:-1]).repeat_interleave(count)
    return SparseRows(indptr, rows.indices[entry], rows.values[entry], (len(index), rows.shape[1]))


def take_sample(sample: Sample, index: Tensor) -> Sample:
    """The same of everything that a sample holds."""
    views = {name: View(take(view.values, index), view.shows) for name, view in sample.observed.views.items()}
    known = {name: column[index.to(column.device)] for name, column in sample.observed.rows.items()}
    return Sample(Observed(views, known), {level: take(values, index) for level, values in sample.latents.items()})
