"""The classic hierarchy: what is abstract causes what is concrete, and children are independent given their parent."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, Self

import torch
from torch import Tensor

from generators.controls.instances import StateInstance, facts_beside, forest_only, intervention, settings_of
from generators.controls.settings import Values
from generators.selection.forest import Forest
from generators.selection.messages import elementary, upward
from generators.selection.rules import Compositions, weights
from generators.selection.sparse import SparseConcepts
from generators.selection.sparse_truth import SparseTruth, binary_entropy, describe
from generators.selection.world import World
from testbed.contracts import InvalidInput


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
        out.append(torch.stack(given).nan_to_num(0.0).clamp(0, 1))  # 0 / 0: a state that never occurs
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

    Setting a concept by force changes what is *below* it and nothing else: its children are drawn given its new state, its parent stays.

    Source: the comparison in Kong et al. (arXiv 2512.10720) with hierarchies whose abstract concepts are causes.
    """

    def draw(self, seed: int) -> ClassicInstance:  # type: ignore[override]
        return ClassicInstance.of(super().draw(seed).world, {}, {})


@dataclass(frozen=True)
class TreeLaw:
    """A top-down tree: how often each concept is on, and how often each constituent is given its composite's state.

    Attributes
    ----------
    rates : dict of int to Tensor, shape (n_l,)
    given : tuple of Tensor, shape (2, n_l, s)
        Per level above the last.
    """

    rates: dict[int, Tensor]
    given: tuple[Tensor, ...]

    def entropy(self, forest: Forest) -> float:
        """Of all states together, in nats, by the chain rule: roots, then each constituent given its composite."""
        total = sum(float(binary_entropy(self.rates[level][forest.roots(level)]).sum()) for level in self.rates)
        for level, table in enumerate(self.given):
            above = torch.stack([1 - self.rates[level], self.rates[level]])
            total += float((above[:, :, None] * binary_entropy(table)).sum())
        return total


def steered_law(forest: Forest, law: TreeLaw, done: Values, given: Values) -> TreeLaw:
    r"""The tree law after values are set by force and others conditioned on; a tree of the same kind again.

    With :math:`\lambda_i(v)` the probability of all that is conditioned on at and below i if i is v, upwards
    :math:`\lambda_i(v) = 1[v \text{ agrees}] \prod_j \sum_t P(t_j = t \mid v) \lambda_j(t)`; then
    :math:`P'(t_j \mid v) \propto P(t_j \mid v) \lambda_j(t_j)`. A concept that is set by force tells its parent nothing.

    Raises
    ------
    InvalidInput
        If the values have probability 0 together.
    """
    sizes = forest.sizes
    agrees = [torch.ones(n, 2, dtype=torch.float64) for n in sizes]
    forced = [torch.zeros(n, dtype=torch.bool) for n in sizes]
    for (level, i), value in {**given, **done}.items():
        agrees[level][i, int(value == 0)] = 0.0
        forced[level][i] = (level, i) in done
    likelihood = agrees[:]
    tables: list[Tensor] = []
    for level in reversed(range(len(sizes) - 1)):
        lower = forest.constituents[level]
        below, cut, state = likelihood[level + 1][lower], forced[level + 1][lower], agrees[level + 1][lower][..., 1]
        plain = torch.stack([1 - law.given[level], law.given[level]], dim=-1)  # (2, n_l, s, 2)
        weight = plain * below
        told = torch.where(cut, 1.0, weight.sum(dim=-1))
        tables.insert(0, torch.where(cut, state, (weight[..., 1] / weight.sum(dim=-1)).nan_to_num(0.0)))
        likelihood[level] = agrees[level] * told.prod(dim=-1).T
    rates: dict[int, Tensor] = {}
    possible = True
    for level, n in enumerate(sizes):
        prior = torch.stack([1 - law.rates[level], law.rates[level]], dim=1)
        prior = torch.where(forced[level][:, None], 1.0, prior) * likelihood[level]
        at_top = torch.zeros(n, dtype=torch.bool)
        at_top[forest.roots(level)] = True
        possible = possible and bool((prior.sum(dim=1) > 0)[at_top | forced[level]].all())
        rates[level] = prior[:, 1] / prior.sum(dim=1)
        if level:
            above = torch.stack([1 - rates[level - 1], rates[level - 1]])
            rates[level][forest.constituents[level - 1]] = (above[:, :, None] * tables[level - 1]).sum(dim=0)
    if not possible:
        raise InvalidInput("the concepts cannot have these values together: change the setting")
    return TreeLaw(rates, tuple(tables))


class ClassicInstance(StateInstance):
    """A drawn classic hierarchy, sampled from the top down."""

    def __init__(self, truth: SparseTruth, world: World, done: Values | None = None, given: Values | None = None) -> None:
        super().__init__(truth, world, done, given)
        self._constituents = world.forest.constituents

    @classmethod
    def of(cls, world: World, done: Values, given: Values) -> Self:
        forest_only(world, "ClassicHierarchy")
        forest, selected = world.forest, describe(world)
        law = TreeLaw(dict(selected.rates), constituent_rates(forest, world.compositions, world.tilts))
        if done or given:
            law = steered_law(forest, law, done, given)
        truth = replace(selected, rates=law.rates, settings=settings_of(selected.settings, law.rates))
        more: dict[str, Any] = {f"constituent_rates/{level}": table for level, table in enumerate(law.given)}
        more |= {"entropy": law.entropy(forest), **intervention(done, given)}
        facts = facts_beside(truth, "independent_children", ("independent_children",), **more)
        instance = cls(replace(truth, facts=facts), world, done, given)
        instance.allow_for_counts()
        return instance

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
        values, law = self.world.magnitudes.draw(states, (), generator), self.world.magnitudes
        self._fix(values[0], 0)
        for level, lower in enumerate(self._constituents):
            above, below = values[level][:, :, None], values[level + 1][:, lower]
            xi = torch.randn(below.shape, generator=generator, device=below.device)
            tied = ((1 - law.tie) * below + law.tie * above) * (law.sigma * xi).exp()
            values[level + 1][:, lower] = torch.where((above > 0) & (below > 0), tied, below)
            self._fix(values[level + 1], level + 1)
        return values
