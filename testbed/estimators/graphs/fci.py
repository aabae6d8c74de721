"""FCI among the columns of a view: which edges selection made, which ends are causes, and which cannot be told."""

from __future__ import annotations

from collections.abc import Sequence

from testbed.contracts import Data
from testbed.estimators.graphs.constraint_search import ConstraintSearch
from testbed.numerics.pags import TAIL, arrows_of, pag, without_hidden_separators
from testbed.numerics.skeletons import skeleton


class FCI(ConstraintSearch):
    """A graph of ancestors among the columns, which are the codes, with hidden causes and selection allowed [1]_, [2]_.

    What it finds at best is the selected MAG up to Markov equivalence, marks included: rules 5 to 7 tell edges that selection made (two
    tails, ``selection_``) from those that are undetermined (circles). Such an edge shows only on a circle of four columns or more without
    a chord. A forest of compositions that are all selected has none, since co-constituents are all adjacent to each other and to
    their composite: there the answer is circles everywhere, and that is all that tests of conditional independence can say. Shared
    constituents can close such circles.

    In ``constituents_`` an edge with one arrowhead runs from constituent to composite; all others are written both ways.

    Parameters
    ----------
    test, alpha, effect, levels, max_depth, budget, samples, view
        As of `PC`. With `levels` the concrete end of an edge between levels is a tail, and such edges run to the abstract end.
    hidden : bool
        Also try sets beyond neighbours, which hidden causes make necessary and which take long where there are many edges: up to `budget`
        tests. Without hidden causes, selection or not, neighbours are enough.

    Attributes
    ----------
    constituents_, levels_
        See `Structure`.
    marks_ : array of int8, shape (p, p)
        ``marks_[i, j]``: the mark at j of the edge between i and j; 0 no edge, 1 circle, 2 arrowhead, 3 tail. A tail at j says that j is an
        ancestor of i or of the selection, an arrowhead that it is neither.
    selection_ : array of bool, shape (p, p)
        Edges with two tails.
    adjacent_, arrows_ : array of bool, shape (p, p)
        ``arrows_[i, j]``: from i to j; both ways where there is no direction.
    tests_ : int
    stopped_ : str
        Why the search ended early, in a sentence; empty if it was through.

    References
    ----------
    .. [1] Spirtes, Meek & Richardson (1995), Causal inference in the presence of latent variables and selection bias, UAI.
    .. [2] Zhang (2008), On the completeness of orientation rules for causal discovery in the presence of latent confounders and selection
       bias, Artificial Intelligence 172.
    """

    def __init__(
        self,
        test: str = "fisher_z",
        alpha: float = 0.01,
        effect: float = 0.0,
        levels: Sequence[int] | None = None,
        hidden: bool = False,
        max_depth: int | None = None,
        budget: int = 10_000_000,
        samples: int = 100_000,
        view: str | None = None,
    ) -> None:
        self.test = test
        self.alpha = alpha
        self.effect = effect
        self.levels = levels
        self.hidden = hidden
        self.max_depth = max_depth
        self.budget = budget
        self.samples = samples
        self.view = view

    def fit(self, data: Data, *, seed: int) -> FCI:
        """Search; `seed` changes nothing.

        Raises
        ------
        InvalidInput
            If a parameter is out of range, a column is constant, correlations are singular or there are too few rows.
        """
        x, levels = self.given(data)
        test = self.tested(x)
        found = skeleton(test, self.max_depth, self.budget)
        if self.hidden:
            found = without_hidden_separators(test, found, self.max_depth, self.budget)
        self.marks_ = pag(found, levels)
        self.adjacent_ = found.adjacent
        self.selection_ = (self.marks_ == TAIL) & (self.marks_.T == TAIL)
        self.tests_, self.stopped_ = found.tests, found.stopped
        self.keep(arrows_of(self.marks_, levels), levels)
        return self
