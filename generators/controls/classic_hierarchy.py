"""The classic hierarchy: what is abstract causes what is concrete, and children are independent given their parent."""

from __future__ import annotations

from dataclasses import replace
from typing import Self

import torch
from torch import Tensor

from generators.controls.instances import StateInstance, facts_beside, forest_only
from generators.selection.forest import Forest
from generators.selection.messages import elementary, upward
from generators.selection.rules import Compositions, weights
from generators.selection.sparse import SparseConcepts
from generators.selection.sparse_truth import SparseTruth
from generators.selection.world import World
from testbed.contracts import Instance


def constituent_rates(forest: Forest, composition: Compositions, tilts: Tensor) -> tuple[Tensor, ...]:
    r"""P(constituent on | composite off) and P(constituent on | composite on) of the selected law, by messages.

    With odds o of the constituents, k the number of active ones and :math:`e_k` the elementary symmetric polynomials,

    .. math:: P(j \mid v) = \frac{\sum_{k : g(k) = v} \phi(k)\, o_j\, e_{k-1}(o_{-j})}{\sum_{k : g(k) = v} \phi(k)\, e_k(o)}.

    What lies above the composite, and its own tilt, cancel.

    Returns
    -------
    tuple of Tensor, shape (2, n_l, s), float64
        For each level above the last; the first axis is the state of the composite.
    """
    odds, _ = upward(forest, composition, tilts)
    out = []
    for level, lower in enumerate(forest.constituents):
        o = odds[level + 1][lower]  # (n_l, s)
        on, phi = weights(composition, level, forest.sizes[level])  # (n_l, s + 1)
        whole = phi * elementary(o)
        with_j = torch.zeros(*o.shape, o.shape[1] + 1, dtype=o.dtype)
        for j in range(o.shape[1]):
            with_j[:, j, 1:] = phi[:, 1:] * o[:, j : j + 1] * elementary(torch.cat([o[:, :j], o[:, j + 1 :]], dim=1))
        given = []
        for state in (~on, on):
            part = torch.where(state[:, None], with_j, 0.0).sum(-1)
            given.append(part / torch.where(state, whole, 0.0).sum(-1, keepdim=True))
        out.append(torch.stack(given).nan_to_num(0.0))  # 0 / 0: a state that never occurs
    return tuple(out)


class ClassicHierarchy(SparseConcepts):
    """The classic abstract -> concrete hierarchy that is closest to a selected one.

    Same parameters, skeleton, dictionary and noise as `SparseConcepts` drawn with the same seed. A root fires with its selected rate; a
    constituent then fires with the probability that it has in the selected law *given its composite's state*, independently of its
    siblings. So all marginals, and all tables of a composite and one of its constituents, are exactly those of the selected law.
    What cannot be matched: siblings' dependence given their composite, which is 0 here by construction and is what selection consists
    of; and with it tables of siblings, or across two levels. A composite can be on although its rule does not hold. Trees are
    independent, whatever `correlation` says; `shared` must be 0.

    A constituent's magnitude follows its parent's by `tie` and `jitter` (under selection the composite's follows theirs).

    Source: the comparison in Kong et al. (arXiv 2512.10720) with hierarchies whose abstract concepts are causes.
    """

    def draw(self, seed: int) -> Instance:  # type: ignore[override]
        selected = super().draw(seed)
        world = selected.world
        forest_only(world, "ClassicHierarchy")
        given = constituent_rates(world.forest, world.compositions, world.tilts)
        tables = {f"constituent_rates/{level}": rates for level, rates in enumerate(given)}
        facts = facts_beside(selected.truth, "independent_children", ("independent_children",), **tables)
        instance = ClassicInstance(replace(selected.truth, facts=facts), world)
        instance.allow_for_counts(seed)
        return instance


class ClassicInstance(StateInstance):
    """A drawn classic hierarchy, sampled from the top down."""

    def __init__(self, truth: SparseTruth, world: World) -> None:
        super().__init__(truth, world)
        self._constituents = world.forest.constituents

    def to(self, device: str) -> Self:
        other = super().to(device)
        other._constituents = tuple(lower.to(device) for lower in self._constituents)
        return other

    def states(self, n: int, generator: torch.Generator) -> list[Tensor]:
        out: list[Tensor] = []
        device = generator.device
        for level, size in enumerate(self.world.forest.sizes):
            rates = self.truth.rates[level].to(device).repeat(n, 1)
            if level:
                given = self.truth.facts[f"constituent_rates/{level - 1}"].to(device)
                rates[:, self._constituents[level - 1]] = torch.where(out[-1][:, :, None], given[1], given[0])
            out.append(torch.rand(n, size, generator=generator, device=device, dtype=torch.float64) < rates)
        return out

    def magnitudes(self, states: list[Tensor], generator: torch.Generator) -> list[Tensor]:
        values, law = super().magnitudes(states, generator), self.world.magnitudes
        for level, lower in enumerate(self._constituents):
            above, below = values[level][:, :, None], values[level + 1][:, lower]
            xi = torch.randn(below.shape, generator=generator, device=below.device)
            tied = ((1 - law.tie) * below + law.tie * above) * (law.sigma * xi).exp()
            values[level + 1][:, lower] = torch.where((above > 0) & (below > 0), tied, below)
        return values
