"""Codes of a discrete hierarchy, level by level: what baselines share, whatever groups a block's tuples into states."""

from __future__ import annotations

import math
from abc import abstractmethod
from typing import Any, Literal, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from testbed.contracts import BLOCK, Codes, Data, Estimator, InvalidInput, seed_of
from testbed.numerics.batches import rows
from testbed.numerics.compositions import information
from testbed.numerics.matching import dense

States = NDArray[np.int64]
Array = NDArray[np.float64]
Tuples: TypeAlias = "Literal['blocks'] | list[list[list[int]]]"

MOST_TUPLES = 4096
"""Of a block."""
MOST_VALUES = 1024
"""Of a column."""


class Layerwise(Estimator):
    """Group the tuples of each block into states, go up a level, repeat.

    A subclass says how tuples are grouped (`grouped`), from counts of each tuple beside what stands around it. Codes are states, level 0
    first and the leaves last. A block without a context, such as the last one of a tree, has one state.

    Columns of whole numbers are states as they are; others are cut into `bins` parts of equal counts.

    Parameters
    ----------
    arity : int
        Concepts of a block, where `tuples` is ``"blocks"``.
    tuples : "blocks" or list of list of list of int
        Which concepts compose: neighbours, `arity` at a time; or as a generator's `constituents` has them.
    depth : int, optional
        Levels of composites, at most.
    n_states : int, optional
        Of each composite; None finds it.
    bins : int
    samples : int
        Most rows to use, the first ones.
    view : str, optional

    Attributes
    ----------
    values_, cuts_ : list of list of float
        Per leaf, its states' values and the cuts between them.
    blocks_, tables_ : list of list of list of int
        Per level of composites, the lowest first, and composite: constituents one level down, and the state of each tuple.
    levels_, constituents_, n_states_ : list
        Of each code, see `testbed.contracts.Structure`.
    """

    arity: int
    tuples: Tuples
    depth: int | None
    n_states: int | None
    bins: int
    samples: int
    view: str | None

    @abstractmethod
    def grouped(self, beside: list[list[Array]], shapes: list[tuple[int, ...]], seed: int) -> list[States]:
        """States of the tuples of each block, shape (T,), from 0 on.

        Parameters
        ----------
        beside : list of list of array, shape (T, T')
            Per block, how often each of its tuples occurs beside each tuple of every other block.
        shapes : list of tuple of int
            Per block, numbers of states of its constituents; their product is T.
        """

    def fit(self, data: Data, *, seed: int) -> Layerwise:
        """Count and group, level by level.

        Raises
        ------
        InvalidInput
            If a parameter is out of range, tuples are not of these columns, a column is constant, there are fewer rows than states, or
            blocks have too many tuples.
        """
        check_plan(self.arity, self.tuples, self.depth)
        self._check()
        x = rows(data, self.view, limit=self.samples).double().cpu().numpy()
        self.values_, self.cuts_ = leaf_states(x, self.bins)
        states = self._leaves(x)
        self.blocks_: list[list[list[int]]] = []
        self.tables_: list[list[list[int]]] = []
        sizes = [len(values) for values in self.values_]
        if max(sizes) > len(x):
            raise InvalidInput(f"{len(x)} rows are fewer than the {max(sizes)} states of a column: give more rows")
        for height, blocks in enumerate(plan(len(sizes), self.arity, self.tuples, self.depth)):
            shapes = [tuple(sizes[j] for j in block) for block in blocks]
            counts = [math.prod(shape) for shape in shapes]
            if max(counts) > MOST_TUPLES:
                raise InvalidInput(f"a block has {max(counts)} tuples, more than {MOST_TUPLES}: lower arity or bins, or give fewer values")
            keys = [_keys(states, block, shape) for block, shape in zip(blocks, shapes, strict=True)]
            found = self._found(keys, counts, shapes, seed_of("level", seed, height))
            states = np.stack([table[key] for table, key in zip(found, keys, strict=True)], axis=1)
            sizes = [int(table.max()) + 1 for table in found]
            self.blocks_.append(blocks)
            self.tables_.append([table.tolist() for table in found])
            if max(sizes) == 1:
                break
        self._describe()
        return self

    def encode(self, observed: Any) -> Codes:
        x = rows(observed, self.view, columns=len(self.values_))
        return torch.cat([torch.from_numpy(self._codes(part.double().cpu().numpy())) for part in torch.split(x, BLOCK)])

    def decode(self, codes: Codes) -> Tensor:
        """The values of the leaves, which are the last codes."""
        leaves = dense(codes)[:, -len(self.values_) :].round().long().cpu()
        columns = [torch.tensor(values)[leaves[:, j].clamp(0, len(values) - 1)] for j, values in enumerate(self.values_)]
        return torch.stack(columns, dim=1)

    def _check(self) -> None:
        if self.bins < 2 or self.samples < 2 or (self.n_states is not None and self.n_states < 1):
            raise InvalidInput(
                f"bins and samples must be at least 2 and n_states at least 1, not {self.bins}, {self.samples} and {self.n_states}: raise "
                "them"
            )

    def _found(self, keys: list[States], counts: list[int], shapes: list[tuple[int, ...]], seed: int) -> list[States]:
        """States of the tuples of all blocks of a level, numbered without gaps; those of tuples never seen are 0."""
        blocks = range(len(keys))
        beside = [[_table(keys[i], keys[j], counts[i], counts[j]) for j in blocks if j != i] for i in blocks]
        if len(keys) == 1:
            return [np.zeros(counts[0], np.int64)]
        out = []
        for tables, state in zip(beside, self.grouped(beside, shapes, seed), strict=True):
            seen = tables[0].sum(axis=1) > 0
            state = state.copy()
            state[seen] = np.unique(state[seen], return_inverse=True)[1]
            state[~seen] = 0
            out.append(state)
        return out

    def _leaves(self, x: Array) -> States:
        out = np.empty(x.shape, np.int64)
        for j, cuts in enumerate(self.cuts_):
            out[:, j] = np.searchsorted(np.array(cuts), x[:, j], side="right")
        return out

    def _codes(self, x: Array) -> States:
        heights = [self._leaves(x)]
        sizes = [len(values) for values in self.values_]
        for blocks, tables in zip(self.blocks_, self.tables_, strict=True):
            keys = [_keys(heights[-1], block, tuple(sizes[j] for j in block)) for block in blocks]
            heights.append(np.stack([np.array(table)[key] for table, key in zip(tables, keys, strict=True)], axis=1))
            sizes = [1 + max(table) for table in tables]
        return np.concatenate(heights[::-1], axis=1)

    def _describe(self) -> None:
        top = len(self.blocks_)
        counts = [[1 + max(table) for table in tables] for tables in self.tables_[::-1]] + [[len(values) for values in self.values_]]
        self.levels_ = [level for level, level_counts in enumerate(counts) for _ in level_counts]
        self.n_states_ = [k for level in counts for k in level]
        self.constituents_: list[list[int]] = []
        first = 0
        for level in range(top + 1):
            first += len(counts[level])
            below: list[list[int]] = self.blocks_[top - 1 - level] if level < top else [[] for _ in counts[level]]
            self.constituents_ += [[first + j for j in block] for block in below]


def check_plan(arity: int, tuples: Tuples, depth: int | None) -> None:
    """Raise InvalidInput if a parameter of `plan` is out of range."""
    if isinstance(tuples, str) and tuples != "blocks":
        raise InvalidInput(f"tuples must be 'blocks' or a list per level of lists of concepts, not {tuples!r}")
    if tuples == "blocks" and arity < 2:
        raise InvalidInput(f"arity must be at least 2, not {arity}: a block of one concept composes nothing")
    if depth is not None and depth < 1:
        raise InvalidInput(f"depth must be at least 1, not {depth}")


def plan(leaves: int, arity: int, tuples: Tuples, depth: int | None) -> list[list[list[int]]]:
    """Blocks of every level of composites, the lowest first; see `Layerwise`.

    Raises
    ------
    InvalidInput
        If concepts cannot be cut into such blocks, or tuples name concepts that there are not, or one twice.
    """
    out: list[list[list[int]]] = []
    size = leaves
    if isinstance(tuples, str):
        while size > 1 and (depth is None or len(out) < depth):
            if size % arity:
                raise InvalidInput(
                    f"{size} concepts of height {len(out)} cannot be cut into blocks of arity {arity}: change arity, tuples, or depth"
                )
            out.append([list(range(first, first + arity)) for first in range(0, size, arity)])
            size //= arity
    else:
        for blocks in reversed(tuples):
            used = [j for block in blocks for j in block]
            if not blocks or min(map(len, blocks)) < 1 or len(set(used)) < len(used) or min(used) < 0 or max(used) >= size:
                raise InvalidInput(
                    f"tuples {blocks} are not of {size} concepts: name each from 0 to {size - 1} once at most, one list per composite"
                )
            out.append([list(block) for block in blocks])
            size = len(blocks)
        out = out[:depth]
    if not out:
        raise InvalidInput(f"{leaves} column makes no tuple: give a view of more columns")
    return out


def leaf_states(x: Array, bins: int) -> tuple[list[list[float]], list[list[float]]]:
    """Values of each column's states, and the cuts between them.

    Raises
    ------
    InvalidInput
        If a column is constant, or whole numbers take too many values.
    """
    values, cuts = [], []
    for j, column in enumerate(x.T):
        found = np.unique(column)
        if len(found) < 2:
            raise InvalidInput(f"column {j} is constant: leave it out, since it has one state and says nothing of the others")
        if (found == np.round(found)).all():
            if len(found) > MOST_VALUES:
                raise InvalidInput(f"column {j} holds more than {MOST_VALUES} values, too many for states: give another view")
            values.append(found.tolist())
            cuts.append(((found[1:] + found[:-1]) / 2).tolist())
            continue
        inner = np.unique(np.quantile(column, np.arange(1, bins) / bins, method="higher"))
        inner = inner[inner > column.min()]
        inner = inner if len(inner) else np.array([float(np.nextafter(column.min(), np.inf))])
        part = np.searchsorted(inner, column, side="right")
        values.append([float(column[part == k].mean()) for k in range(len(inner) + 1)])
        cuts.append(inner.tolist())
    return values, cuts


def most_telling(tables: list[Array]) -> Array:
    """Of a block's tables, the one whose columns the rows tell most of."""
    return max(tables, key=information)


def _keys(states: States, block: list[int], shape: tuple[int, ...]) -> States:
    return np.asarray(np.ravel_multi_index(tuple(states[:, block].T), shape), dtype=np.int64)


def _table(a: States, b: States, height: int, width: int) -> Array:
    return np.bincount(a * width + b, minlength=height * width).reshape(height, width).astype(np.float64)
