r"""A graph of concepts as tables: independent variables, and composites that follow from them, each with a weight.

.. math:: p(x) \propto \prod_j b_j(x_j) \prod_f w_f(t_f), \qquad \text{composite } f = g_f(t_f),

where tuples :math:`t_f` are of variables and of composites that come before f. A noise of a stochastic rule is one more variable.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from generators.selection.randomness import Floats, Ints
from testbed.contracts import InvalidInput

LARGEST_TABLE = 2**20
"""Most tuples of one composite."""
CANDIDATES = 64
"""Most joint values of the variables that are drawn together."""
SMALL, SHARE = 8, 8
"""Blocks of at most so many joint values are drawn in every sweep; larger ones at random, together about `SHARE` per variable."""


@dataclass(frozen=True)
class Factor:
    """A composite: its constituents and, for tuples in row-major order, its state and log weight.

    Attributes
    ----------
    members : tuple of int
        Node numbers: variables come first, then composites in the order of the factors.
    states : ndarray, shape (P,), int64
    log_weight : ndarray, shape (P,), float64
        -inf where a tuple is not admissible.
    """

    members: tuple[int, ...]
    states: Ints
    log_weight: Floats


@dataclass(frozen=True)
class Factors:
    """Tables laid end to end, and the blocks of variables that are drawn together.

    Attributes
    ----------
    cardinality : ndarray, shape (nodes,), int64
    log_base, base : ndarrays, shapes (sum of the variables' cardinalities,), float64, and (variables + 1,), int64
        Log of the variables' base laws, normalised, and where each begins.
    members, strides, begin : ndarrays, int64
        Constituents of factor f and the strides of its table are entries ``begin[f]:begin[f + 1]``.
    states, log_weight, table : ndarrays
        Entries of the table of factor f begin at ``table[f]``.
    block, block_begin, cone, cone_begin : ndarrays, int64
        Variables of each block, and the factors that depend on them, ascending.
    chance : ndarray, shape (blocks,), float64
        Probability with which a sweep draws each block.
    log_mass : float
        Log of the total of the base laws before they were normalised.
    """

    cardinality: Ints
    log_base: Floats
    base: Ints
    members: Ints
    strides: Ints
    begin: Ints
    states: Ints
    log_weight: Floats
    table: Ints
    block: Ints
    block_begin: Ints
    cone: Ints
    cone_begin: Ints
    chance: Floats
    log_mass: float

    @property
    def variables(self) -> int:
        return len(self.base) - 1

    @property
    def digest(self) -> str:
        """What tells one set of factors from another: chains are seeded by it, so that equal laws give equal draws."""
        found = hashlib.sha256()
        for name, value in vars(self).items():
            found.update(name.encode())
            found.update(np.asarray(value).tobytes())
        return found.hexdigest()

    def weighed(self, laws: Sequence[Floats], log_weight: Sequence[Floats]) -> Self:
        """The same graph with other base laws and weights."""
        totals = np.array([law.sum() for law in laws])
        if not (totals > 0).all():
            raise InvalidInput("a concept is left without a possible state: change the setting")
        with np.errstate(divide="ignore"):
            log_base = np.log(np.concatenate([law / total for law, total in zip(laws, totals, strict=True)]))
        return replace(self, log_base=log_base, log_weight=np.concatenate(log_weight), log_mass=float(np.log(totals).sum()))

    @classmethod
    def of(cls, laws: Sequence[Floats], cardinalities: Sequence[int], factors: Sequence[Factor]) -> Self:
        """From the variables' base laws (weights), the composites' numbers of states, and their factors.

        Raises
        ------
        InvalidInput
            If a variable has no possible value, or a table is too large.
        """
        variables = len(laws)
        cardinality = np.array([*map(len, laws), *cardinalities], np.int64)
        strides = []
        for one in factors:
            shape = cardinality[list(one.members)]
            count = int(np.prod(shape.astype(float)))
            if count > LARGEST_TABLE or len(one.states) != count:
                raise InvalidInput(f"a composite has {count} tuples, more than {LARGEST_TABLE}: lower branching")
            strides.append(np.concatenate([np.cumprod(shape[:0:-1])[::-1], [1]]).astype(np.int64))
        blocks = _blocks(variables, cardinality, [one.members for one in factors])
        cones = [_cone(block, variables, [one.members for one in factors]) for block in blocks]
        block, block_begin = _flat(blocks)
        cone, cone_begin = _flat(cones)
        members, begin = _flat([list(one.members) for one in factors])
        graph = cls(
            cardinality,
            np.empty(0),
            np.concatenate([[0], np.cumsum(cardinality[:variables])]).astype(np.int64),
            members,
            np.concatenate(strides),
            begin,
            np.concatenate([one.states for one in factors]).astype(np.int64),
            np.empty(0),
            np.concatenate([[0], np.cumsum([len(one.states) for one in factors])]).astype(np.int64),
            block,
            block_begin,
            cone,
            cone_begin,
            _chances(blocks, cardinality),
            0.0,
        )
        return graph.weighed(laws, [one.log_weight for one in factors])


def _chances(blocks: Sequence[Sequence[int]], cardinality: NDArray[np.int64]) -> Floats:
    """Probability with which a sweep draws each block: whatever their size, large ones together cost about as much as small ones."""
    size = np.array([np.prod(cardinality[list(block)]) for block in blocks], float)
    small = np.array([len(block) == 1 for block in blocks]) | (size <= SMALL)
    variables = sum(len(block) == 1 for block in blocks)
    return np.where(small, 1.0, min(1.0, SHARE * variables / max(1.0, size[~small].sum())))


def _flat(lists: Sequence[Sequence[int]]) -> tuple[Ints, Ints]:
    return np.array([v for one in lists for v in one], np.int64), np.concatenate([[0], np.cumsum([len(one) for one in lists])]).astype(
        np.int64
    )


def _below(variables: int, members: Sequence[Sequence[int]]) -> list[list[int]]:
    """Variables that each factor depends on."""
    found: list[list[int]] = []
    for below in members:
        reached = {v for j in below for v in ([j] if j < variables else found[j - variables])}
        found.append(sorted(reached))
    return found


def _cone(block: Sequence[int], variables: int, members: Sequence[Sequence[int]]) -> list[int]:
    """Factors that depend on a block."""
    moved, cone = set(block), []
    for f, below in enumerate(members):
        if moved & set(below):
            cone.append(f)
            moved.add(variables + f)
    return cone


def _blocks(variables: int, cardinality: NDArray[np.int64], members: Sequence[Sequence[int]]) -> list[list[int]]:
    """Every variable by itself; the variables below every composite, and below two that share some: as many as `CANDIDATES` allows.

    Blocks that hold more than that are cut into overlapping runs, in an order that is drawn once and for all.
    """
    below = _below(variables, members)
    found = {(v,) for v in range(variables)}
    generator = np.random.default_rng(0)
    sets: list[set[int]] = [set(one) for one in below]
    users: list[list[int]] = [[] for _ in range(variables)]
    for f, one in enumerate(below):
        for v in one:
            users[v].append(f)
    for f in range(len(members)):
        sets += [sets[f] | sets[g] for g in sorted({g for v in below[f] for g in users[v] if g > f})[:8]]
    for together in sets:
        order = generator.permutation(sorted(together)).tolist()
        while order:
            size, run = 1, []
            for v in order:
                if size * cardinality[v] > CANDIDATES:
                    break
                size *= int(cardinality[v])
                run.append(v)
            found.add(tuple(sorted(run or order[:1])))
            order = order[max(1, len(run)) :]
    return [list(block) for block in sorted(found, key=lambda block: (len(block), block))]
