"""Twins: concepts that always fire together, so that nobody can tell them apart."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import Any, Literal, Self

import torch
from torch import Tensor

from generators.controls.instances import with_most_active
from generators.mixing import random_directions
from generators.selection.directions import Dictionary
from generators.selection.firing import RateLaw
from generators.selection.magnitudes import Law
from generators.selection.rules import Rule
from generators.selection.sparse import SparseConcepts, SparseInstance
from generators.selection.sparse_truth import SparseTruth
from testbed.contracts import Instance, InvalidInput, Level, Observed, Sample, SparseRows, View, seed_of


class TwinConcepts(SparseConcepts):
    """`SparseConcepts` with some leaves doubled: each twin is on whenever its original is, at `ratio` times its magnitude.

    Rows are those of the selected instance drawn with the same seeds, plus what the twins write along directions of their own. Since a
    pair always appears as ``a (d + ratio d')``, the data hold one direction per pair, and *any* split of it into two has the same law:
    recovery of the two atoms must fail, that of everything else must not. Twins are the last concepts of the last level, and composed
    into nothing; ``facts["twins"]`` lists (original, twin) by concept of that level.

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

    def __init__(self, selected: SparseInstance, originals: Tensor, atoms: Tensor, ratio: float) -> None:
        self._selected, self._originals, self._atoms, self._ratio = selected, originals, atoms, ratio
        truth = selected.truth
        last = len(truth.levels) - 1
        rates = torch.cat([truth.rates[last], truth.rates[last][originals]])
        more = float(truth.rates[last][originals].sum())
        settings = dict(truth.settings)
        settings |= {"l0": settings["l0"] + more, f"l0_level_{last}": float(rates.sum()), "concepts": settings["concepts"] + len(originals)}
        twins = [[int(leaf), truth.levels[last].size + t] for t, leaf in enumerate(originals)]
        facts: dict[str, Any] = {**truth.facts, "twins": twins, "ratio": ratio}
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
        return other

    def chunks(self, seed: int, part: str = "train", start: int = 0) -> Iterator[Sample]:
        last = len(self.truth.levels) - 1
        for sample in self._selected.chunks(seed, part, start):
            leaves = sample.latents[last]
            assert isinstance(leaves, SparseRows)
            doubled = leaves.dense()[:, self._originals] * self._ratio  # (n, t)
            views = {}
            for name, view in sample.observed.views.items():
                shown = last in view.shows.levels
                views[name] = View(torch.as_tensor(view.values) + doubled @ self._atoms, view.shows) if shown else view
            wide = SparseRows.from_dense(torch.cat([leaves.dense(), doubled], dim=1))
            yield Sample(Observed(views, sample.observed.rows), {**sample.latents, last: wide})


def _generator(role: str, seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed_of(role, seed))
