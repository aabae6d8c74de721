"""Discrete hierarchies by compression: tuples with one context law are one state, level by level from the leaves up."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from testbed.contracts import BLOCK, Codes, Data, Estimator, InvalidInput
from testbed.estimators.discrete.blocks import described, plan, values_of_leaves
from testbed.estimators.discrete.composing import FLOOR, RULES, Composed, Settings, compose
from testbed.estimators.discrete.searching import search
from testbed.numerics.batches import chunks, is_read_once, rows
from testbed.numerics.channels import symmetric
from testbed.numerics.joint_emission import log_likelihood
from testbed.numerics.leaf_states import cuts_of, states_in, values_of
from testbed.numerics.state_counts import StateColumns, keys, smallest
from testbed.numerics.tree_posteriors import Emission, posteriors

States = NDArray[np.int64]
Array = NDArray[np.float64]


class ContextStates(Estimator):
    r"""Merge the tuples of each block whose context laws do not differ, go up a level, repeat.

    In a hierarchy under selection a block's tuple t is independent of everything outside it given the composite's state g(t). So
    :math:`p(\text{outside} \mid t)` tells the states apart, and the fewest states that explain the data are the distinct laws among
    them (two states with one law are one for anybody who looks at data). Outside is read block by block: counts of t beside the tuples of
    every other block, and, once all blocks of the level have states, beside those states, which are fewer. See
    `testbed.numerics.contexts` for the tests.

    **Tuples** are given, or found by their total correlation, or, where they have none, by collisions of two of them
    (`testbed.numerics.tuples`). Where their size is unknown, held-out likelihood chooses it, one for each level. That takes a budget of
    sets to look at, and says in ``stopped_`` what it left out.

    **Noise** on leaves mixes the laws of tuples. Its rate is estimated from tuples that nothing else explains, those that noise explains
    are left out, and each table is replaced by the most likely one before the noise; then laws are compared. From level to level the
    channel of a composite follows from those of its constituents and its table. A tolerance on the size of effects covers what is left.
    Codes are then the most probable states given the whole row, by exact messages in the found tree
    (`testbed.numerics.tree_posteriors`), but for those of leaves, which stay what is seen; without noise a block's own tuple says all.

    **How many states**: see `rule`; or a budget that is forced. Of several budgets the one under which one half of the rows is most
    likely when the other is fitted (`testbed.numerics.joint_emission`).

    A level all of whose concepts have one state ends the hierarchy. Where there is no constraint that is so at once. A single concept at
    the top has no context: its partition is invisible from below, and the fewest states are one. It is kept, for the graph.

    Codes are states, level 0 first and the leaves last. A leaf's states are its values in increasing order. Beyond 2**28 entries of a level
    memory does not grow with the number of rows: each level takes two passes, that only count.

    Parameters
    ----------
    arity : int, list of int, or "unknown"
        Concepts of a tuple, unless tuples are given; a list has one per level of composites, level 0 first. ``"unknown"`` (for
        found ones only): from 2 to `max_arity`, as the data say.
    tuples : "blocks", "found", or list of list of list of int
        Which concepts compose: neighbours, `arity` at a time, until one is left; or those that depend on each other; or as a generator's
        `constituents` has them: per level from 0 on, and composite, concepts of the next level. A concept belongs to one tuple at most.
    max_arity : int
    search_budget : int
        Sets of concepts of a level that the search looks at, at most, for each arity.
    depth : int, optional
        Levels of composites, at most.
    rule : {"g_test", "bic", "mdl", "held_out"}
        What decides on the number of states. ``"held_out"``: the number under which the contexts of one half of the rows are most likely
        when states and laws are fitted to the other.
    n_states : int, list of int, or None
        That number, for all composites that have a context, instead of the rule. A list: the one under which whole held-out rows are
        most likely; ``held_out_`` has their mean log-likelihoods, ``budget_`` the chosen one.
    alpha : float
        Probability, at most, that a block gets a state too many, by the G-test; likewise that a level gets a tuple too many.
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
    tuples_, laws_, priors_ : list of list
        Likewise the admissible tuples, shape (T, s); p(tuple | state), shape (T, K); p(state), shape (K,).
    noise_ : float
    levels_, constituents_, n_states_ : list
        Of each code, see `testbed.contracts.Structure`.
    stopped_ : str
        What the search for tuples did not look at; empty if nothing.
    """

    def __init__(
        self,
        arity: int | list[int] | Literal["unknown"] = 2,
        tuples: Literal["blocks", "found"] | list[list[list[int]]] = "blocks",
        max_arity: int = 3,
        search_budget: int = 50_000,
        depth: int | None = None,
        rule: Literal["g_test", "bic", "mdl", "held_out"] = "g_test",
        n_states: int | list[int] | None = None,
        alpha: float = 0.01,
        tolerance: float = 0.1,
        noise: float | None = None,
        bins: int | None = None,
        samples: int = 1_000_000,
        view: str | None = None,
    ) -> None:
        self.arity = arity
        self.tuples = tuples
        self.max_arity = max_arity
        self.search_budget = search_budget
        self.depth = depth
        self.rule = rule
        self.n_states = n_states
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
        """Count and merge, level by level; `seed` matters to the search for tuples alone, which shuffles columns.

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
        if isinstance(self.n_states, list):
            self._choose_budget(data, seed)
        else:
            self.budget_ = self.n_states
            self.held_out_: list[float] = []
        self.cuts_ = cuts_of(data, self.view, self.bins, self.samples)
        self.values_ = values_of(data, self.view, self.cuts_, self.bins, self.samples)
        self.stopped_ = ""
        settings = Settings(self.rule, self.alpha, self.tolerance, self.noise, self.budget_)
        columns = StateColumns(lambda: self._leaves_of(data))
        sizes, channels = [len(values) for values in self.values_], None
        found: list[Composed] = []
        arity = 2 if isinstance(self.arity, str) else self.arity  # "unknown" where tuples are given, not cut
        planned = None if self.tuples == "found" else plan(len(sizes), arity, self.tuples, self.depth)
        while self.depth is None or len(found) < self.depth:
            if planned is None:
                blocks = self._searched(columns, sizes, channels, settings, len(found), seed)
            else:
                blocks = planned[len(found)] if len(found) < len(planned) else []
            if not blocks:
                break
            level = compose(columns, blocks, sizes, channels, settings)
            found.append(level)
            columns, sizes, channels = columns.composed(blocks, level.shapes, level.tables), level.sizes, level.channels
            if max(sizes) == 1:
                break
        self._keep(found)
        return self

    def encode(self, observed: Any) -> Codes:
        x = rows(observed, self.view, columns=len(self.values_))
        return torch.cat([torch.from_numpy(self._codes(part)) for part in torch.split(x, BLOCK)])

    def decode(self, codes: Codes) -> Tensor:
        """The values of the leaves, which are the last codes."""
        return values_of_leaves(codes, self.values_)

    # ----------------------------------------------------------------------------------------------------- settings, tuples

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
        if isinstance(self.tuples, str) and self.tuples not in ("blocks", "found"):
            raise InvalidInput(f"tuples must be 'blocks', 'found' or a list per level of lists of concepts, not {self.tuples!r}")
        if isinstance(self.tuples, str) and min(self._arities(), default=0) < 2:
            wanted = "arity must be at least 2" if self.tuples == "blocks" else "arity and max_arity must be at least 2"
            raise InvalidInput(f"{wanted}, not {self.arity} and {self.max_arity}: a block of one concept composes nothing")
        budgets = self.n_states if isinstance(self.n_states, list) else [self.n_states]
        if not budgets or not all(k is None or k >= 1 for k in budgets) or self.search_budget < 1:
            raise InvalidInput(f"n_states and search_budget must be at least 1, not {self.n_states} and {self.search_budget}")

    def _arities(self) -> list[int]:
        """Sizes of tuples that are allowed somewhere."""
        if isinstance(self.arity, str):
            return [] if self.tuples == "blocks" else list(range(2, self.max_arity + 1))
        return list(self.arity) if isinstance(self.arity, list) else [self.arity]

    def _searched(
        self, columns: StateColumns, sizes: list[int], channels: list[Array] | None, settings: Settings, height: int, seed: int
    ) -> list[list[int]]:
        """Tuples of the next level of composites; none where nothing depends on anything."""
        arities = self._arities()
        if isinstance(self.arity, list):
            arities = arities[len(arities) - 1 - height :][:1] if height < len(arities) else []
        found = search(columns, sizes, arities, channels, settings, self.search_budget, seed)
        if found.stopped:
            self.stopped_ += ("; " if self.stopped_ else "") + f"height {height}: {found.stopped}"
        return [list(one) for one in found.tuples]

    def _choose_budget(self, data: Data, seed: int) -> None:
        """The number of states under which every second row is most likely when the others are fitted."""
        budgets = list(self.n_states) if isinstance(self.n_states, list) else []
        self.held_out_ = []
        for k in budgets:
            one = type(self)(**(self.get_params() | {"n_states": k, "view": None}))
            one.fit(_EverySecond(data, self.view, self.samples, 0), seed=seed)
            fitted, held = (np.concatenate([one._codes(x) for x in _EverySecond(data, self.view, self.samples, first)]) for first in (0, 1))
            self.held_out_.append(float(log_likelihood(fitted, held, one.constituents_).mean()))
        self.budget_ = budgets[int(np.argmax(self.held_out_))]

    # ---------------------------------------------------------------------------------------------------------------- codes

    def _leaves_of(self, data: Data) -> Iterator[NDArray[Any]]:
        for chunk in chunks(data, self.view, limit=self.samples):
            for part in torch.split(chunk, 16 * BLOCK):
                yield smallest(np.ascontiguousarray(states_in(part, self.values_, self.cuts_, self.bins).T))

    def _codes(self, x: Tensor) -> States:
        """Level 0 first; most probable given the row where there is noise."""
        heights = [states_in(x, self.values_, self.cuts_, self.bins)]
        for blocks, tables in zip(self.blocks_, self.tables_, strict=True):
            below, shapes = heights[-1].T, self._shapes(len(heights) - 1)
            found = [np.array(table)[keys(below, block, shape)] for table, block, shape in zip(tables, blocks, shapes, strict=True)]
            heights.append(np.stack(found, axis=1))
        if self.noise_ > 0:
            for height, level in enumerate(self._posteriors(heights[0])[1:], 1):
                heights[height] = np.stack([p.argmax(axis=1) for p in level], axis=1)
        return np.concatenate(heights[::-1], axis=1)

    def _posteriors(self, leaves: States) -> list[list[Array]]:
        sizes = [len(values) for values in self.values_]
        levels = [
            [Emission(tuple(block), np.array(t), np.array(law)) for block, t, law in zip(*one, strict=True)]
            for one in zip(self.blocks_, self.tuples_, self.laws_, strict=True)
        ]
        priors = [[np.full(k, 1 / k) for k in sizes], *([np.array(p) for p in level] for level in self.priors_)]
        return posteriors(leaves, [symmetric(k, max(self.noise_, FLOOR)) for k in sizes], levels, priors)

    def _shapes(self, height: int) -> list[tuple[int, ...]]:
        if height == 0:
            sizes = [len(values) for values in self.values_]
        else:
            sizes = [1 + max(table) for table in self.tables_[height - 1]]
        return [tuple(sizes[j] for j in block) for block in self.blocks_[height]]

    def _keep(self, found: list[Composed]) -> None:
        """What was found, as lists; levels, constituents and numbers of states of the codes, level 0 first."""
        self.noise_ = found[0].noise if found else 0.0
        self.blocks_ = [level.blocks for level in found]
        self.tables_ = [[table.tolist() for table in level.tables] for level in found]
        self.tuples_ = [[one.tuples.tolist() for one in level.emissions] for level in found]
        self.laws_ = [[one.law.tolist() for one in level.emissions] for level in found]
        self.priors_ = [[prior.tolist() for prior in level.priors] for level in found]
        counts = [[len(values) for values in self.values_], *(level.sizes for level in found)]
        self.levels_, self.constituents_, self.n_states_ = described(self.blocks_, counts)


class _EverySecond:
    """Every second row of data, from `first` on; can be read again."""

    def __init__(self, data: Data, view: str | None, samples: int, first: int) -> None:
        self.data, self.view, self.samples, self.first = data, view, samples, first

    def __iter__(self) -> Iterator[Tensor]:
        for chunk in chunks(self.data, self.view, limit=self.samples):
            yield chunk[self.first :: 2]
