"""The joint-emission twin: the selected law told the other way round, from the abstract to the concrete."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NoReturn

import torch
from torch import Tensor

from generators.controls.instances import facts_beside, forest_only
from generators.selection.forest import Forest
from generators.selection.messages import upward
from generators.selection.rules import Compositions, weights
from generators.selection.sparse import SparseConcepts, SparseInstance
from testbed.contracts import InvalidInput, Setting

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


class JointEmissionInstance(SparseInstance):
    """Rows of the selected law with the truth of the twin. It is neither saved nor steered: its world is written as a selected one, which
    would come back with the selection's truth, and a forced composite would emit its tuple, which selection does not."""

    def condition(self, setting: Setting) -> NoReturn:
        raise InvalidInput(
            "a joint-emission twin is not steered: condition the sparse_concepts instance of the same seed, it has the same law"
        )

    def do_then_select(self, setting: Setting) -> NoReturn:
        raise InvalidInput("a joint-emission twin selects nothing: do_then_select is for the sparse_concepts instance of the same seed")

    def select_then_do(self, setting: Setting) -> NoReturn:
        raise InvalidInput("a joint-emission twin selects nothing: select_then_do is for the sparse_concepts instance of the same seed")

    def state(self) -> NoReturn:
        raise InvalidInput("a joint-emission twin is not saved: draw it again with the same parameters and seed")

    @classmethod
    def from_state(cls, arrays: Mapping[str, Tensor], plain: Mapping[str, Any]) -> NoReturn:
        raise InvalidInput("a joint-emission twin is not saved: draw it again with the same parameters and seed")


class JointEmissionTwin(SparseConcepts):
    """The same law as `SparseConcepts` with all arrows reversed: a composite is on or off first, and then emits its tuple jointly.

    No data can tell it from selection: rows drawn with the same seeds are the very same rows, since reading the upward messages
    downwards *is* joint emission. Only the truth differs: ``facts["direction"]`` is ``"joint_emission"``, ``facts["direction_class"]`` is
    {selection, joint_emission}, and ``facts["emission/l"]`` holds the tables P(tuple | composite) of level l's composites. Potentials and
    tilts, which such a tree does not have, are left out. Use it to see that a method does not claim a direction that it cannot know.
    `shared` must be 0: a DAG has no such twin.

    Source: DESIGN section 2, "Direction"; a tree-structured Markov random field can be rooted anywhere.
    """

    def draw(self, seed: int) -> JointEmissionInstance:
        selected = super().draw(seed)
        world = selected.world
        forest_only(world, "JointEmissionTwin")
        tables = emission_tables(world.forest, world.compositions, world.tilts)
        more = {f"emission/{level}": table for level, table in enumerate(tables)}
        kept = {key: selected.truth.facts[key] for key in ("rule", "branching", "k")}
        facts = kept | facts_beside(selected.truth, "joint_emission", ("selection", "joint_emission"), **more)
        return JointEmissionInstance(replace(selected.truth, facts=facts), world)
