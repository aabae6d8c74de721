r"""Drawing parent-gated concepts, at a cost that grows with the number of active ones.

*Independent draws.* Points of a Poisson process of rate :math:`\sum_i \lambda_i`, :math:`\lambda_i = -\log(1 - q_i)`, are dealt to roots
and free concepts by an alias table [1]_: one that gets any is on, with probability :math:`1 - e^{-\lambda_i} = q_i`. Each active parent
then asks once which of its exclusive children stays.

*Copula.* Given the common factors, draws are independent with :math:`q_i(f)`. Rare free concepts are proposed by a bound that depends on
the length of f alone (`generators.peers.gated_rare`). The others stand in tiles of eight of like rate; a tile's largest argument of
:math:`\Phi` bounds the hazard of all of it, points fall at that rate, and each is kept with the ratio of its concept's own hazard to the
bound (thinning [2]_). Children are asked where their parent is on, and nowhere else.

References
----------
.. [1] Walker (1977), An efficient method for generating discrete random variables with general distributions.
.. [2] Lewis & Shedler (1979), Simulation of nonhomogeneous Poisson processes by thinning.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from scipy.special import ndtr, pdtr

from generators.peers.gated_kernels import EDGE, STEPS, TILE, Floats, Ints, Singles, draw_copula, draw_independent
from generators.peers.gated_law import GatedLaw, arguments, stays
from generators.peers.gated_rare import RareTables, dear, draw_rare, rare_tables
from testbed.contracts import seed_of

OFTEN = 0.1
"""Roots and free concepts that fire more often than this are asked one by one."""
LANES = 32
"""Factors are padded to a multiple of this, so that a product of theirs has no remainder to do number by number."""
ROWS = 512
"""Rows whose arguments are held at once under the copula."""
WORTHWHILE = 256
"""Rare free concepts are proposed by their bounds if there are at least so many."""
FAR = 100.0
"""Stands for an infinite argument."""
LINES = np.linspace(-EDGE, EDGE, int(2 * EDGE * STEPS) + 1)
PHI = ndtr(LINES)
HAZARD = (-np.log(ndtr(-LINES)) * (1 + 1e-6)).astype(np.float32)  # rounded upwards: bounds


class GatedSampler:
    """Draws which concepts are on.

    Parameters
    ----------
    law : GatedLaw
    """

    def __init__(self, law: GatedLaw) -> None:
        self.law = law
        q = (law.fire * law.keep).numpy()
        tops = np.concatenate([np.arange(law.roots), np.arange(law.starts[-1] if law.roots else 0, law.concepts)])
        often = q[tops] > OFTEN
        self.often, seldom = tops[often], tops[~often]
        self.exclusive = law.exclusive.numpy()
        self.q = q
        self._per_row = self._rare_per_row = 16  # entries to make room for
        self._last = np.empty(law.concepts, np.int64)  # the row in which each concept was last picked
        if not law.loadings.shape[1]:
            self._prepare_independent(seldom)
        else:
            self._prepare_copula(seldom)

    def _prepare_independent(self, seldom: Ints) -> None:
        rate = -np.log1p(-self.q[seldom])
        total = float(rate.sum())
        top = int(total + 12 * total**0.5) + 40  # beyond: less than rounding sees
        self.counts = pdtr(np.arange(top), total)  # cumulative distribution of the number of points
        self.counts[-1] = 1.0
        self.seldom = seldom
        self.accept, self.alias = alias_table(rate)
        win = stays(self.law.fire[self.law.children()] * self.law.keep[self.law.children()], self.law.exclusive) if self.law.roots else None
        self.win = np.zeros((0, 1)) if win is None else np.where(self.exclusive[:, None], win.cumsum(-1).numpy(), win.numpy())

    def _prepare_copula(self, seldom: Ints) -> None:
        slope, offset = (a.numpy() for a in arguments(self.law))
        rank = slope.shape[1]
        self.keep = self.law.keep.numpy()
        # The last row meets a factor that is always 1: it is the offset.
        everything = np.vstack([slope.T, np.where(np.isfinite(offset), offset, np.sign(offset) * FAR)]).astype(np.float32)
        free = seldom[seldom >= (self.law.starts[-1] if self.law.roots else 0)]
        rare = free[~dear(slope[free], everything[-1, free])]
        self.rare: RareTables | None = None
        if len(rare) >= WORTHWHILE:
            self.rare = rare_tables(rare, self._padded(everything, rare), self.keep[rare], rank)
            seldom = np.setdiff1d(seldom, rare, assume_unique=True)
        order = seldom[np.argsort(-self.q[seldom], kind="stable")]
        tiles = -(-len(order) // TILE)
        places = np.full(tiles * TILE, -1)
        places[: len(order)] = order
        # Concept k of tile b stands in column k * tiles + b, so that maxima over tiles run along memory.
        self.layout = np.ascontiguousarray(places.reshape(tiles, TILE).T).ravel()
        real = self.layout >= 0
        columns = np.concatenate([self.layout[real], self.often])
        place = np.concatenate([np.flatnonzero(real), len(self.layout) + np.arange(len(self.often))])
        self.slope = np.zeros((len(everything), len(self.layout) + len(self.often)), np.float32)
        self.slope[-1] = -FAR
        self.slope[:, place] = everything[:, columns]
        last = self.law.starts[-1] if self.law.roots else 0
        padded = self._padded(everything, np.arange(self.law.roots, last))
        self.child_slope = padded.reshape(self.law.parents, self.law.branching, padded.shape[1])

    def _padded(self, everything: Singles, concepts: Ints) -> Singles:
        """Slopes and offsets of some concepts, a row each."""
        out = np.zeros((len(concepts), -(-len(everything) // LANES) * LANES), np.float32)
        out[:, : len(everything)] = everything[:, concepts].T
        return out

    def draw(self, n: int, seed: int) -> tuple[Ints, Ints, Ints]:
        """Active concepts of n rows.

        Returns
        -------
        begin : ndarray, shape (n + 1,)
            Row i has entries ``begin[i]:begin[i + 1]``, parents before children.
        concept, above : ndarray, shape (nnz,)
            Concept of each entry, and the entry of its parent; -1 for roots and free concepts.
        """
        if not self.law.loadings.shape[1]:
            return self._until_it_fits(n, self._independent_arguments(n, seed))
        rank = len(self.slope) - 1
        factors = torch.zeros(n, -(-(rank + 1) // LANES) * LANES)
        factors[:, :rank] = torch.randn(n, rank, generator=torch.Generator().manual_seed(seed))
        factors[:, rank] = 1.0
        pieces = [self._piece(factors[start : start + ROWS].numpy(), rank, seed_of("rows", seed, start)) for start in range(0, n, ROWS)]
        sizes = np.cumsum([0] + [len(concept) for _, concept, _ in pieces])
        begin = np.concatenate([[0], *(b[1:] + size for (b, _, _), size in zip(pieces, sizes, strict=False))])
        above = np.concatenate([np.where(up < 0, up, up + size) for (_, _, up), size in zip(pieces, sizes, strict=False)])
        return begin, np.concatenate([concept for _, concept, _ in pieces]), above

    def _piece(self, f: Singles, rank: int, seed: int) -> tuple[Ints, Ints, Ints]:
        rare = self._rare_concepts(f, rank, seed_of("rare", seed))
        return self._until_it_fits(len(f), self._copula_arguments(f[:, : rank + 1] @ self.slope, f, seed, rare))

    def _rare_concepts(self, f: Singles, rank: int, seed: int) -> tuple[Ints, Ints]:
        begin = np.zeros(len(f) + 1, np.int64)
        if self.rare is None:
            return begin, np.empty(0, np.int64)
        radius = np.linalg.norm(f[:, :rank].astype(np.float64), axis=1)
        while True:
            concept = np.empty(self._rare_per_row * len(f), np.int64)
            self._last[:] = -1
            if draw_rare(f, radius, seed, self.rare, self.keep, PHI, self._last, begin, concept):
                return begin, concept[: begin[-1]]
            self._rare_per_row *= 2

    def _independent_arguments(self, n: int, seed: int) -> tuple[Any, ...]:
        tables = (self.counts, self.accept, self.alias, self.seldom, self.often, self.q, self.law.roots, self.exclusive, self.win)
        return draw_independent, n, seed, *tables

    def _copula_arguments(self, a: Singles, f: Singles, seed: int, rare: tuple[Ints, Ints]) -> tuple[Any, ...]:
        tables = (self.layout, self.often, self.keep, self.law.roots, self.exclusive, self.child_slope, PHI, HAZARD, *rare)
        return draw_copula, a, f, seed, *tables

    def _until_it_fits(self, n: int, call: tuple[Any, ...]) -> tuple[Ints, Ints, Ints]:
        """Run a kernel, with twice the room if it had too little (it starts anew, from the same seed)."""
        kernel, *arguments_ = call
        while True:
            room = self._per_row * n + self.law.concepts + 64
            self._last[:] = -1
            begin, concept, above = np.zeros(n + 1, np.int64), np.empty(room, np.int64), np.empty(room, np.int64)
            if kernel(*arguments_, self._last, begin, concept, above):
                return begin, concept[: begin[-1]], above[: begin[-1]]
            self._per_row *= 2


def alias_table(weight: Floats) -> tuple[Floats, Ints]:
    """Walker's table: pick a cell uniformly, stay with probability `accept`, else move to `alias`."""
    n = len(weight)
    accept, alias = weight * (n / weight.sum()) if n else weight, np.arange(n)
    small = [i for i in range(n) if accept[i] < 1.0]
    large = [i for i in range(n) if accept[i] >= 1.0]
    while small and large:
        i, j = small.pop(), large[-1]
        alias[i] = j
        accept[j] -= 1.0 - accept[i]
        if accept[j] < 1.0:
            small.append(large.pop())
    accept[small] = 1.0  # what rounding left over
    return accept, alias
