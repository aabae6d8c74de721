"""What controls of the sparse family share: views written like those of the selected instance that they stand beside."""

from __future__ import annotations

import math
from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Self

import torch
from torch import Tensor

from generators.controls.settings import Values, checked, done_first, from_plain, joined, to_plain
from generators.selection.sparse_truth import TAIL, SparseTruth, binary_entropy
from generators.selection.world import World, from_state, to_state
from testbed.contracts import BLOCK, BlockInstance, InvalidInput, Observed, Sample, Setting, SparseRows, View, seed_of

VIEWS = ("noise/", "bias/", "pursuit/")
"""Beginnings of the facts about views, which controls share with the selected instance."""


def concept_entropies(rates: Mapping[int, Tensor]) -> dict[str, Tensor]:
    """Facts ``concept_entropies/l``: entropy of each concept's state by itself, shape (n_l,), in nats."""
    return {f"concept_entropies/{level}": binary_entropy(r) for level, r in rates.items()}


def facts_beside(truth: SparseTruth, direction: str, indistinguishable: tuple[str, ...], **more: Any) -> dict[str, Any]:
    """Facts of a control: what is said of the selected instance's magnitudes and views, and the direction of its edges.

    `direction` is ``"selection"``, ``"joint_emission"``, ``"independent_children"`` or ``"none"``; ``facts["direction_class"]`` lists all
    directions that no data could tell from it.
    """
    kept = {key: value for key, value in truth.facts.items() if key == "magnitude" or key.startswith(VIEWS)}
    kept |= concept_entropies(truth.rates)
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
    done, given : mapping of (level, concept) to float
        Values set by force, and values conditioned on. Nothing is selected here, so that the order of doing and selecting is none:
        `do_then_select` and `select_then_do` are the same.
    """

    def __init__(self, truth: SparseTruth, world: World, done: Values | None = None, given: Values | None = None) -> None:
        self.truth: SparseTruth = truth
        self.world = world
        self.done, self.given = done or {}, given or {}

    @abstractmethod
    def states(self, n: int, generator: torch.Generator) -> list[Tensor]:
        """States of n rows on the generator's device, shape (n, n_l), bool, for each level from 0 down."""

    def magnitudes(self, states: list[Tensor], generator: torch.Generator) -> list[Tensor]:
        """Magnitudes, shape (n, n_l), 0 where a concept is off: all from the same law and tied to nothing, but for those that are fixed."""
        values = self.world.magnitudes.draw(states, (), generator)
        for level, magnitudes in enumerate(values):
            self._fix(magnitudes, level)
        return values

    def _fix(self, magnitudes: Tensor, level: int) -> None:
        """Put in the magnitudes that are set or conditioned on."""
        for (at, i), value in {**self.given, **self.done}.items():
            if at == level:
                magnitudes[:, i] = value

    @classmethod
    @abstractmethod
    def of(cls, world: World, done: Values, given: Values) -> Self:
        """The control beside a selected world, steered."""

    def condition(self, setting: Setting) -> Self:
        """The law given states. A magnitude is given to its concept as it is: beyond being on it tells nothing about what it follows."""
        return self._steered(self.done, joined(self.done, self.given, setting, self.world.forest.sizes))

    def do_then_select(self, setting: Setting) -> Self:
        """Set concepts by force; nothing is selected, so that this and `select_then_do` are the same."""
        done_first(self.given)
        return self._steered({**self.done, **checked(setting, self.world.forest.sizes)}, {})

    def select_then_do(self, setting: Setting) -> Self:
        """Set concepts by force; nothing is selected, so that this and `do_then_select` are the same."""
        return self.do_then_select(setting)

    def _steered(self, done: Values, given: Values) -> Self:
        made = self.of(self.world, done, given)
        return made if self.device == "cpu" else made.to(self.device)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return control_state(self.world, self.done, self.given)

    @classmethod
    def from_state(cls, arrays: Mapping[str, Tensor], plain: Mapping[str, Any]) -> Self:
        world, done, given = control_world(arrays, plain)
        return cls.of(world, done, given)

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

    def allow_for_counts(self) -> None:
        """Tell the oracle how many concepts may be active, from the counts of one block that no sample contains."""
        states = self.states(BLOCK, torch.Generator().manual_seed(seed_of("counts")))
        facts = {}
        for view, levels in self.truth.dictionaries.items():
            count = torch.stack([states[level].sum(dim=1) for level in levels]).sum(dim=0).double()
            facts[f"pursuit/{view}"] = with_most_active(self.truth, view, float(count.mean() + TAIL * count.std()))
        self.truth = replace(self.truth, facts={**self.truth.facts, **facts})

    def _generator(self, role: str, *parts: str | int) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(seed_of(role, *parts))


def control_state(world: World, done: Values, given: Values) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A control as arrays and JSON: the selected world, and what was done."""
    arrays, plain = to_state(world)
    return arrays, {"world": plain, "done": to_plain(done), "given": to_plain(given)}


def control_world(arrays: Mapping[str, Tensor], plain: Mapping[str, Any]) -> tuple[World, Values, Values]:
    """What `control_state` was given.

    Raises
    ------
    InvalidInput
        If the state is not one.
    """
    if not isinstance(plain.get("world"), Mapping):
        raise InvalidInput("the saved control lacks the selected world beside which it stands: save it again")
    world = from_state(arrays, plain["world"])
    sizes = world.forest.sizes
    return world, from_plain(plain, "done", sizes), from_plain(plain, "given", sizes)


def intervention(done: Values, given: Values) -> dict[str, Any]:
    """The fact ``intervention``: what was set by force and what is conditioned on, as [level, concept, value]; none where nothing was."""
    facts = {"do": to_plain(done), "condition": to_plain(given)}
    facts = {name: values for name, values in facts.items() if values}
    return {"intervention": facts} if facts else {}


def settings_of(settings: Mapping[str, float], rates: Mapping[int, Tensor]) -> dict[str, float]:
    """The settings with the numbers of active concepts that follow from other rates."""
    l0 = {f"l0_level_{level}": float(r.sum()) for level, r in rates.items()}
    return {**settings, **l0, "l0": sum(l0.values())}


def with_most_active(truth: SparseTruth, view: str, most: float) -> Mapping[str, Any]:
    """What the oracle is told of a view, with another limit on the number of active concepts."""
    concepts = sum(len(atoms) for atoms in truth.dictionaries[view].values())
    return {**truth.facts[f"pursuit/{view}"], "max_active": max(1, min(concepts, math.ceil(most)))}
