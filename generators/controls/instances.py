"""What controls of the sparse family share: views written like those of the selected instance that they stand beside."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from generators.selection.sparse_truth import TAIL, SparseTruth
from generators.selection.world import World
from testbed.contracts import BLOCK, BlockInstance, InvalidInput, Observed, Sample, SparseRows, View, seed_of

VIEWS = ("noise/", "bias/", "pursuit/")
"""Beginnings of the facts about views, which controls share with the selected instance."""


def facts_beside(truth: SparseTruth, direction: str, indistinguishable: tuple[str, ...], **more: Any) -> dict[str, Any]:
    """Facts of a control: what is said of the selected instance's magnitudes and views, and the direction of its edges.

    `direction` is ``"selection"``, ``"joint_emission"``, ``"independent_children"`` or ``"none"``; ``facts["direction_class"]`` lists all
    directions that no data could tell from it.
    """
    kept = {key: value for key, value in truth.facts.items() if key == "magnitude" or key.startswith(VIEWS)}
    return kept | {"direction": direction, "direction_class": list(indistinguishable)} | more


def forest_only(world: World, control: str) -> None:
    """Raise InvalidInput where constituents are shared: what is told from the top down needs one composite above each concept."""
    if world.forest.shared:
        raise InvalidInput(f"{control} needs a forest, but some concepts belong to two composites: set shared to 0")


class StateInstance(BlockInstance):
    """A control that draws its own states and magnitudes; views are written as the selected instance writes them.

    Parameters
    ----------
    truth : SparseTruth
        Of the control.
    world : World
        Of the selected instance.
    """

    def __init__(self, truth: SparseTruth, world: World) -> None:
        self.truth: SparseTruth = truth
        self.world = world

    @abstractmethod
    def states(self, n: int, generator: torch.Generator) -> list[Tensor]:
        """States of n rows on the generator's device, shape (n, n_l), bool, for each level from 0 down."""

    def magnitudes(self, states: list[Tensor], generator: torch.Generator) -> list[Tensor]:
        """Magnitudes, shape (n, n_l), 0 where a concept is off: all from the same law and tied to nothing."""
        return self.world.magnitudes.draw(states, (), generator)

    def block(self, seed: int) -> Sample:
        values = self.magnitudes(self.states(BLOCK, self._generator("states", seed)), self._generator("magnitudes", seed))
        views = {}
        for view, shows in self.world.shows.items():
            x = self.truth.facts[f"bias/{view}"].to(self.device).expand(BLOCK, -1)
            for level, atoms in self.truth.dictionaries[view].items():
                x = x + values[level] @ atoms.to(self.device)
            if shows.noise:
                x = x + shows.noise * torch.randn(x.shape, generator=self._generator("noise", seed, view), device=self.device)
            views[view] = View(x, shows)
        return Sample(Observed(views), {level: SparseRows.from_dense(v) for level, v in enumerate(values)})

    def allow_for_counts(self, seed: int) -> None:
        """Tell the oracle how many concepts may be active, from the counts of one block that no sample contains."""
        states = self.states(BLOCK, torch.Generator().manual_seed(seed_of("counts", seed)))
        facts = {}
        for view, levels in self.truth.dictionaries.items():
            count = torch.stack([states[level].sum(dim=1) for level in levels]).sum(dim=0).double()
            facts[f"pursuit/{view}"] = with_most_active(self.truth, view, float(count.mean() + TAIL * count.std()))
        self.truth = replace(self.truth, facts={**self.truth.facts, **facts})

    def _generator(self, role: str, *parts: str | int) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(seed_of(role, *parts))


def with_most_active(truth: SparseTruth, view: str, most: float) -> Mapping[str, Any]:
    """What the oracle is told of a view, with another limit on the number of active concepts."""
    concepts = sum(len(atoms) for atoms in truth.dictionaries[view].values())
    return {**truth.facts[f"pursuit/{view}"], "max_active": max(1, min(concepts, math.ceil(most)))}
