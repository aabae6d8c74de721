"""The joint-emission twin: the selected law told the other way round, from the abstract to the concrete."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor

from generators.controls.instances import (
    control_state,
    control_world,
    facts_beside,
    forest_only,
    intervention,
    settings_of,
    with_most_active,
)
from generators.controls.settings import Values, checked, done_first, joined
from generators.selection.forest import Forest
from generators.selection.law import States, count_variance
from generators.selection.messages import upward
from generators.selection.rules import Compositions, weights
from generators.selection.sparse import SparseConcepts
from generators.selection.sparse_truth import TAIL, SparseTruth, describe
from generators.selection.steering import Floats, Ints, conditioned, realised_rates
from generators.selection.world import World
from generators.selection.writing import by_level, write
from testbed.contracts import BLOCK, BlockInstance, InvalidInput, Observed, Sample, Setting, View, seed_of

LARGEST = 16
"""Most constituents of a composite whose 2**s tuples are written out."""


def emission_tables(forest: Forest, composition: Compositions, tilts: Tensor) -> tuple[Tensor, ...]:
    r"""P(tuple of constituents | composite), the law by which a top-down tree emits each tuple jointly.

    .. math:: P(t \mid v) \propto \phi(t) \prod_j o_j^{t_j} \quad \text{on } g(t) = v.

    with the odds :math:`o_j` of constituent j given nothing above it.

    Returns
    -------
    tuple of Tensor, shape (n_l, 2, 2**s), float64
        For each level above the last: composite, its state, tuple. Bit j of a tuple's number is the state of constituent j.

    Raises
    ------
    InvalidInput
        If a composite has so many constituents that its tuples cannot be written out.
    """
    odds, _ = upward(forest, composition, tilts)
    out = []
    for level, lower in enumerate(forest.constituents):
        s = lower.shape[1]
        if s > LARGEST:
            raise InvalidInput(
                f"composites of level {level} have {s} constituents: at most {LARGEST} can be emitted by a table, lower branching"
            )
        tuples = torch.arange(2**s)[:, None] >> torch.arange(s) & 1  # (2**s, s)
        on, phi = (table[:, tuples.sum(dim=1)] for table in weights(composition, level, forest.sizes[level]))  # (n_l, 2**s)
        weight = phi * torch.where(tuples.bool(), odds[level + 1][lower][:, None], 1.0).prod(-1)
        given = torch.stack([torch.where(on, 0.0, weight), torch.where(on, weight, 0.0)], dim=1)
        out.append(given / given.sum(-1, keepdim=True))
    return tuple(out)


class JointEmissionTwin(SparseConcepts):
    """The same law as `SparseConcepts` with all arrows reversed: a composite is on or off first, and then emits its tuple jointly.

    No data can tell it from selection: rows drawn with the same seeds are the very same rows, since reading the upward messages
    downwards *is* joint emission. The truth differs: ``facts["direction"]`` is ``"joint_emission"``, ``facts["direction_class"]`` is
    {selection, joint_emission}, and ``facts["emission/l"]`` holds the tables P(tuple | composite) of level l's composites. Potentials and
    tilts, which such a tree does not have, are left out. Use it to see that a method does not claim a direction that it cannot know.
    `shared` must be 0: a DAG has no such twin.

    What tells the two apart is doing. Conditioning is the same in both. Setting a composite by force makes it emit another tuple here, and
    leaves its constituents alone under selection followed by doing; setting a constituent leaves its composite alone here (and its
    siblings, which the composite has emitted), and under selection changes what is composed of it.

    Source: DESIGN section 2, "Direction"; a tree-structured Markov random field can be rooted anywhere.
    """

    def draw(self, seed: int) -> JointEmissionInstance:  # type: ignore[override]
        return JointEmissionInstance(super().draw(seed).world, {}, {})


@dataclass(frozen=True)
class Piece:
    """Part of a tree that hangs together once arrows into concepts that are set by force are cut.

    Attributes
    ----------
    world : World
        The selected law of the whole, conditioned on what the piece is told.
    nodes : Tensor, shape (N,), bool
        Concepts that are read from it.
    seed : tuple of int
        Of its random numbers: () for the piece at the top, which keeps those of the instance before anything was done.
    """

    world: World
    nodes: Tensor
    seed: tuple[int, ...]


def pieces(world: World, done: Values, given: Values) -> list[Piece]:
    r"""Cut a joint-emission tree at the concepts that are set by force.

    With d set to x, all that is not below d keeps its law, and what is below d has the law that it has given d = x: so

    .. math:: P_{do(d = x)}(V) = P(V_{\text{not below } d \text{ and not } d})\, 1[d = x]\, P(V_{\text{below } d} \mid d = x),

    each factor a marginal of the selected law. Conditioning conditions each factor on its own part.
    """
    forest, nodes = world.forest, len(world.tilts)
    owner = torch.full((nodes,), -1)  # the lowest concept set by force above or at each node
    for level, size in enumerate(forest.sizes):
        start = forest.start(level)
        if level:
            lower = forest.constituents[level - 1] + start
            owner[lower.flatten()] = owner[torch.arange(len(lower)) + forest.start(level - 1)].repeat_interleave(lower.shape[1])
        for i in range(size):
            if (level, i) in done:
                owner[start + i] = start + i
    forced = {forest.start(level) + i: (level, i) for level, i in done}
    inside = torch.ones(nodes, dtype=torch.bool)
    inside[list(forced)] = False
    found = []
    for top in (-1, *forced):
        own = (owner == top) & inside
        if top >= 0 and not own.any():
            continue
        told = {(level, i): value for (level, i), value in given.items() if own[forest.start(level) + i]}
        if top >= 0:
            told[forced[top]] = done[forced[top]]
        found.append(Piece(conditioned(world, told) if told else world, own, forced.get(top, ())))
    return found


class JointEmissionInstance(BlockInstance):
    """A joint-emission tree: rows of the selected law, arrows from the abstract to the concrete.

    Parameters
    ----------
    world : World
        Of the selected instance with the same law.
    done, given : mapping of (level, concept) to float
        Values set by force, and values conditioned on. Nothing is selected here: `do_then_select` and `select_then_do` are the same.
    """

    def __init__(self, world: World, done: Values, given: Values) -> None:
        forest_only(world, "JointEmissionTwin")
        self.world, self.done, self.given = world, done, given
        self._pieces = pieces(world, done, given)
        self._states = [States(piece.world) for piece in self._pieces]
        self._written = {
            view: (torch.cat(list(levels.values())), world.biases[view].float()) for view, levels in world.dictionaries.items()
        }
        self.truth: SparseTruth = self._describe()

    def _describe(self) -> SparseTruth:
        world, forest = self.world, self.world.forest
        selected = describe(world)
        rates = torch.zeros(len(world.tilts), dtype=torch.float64)
        for piece in self._pieces:
            rates[piece.nodes] = realised_rates(piece.world)[piece.nodes]
        for (level, i), value in self.done.items():
            rates[forest.start(level) + i] = float(value > 0)
        by_level = dict(enumerate(torch.split(rates, list(forest.sizes))))
        truth = replace(selected, rates=by_level, settings=settings_of(selected.settings, by_level))
        tables = emission_tables(forest, world.compositions, world.tilts)
        more: dict[str, Any] = {f"emission/{level}": table for level, table in enumerate(tables)}
        if not (self.done or self.given):
            more |= {key: selected.facts[key] for key in ("entropy", "tree_entropies", "total_correlation") if key in selected.facts}
        more |= {key: selected.facts[key] for key in ("rule", "branching", "k")} | intervention(self.done, self.given)
        facts = facts_beside(truth, "joint_emission", ("selection", "joint_emission"), **more)
        if self.done or self.given:
            for view, shows in world.shows.items():
                shown = torch.cat([torch.arange(forest.sizes[level]) + forest.start(level) for level in shows.levels])
                variance = sum(count_variance(piece.world, shown[piece.nodes[shown]]) for piece in self._pieces)
                facts[f"pursuit/{view}"] = with_most_active(truth, view, float(rates[shown].sum()) + TAIL * math.sqrt(variance))
        return replace(truth, facts=facts)

    def to(self, device: str) -> Self:
        other = super().to(device)
        other._written = {view: (atoms.to(device), bias.to(device)) for view, (atoms, bias) in self._written.items()}
        return other

    def block(self, seed: int) -> Sample:
        begin, nodes, values = self._active(seed)
        views = {}
        for view, shows in self.world.shows.items():
            atoms, bias = self._written[view]
            x = write(begin, nodes, values, atoms, self.world.forest.start(shows.levels[0]), bias)
            if shows.noise:
                generator = torch.Generator(self.device).manual_seed(seed_of("noise", seed, view))
                x.add_(torch.randn(x.shape, generator=generator, device=self.device), alpha=shows.noise)
            views[view] = View(x, shows)
        latents = by_level(begin, nodes, values, self.world.forest.sizes)
        return Sample(Observed(views), {level: rows.to(self.device) for level, rows in enumerate(latents)})

    def _active(self, seed: int) -> tuple[Ints, Ints, Floats]:
        """Active nodes of a block and their magnitudes, as `SparseInstance` draws them; pieces are put together row by row."""
        found = []
        for piece, states in zip(self._pieces, self._states, strict=True):
            begin, nodes = states.draw(BLOCK, seed_of("activity", seed, *piece.seed), seed_of("states", seed, *piece.seed))
            own = torch.Generator().manual_seed(seed_of("magnitudes", seed, *piece.seed))
            fixed = piece.world.fixed.numpy().astype(np.float32)
            values = self.world.magnitudes.draw_active(begin, nodes, states.constituents, fixed, own)
            found.append((begin, nodes, values, piece.nodes.numpy()))
        if not self.done:
            return found[0][:3]
        row = [np.repeat(np.arange(BLOCK), np.diff(begin))[own[nodes]] for begin, nodes, _, own in found]
        node = [nodes[own[nodes]] for _, nodes, _, own in found]
        value = [values[own[nodes]] for _, nodes, values, own in found]
        for (level, i), x in self.done.items():
            if x > 0:
                row.append(np.arange(BLOCK))
                node.append(np.full(BLOCK, self.world.forest.start(level) + i))
                value.append(np.full(BLOCK, x, np.float32))
        rows, every = np.concatenate(row), np.concatenate(node)
        order = np.argsort(rows * len(self.world.tilts) + every)
        begin = np.concatenate([[0], np.bincount(rows, minlength=BLOCK).cumsum()])
        return begin, every[order], np.concatenate(value)[order]

    def condition(self, setting: Setting) -> JointEmissionInstance:
        """The law given states, that of selection under the same condition; see `generators.selection.steering` on magnitudes."""
        return self._steered(self.done, joined(self.done, self.given, setting, self.world.forest.sizes))

    def do_then_select(self, setting: Setting) -> JointEmissionInstance:
        """Set concepts by force: what is below them is emitted anew, all else stays as it was drawn."""
        done_first(self.given)
        return self._steered({**self.done, **checked(setting, self.world.forest.sizes)}, {})

    def select_then_do(self, setting: Setting) -> JointEmissionInstance:
        """The same as `do_then_select`, since nothing is selected."""
        return self.do_then_select(setting)

    def _steered(self, done: Values, given: Values) -> JointEmissionInstance:
        return JointEmissionInstance(self.world, done, given).to(self.device)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return control_state(self.world, self.done, self.given)

    @classmethod
    def from_state(cls, arrays: Mapping[str, Tensor], plain: Mapping[str, Any]) -> JointEmissionInstance:
        return cls(*control_world(arrays, plain))
