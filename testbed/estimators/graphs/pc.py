"""Constraint-based search for a graph among the columns of a view: stable PC, in batches."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from testbed.contracts import Data, InvalidInput
from testbed.estimators.graphs.constraint_search import ConstraintSearch
from testbed.numerics.skeletons import orient, skeleton


class PC(ConstraintSearch):
    """A graph of conditional independences among the columns themselves, which are the codes [1]_, in the stable variant [2]_.

    What it can find at best: without selection the Markov equivalence class of the graph; with it the selected MAG, in which
    co-constituents are adjacent and nothing orients. An edge without direction is written both ways, each end a constituent of the
    other: an edge that selection made and one that is only undetermined look alike, see `FCI`. Hidden common causes are assumed away.
    Deterministic compositions break faithfulness: given all its constituents a composite is constant, so that they separate it from
    whatever else it is composed with, or a part of. On states G2 then finds no wrong edge and loses about half of those to composites;
    Fisher's z finds two thirds of them and wrong ones beside, and refuses sums, whose correlations are singular.

    Parameters
    ----------
    test : {"fisher_z", "g2"}
        Partial correlations of numbers, or likelihood ratios of states.
    alpha : float
        Level of each test.
    effect : float
        Dependence up to this, as a (partial) correlation, counts as none: at a fixed `alpha` and many rows everything is significant.
    levels : sequence of int, optional
        Of each column, 0 the most abstract. Edges between levels then run from the concrete to the abstract. Sets to condition on are not
        restricted by it, since selection makes concepts depend on each other below what it acts on.
    directions : bool
        False leaves all edges between columns of one level without direction, which is what selection leaves.
    max_depth : int, optional
        Largest sets to condition on.
    budget : int
        Most tests; a round of larger sets that would exceed it is not begun, and ``stopped_`` says so.
    bootstrap : int
        Resamples of the rows for ``confidence_``.
    samples : int
        Most rows to use, the first ones.
    view : str, optional

    Attributes
    ----------
    constituents_, levels_
        See `Structure`.
    adjacent_ : array of bool, shape (p, p)
    arrows_ : array of bool, shape (p, p)
        ``arrows_[i, j]``: from i to j; both ways where there is no direction.
    confidence_ : array, shape (p, p)
        Share of resamples in which the pair is adjacent; (0, 0) without `bootstrap`. Resampled rows repeat, so that tests on them
        reject more often than `alpha` says: shares compare edges and are no probabilities.
    separators_ : list of [int, int, list of int]
        Of pairs that some variables separate.
    depth_, tests_ : int
        Largest sets that were tried, number of tests.
    stopped_ : str
        Why the search ended early, in a sentence; empty if it was through.

    References
    ----------
    .. [1] Spirtes & Glymour (1991), An algorithm for fast recovery of sparse causal graphs.
    .. [2] Colombo & Maathuis (2014), Order-independent constraint-based causal structure learning, JMLR 15.
    """

    def __init__(
        self,
        test: str = "fisher_z",
        alpha: float = 0.01,
        effect: float = 0.0,
        levels: Sequence[int] | None = None,
        directions: bool = True,
        max_depth: int | None = None,
        budget: int = 100_000_000,
        bootstrap: int = 0,
        samples: int = 100_000,
        view: str | None = None,
    ) -> None:
        self.test = test
        self.alpha = alpha
        self.effect = effect
        self.levels = levels
        self.directions = directions
        self.max_depth = max_depth
        self.budget = budget
        self.bootstrap = bootstrap
        self.samples = samples
        self.view = view

    def fit(self, data: Data, *, seed: int) -> PC:
        """Search; `seed` draws the resamples and changes nothing else.

        Raises
        ------
        InvalidInput
            If a parameter is out of range, a column is constant, correlations are singular or there are too few rows.
        """
        x, levels = self.given(data)
        if self.bootstrap < 0:
            raise InvalidInput(f"bootstrap must be at least 0, not {self.bootstrap}")
        p = x.shape[1]
        found = skeleton(self.tested(x), self.max_depth, self.budget)
        arrows = orient(found, levels)
        if not self.directions:
            arrows = found.adjacent & (levels[:, None] >= levels[None, :])
        generator = np.random.default_rng(seed)
        share = np.zeros((p, p) if self.bootstrap else (0, 0))
        for _ in range(self.bootstrap):
            again = self.tested(x[generator.integers(len(x), size=len(x))])
            share += skeleton(again, self.max_depth, self.budget).adjacent / self.bootstrap
        self.adjacent_, self.confidence_ = found.adjacent, share
        self.separators_ = [[a, b, list(given)] for (a, b), given in sorted(found.separators.items())]
        self.depth_, self.tests_, self.stopped_ = found.depth, found.tests, found.stopped
        self.keep(arrows, levels)
        return self
