"""The same instance with nothing selected: phi = 1."""

from __future__ import annotations

from generators.selection.sparse import SparseConcepts, SparseInstance


class Unselected(SparseConcepts):
    """The base law of the instance that `SparseConcepts` draws with the same seed: same graph, dictionary and leaf laws, phi = 1.

    Leaves are independent with the log-odds of the selected instance's tilts; composites are still on iff their rule holds. Firing rates
    are those that follow (``truth.rates``), not the requested ones, and trees are not correlated. A shortcut that lives on selection, such
    as reading one constituent off another, collapses when what was learned on the selected instance is tested here.

    Source: DESIGN section 2; do-then-select with nothing done and nothing selected.
    """

    def draw(self, seed: int) -> SparseInstance:
        return super().draw(seed).unselected()
