"""Twins: concepts that always fire together, so that nobody can tell them apart."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal, Self

import torch
from torch import Tensor

from generators.controls.instances import control_world, with_most_active
from generators.controls.settings import Values, checked
from generators.mixing import random_directions
from generators.selection.directions import Dictionary
from generators.selection.firing import RateLaw
from generators.selection.magnitudes import Law
from generators.selection.rules import Rule
from generators.selection.sparse import SparseConcepts, SparseInstance
from generators.selection.sparse_truth import SparseTruth, binary_entropy
from testbed.contracts import Instance, InvalidInput, Level, Observed, Sample, Setting, SparseRows, View, seed_of


class TwinConcepts(SparseConcepts):
    """`SparseConcepts` with some leaves doubled: each twin is on whenever its original is, at `ratio` times its magnitude.

    Rows are those of the selected instance drawn with the same seeds, plus what the twins write along directions of their own. Since a
    pair always appears as ``a (d + ratio d')``, the data hold one direction per pair, and *any* split of it into two has the same law:
    recovery of the two atoms must fail, that of everything else must not. Twins are the last concepts of the last level, and composed
    into nothing: a twin is an effect of its original alone. So it follows an original that is set by force, and is itself set by force
    without any effect. Conditioning on either is conditioning on both. ``facts["twins"]`` lists (original, twin) by concept of that level.

    Parameters
    ----------
    twins : int
        Leaves that have one.
    ratio : float
    levels, branching, rule, k, all_on, lone_firing, rate, rate_floor, zipf, composite_rate, magnitude, spread, tie, jitter, \
dimension, dictionary, noise, bias, views, rates, magnitude_law, tail, correlation, correlation_rank, clusters, cluster_cosine, shared
        As for `SparseConcepts`; twins' directions are random whatever `dictionary` says.

    Source: DESIGN section 3, "no twins": distinct states must have distinct context laws.
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
        twins: int = 8,
        ratio: float = 1.0,
    ) -> None:
        super().__init__(
            levels=levels,
            branching=branching,
            rule=rule,
            k=k,
            all_on=all_on,
            lone_firing=lone_firing,
            rate=rate,
            rate_floor=rate_floor,
            zipf=zipf,
            composite_rate=composite_rate,
            magnitude=magnitude,
            spread=spread,
            tie=tie,
            jitter=jitter,
            dimension=dimension,
            dictionary=dictionary,
            noise=noise,
            bias=bias,
            views=views,
            rates=rates,
            magnitude_law=magnitude_law,
            tail=tail,
            correlation=correlation,
            correlation_rank=correlation_rank,
            clusters=clusters,
            cluster_cosine=cluster_cosine,
            shared=shared,
        )
        self.twins = twins
        self.ratio = ratio

    @classmethod
    def small(cls) -> Self:
        return cls(levels=(3, 12), dimension=16, twins=3, ratio=0.8)

    def draw(self, seed: int) -> Instance:  # type: ignore[override]
        leaves = self.levels[-1] if self.levels else 0
        if not 0 <= self.twins <= leaves or not 0 < self.ratio < float("inf"):
            raise InvalidInput(
                f"twins must lie between 0 and the number of leaves ({leaves}) and ratio be above 0, not {self.twins} and {self.ratio}"
            )
        selected = super().draw(seed)
        originals = torch.randperm(leaves, generator=_generator("twins", seed))[: self.twins].sort().values
        atoms = random_directions(self.twins, self.dimension, _generator("twin_directions", seed))
        return TwinInstance(selected, originals, atoms, self.ratio)


class TwinInstance(Instance):
    """A selected instance whose leaves `originals`, shape (t,), have twins that write along `atoms`, shape (t, d)."""

    def __init__(self, selected: SparseInstance, originals: Tensor, atoms: Tensor, ratio: float, forced: Tensor | None = None) -> None:
        self._selected, self._originals, self._atoms, self._ratio = selected, originals, atoms, ratio
        self._forced: Tensor = torch.full((len(originals),), -1.0) if forced is None else forced
        truth = selected.truth
        last = len(truth.levels) - 1
        own = torch.where(self._forced < 0, truth.rates[last][originals], (self._forced > 0).double())
        rates = torch.cat([truth.rates[last], own])
        more = float(own.sum())
        settings = dict(truth.settings)
        settings |= {"l0": settings["l0"] + more, f"l0_level_{last}": float(rates.sum()), "concepts": settings["concepts"] + len(originals)}
        twins = [[int(leaf), truth.levels[last].size + t] for t, leaf in enumerate(originals)]
        facts: dict[str, Any] = {**truth.facts, "twins": twins, "ratio": ratio}
        facts[f"concept_entropies/{last}"] = binary_entropy(rates)
        if "total_correlation" in facts:  # a twin adds its own entropy to the sum of the leaves', and nothing to their joint one
            facts["total_correlation"] += float(binary_entropy(own).sum())
        if (self._forced >= 0).any():
            set_by_force = [[last, truth.levels[last].size + t, float(x)] for t, x in enumerate(self._forced) if x >= 0]
            facts["intervention"] = {**facts.get("intervention", {}), "twins": set_by_force}
        dictionaries = {
            view: {level: torch.cat([d, atoms]) if level == last else d for level, d in levels.items()}
            for view, levels in truth.dictionaries.items()
        }
        changed = replace(
            truth,
            levels=(*truth.levels[:-1], Level("sparse", len(rates))),
            constituents={**truth.constituents, last: ((),) * len(rates)},
            dictionaries=dictionaries,
            rates={**truth.rates, last: rates},
            settings=settings,
        )
        for view, levels in dictionaries.items():
            if last in levels:
                facts[f"pursuit/{view}"] = with_most_active(changed, view, 2.0 * truth.facts[f"pursuit/{view}"]["max_active"])
        self.truth: SparseTruth = replace(changed, facts=facts)

    def to(self, device: str) -> TwinInstance:
        other = super().to(device)
        other._selected = self._selected.to(device)
        other._originals, other._atoms = self._originals.to(device), self._atoms.to(device)
        other._forced = self._forced.to(device)
        return other

    def condition(self, setting: Setting) -> TwinInstance:
        """The selected law given values; a twin's value is `ratio` times its original's."""
        concepts, twins = self._split(setting)
        last = len(self.truth.levels) - 1
        for t, value in twins.items():
            if self._forced[t] >= 0:
                if not math.isclose(float(self._forced[t]), value, rel_tol=1e-6):
                    raise InvalidInput(
                        f"the twin is given the value {value:g}, but is {float(self._forced[t]):g} by force: give it one value"
                    )
                continue
            place = last, int(self._originals[t])
            if not math.isclose(concepts.get(place, value / self._ratio), value / self._ratio, rel_tol=1e-6):
                raise InvalidInput(f"a twin is {self._ratio:g} times its original, but both are given other values: give one of them")
            concepts[place] = value / self._ratio
        return self._with(self._selected.condition(concepts) if concepts else self._selected, {})

    def do_then_select(self, setting: Setting) -> TwinInstance:
        """As of the selected instance; twins follow originals, and are set by force without any effect."""
        concepts, twins = self._split(setting)
        return self._with(self._selected.do_then_select(concepts) if concepts else self._selected, twins)

    def select_then_do(self, setting: Setting) -> TwinInstance:
        """As of the selected instance; twins follow originals, and are set by force without any effect."""
        concepts, twins = self._split(setting)
        return self._with(self._selected.select_then_do(concepts) if concepts else self._selected, twins)

    def _split(self, setting: Setting) -> tuple[Values, dict[int, float]]:
        """Values of concepts that the selected instance has, and of twins by number."""
        last = len(self.truth.levels) - 1
        every = checked(setting, tuple(level.size for level in self.truth.levels))
        first = self.truth.levels[last].size - len(self._originals)
        twins = {i - first: value for (level, i), value in every.items() if level == last and i >= first}
        return {place: value for place, value in every.items() if place[0] != last or place[1] < first}, twins

    def _with(self, selected: SparseInstance, twins: dict[int, float]) -> TwinInstance:
        forced = self._forced.cpu().clone()
        for t, value in twins.items():
            forced[t] = value
        made = TwinInstance(selected.to("cpu"), self._originals.cpu(), self._atoms.cpu(), self._ratio, forced)
        return made if self.device == "cpu" else made.to(self.device)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        arrays, plain = self._selected.state()
        mine = {"originals": self._originals, "atoms": self._atoms, "forced_twins": self._forced}
        return {**arrays, **{name: array.cpu() for name, array in mine.items()}}, {"world": plain, "ratio": self._ratio}

    @classmethod
    def from_state(cls, arrays: Mapping[str, Tensor], plain: Mapping[str, Any]) -> TwinInstance:
        world, _, _ = control_world(arrays, {"done": [], "given": [], **plain})
        leaves, ratio = world.forest.sizes[-1], plain.get("ratio")
        try:
            originals, atoms, forced = arrays["originals"], arrays["atoms"], arrays["forced_twins"]
            fits = len(originals) == len(atoms) == len(forced) and atoms.shape[1:] == next(iter(world.biases.values())).shape
            fits = fits and originals.dtype == torch.int64 and bool(((originals >= 0) & (originals < leaves)).all())
            fits = fits and isinstance(ratio, int | float) and 0 < ratio < math.inf and bool(forced.isfinite().all())
        except (KeyError, TypeError, IndexError):
            fits = False
        if not fits:
            raise InvalidInput("the saved control's twins do not fit its concepts: save it again")
        assert ratio is not None
        return cls(SparseInstance.of(world), originals, atoms, float(ratio), forced)

    def chunks(self, seed: int, part: str = "train", start: int = 0) -> Iterator[Sample]:
        last = len(self.truth.levels) - 1
        for sample in self._selected.chunks(seed, part, start):
            leaves = sample.latents[last]
            assert isinstance(leaves, SparseRows)
            doubled = leaves.dense()[:, self._originals] * self._ratio  # (n, t)
            doubled = torch.where(self._forced < 0, doubled, self._forced)
            views = {}
            for name, view in sample.observed.views.items():
                shown = last in view.shows.levels
                views[name] = View(torch.as_tensor(view.values) + doubled @ self._atoms, view.shows) if shown else view
            wide = SparseRows.from_dense(torch.cat([leaves.dense(), doubled], dim=1))
            yield Sample(Observed(views, sample.observed.rows), {**sample.latents, last: wide})


def _generator(role: str, seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed_of(role, seed))
