"""Continuous hierarchies: real concepts selected together, written into views by a linear or nonlinear f."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import replace
from functools import cached_property
from typing import Any, Literal, Self

import torch
from torch import Tensor

from generators.mixing_maps import Activation, Mixing
from generators.nonlinear_mixing import Kind as MixingKind
from generators.nonlinear_mixing import draw_mixing
from generators.selection.continuous.couplings import Weights, draw_couplings
from generators.selection.continuous.graph import Nodes, World, checked, establish, on_device, upward
from generators.selection.continuous.laws import Law, Message, base_density
from generators.selection.continuous.marginals import descend
from generators.selection.continuous.sampling import draw, recompose
from generators.selection.continuous.saved import from_plain, to_plain
from generators.selection.continuous.selection import FREE, Kind, Selection, TupleKind
from generators.selection.continuous.truth import ContinuousTruth, estimated_moments, exact_moments, truth_of
from generators.selection.forest import draw_forest
from testbed.contracts import BLOCK, BlockInstance, Generator, InvalidInput, Observed, Sample, Setting, Shows, View, seed_of


class ContinuousHierarchy(Generator):
    """A forest of real concepts under selection.

    A composite's value is v = g(tuple), the first part of an invertible coupling of its tuple; leaves are independent with mean 0 and
    variance 1 in the base law; selection weighs each composite's value and, with `agreement`, the rest of its tuple.

    Parameters
    ----------
    levels : list of int
        Concepts per level, from level 0, the most abstract, down. Concepts that no composite needs are free.
    branching : int
        Constituents of each composite, at least 2.
    law : {"gaussian", "laplace", "uniform", "student"}
        Base law of every leaf.
    law_parameter : float
        Degrees of freedom of a Student law.
    weights : {"equal", "random"}
        Whether a composite's constituents weigh alike, or have sizes and signs of their own.
    nonlinearity : float
        Strength of the couplings' bend, 0 (linear) to 3.
    selection : {"none", "interval", "bump", "logistic"}
        Potential on v: 1 within `width` of `center` and 0 elsewhere; Gaussian; or a logistic function rising at `center`.
    center, width : float or list of float
        In standard deviations of v from its mean, given that all below it is selected and it is not; a list gives one per level of
        composites.
    strength : float or list of float
        0 (no selection) to 1; see `generators.selection.continuous.selection.Selection`.
    agreement : float or None
        Width, in standard deviations of v, of a potential on each part of the tuple's complement: the potential on tuples.
    agreement_kind : {"bump", "interval"}
        Whether it is Gaussian (soft), or 1 within `agreement` of 0 and 0 elsewhere (hard).
    root_selection, root_center, root_width : {"none", "interval", "bump", "logistic"}, float, float
        phi_S, on every concept of level 0, in standard deviations from its mean once all else is selected; its strength is 1.
    mixing : {"linear", "mlp", "flow", "warped"}
        A sparse ``"mlp"`` is nearly linear; ``"warped"`` squashes its coordinates besides, far from linear even where it is sparse.
    row_support : int
        Concepts of a level that each coordinate of a view sees; 0 for all.
    condition : float
        Condition number of f's linear parts (an upper bound where the support is sparse).
    curvature : float
        How far f is from linear, in [0, 1).
    activation : {"leaky_relu", "tanh"}
        Of a dense ``"mlp"``.
    dimension : int
        d, of every view.
    noise : float or list of float
        Standard deviation of the noise on each coordinate; a list gives one per view.
    views : {"leaves", "per_level", "mixed"}
        One view ``leaves``, f(V_L); one view ``level_0``, ``level_1`` ... each; or one view ``mixed``, the sum over levels.
    cells : int
        Resolution of the tables that samples are drawn from, an even number; their error falls with its square.
    """

    def __init__(
        self,
        levels: list[int] | tuple[int, ...] = (3, 9),
        branching: int = 3,
        law: Law = "gaussian",
        law_parameter: float = 5.0,
        weights: Weights = "random",
        nonlinearity: float = 0.0,
        selection: Kind = "bump",
        center: float | list[float] = 1.0,
        width: float | list[float] = 0.5,
        strength: float | list[float] = 1.0,
        agreement: float | None = None,
        mixing: MixingKind = "linear",
        row_support: int = 0,
        condition: float = 4.0,
        curvature: float = 0.5,
        activation: Activation = "leaky_relu",
        dimension: int = 30,
        noise: float | list[float] = 0.05,
        views: Literal["leaves", "per_level", "mixed"] = "leaves",
        cells: int = 256,
        agreement_kind: TupleKind = "bump",
        root_selection: Kind = "none",
        root_center: float = 1.0,
        root_width: float = 0.5,
    ) -> None:
        self.levels = levels
        self.branching = branching
        self.law = law
        self.law_parameter = law_parameter
        self.weights = weights
        self.nonlinearity = nonlinearity
        self.selection = selection
        self.center = center
        self.width = width
        self.strength = strength
        self.agreement = agreement
        self.mixing = mixing
        self.row_support = row_support
        self.condition = condition
        self.curvature = curvature
        self.activation = activation
        self.dimension = dimension
        self.noise = noise
        self.views = views
        self.cells = cells
        self.agreement_kind = agreement_kind
        self.root_selection = root_selection
        self.root_center = root_center
        self.root_width = root_width

    @classmethod
    def small(cls) -> Self:
        return cls(levels=(2, 5), branching=2, dimension=8, cells=128, views="per_level")

    def draw(self, seed: int) -> ContinuousInstance:
        """Draw graph, couplings and f; every role has a seed of its own, so that a dial moves nothing but itself.

        Raises
        ------
        InvalidInput
            If a parameter is out of range, or less than 1e-12 passes a selection.
        """
        sizes = tuple(self.levels)
        if self.cells < 32 or self.cells % 2:
            raise InvalidInput(f"cells must be an even number of at least 32, not {self.cells}")
        base = base_density(self.law, self.law_parameter, self.cells)
        forest = draw_forest(sizes, self.branching, seed)
        relative = self._selections(len(sizes) - 1)
        couplings = tuple(
            draw_couplings(size, self.branching, self.weights, self.nonlinearity, seed, level) for level, size in enumerate(sizes[:-1])
        )
        shows = self._views(len(sizes))
        mixings = {view: {level: self._mixing(sizes[level], seed, level) for level in shown.levels} for view, shown in shows.items()}
        root = Selection(self.root_selection, self.root_center, self.root_width, 1.0)
        world, nodes = establish(forest, couplings, base, relative, self.cells, root)
        return ContinuousInstance(world, (self.law, self.law_parameter), mixings, shows, nodes=nodes)

    def _selections(self, composites: int) -> tuple[Selection, ...]:
        """One potential per level of composites, in standard deviations."""

        def per_level(name: str, value: float | list[float]) -> list[float]:
            values = list(value) if isinstance(value, list | tuple) else [value] * composites
            if len(values) != composites:
                raise InvalidInput(f"{name} gives {len(values)} numbers, but there are {composites} levels of composites: one each")
            return values

        centers, widths, strengths = (per_level(name, getattr(self, name)) for name in ("center", "width", "strength"))
        return tuple(
            Selection(self.selection, c, w, s, self.agreement, self.agreement_kind)
            for c, w, s in zip(centers, widths, strengths, strict=True)
        )

    def _views(self, levels: int) -> dict[str, Shows]:
        every = tuple(range(levels))
        shown: dict[str, dict[str, tuple[int, ...]]] = {
            "leaves": {"leaves": every[-1:]},
            "per_level": {f"level_{level}": (level,) for level in every},
            "mixed": {"mixed": every},
        }
        if self.views not in shown:
            raise InvalidInput(f"views must be one of {', '.join(map(repr, shown))}, not {self.views!r}")
        views = shown[self.views]
        noise = list(self.noise) if isinstance(self.noise, list | tuple) else [self.noise] * len(views)
        if len(noise) != len(views) or not all(0 <= sigma < math.inf for sigma in noise):
            raise InvalidInput(f"noise must be a number of at least 0, or one per view ({len(views)}), not {self.noise}")
        return {view: Shows(levels, noise=float(sigma)) for (view, levels), sigma in zip(views.items(), noise, strict=True)}

    def _mixing(self, concepts: int, seed: int, level: int) -> Mixing:
        return draw_mixing(
            self.mixing, concepts, self.dimension, self.row_support, self.condition, self.curvature, self.activation, seed, level
        )


class ContinuousInstance(BlockInstance):
    """A drawn continuous hierarchy, as it is or intervened on: first in the base law, then by conditioning, then after selection."""

    def __init__(
        self,
        world: World,
        law: tuple[Law, float],
        mixings: Mapping[str, Mapping[int, Mixing]],
        shows: Mapping[str, Shows],
        forced: Setting | None = None,
        given: Setting | None = None,
        after: Setting | None = None,
        nodes: Nodes | None = None,
    ) -> None:
        self.world = world
        self.law = law
        self.mixings = mixings
        self.shows = shows
        sizes = world.forest.sizes
        self.forced, self.given, self.after = (checked(setting or {}, sizes) for setting in (forced, given, after))
        self._nodes = nodes if nodes is not None else upward(world, self.forced, self.given)

    @cached_property
    def truth(self) -> ContinuousTruth:  # type: ignore[override]
        """What is known, worked out when it is first asked for."""
        nodes = on_device(self._nodes, "cpu")
        # The probability of selection is that of the law before conditioning.
        selected = upward(self.world, self.forced, {}) if self.given else nodes
        moments = estimated_moments(self.latents) if self.after else exact_moments(self.world, nodes, self.forced, self.given)
        mixings = {view: {level: f.to("cpu") for level, f in maps.items()} for view, maps in self.mixings.items()}
        return truth_of(self.world, self.law, mixings, self.shows, selected, moments, {**self.forced, **self.after})

    def marginals(self) -> list[list[Message]]:
        """The law of each concept, level by level: a tabulated density, or a point; InvalidInput after `select_then_do`."""
        if self.after:
            raise InvalidInput("marginals are known up to selection, not after select_then_do: estimate them from a sample")
        return descend(self.world, on_device(self._nodes, "cpu"), self.forced).laws

    def latents(self, n: int, seed: int) -> list[Tensor]:
        """Concepts of n rows from a seed, per level, shape (n, n_l), float64."""
        values = draw(self.world, self._nodes, self.forced, n, torch.Generator(self.device).manual_seed(seed))
        return recompose(self.world, values, self.forced, self.after) if self.after else values

    def to(self, device: str) -> Self:
        other = super().to(device)
        other._nodes = on_device(self._nodes, device)
        other.mixings = {view: {level: f.to(device) for level, f in maps.items()} for view, maps in self.mixings.items()}
        return other

    def block(self, seed: int) -> Sample:
        values = self.latents(BLOCK, seed_of("states", seed))
        views = {}
        for view, shows in self.shows.items():
            x = torch.stack([f(values[level]) for level, f in self.mixings[view].items()]).sum(dim=0)
            if shows.noise:
                generator = torch.Generator(self.device).manual_seed(seed_of("noise", seed, view))
                x = x + shows.noise * torch.randn(x.shape, generator=generator, device=self.device)
            views[view] = View(x.float(), shows)
        return Sample(Observed(views), {level: v.float().contiguous() for level, v in enumerate(values)})

    # ------------------------------------------------------------------------------------------------------ interventions

    def do_then_select(self, setting: Setting) -> ContinuousInstance:
        """Set concepts by force in the base law, then select: a composite is cut off from its tuple, which its own value no longer weighs.

        Raises
        ------
        InvalidInput
            If the instance is conditioned on something already, the setting is not one, or selection excludes it.
        """
        if self.given or self.after:
            raise InvalidInput("do_then_select acts on the base law: use it first, then condition, then select_then_do")
        return self._with(forced={**self.forced, **setting})

    def condition(self, setting: Setting) -> ContinuousInstance:
        """The selected law given values of concepts, anywhere in the forest.

        Raises
        ------
        InvalidInput
            If concepts were set after selection already, the setting is not one, or a value cannot occur.
        """
        if self.after:
            raise InvalidInput("condition acts on the selected law: use it before select_then_do")
        return self._with(given={**self.given, **setting})

    def select_then_do(self, setting: Setting) -> ContinuousInstance:
        """Set concepts by force after selection: only what is composed of them changes.

        Raises
        ------
        InvalidInput
            If the setting is not one.
        """
        return self._with(nodes=self._nodes, after={**self.after, **setting})

    def unselected(self) -> ContinuousInstance:
        """The same leaves, couplings and views with every potential 1."""
        free = tuple(tuple(FREE for _ in level) for level in self.world.selections)
        return self._with(world=replace(self.world, selections=free, root_selections=()))

    def _with(self, world: World | None = None, **changes: Any) -> ContinuousInstance:
        kept = {"forced": self.forced, "given": self.given, "after": self.after, **changes}
        mixings = {view: {level: f.to("cpu") for level, f in maps.items()} for view, maps in self.mixings.items()}
        if kept.get("nodes") is not None:
            kept["nodes"] = on_device(self._nodes, "cpu")
        made = ContinuousInstance(world or self.world, self.law, mixings, self.shows, **kept)
        return made if self.device == "cpu" else made.to(self.device)

    # ------------------------------------------------------------------------------------------------------------ on disk

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that the instance is, as arrays and JSON."""
        settings = {name: getattr(self, name) for name in ("forced", "given", "after")}
        return to_plain(self.world, self.law, self.mixings, self.shows, settings)

    @classmethod
    def from_state(cls, arrays: Mapping[str, Tensor], plain: Mapping[str, Any]) -> ContinuousInstance:
        """The same instance again.

        Raises
        ------
        InvalidInput
            If the state is not one.
        """
        world, law, mixings, shows, settings = from_plain(arrays, plain)
        return cls(world, law, mixings, shows, settings["forced"], settings["given"], settings["after"])
