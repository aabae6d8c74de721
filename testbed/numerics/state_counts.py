"""Columns of states that are read again and again, and counts of their tuples: passes that only count."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from testbed.contracts import InvalidInput

States = NDArray[np.int64]
Array = NDArray[np.float64]
Columns = NDArray[Any]
Block = Sequence[int]
Shape = tuple[int, ...]

MOST_CELLS = 2**27
"""Cells of all tables of a level together, at most: 1 GB of counts."""
KEPT = 2**28
"""Entries that are kept in memory between passes; more are made anew from the data in each."""


class StateColumns:
    """The states of one level's concepts, in chunks of columns, shape (c, n), that can be read more than once.

    Parameters
    ----------
    read : callable
        Gives the chunks anew.
    """

    def __init__(self, read: Callable[[], Iterator[Columns]]) -> None:
        self._read = read
        self._kept: list[Columns] | None = None

    def __iter__(self) -> Iterator[Columns]:
        if self._kept is not None:
            yield from self._kept
            return
        kept: list[Columns] | None = []
        for chunk in self._read():
            if kept is not None:
                kept = [*kept, chunk] if sum(c.size for c in kept) + chunk.size <= KEPT else None
            yield chunk
        self._kept = kept

    def first(self, n: int) -> Columns:
        """The first n rows (or all), shape (c, n)."""
        parts: list[Columns] = []
        for chunk in self:
            parts.append(chunk[:, : n - sum(p.shape[1] for p in parts)])
            if sum(p.shape[1] for p in parts) >= n:
                break
        return np.concatenate(parts, axis=1)

    def composed(self, blocks: Sequence[Block], shapes: Sequence[Shape], tables: Sequence[States]) -> StateColumns:
        """The columns of their composites."""
        small = [smallest(np.asarray(table)) for table in tables]

        def read() -> Iterator[Columns]:
            for chunk in self:
                columns = [table[keys(chunk, block, shape)] for table, block, shape in zip(small, blocks, shapes, strict=True)]
                yield np.stack([column.astype(np.uint16) for column in columns])

        return StateColumns(read)


def smallest(x: Any) -> Columns:
    """The same whole numbers in as few bytes as hold them."""
    return np.asarray(x, dtype=np.min_scalar_type(int(x.max(initial=0))))


def keys(columns: Columns, block: Block, shape: Shape) -> States:
    """One number per row for the tuple of a block, the last constituent varying fastest, shape (n,)."""
    key: States = columns[block[0]].astype(np.int64)
    for j, k in zip(block[1:], shape[1:], strict=True):
        key *= k
        key += columns[j]
    return key


def check_cells(shapes: Sequence[Shape]) -> None:
    """Raise InvalidInput where tables of pairs of blocks are too large."""
    cells = [math.prod(shape) for shape in shapes]
    if (sum(cells) ** 2 - sum(k * k for k in cells)) // 2 > MOST_CELLS:
        raise InvalidInput(
            f"blocks of up to {max(cells)} tuples make tables of more than {MOST_CELLS} cells: lower arity, or give fewer values"
        )


def tuple_counts(columns: StateColumns, blocks: Sequence[Block], shapes: Sequence[Shape]) -> list[Array]:
    """How often each tuple of each block occurs."""
    out = [np.zeros(math.prod(shape)) for shape in shapes]
    for chunk in columns:
        for total, block, shape in zip(out, blocks, shapes, strict=True):
            total += np.bincount(keys(chunk, block, shape), minlength=len(total))
    return [total.reshape(shape) for total, shape in zip(out, shapes, strict=True)]


def pair_counts(
    columns: StateColumns, blocks: Sequence[Block], shapes: Sequence[Shape], folds: int = 1
) -> list[dict[tuple[int, int], Array]]:
    """How often each tuple of block i occurs beside each of block j > i, shape of both; for each of `folds` interleaved parts of rows."""
    check_cells([*shapes] * folds)
    cells = [math.prod(shape) for shape in shapes]
    places = [(i, j) for i in range(len(cells)) for j in range(i + 1, len(cells))]
    out = [{(i, j): np.zeros(cells[i] * cells[j]) for i, j in places} for _ in range(folds)]
    for chunk in columns:
        key = [keys(chunk, block, shape) for block, shape in zip(blocks, shapes, strict=True)]
        for i in range(len(cells)):
            for fold, totals in enumerate(out):
                for j in range(i + 1, len(cells)):
                    both = key[i][fold::folds] * cells[j]
                    both += key[j][fold::folds]
                    totals[i, j] += np.bincount(both, minlength=cells[i] * cells[j])
    return [{(i, j): total.reshape(*shapes[i], *shapes[j]) for (i, j), total in totals.items()} for totals in out]
