"""Discrete hierarchies by compression: tuples with one context law are one state, level by level from the leaves up."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from testbed.contracts import BLOCK, Codes, Data, Estimator, InvalidInput
from testbed.numerics.batches import chunks, is_read_once, rows
from testbed.numerics.channels import admissible, inverted, noise_rate, symmetric, through
from testbed.numerics.contexts import RULES, merged_states
from testbed.numerics.matching import dense

States = NDArray[np.int64]
Array = NDArray[np.float64]

MOST_STATES = 1024
"""Different values of a column, at most."""
MOST_CELLS = 2**27
"""Cells of all tables of a level together, at most: 1 GB of counts."""
FLOOR = 1e-6
"""Noise that encoding always reckons with, so that tuples never seen get the state of their neighbours."""


class ContextStates(Estimator):
    r"""Merge the tuples of each block whose context laws do not differ, go up a level, repeat.

    In a hierarchy under selection a block's tuple t is independent of everything outside it given the composite's state g(t). So
    :math:`p(\text{outside} \mid t)` tells the states apart, and the fewest states that explain the data are the distinct laws among
    them (two states with one law are one for anybody who looks at data). Outside is read block by block: counts of t beside the tuples of
    every other block, and, once all blocks of the level have states, beside those states, which are fewer. See
    `testbed.numerics.contexts` for the tests.

    Noise on leaves mixes the laws of tuples. Its rate is estimated from tuples that nothing else explains, tuples that noise explains are
    left out, and the rest of each table is sent backwards through the noise before laws are compared; from level to level the channel of a
    composite follows from those of its constituents and its table. A tolerance on the size of effects covers what is left.

    A level all of whose concepts have one state ends the hierarchy. Where there is no constraint that is so at once. A single concept at
    the top has no context: its partition is invisible from below, and the fewest states are one. It is kept, for the graph.

    Codes are states, level 0 first and the leaves last. A leaf's states are its values in increasing order. Memory does not grow with the
    number of rows: each level takes two passes, that only count.

    Parameters
    ----------
    arity : int
        Concepts of a block, where `tuples` is ``"blocks"``.
    tuples : "blocks" or list of list of list of int
        Which concepts compose: neighbours, `arity` at a time, until one is left; or as a generator's `constituents` has them: per level
        from 0 on, and composite, concepts of the next level. A concept belongs to one tuple at most.
    depth : int, optional
        Levels of composites, at most.
    rule : {"g_test", "bic", "mdl"}
        What decides on the number of states.
    alpha : float
        Probability, at most, that a block gets a state too many, by the G-test.
    tolerance : float
        Total variation, roughly, below which laws count as one.
    noise : float, optional
        Probability that a leaf's value is replaced; None estimates it, 0 forgoes all of that.
    bins : int, optional
        Cut columns of real numbers into so many parts of equal counts; None wants whole numbers.
    samples : int
        Most rows to use, the first ones.
    view : str, optional

    Attributes
    ----------
    values_ : list of list of float
        Per leaf, the value of each state (the mean of each part, where columns are cut).
    cuts_ : list of list of float
        Per leaf, where values are cut.
    blocks_ : list of list of list of int
        Per level of composites, the lowest first, and composite, its constituents one level down.
    tables_ : list of list of list of int
        Likewise the state of each tuple, the last constituent varying fastest.
    noise_ : float
    levels_, constituents_, n_states_ : list
        Of each code, see `testbed.contracts.Structure`.
    """

    def __init__(
        self,
        arity: int = 2,
        tuples: Literal["blocks"] | list[list[list[int]]] = "blocks",
        depth: int | None = None,
        rule: Literal["g_test", "bic", "mdl"] = "g_test",
        alpha: float = 0.01,
        tolerance: float = 0.1,
        noise: float | None = None,
        bins: int | None = None,
        samples: int = 1_000_000,
        view: str | None = None,
    ) -> None:
        self.arity = arity
        self.tuples = tuples
        self.depth = depth
        self.rule = rule
        self.alpha = alpha
        self.tolerance = tolerance
        self.noise = noise
        self.bins = bins
        self.samples = samples
        self.view = view

    @classmethod
    def small(cls) -> ContextStates:
        return cls(bins=2, depth=2)

    def fit(self, data: Data, *, seed: int) -> ContextStates:
        """Count and merge, level by level; nothing is drawn, so that `seed` changes nothing.

        Raises
        ------
        InvalidInput
            If a parameter is out of range, tuples are not of these columns, columns are constant or hold too many values or no whole
            numbers, there are fewer rows than states, tables are too large, or `data` is a stream that can be read once only.
        """
        self._check()
        if is_read_once(data):
            raise InvalidInput(
                "each level counts in two passes, but this stream can be read only once: give an array, or a stream to reread"
            )
        self.cuts_ = self._cuts(data)
        self.values_ = self._values(data)
        sizes = [len(values) for values in self.values_]
        self.blocks_: list[list[list[int]]] = []
        self.tables_: list[list[list[int]]] = []
        self.noise_ = 0.0
        channels: list[Array] = [np.eye(k) for k in sizes]
        for height, blocks in enumerate(self._plan(len(sizes))):
            shapes = [tuple(sizes[j] for j in block) for block in blocks]
            counts = self._tuple_counts(data, blocks, shapes)
            if height == 0 and self.noise != 0:
                self.noise_ = noise_rate(counts) if self.noise is None else self.noise
                channels = [symmetric(k, self.noise_) for k in sizes]
            inner = [[channels[j] for j in block] for block in blocks]
            kept = [admissible(n, c, self.alpha) for n, c in zip(counts, inner, strict=True)]
            pairs = self._pair_counts(data, blocks, shapes)
            for (i, j), table in pairs.items():
                pairs[i, j] = _without_noise(table, inner[i], inner[j], kept[i], kept[j])
            labels = self._labels(pairs, kept, counts)
            tables, channels, sizes = [], [], []
            for n, c, where, label in zip(counts, inner, kept, labels, strict=True):
                states, channel = _completed(n, c, where, label)
                tables.append(states.tolist())
                channels.append(channel)
                sizes.append(len(channel))
            self.blocks_.append(blocks)
            self.tables_.append(tables)
            if max(sizes) == 1:
                break
        self._describe()
        return self

    def encode(self, observed: Any) -> Codes:
        x = rows(observed, self.view, columns=len(self.values_))
        return torch.cat([torch.from_numpy(self._codes(part)) for part in torch.split(x, BLOCK)])

    def decode(self, codes: Codes) -> Tensor:
        """The values of the leaves, which are the last codes."""
        leaves = dense(codes)[:, -len(self.values_) :].round().long().cpu()
        out = torch.empty(leaves.shape)
        for j, values in enumerate(self.values_):
            out[:, j] = torch.tensor(values)[leaves[:, j].clamp(0, len(values) - 1)]
        return out

    # ------------------------------------------------------------------------------------------------------ leaves and tuples

    def _check(self) -> None:
        if self.rule not in RULES:
            raise InvalidInput(f"rule must be one of {', '.join(map(repr, RULES))}, not {self.rule!r}")
        if not 0 < self.alpha < 1 or not 0 <= self.tolerance < 1:
            raise InvalidInput(f"alpha must lie in (0, 1) and tolerance in [0, 1), not {self.alpha} and {self.tolerance}")
        if self.noise is not None and not 0 <= self.noise < 0.5:
            raise InvalidInput(f"noise must lie in [0, 0.5), not {self.noise}: None estimates it")
        if self.samples < 2 or (self.depth is not None and self.depth < 1) or (self.bins is not None and self.bins < 2):
            raise InvalidInput(
                f"samples and bins must be at least 2 and depth at least 1, not {self.samples}, {self.bins} and {self.depth}: raise them"
            )
        if isinstance(self.tuples, str) and self.tuples != "blocks":
            raise InvalidInput(f"tuples must be 'blocks' or a list per level of lists of concepts, not {self.tuples!r}")
        if self.tuples == "blocks" and self.arity < 2:
            raise InvalidInput(f"arity must be at least 2, not {self.arity}: a block of one concept composes nothing")

    def _plan(self, leaves: int) -> list[list[list[int]]]:
        """Tuples of every level of composites, the lowest first."""
        plan: list[list[list[int]]] = []
        size = leaves
        if self.tuples == "blocks":
            while size > 1 and (self.depth is None or len(plan) < self.depth):
                if size % self.arity:
                    raise InvalidInput(
                        f"{size} concepts of height {len(plan)} cannot be cut into blocks of arity {self.arity}: change arity, tuples, "
                        f"or set depth to {len(plan)}" + (" at most" if plan else " or more columns")
                    )
                plan.append([list(range(first, first + self.arity)) for first in range(0, size, self.arity)])
                size //= self.arity
        else:
            for blocks in reversed(self.tuples):
                used = [j for block in blocks for j in block]
                if not blocks or min(map(len, blocks)) < 1 or len(set(used)) < len(used) or min(used) < 0 or max(used) >= size:
                    raise InvalidInput(
                        f"tuples {blocks} are not of {size} concepts: name each from 0 to {size - 1} once at most, one list per composite"
                    )
                plan.append([list(block) for block in blocks])
                size = len(blocks)
            plan = plan[: self.depth]
        if not plan:
            raise InvalidInput(f"{leaves} column makes no tuple: give a view of more columns")
        return plan

    def _cuts(self, data: Data) -> list[list[float]]:
        first = next(chunks(data, self.view, limit=self.samples))
        if self.bins is None:
            return [[] for _ in range(first.shape[1])]
        shares = np.arange(1, self.bins) / self.bins
        x = rows(data, self.view, limit=min(self.samples, 16 * BLOCK)).double().numpy()
        cuts = []
        for column in x.T:
            if not len(np.unique(column)) > self.bins:  # few values stay what they are
                cuts.append(((np.unique(column)[1:] + np.unique(column)[:-1]) / 2).tolist())
                continue
            inner = np.unique(np.quantile(column, shares, method="higher"))
            cuts.append(inner[inner > column.min()].tolist() or [float(np.nextafter(column.min(), np.inf))])
        return cuts

    def _values(self, data: Data) -> list[list[float]]:
        """Values of the states of each column, in one pass."""
        found: list[Any] = [np.zeros(0) for _ in self.cuts_]
        sums = [np.zeros((2, len(cuts) + 1)) for cuts in self.cuts_]
        n = 0
        for chunk in chunks(data, self.view, limit=self.samples):
            x, n = chunk.double().cpu().numpy(), n + len(chunk)
            for j, column in enumerate(x.T):
                if self.bins is not None:
                    part = np.searchsorted(self.cuts_[j], column, side="right")
                    sums[j] += [np.bincount(part, w, len(sums[j][0])) for w in (column, np.ones(len(column)))]
                    continue
                if (column != np.round(column)).any():
                    number = column[column != np.round(column)][0]
                    raise InvalidInput(f"column {j} holds {number:g}, but states are whole numbers: give a view of tokens, or set bins")
                found[j] = np.union1d(found[j], column)
                if len(found[j]) > MOST_STATES:
                    raise InvalidInput(
                        f"column {j} holds more than {MOST_STATES} values, too many for states: give another view, or set bins"
                    )
        if self.bins is not None:
            found = [s[0] / np.maximum(s[1], 1) if (s[1] > 0).all() else s[0][:0] for s in sums]
        for j, values in enumerate(found):
            if len(values) < 2:
                raise InvalidInput(f"column {j} is constant: leave it out, since it has one state and says nothing of the others")
        most = max(map(len, found))
        if n < most:
            raise InvalidInput(f"{n} rows are fewer than the {most} states of a column: give more rows")
        return [values.tolist() for values in found]

    def _leaves(self, x: Tensor) -> States:
        """States of leaves, shape (n, d); a value that was not there in the fit gets the state of the nearest that was."""
        array = x.double().cpu().numpy()
        out = np.empty(array.shape, np.int64)
        for j, values in enumerate(self.values_):
            cuts = np.array(self.cuts_[j]) if self.bins is not None else (np.array(values[1:]) + np.array(values[:-1])) / 2
            out[:, j] = np.searchsorted(cuts, array[:, j], side="right")
        return out

    # ------------------------------------------------------------------------------------------------------------ counting

    def _heights(self, x: Tensor) -> list[States]:
        """States of all levels that have tables, the leaves first."""
        out = [self._leaves(x)]
        for blocks, tables in zip(self.blocks_, self.tables_, strict=True):
            below, shapes = out[-1], self._shapes(len(out) - 1)
            keys = [_keys(below, block, shape) for block, shape in zip(blocks, shapes, strict=True)]
            out.append(np.stack([np.array(table)[key] for table, key in zip(tables, keys, strict=True)], axis=1))
        return out

    def _shapes(self, height: int) -> list[tuple[int, ...]]:
        if height == 0:
            sizes = [len(values) for values in self.values_]
        else:
            sizes = [1 + max(table) for table in self.tables_[height - 1]]
        return [tuple(sizes[j] for j in block) for block in self.blocks_[height]]

    def _tuples(self, data: Data, blocks: list[list[int]], shapes: list[tuple[int, ...]]) -> Iterator[list[States]]:
        """Number of each block's tuple, per chunk of rows."""
        for chunk in chunks(data, self.view, limit=self.samples):
            for part in torch.split(chunk, 16 * BLOCK):
                below = self._heights(part)[-1]
                yield [_keys(below, block, shape) for block, shape in zip(blocks, shapes, strict=True)]

    def _tuple_counts(self, data: Data, blocks: list[list[int]], shapes: list[tuple[int, ...]]) -> list[Array]:
        cells = [math.prod(shape) for shape in shapes]
        if (sum(cells) ** 2 - sum(k * k for k in cells)) // 2 > MOST_CELLS:
            raise InvalidInput(
                f"blocks of up to {max(cells)} tuples make tables of more than {MOST_CELLS} cells: lower arity, or give fewer values"
            )
        out = [np.zeros(k) for k in cells]
        for keys in self._tuples(data, blocks, shapes):
            for total, key in zip(out, keys, strict=True):
                total += np.bincount(key, minlength=len(total))
        return [total.reshape(shape) for total, shape in zip(out, shapes, strict=True)]

    def _pair_counts(self, data: Data, blocks: list[list[int]], shapes: list[tuple[int, ...]]) -> dict[tuple[int, int], Array]:
        """How often each tuple of block i occurs beside each of block j > i, shape of both."""
        cells = [math.prod(shape) for shape in shapes]
        out = {(i, j): np.zeros(cells[i] * cells[j]) for i in range(len(cells)) for j in range(i + 1, len(cells))}
        for keys in self._tuples(data, blocks, shapes):
            for (i, j), total in out.items():
                total += np.bincount(keys[i] * cells[j] + keys[j], minlength=len(total))
        return {(i, j): total.reshape(*shapes[i], *shapes[j]) for (i, j), total in out.items()}

    def _labels(self, pairs: dict[tuple[int, int], Array], kept: list[NDArray[np.bool_]], counts: list[Array]) -> list[States]:
        """States of the admissible tuples of each block: beside the tuples of other blocks first, then beside their states."""
        blocks = range(len(kept))
        labels = [np.arange(int(where.sum())) for where in kept]
        for _ in range(2):
            found = []
            for i in blocks:
                context = [_beside(pairs[i, j], labels[j]) if i < j else _beside(pairs[j, i].T, labels[j]) for j in blocks if j != i]
                context = [table for table in context if table.shape[1] > 1]
                if not context:
                    found.append(np.zeros(len(labels[i]), np.int64))
                    continue
                starts = np.cumsum([0] + [table.shape[1] for table in context[:-1]])
                totals = counts[i][kept[i]]
                found.append(
                    merged_states(np.hstack(context), starts, rule=self.rule, alpha=self.alpha, tolerance=self.tolerance, totals=totals)
                )
            labels = found
        return labels

    # ---------------------------------------------------------------------------------------------------------------- codes

    def _codes(self, x: Tensor) -> States:
        return np.concatenate(self._heights(x)[::-1], axis=1)

    def _describe(self) -> None:
        """Levels, constituents and numbers of states of the codes, level 0 first."""
        top = len(self.blocks_)
        counts = [[1 + max(table) for table in tables] for tables in self.tables_[::-1]] + [[len(values) for values in self.values_]]
        self.levels_ = [level for level in range(top + 1) for _ in counts[level]]
        self.n_states_ = [k for level in counts for k in level]
        self.constituents_, first = [], 0
        for level in range(top + 1):
            first += len(counts[level])
            below = self.blocks_[top - 1 - level] if level < top else [[] for _ in counts[level]]
            self.constituents_ += [[first + j for j in block] for block in below]


def _keys(states: States, block: list[int], shape: tuple[int, ...]) -> States:
    """One number per row for the tuple of a block, shape (n,)."""
    key = np.zeros(len(states), np.int64)
    for j, k in zip(block, shape, strict=True):
        key = key * k + states[:, j]
    return key


def _without_noise(table: Array, rows_: list[Array], columns: list[Array], kept: NDArray[np.bool_], beside: NDArray[np.bool_]) -> Array:
    """Counts of admissible tuples of two blocks, sent back through the noise, shape (T, T')."""
    table = through(table, [*inverted(rows_), *inverted(columns)])
    return np.maximum(table.reshape(kept.size, beside.size)[kept.ravel()][:, beside.ravel()], 0.0)


def _beside(table: Array, labels: States) -> Array:
    """Columns of `table`, shape (T, T'), summed by their state; shape (T, K)."""
    out = np.zeros((table.shape[0], int(labels.max()) + 1))
    np.add.at(out.T, labels, table.T)
    return out


def _completed(counts: Array, channels: list[Array], kept: NDArray[np.bool_], labels: States) -> tuple[States, Array]:
    r"""The most probable state of every tuple, admissible or not, shape (P,); and the composite's channel, shape (K, K).

    A state sends :math:`\sum_t p(t \mid v) C[o, t]` to tuple o, t over the admissible tuples that stand for it.
    """
    states = int(labels.max()) + 1
    true = np.where(kept, np.maximum(through(counts, inverted(channels)), LEAST_COUNT), 0.0)
    meant = np.zeros((*counts.shape, states))
    meant[(*np.nonzero(kept), labels)] = true[kept]
    floored = [(1 - FLOOR) * channel + FLOOR / len(channel) for channel in channels]
    seen = through(meant, floored)
    table = seen.reshape(-1, states).argmax(axis=1)
    table[kept.ravel()] = labels  # noise on a frequent neighbour never takes a tuple from its state, so that no state is left without one
    total = meant.reshape(-1, states).sum(axis=0)
    sent = through(meant, channels).reshape(-1, states) / total  # p(o | v)
    channel = np.zeros((states, states))
    np.add.at(channel, table, sent)
    return table, channel


LEAST_COUNT = 0.5
"""Of an admissible tuple, once noise is taken out."""
