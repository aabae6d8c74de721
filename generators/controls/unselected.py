"""The same instance with nothing selected: phi = 1."""

from __future__ import annotations

from dataclasses import replace

import torch

from generators.selection.sparse import SparseConcepts, SparseInstance


class Unselected(SparseConcepts):
    """The base law of the instance that `SparseConcepts` draws with the same seed: same graph, dictionary and leaf laws, phi = 1.

    Leaves are independent with the log-odds of the selected instance's tilts; composites are still on iff their rule holds. Firing rates
    are those that follow (``truth.rates``), not the requested ones, and trees are not correlated. A shortcut that lives on selection, such
    as reading one constituent off another, collapses when what was learned on the selected instance is tested here.

    Source: DESIGN section 2; do-then-select with nothing done and nothing selected.
    """

    def draw(self, seed: int) -> SparseInstance:
        selected = super().draw(seed)
        world = selected.world
        nothing = tuple(tuple(replace(one, all_on=1.0, lone_firing=1.0) for one in level) for level in world.compositions)
        tilts = world.tilts.clone()
        tilts[: world.forest.start(len(world.forest.sizes) - 1)] = 0.0  # composites' tilts are part of phi
        independent = torch.zeros(len(world.loadings), 0, dtype=torch.float64)
        return SparseInstance.of(replace(world, compositions=nothing, tilts=tilts, loadings=independent))
