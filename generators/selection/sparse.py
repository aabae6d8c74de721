"""Sparse concepts: on with a magnitude or off, selected together, all written into one vector or one view per level."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, Literal, Self

import numpy as np
import torch
from torch import Tensor

from generators.selection.directions import Dictionary, draw_bias, draw_dictionary
from generators.selection.enumerated import enumerated_tilts
from generators.selection.firing import RateLaw, ranked_rates
from generators.selection.forest import Forest, draw_forest
from generators.selection.law import States, refuse_chains
from generators.selection.magnitudes import Law, Magnitudes
from generators.selection.messages import Tables
from generators.selection.rules import Rule, draw_compositions, each, per_level
from generators.selection.sharing import components, share
from generators.selection.sparse_truth import SMALLEST, TAIL, SparseTruth, describe, truth_of
from generators.selection.steering import conditioned, done_after, done_before, patch
from generators.selection.tilting import solve_tilts
from generators.selection.world import World, from_state, to_state, unsteered
from generators.selection.writing import by_level, write
from testbed.contracts import BLOCK, BlockInstance, Generator, InvalidInput, Observed, Sample, Setting, Shows, View, seed_of

__all__ = ["SMALLEST", "TAIL", "SparseConcepts", "SparseInstance", "SparseTruth", "truth_of"]


class SparseConcepts(Generator):
    """A forest (or, with shared constituents, a DAG) of sparse concepts under selection.

    A composite is on iff its rule holds among its constituents. Selection weighs each tuple of constituents: `all_on` if the rule holds,
    1 if all are off, `lone_firing` otherwise. Firing rates are those after selection, and exact.

    Parameters
    ----------
    levels : list of int
        Concepts per level, from level 0, the most abstract, down. Concepts that no composite needs are free.
    branching : int or list of int
        Constituents of each composite; a list gives one number per level of composites.
    rule : {"and", "k_of_n", "exclusive", "any"} or list of them
        A composite is on iff all, at least `k`, exactly one, or at least one of its constituents are on. A list is a mixture: each
        composite draws one of them.
    k : int
        For rule ``"k_of_n"``.
    all_on, lone_firing : float or list of float
        Potentials, see above, one or one per level of composites; with both 1 nothing is selected and leaves are independent.
    rates : {"zipf", "uniform", "geometric"}
        Law of the leaves' rates over ranks, see `generators.selection.firing`; which leaf is which is drawn per instance.
    rate, rate_floor, zipf : float
        With ``"zipf"`` the r-th most frequent leaf fires at ``max(rate_floor, rate * r ** -zipf)``.
    composite_rate : float, list of float, or None
        Requested rate of every composite, or one per level of composites; None lets it follow from the potentials.
    correlation : float
        Trees (free concepts and roots with all below them) are active together beyond the hierarchy, by a Gaussian copula: two trees'
        latent normals correlate by `correlation` times the cosine of two random directions. All rates stay as they are.
    correlation_rank : int
        Dimensions of those directions: 1 gives two camps, many give weak correlations.
    shared : int
        Extra memberships: so many constituents belong to a further composite, in the place of one that becomes free. The graph is a DAG
        then, and exact by enumeration where at most 16 leaves hang together. More are sampled by Markov chains, which are refused unless
        they have mixed; rates have a Monte Carlo error then.
    magnitude, spread : float
        Mean and standard deviation of magnitudes before rectification.
    magnitude_law : {"rectified_normal", "lognormal", "student", "pareto"}
    tail : float
        Degrees of freedom of ``"student"``, exponent of ``"pareto"``.
    tie, jitter : float
        How far (0 to 1) a composite's magnitude follows the mean of its active constituents', and the log-scale noise on it.
    dimension : int
        d, of every view.
    dictionary : {"random", "orthogonalised", "equiangular", "clustered"}
        Random directions; the same pushed apart by a few gradient steps; a regular simplex (needs a view of at most d + 1 concepts);
        directions around `clusters` random centres, with an expected cosine of `cluster_cosine` in a cluster.
    clusters : int
    cluster_cosine : float
    noise : float or list of float
        Standard deviation of the noise on each coordinate; a list gives one per level and needs ``views="per_level"``.
    bias : float
        Norm of a constant that is added to every row of a view, in a random direction.
    views : {"mixed", "per_level"}
        One view ``mixed`` of all levels together, or one view ``level_0``, ``level_1`` ... each.
    """

    def __init__(
        self,
        levels: list[int] | tuple[int, ...] = (24, 96),
        branching: int | list[int] = 3,
        rule: Rule | list[Rule] = "and",
        k: int = 2,
        all_on: float | list[float] = 10.0,
        lone_firing: float | list[float] = 0.1,
        rate: float = 0.25,
        rate_floor: float = 0.025,
        zipf: float = 0.5,
        composite_rate: float | list[float] | None = None,
        magnitude: float = 1.0,
        spread: float = 0.25,
        tie: float = 0.5,
        jitter: float = 0.1,
        dimension: int = 64,
        dictionary: Dictionary = "random",
        noise: float | list[float] = 0.05,
        bias: float = 0.0,
        views: Literal["mixed", "per_level"] = "mixed",
        rates: RateLaw = "zipf",
        magnitude_law: Law = "rectified_normal",
        tail: float = 3.0,
        correlation: float = 0.0,
        correlation_rank: int = 4,
        clusters: int = 8,
        cluster_cosine: float = 0.5,
        shared: int = 0,
    ) -> None:
        self.levels = levels
        self.branching = branching
        self.rule = rule
        self.k = k
        self.all_on = all_on
        self.lone_firing = lone_firing
        self.rate = rate
        self.rate_floor = rate_floor
        self.zipf = zipf
        self.composite_rate = composite_rate
        self.magnitude = magnitude
        self.spread = spread
        self.tie = tie
        self.jitter = jitter
        self.dimension = dimension
        self.dictionary = dictionary
        self.noise = noise
        self.bias = bias
        self.views = views
        self.rates = rates
        self.magnitude_law = magnitude_law
        self.tail = tail
        self.correlation = correlation
        self.correlation_rank = correlation_rank
        self.clusters = clusters
        self.cluster_cosine = cluster_cosine
        self.shared = shared

    @classmethod
    def small(cls) -> Self:
        return cls(levels=(3, 12), dimension=16)

    def draw(self, seed: int) -> SparseInstance:
        """Draw graph, rates, dictionary and tilts; every role has a seed of its own, so that a dial moves nothing but itself.

        Raises
        ------
        InvalidInput
            If a parameter is out of range, the requested rates cannot be had, or Markov chains have not mixed.
        """
        sizes = tuple(self.levels)
        branching = per_level("branching", self.branching, len(sizes) - 1)
        compositions = draw_compositions(sizes, branching, self.rule, self.k, self.all_on, self.lone_firing, seed)
        magnitudes = Magnitudes(self.magnitude, self.spread, self.tie, self.jitter, self.magnitude_law, self.tail)
        forest = draw_forest(sizes, tuple(branching), seed)
        noise = self._noise(len(sizes))
        if self.shared < 0:
            raise InvalidInput(f"shared must be at least 0, not {self.shared}")
        forest = share(forest, self.shared, seed)
        if self.correlation:
            refuse_chains(forest, "auto")
        requested = self._requested_rates(forest, seed)
        solve = enumerated_tilts if forest.shared else solve_tilts
        tilts = solve(forest, compositions, requested)
        every = tuple(range(len(sizes)))
        shown: dict[str, tuple[int, ...]] = {"mixed": every} if self.views == "mixed" else {f"level_{i}": (i,) for i in every}
        dictionaries = {
            view: draw_dictionary(self.dictionary, sizes, levels, self.dimension, self.clusters, self.cluster_cosine, seed)
            for view, levels in shown.items()
        }
        biases = {view: draw_bias(self.bias, levels, self.dimension, seed) for view, levels in shown.items()}
        shows = {view: Shows(levels, noise=sigma) for (view, levels), sigma in zip(shown.items(), noise, strict=True)}
        loadings = self._loadings(len(components(forest)), seed)
        steering = unsteered(len(tilts))
        world = World(forest, compositions, tilts, magnitudes, dictionaries, biases, shows, loadings, *steering)
        return SparseInstance.of(world)

    def _requested_rates(self, forest: Forest, seed: int) -> Tensor:
        """Rates after selection by node, NaN where none is requested, shape (N,)."""
        leaves, composites = forest.sizes[-1], len(forest.sizes) - 1
        rates = ranked_rates(self.rates, leaves, self.rate, self.rate_floor, self.zipf)
        order = torch.randperm(leaves, generator=torch.Generator().manual_seed(seed_of("rates", seed)))
        asked = self.composite_rate
        per_level = [math.nan if asked is None else asked] * composites if not isinstance(asked, list | tuple) else list(asked)
        if len(per_level) != composites:
            raise InvalidInput(f"composite_rate gives {len(per_level)} rates, but there are {composites} levels of composites: one each")
        above = [torch.full((n,), r, dtype=torch.float64) for n, r in zip(forest.sizes, per_level, strict=False)]
        return torch.cat([*above, rates[order]])

    def _noise(self, levels: int) -> list[float]:
        """Noise of each view."""
        if self.views not in ("mixed", "per_level"):
            raise InvalidInput(f"views must be 'mixed' or 'per_level', not {self.views!r}")
        count = levels if self.views == "per_level" else 1
        noise = list(self.noise) if isinstance(self.noise, list | tuple) else [self.noise] * count
        if len(noise) != count or not all(0 <= sigma < math.inf for sigma in noise):
            raise InvalidInput(f"noise must be a number of at least 0, or one per view ({count}), not {self.noise}")
        return noise

    def _loadings(self, trees: int, seed: int) -> Tensor:
        """Loadings of the copula, shape (T, R); R = 0 without correlation."""
        rank = self.correlation_rank
        if not 0 <= self.correlation < 1 or rank < 1:
            raise InvalidInput(f"correlation must lie in [0, 1) and correlation_rank be at least 1, not {self.correlation} and {rank}")
        if not self.correlation:
            return torch.zeros(trees, 0, dtype=torch.float64)
        generator = torch.Generator().manual_seed(seed_of("correlation", seed))
        directions = torch.randn(trees, rank, generator=generator, dtype=torch.float64)
        return math.sqrt(self.correlation) * torch.nn.functional.normalize(directions, dim=1)


class SparseInstance(BlockInstance):
    """A drawn forest of sparse concepts. States and magnitudes are drawn on the CPU whatever the device: their number is small.

    Parameters
    ----------
    truth : SparseTruth
    law : World, or Tables
        Tables are enough, with magnitudes and what the views show, where trees are independent and nobody has steered.
    magnitudes : Magnitudes, optional
    shows : mapping of str to Shows, optional
    """

    def __init__(
        self, truth: SparseTruth, law: World | Tables, magnitudes: Magnitudes | None = None, shows: Mapping[str, Shows] | None = None
    ) -> None:
        if isinstance(law, Tables):
            if magnitudes is None or shows is None:
                raise InvalidInput("an instance drawn from tables needs magnitudes and what its views show: give both")
            composition = tuple(tuple(each(law.composition, level, n)) for level, n in enumerate(law.forest.sizes[:-1]))
            dictionaries = {view: dict(levels) for view, levels in truth.dictionaries.items()}
            biases = {view: truth.facts[f"bias/{view}"] for view in shows}
            independent = torch.zeros(sum(len(roots) for roots in law.roots), 0, dtype=torch.float64)
            steering = unsteered(len(law.tilts))
            law = World(law.forest, composition, law.tilts, magnitudes, dictionaries, biases, dict(shows), independent, *steering)
        self.truth: SparseTruth = truth
        self.world = law
        self.shows = law.shows
        self._states = States(law)
        self._fixed = law.fixed.numpy().astype(np.float32)
        self._written = {view: (torch.cat(list(levels.values())), law.biases[view].float()) for view, levels in law.dictionaries.items()}

    @classmethod
    def of(cls, world: World) -> Self:
        """The instance of a world, with its truth."""
        return cls(describe(world), world)

    def to(self, device: str) -> Self:
        other = super().to(device)
        other._written = {view: (atoms.to(device), bias.to(device)) for view, (atoms, bias) in self._written.items()}
        return other

    def block(self, seed: int) -> Sample:
        begin, nodes = self._states.draw(BLOCK, seed_of("activity", seed), seed_of("states", seed))
        own = torch.Generator().manual_seed(seed_of("magnitudes", seed))
        values = self.world.magnitudes.draw_active(begin, nodes, self._states.constituents, self._fixed, own)
        begin, nodes, values = patch(self.world, begin, nodes, values, seed_of("forced", seed))
        views = {}
        for view, shows in self.shows.items():
            atoms, bias = self._written[view]
            x = write(begin, nodes, values, atoms, self.world.forest.start(shows.levels[0]), bias)
            if shows.noise:
                generator = torch.Generator(self.device).manual_seed(seed_of("noise", seed, view))
                x.add_(torch.randn(x.shape, generator=generator, device=self.device), alpha=shows.noise)
            views[view] = View(x, shows)
        latents = by_level(begin, nodes, values, self.world.forest.sizes)
        return Sample(Observed(views), {level: rows.to(self.device) for level, rows in enumerate(latents)})

    def condition(self, setting: Setting) -> SparseInstance:
        return self._steered(conditioned(self.world, setting))

    def do_then_select(self, setting: Setting) -> SparseInstance:
        return self._steered(done_before(self.world, setting))

    def select_then_do(self, setting: Setting) -> SparseInstance:
        return self._steered(done_after(self.world, setting))

    def unselected(self) -> SparseInstance:
        """The base law: leaves are independent with the log-odds of the selected instance's tilts.

        Composites are still on iff their rule holds; firing rates are those that follow, and trees are not correlated.
        """
        world = self.world
        nothing = tuple(tuple(replace(one, all_on=1.0, lone_firing=1.0) for one in level) for level in world.compositions)
        tilts = world.tilts.clone()
        tilts[: world.forest.start(len(world.forest.sizes) - 1)] = 0.0  # composites' tilts are part of phi
        independent = torch.zeros(len(world.loadings), 0, dtype=torch.float64)
        return self._steered(replace(world, compositions=nothing, tilts=tilts, loadings=independent))

    def _steered(self, world: World) -> SparseInstance:
        return SparseInstance.of(world).to(self.device)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return to_state(self.world)

    @classmethod
    def from_state(cls, arrays: Mapping[str, Tensor], plain: Mapping[str, Any]) -> SparseInstance:
        return cls.of(from_state(arrays, plain))
