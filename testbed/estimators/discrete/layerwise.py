"""Codes of a discrete hierarchy, level by level: what baselines share, whatever groups a block's tuples into states."""

from __future__ import annotations

import math
from abc import abstractmethod
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from testbed.contracts import BLOCK, Codes, Data, Estimator, InvalidInput, seed_of
from testbed.estimators.discrete.blocks import Tuples, described, plan, values_of_leaves
from testbed.numerics.batches import rows
from testbed.numerics.compositions import information
from testbed.numerics.leaf_states import cuts_of, states_in, values_of
from testbed.numerics.state_counts import keys

States = NDArray[np.int64]
Array = NDArray[np.float64]

MOST_TUPLES = 4096
"""Of a block."""


@dataclass(kw_only=True, eq=False, repr=False)
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

    arity: int = 2
    tuples: Tuples = "blocks"
    depth: int | None = None
    n_states: int | None = None
    bins: int = 4
    samples: int = 100_000
    view: str | None = None

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
        self._check()
        x = rows(data, self.view, limit=self.samples)
        self.cuts_ = cuts_of(x, None, self.bins, self.samples)
        self.values_ = values_of(x, None, self.cuts_, self.bins, self.samples)
        states = states_in(x, self.values_, self.cuts_, self.bins)
        self.blocks_: list[list[list[int]]] = []
        self.tables_: list[list[list[int]]] = []
        sizes = [len(values) for values in self.values_]
        for height, blocks in enumerate(plan(len(sizes), self.arity, self.tuples, self.depth)):
            shapes = [tuple(sizes[j] for j in block) for block in blocks]
            counts = [math.prod(shape) for shape in shapes]
            if max(counts) > MOST_TUPLES:
                raise InvalidInput(f"a block has {max(counts)} tuples, more than {MOST_TUPLES}: lower arity or bins, or give fewer values")
            seen = [keys(states.T, block, shape) for block, shape in zip(blocks, shapes, strict=True)]
            found = self._found(seen, counts, shapes, seed_of("level", seed, height))
            states = np.stack([table[key] for table, key in zip(found, seen, strict=True)], axis=1)
            sizes = [int(table.max()) + 1 for table in found]
            self.blocks_.append(blocks)
            self.tables_.append([table.tolist() for table in found])
            if max(sizes) == 1:
                break
        of_levels = [[len(values) for values in self.values_], *([1 + max(table) for table in tables] for tables in self.tables_)]
        self.levels_, self.constituents_, self.n_states_ = described(self.blocks_, of_levels)
        return self

    def encode(self, observed: Any) -> Codes:
        x = rows(observed, self.view, columns=len(self.values_))
        return torch.cat([torch.from_numpy(self._codes(part)) for part in torch.split(x, BLOCK)])

    def decode(self, codes: Codes) -> Tensor:
        """The values of the leaves, which are the last codes."""
        return values_of_leaves(codes, self.values_)

    def _check(self) -> None:
        if isinstance(self.tuples, str) and self.tuples != "blocks":
            raise InvalidInput(f"tuples must be 'blocks' or a list per level of lists of concepts, not {self.tuples!r}")
        if self.tuples == "blocks" and self.arity < 2:
            raise InvalidInput(f"arity must be at least 2, not {self.arity}: a block of one concept composes nothing")
        if self.depth is not None and self.depth < 1:
            raise InvalidInput(f"depth must be at least 1, not {self.depth}")
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

    def _codes(self, x: Tensor) -> States:
        heights = [states_in(x, self.values_, self.cuts_, self.bins)]
        sizes = [len(values) for values in self.values_]
        for blocks, tables in zip(self.blocks_, self.tables_, strict=True):
            seen = [keys(heights[-1].T, block, tuple(sizes[j] for j in block)) for block in blocks]
            heights.append(np.stack([np.array(table)[key] for table, key in zip(tables, seen, strict=True)], axis=1))
            sizes = [1 + max(table) for table in tables]
        return np.concatenate(heights[::-1], axis=1)


def most_telling(tables: list[Array]) -> Array:
    """Of a block's tables, the one whose columns the rows tell most of."""
    return max(tables, key=information)


def _table(a: States, b: States, height: int, width: int) -> Array:
    return np.bincount(a * width + b, minlength=height * width).reshape(height, width).astype(np.float64)
