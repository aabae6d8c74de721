"""What all learners of edges between levels share: codes of known levels in, the constituents of each upper code out."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from testbed.contracts import Codes, Data, Estimator, InvalidInput, seed_of
from testbed.numerics.batches import rows
from testbed.numerics.firing import is_on
from testbed.numerics.graphs import levels_of
from testbed.numerics.matching import dense

Bools = NDArray[np.bool_]
FEWEST = 20
"""Rows, at least: fewer say nothing of a rule."""


@dataclass(kw_only=True, eq=False, repr=False)
class EdgeLearner(Estimator):
    """Finds which codes of the next lower level each code is composed of; the codes themselves are the columns that it is given.

    A learner sees *whether* codes are on, by thresholds from the codes' own distribution (`testbed.numerics.firing`), and levels, nothing
    else. `HierarchicalSAE` gives it the codes that it has found; in a suite it can stand by itself on any view.

    Parameters
    ----------
    levels : sequence of int
        Of each column, 0 the most abstract. Levels that occur one after the other are adjacent, whatever their numbers.
    samples : int
        Most rows to use, the first ones.
    view : str, optional

    Attributes
    ----------
    constituents_, levels_
        See `Structure`.
    strength_ : array, shape (m, m)
        ``strength_[i, j]``: what speaks for j being a constituent of i, in the learner's own unit; 0 where there is no edge.
    stopped_ : str
        Why a search ended early, in a sentence; empty if it was through.
    """

    levels: Sequence[int] | None = None
    samples: int = 50_000
    view: str | None = None

    @abstractmethod
    def edges(self, upper: Bools, lower: Bools, seed: int) -> NDArray[np.float64]:
        """Strength of each edge, shape (u, m), 0 for none, from what is on: `upper` (n, u) and `lower` (n, m)."""

    def check(self) -> None:
        """Raise InvalidInput if a parameter is out of range."""
        if self.levels is None:
            raise InvalidInput(f"{type(self).__name__} was told no levels: give one number for each column, 0 the most abstract")
        if self.samples < FEWEST:
            raise InvalidInput(f"samples must be at least {FEWEST}, not {self.samples}")

    def fit(self, data: Data, *, seed: int) -> Self:
        """Find the constituents of every code.

        Raises
        ------
        InvalidInput
            If a parameter is out of range, levels are not as many as columns, or there are too few rows.
        """
        self.check()
        x = rows(data, self.view, limit=self.samples)
        levels = levels_of(self.levels, x.shape[1])
        if len(x) < FEWEST:
            raise InvalidInput(f"{len(x)} rows say nothing of a rule: give at least {FEWEST}")
        on = is_on(x)
        self.stopped_ = ""
        self.strength_ = np.zeros((len(levels), len(levels)))
        for at, (upper, lower) in enumerate(adjacent(levels)):
            self.strength_[np.ix_(upper, lower)] = self.edges(on[:, upper], on[:, lower], seed_of("edges", seed, at))
        self.constituents_ = [np.flatnonzero(row).tolist() for row in self.strength_]
        self.levels_ = levels.tolist()
        return self

    def encode(self, observed: Any) -> Codes:
        return rows(observed, self.view, columns=len(self.levels_)).float()

    def decode(self, codes: Codes) -> Tensor:
        return dense(codes)


def adjacent(levels: NDArray[np.int64]) -> Iterator[tuple[NDArray[np.int64], NDArray[np.int64]]]:
    """Columns of each two levels that follow each other, the more abstract first."""
    for above, below in pairwise(np.unique(levels).tolist()):
        yield np.flatnonzero(levels == above), np.flatnonzero(levels == below)


def small_levels() -> tuple[int, ...]:
    """Levels of the columns of the data that `testbed check` fits on."""
    return (0,) * 4 + (1,) * 12


def in_range(name: str, value: float, least: float, most: float) -> None:
    """Raise InvalidInput unless a parameter lies in an interval."""
    if not least <= value <= most:
        raise InvalidInput(f"{name} must lie between {least:g} and {most:g}, not be {value}")
