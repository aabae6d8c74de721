"""Sparse concepts: on with a magnitude or off, selected together, all written into one vector or one view per level."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor

from generators.mixing import less_coherent, random_directions
from generators.selection.forest import Forest, draw_forest
from generators.selection.magnitudes import RectifiedNormal
from generators.selection.messages import Tables, draw_states, marginals, tables, variance_of_count
from generators.selection.rules import Composition, Rule
from generators.selection.tilting import solve_tilts
from testbed.contracts import (
    BLOCK,
    BlockInstance,
    Generator,
    InvalidInput,
    Level,
    Observed,
    Sample,
    Shows,
    SparseRows,
    Truth,
    View,
    seed_of,
)
from testbed.numerics.matching import dense
from testbed.numerics.pursuit import orthogonal_matching_pursuit


class SparseConcepts(Generator):
    """A forest of sparse concepts under selection.

    A composite is on iff its rule holds among its constituents. Selection weighs each tuple of constituents: `all_on` if the rule holds,
    1 if all are off, `lone_firing` otherwise. Firing rates are those after selection, and exact.

    Parameters
    ----------
    levels : list of int
        Concepts per level, from level 0, the most abstract, down. Concepts that no composite needs are free.
    branching : int
        Constituents of each composite.
    rule : {"and", "k_of_n", "exclusive", "any"}
        A composite is on iff all, at least `k`, exactly one, or at least one of its constituents are on.
    k : int
        For rule ``"k_of_n"``.
    all_on, lone_firing : float
        Potentials, see above; with both 1 nothing is selected and leaves are independent.
    rate, rate_floor, zipf : float
        The r-th most frequent leaf fires at ``max(rate_floor, rate * r ** -zipf)``; which leaf is which is drawn per instance.
    composite_rate : float, list of float, or None
        Requested rate of every composite, or one per level of composites; None lets it follow from the potentials.
    magnitude, spread : float
        Mean and standard deviation of magnitudes before rectification.
    tie, jitter : float
        How far (0 to 1) a composite's magnitude follows the mean of its active constituents', and the log-scale noise on it.
    dimension : int
        d, of every view.
    dictionary : {"random", "orthogonalised"}
        Random directions, or the same pushed apart by a few gradient steps.
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
        branching: int = 3,
        rule: Rule = "and",
        k: int = 2,
        all_on: float = 10.0,
        lone_firing: float = 0.1,
        rate: float = 0.25,
        rate_floor: float = 0.025,
        zipf: float = 0.5,
        composite_rate: float | list[float] | None = None,
        magnitude: float = 1.0,
        spread: float = 0.25,
        tie: float = 0.5,
        jitter: float = 0.1,
        dimension: int = 64,
        dictionary: Literal["random", "orthogonalised"] = "random",
        noise: float | list[float] = 0.05,
        bias: float = 0.0,
        views: Literal["mixed", "per_level"] = "mixed",
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

    @classmethod
    def small(cls) -> Self:
        return cls(levels=(3, 12), dimension=16)

    def draw(self, seed: int) -> SparseInstance:
        """Draw graph, rates, dictionary and tilts; every role has a seed of its own, so that a dial moves nothing but itself.

        Raises
        ------
        InvalidInput
            If a parameter is out of range, or the requested rates cannot be had.
        """
        sizes = tuple(self.levels)
        composition = Composition(self.rule, self.branching, self.k, self.all_on, self.lone_firing)
        magnitudes = RectifiedNormal(self.magnitude, self.spread, self.tie, self.jitter)
        forest = draw_forest(sizes, self.branching, seed)
        noise = self._noise(len(sizes))
        tilts = solve_tilts(forest, composition, self._requested_rates(forest, seed))
        every = tuple(range(len(sizes)))
        shown: dict[str, tuple[int, ...]] = {"mixed": every} if self.views == "mixed" else {f"level_{i}": (i,) for i in every}
        dictionaries, biases = self._directions(sizes, shown, seed)
        truth = truth_of(forest, composition, tilts, magnitudes, dictionaries, biases, dict(zip(shown, noise, strict=False)))
        shows = {view: Shows(levels, noise=sigma) for (view, levels), sigma in zip(shown.items(), noise, strict=False)}
        return SparseInstance(truth, tables(forest, composition, tilts), magnitudes, shows)

    def _requested_rates(self, forest: Forest, seed: int) -> Tensor:
        """Rates after selection by node, NaN where none is requested, shape (N,)."""
        leaves, composites = forest.sizes[-1], len(forest.sizes) - 1
        rank = torch.arange(1, leaves + 1, dtype=torch.float64)
        rates = (self.rate * rank**-self.zipf).clamp_min(self.rate_floor)
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

    def _directions(
        self, sizes: tuple[int, ...], shown: dict[str, tuple[int, ...]], seed: int
    ) -> tuple[dict[str, dict[int, Tensor]], dict[str, Tensor]]:
        """Dictionary, by view and level, and bias of each view."""
        if self.dimension < 1:
            raise InvalidInput(f"dimension must be at least 1, not {self.dimension}")
        if self.dictionary not in ("random", "orthogonalised"):
            raise InvalidInput(f"dictionary must be 'random' or 'orthogonalised', not {self.dictionary!r}")
        raw = [
            random_directions(size, self.dimension, torch.Generator().manual_seed(seed_of("dictionary", seed, level)))
            for level, size in enumerate(sizes)
        ]
        dictionaries, biases = {}, {}
        for view, levels in shown.items():
            atoms = torch.cat([raw[level] for level in levels])
            if self.dictionary == "orthogonalised":
                atoms = less_coherent(atoms)
            dictionaries[view] = dict(zip(levels, torch.split(atoms, [sizes[level] for level in levels]), strict=True))
            direction = torch.Generator().manual_seed(seed_of("bias", seed, *levels))
            biases[view] = self.bias * random_directions(1, self.dimension, direction)[0]
        return dictionaries, biases


@dataclass(frozen=True)
class SparseTruth(Truth):
    """Truth of sparse concepts.

    `facts` hold the rule (``rule``, ``branching``, ``k``), ``potential`` (phi by number of active constituents, largest 1), ``tilts`` by
    node, ``magnitude`` and its law's parameters, and per view V ``noise/V``, ``bias/V`` and ``pursuit/V`` (``max_active`` and
    ``threshold``): all that decoding a view with the true dictionary takes.
    """

    def oracle(self, observed: Observed, view: str) -> SparseRows:
        """Non-negative matching pursuit on the true dictionary, told the noise level and how many concepts may be active."""
        atoms = self.dictionary(view)
        x = dense(observed.views[view].values).float()
        return orthogonal_matching_pursuit(x - self.facts[f"bias/{view}"].to(x.device), atoms.to(x.device), **self.facts[f"pursuit/{view}"])


def truth_of(
    forest: Forest,
    composition: Composition,
    tilts: Tensor,
    magnitudes: RectifiedNormal,
    dictionaries: dict[str, dict[int, Tensor]],
    biases: dict[str, Tensor],
    noise: dict[str, float],
) -> SparseTruth:
    """Assemble what is known of an instance."""
    rates = marginals(forest, composition, tilts)
    by_level = torch.split(rates, list(forest.sizes))
    settings: dict[str, float] = {"concepts": sum(forest.sizes), "l0": float(rates.sum())}
    settings |= {f"l0_level_{level}": float(r.sum()) for level, r in enumerate(by_level)}
    facts: dict[str, object] = {
        "rule": composition.rule,
        "branching": composition.size,
        "k": composition.k,
        "potential": composition.potential() / composition.potential().max(),
        "tilts": tilts,
        "magnitude": {"law": "rectified normal", **vars(magnitudes)},
    }
    for view, sigma in noise.items():
        levels = list(dictionaries[view])
        nodes = torch.cat([torch.arange(forest.sizes[level]) + forest.start(level) for level in levels])
        mean, variance = float(rates[nodes].sum()), variance_of_count(forest, composition, tilts, nodes)
        facts[f"noise/{view}"] = sigma
        facts[f"bias/{view}"] = biases[view]
        facts[f"pursuit/{view}"] = {
            "max_active": min(len(nodes), math.ceil(mean + TAIL * math.sqrt(variance))),
            # What noise alone reaches on the best of all atoms; and no atom weaker than a magnitude that hardly occurs.
            "threshold": max(sigma * math.sqrt(2 * math.log(1 + len(nodes))), SMALLEST * magnitudes.mean),
        }
    return SparseTruth(
        levels=tuple(Level("sparse", size) for size in forest.sizes),
        constituents={level: tuple(map(tuple, lower.tolist())) for level, lower in enumerate(forest.constituents)}
        | {len(forest.sizes) - 1: ((),) * forest.sizes[-1]},
        dictionaries=dictionaries,
        rates=dict(enumerate(by_level)),
        settings=settings,
        facts=facts,
    )


SMALLEST = 0.15
"""Magnitude, as a share of the mean, below which the oracle takes a correlation for interference."""


TAIL = 8
"""Standard deviations above the mean number of active concepts that the oracle allows: selection gives counts a long tail."""


class SparseInstance(BlockInstance):
    """A drawn forest of sparse concepts."""

    def __init__(self, truth: SparseTruth, tables: Tables, magnitudes: RectifiedNormal, shows: dict[str, Shows]) -> None:
        self.truth: SparseTruth = truth
        self.shows = shows
        self._tables = tables
        self._magnitudes = magnitudes

    def to(self, device: str) -> Self:
        other = super().to(device)
        other._tables = self._tables.to(device)
        return other

    def block(self, seed: int) -> Sample:
        states = draw_states(self._tables, tuple(level.size for level in self.truth.levels), BLOCK, self._generator("states", seed))
        values = self._magnitudes.draw(states, self._tables.constituents, self._generator("magnitudes", seed))
        views = {}
        for view, shows in self.shows.items():
            x = self.truth.facts[f"bias/{view}"].to(self.device).expand(BLOCK, -1)
            for level, atoms in self.truth.dictionaries[view].items():
                x = x + values[level] @ atoms.to(self.device)
            if shows.noise:
                x = x + shows.noise * torch.randn(x.shape, generator=self._generator("noise", seed, view), device=self.device)
            views[view] = View(x, shows)
        return Sample(Observed(views), {level: SparseRows.from_dense(v) for level, v in enumerate(values)})

    def _generator(self, role: str, *parts: str | int) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(seed_of(role, *parts))
