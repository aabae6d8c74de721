"""What is known of an instance of sparse concepts, and the codes that knowing it allows."""

from __future__ import annotations

import math
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import torch
from scipy.special import ndtr, ndtri
from torch import Tensor

from generators.selection.forest import Forest
from generators.selection.law import States, count_variance, sampled_components, tree_entropies, tree_of_node
from generators.selection.magnitudes import Magnitudes
from generators.selection.rules import Compositions, each
from generators.selection.steering import realised_rates, recomposed
from generators.selection.world import World, unsteered
from testbed.contracts import Level, Observed, Shows, SparseRows, Truth
from testbed.numerics.matching import dense
from testbed.numerics.pursuit import orthogonal_matching_pursuit

SMALLEST = 0.15
"""Magnitude, as a share of the mean, below which the oracle takes a correlation for interference."""

TAIL = 8
"""Standard deviations above the mean number of active concepts that the oracle allows: selection gives counts a long tail."""


@dataclass(frozen=True)
class SparseTruth(Truth):
    """Truth of sparse concepts.

    `facts` hold the rule (``rule``, ``branching``, ``k``) and the ``potential`` (phi by number of active constituents, largest 1) where
    all composites share them, else ``rule``, ``branching``, ``k`` as lists by level and ``potentials``, shape (n_l, s + 1) each;
    ``magnitude`` and its law's parameters; and per view V ``noise/V``, ``bias/V`` and ``pursuit/V`` (``max_active`` and ``threshold``):
    all that decoding a view with the true dictionary takes; ``concept_entropies/l`` (n_l,), of each concept's state by itself. The
    forest's law is told by ``tilts`` by node, ``entropy`` of all states, ``tree_entropies`` and ``total_correlation`` of the leaves (nats),
    unless trees are correlated (``tree_tilts``, ``tree_loadings``) or somebody has steered the instance (``intervention``).

    Where Markov chains sample components, rates and what follows from them are Monte Carlo estimates: ``sampler`` tells how the chains
    mixed, one entry per component (``components``), and ``rate_error``, the standard error of each node's rate (0 where it is exact).
    Joint entropies are not known then.
    """

    def oracle(self, observed: Observed, view: str) -> SparseRows:
        """Non-negative matching pursuit on the true dictionary, told the noise level and how many concepts may be active."""
        atoms = self.dictionary(view)
        x = dense(observed.views[view].values).float()
        return orthogonal_matching_pursuit(x - self.facts[f"bias/{view}"].to(x.device), atoms.to(x.device), **self.facts[f"pursuit/{view}"])


def truth_of(
    forest: Forest,
    composition: Compositions,
    tilts: Tensor,
    magnitudes: Magnitudes,
    dictionaries: dict[str, dict[int, Tensor]],
    biases: dict[str, Tensor],
    noise: dict[str, float],
) -> SparseTruth:
    """Assemble what is known of an instance with independent trees that nobody has steered."""
    shows = {view: Shows(tuple(levels), noise=noise[view]) for view, levels in dictionaries.items()}
    loadings = torch.zeros(sum(len(forest.roots(level)) for level in range(len(forest.sizes))), 0, dtype=torch.float64)
    return describe(
        World(
            forest,
            tuple(tuple(each(composition, level, n)) for level, n in enumerate(forest.sizes[:-1])),
            tilts,
            magnitudes,
            dictionaries,
            biases,
            shows,
            loadings,
            *unsteered(len(tilts)),
        )
    )


def describe(world: World) -> SparseTruth:
    """Assemble what is known of a world."""
    forest, sizes = world.forest, world.forest.sizes
    rates = realised_rates(world)
    by_level = torch.split(rates, list(sizes))
    settings: dict[str, float] = {"concepts": sum(sizes), "l0": float(rates.sum())}
    settings |= {f"l0_level_{level}": float(r.sum()) for level, r in enumerate(by_level)}
    facts = _law(world, rates) | {f"concept_entropies/{level}": binary_entropy(r) for level, r in enumerate(by_level)}
    facts |= _sampling(world) | {"magnitude": {**asdict(world.magnitudes), "law": world.magnitudes.law.replace("_", " ")}}
    for view, shows in world.shows.items():
        nodes = torch.cat([torch.arange(sizes[level]) + forest.start(level) for level in shows.levels])
        sigma = shows.noise or 0.0
        most = float(rates[nodes].sum()) + TAIL * math.sqrt(_variance(world, rates, nodes)) + len(recomposed(world))
        facts[f"noise/{view}"] = sigma
        facts[f"bias/{view}"] = world.biases[view]
        facts[f"pursuit/{view}"] = {
            "max_active": max(1, min(len(nodes), math.ceil(most))),
            # What noise alone reaches on the best of all atoms; and no atom weaker than a magnitude that hardly occurs.
            "threshold": max(sigma * math.sqrt(2 * math.log(1 + len(nodes))), SMALLEST * world.magnitudes.mean),
        }
    return SparseTruth(
        levels=tuple(Level("sparse", size) for size in sizes),
        constituents={level: tuple(map(tuple, lower.tolist())) for level, lower in enumerate(forest.constituents)}
        | {len(sizes) - 1: ((),) * sizes[-1]},
        dictionaries=world.dictionaries,
        rates=dict(enumerate(by_level)),
        settings=settings,
        facts=facts,
    )


def _law(world: World, rates: Tensor) -> dict[str, Any]:
    """The facts about rules, potentials and dependence."""
    every = [one for level in world.compositions for one in level]
    if len(set(every)) == 1:
        one = every[0]
        facts: dict[str, Any] = {"rule": one.rule, "branching": one.size, "k": one.k, "potential": one.potential() / one.potential().max()}
    else:
        facts = {name: [[getattr(one, name) for one in level] for level in world.compositions] for name in ("rule", "size", "k")}
        facts = {"rule": facts["rule"], "branching": facts["size"], "k": facts["k"]}
        phi = [torch.stack([one.potential() for one in level]) for level in world.compositions]
        facts["potentials"] = [p / p.amax(dim=1, keepdim=True) for p in phi]
    steered = {
        "condition": world.evidence.clamp,
        "do_then_select": world.evidence.cut,
        "select_then_do": torch.where(world.forced < 0, -1, (world.forced > 0).long()),
    }
    steered = {name: states for name, states in steered.items() if (states >= 0).any()}
    if world.loadings.shape[1]:
        facts |= {"tree_tilts": world.tilts, "tree_loadings": world.loadings}
    if steered:
        return facts | {"intervention": steered}
    if world.loadings.shape[1]:
        return facts
    if sampled_components(world):
        return facts | {"tilts": world.tilts}
    trees = tree_entropies(world)
    leaves = rates[world.forest.start(len(world.forest.sizes) - 1) :]
    alone = binary_entropy(leaves).sum()
    facts |= {"tilts": world.tilts, "tree_entropies": trees, "entropy": float(trees.sum())}
    return facts | {"total_correlation": max(0.0, float(alone - trees.sum()))}


def binary_entropy(rates: Tensor) -> Tensor:
    """Entropy of states that are on this often, in nats, of the same shape."""
    rates = rates.clamp(0, 1)  # rounding
    return -(torch.xlogy(rates, rates) + torch.xlogy(1 - rates, 1 - rates))


def _sampling(world: World) -> dict[str, Any]:
    """The facts about the chains that sample components, if any do."""
    found = sampled_components(world)
    if not found:
        return {}
    error = torch.zeros_like(world.tilts)
    for one in found:
        error[one.nodes] = one.errors()
    return {"sampler": {"kind": "markov_chain", "components": [one.facts() for one in found], "rate_error": error}}


def _variance(world: World, rates: Tensor, nodes: Tensor) -> float:
    """Variance of the number of active concepts among `nodes`; with correlated trees, that of its mean given z is added (1,024 draws)."""
    variance = count_variance(world, nodes)
    if not world.loadings.shape[1]:
        return variance
    tree, mask = tree_of_node(world), torch.zeros_like(rates)
    mask[nodes] = rates[nodes]
    active = torch.from_numpy(States(world).active)
    expected = (torch.zeros(len(active), dtype=torch.float64).index_add(0, tree, mask) / active).numpy()
    z = torch.randn(1024, world.loadings.shape[1], generator=torch.Generator().manual_seed(0), dtype=torch.float64).numpy()
    loadings = world.loadings.numpy()
    given = ndtr((ndtri(active.numpy()) - z @ loadings.T) / np.sqrt(1 - (loadings**2).sum(axis=1)))
    return variance + float((given @ expected).var())
