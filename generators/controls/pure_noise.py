"""No concepts at all: Gaussian rows with the mean and covariance of the selected instance's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NoReturn, Self

import torch
from torch import Tensor

from generators.controls.settings import no_concepts
from generators.selection.sparse import SparseConcepts, SparseInstance
from testbed.contracts import BLOCK, BlockInstance, Instance, InvalidInput, Observed, Sample, Setting, Shows, View, seed_of
from testbed.numerics.moments import Moments

ROWS = 65_536
"""Rows of the selected instance of which the moments are taken."""


class PureNoise(SparseConcepts):
    """Gaussian rows without any concept in them.

    Mean and covariance, over all views together, are those of 65,536 rows of the instance that `SparseConcepts` draws with the same seed,
    on rows that no sample of it contains. Whatever a method finds here beyond principal components is not there: the truth is None, and
    scores that need none (agreement of seeds, explained variance, dead units) show what they are worth. There is nothing to steer.

    Source: the standard null of second-order structure, as in surrogate-data tests (Theiler et al. 1992).
    """

    def draw(self, seed: int) -> Instance:  # type: ignore[override]
        selected = super().draw(seed)
        moments = _moments(selected, seed_of("moments", seed))
        return NoiseInstance(moments, {view: len(selected.truth.facts[f"bias/{view}"]) for view in selected.shows}, selected.shows)


def _moments(instance: SparseInstance, seed: int) -> Moments:
    """Moments of all views side by side."""
    found = None
    for index in range(ROWS // BLOCK):
        views = instance.block(seed_of("moments", seed, index)).observed.views
        own = Moments.of(torch.cat([torch.as_tensor(view.values) for view in views.values()], dim=1))
        found = own if found is None else found.merge(own)
    assert found is not None
    return found


class NoiseInstance(BlockInstance):
    """Gaussian rows: ``x = mean + z R``, with the covariance's symmetric root R and z standard normal."""

    def __init__(self, moments: Moments, widths: Mapping[str, int], shows: Mapping[str, Shows]) -> None:
        self.moments = moments
        self._widths, self._shows = dict(widths), dict(shows)
        variance, axes = torch.linalg.eigh(moments.covariance)
        self._root: Tensor = (axes * variance.clamp_min(0).sqrt()) @ axes.T
        self._mean: Tensor = moments.mean

    def to(self, device: str) -> Self:
        other = super().to(device)
        other._root, other._mean = self._root.to(device), self._mean.to(device)
        return other

    def block(self, seed: int) -> Sample:
        generator = torch.Generator(self.device).manual_seed(seed_of("noise", seed))
        z = torch.randn(BLOCK, len(self._mean), generator=generator, device=self.device, dtype=torch.float64)
        pieces = torch.split((self._mean + z @ self._root).float(), list(self._widths.values()), dim=1)
        return Sample(Observed({view: View(x, self._shows[view]) for view, x in zip(self._widths, pieces, strict=True)}))

    def condition(self, setting: Setting) -> NoReturn:
        raise no_concepts("condition")

    def do_then_select(self, setting: Setting) -> NoReturn:
        raise no_concepts("do_then_select")

    def select_then_do(self, setting: Setting) -> NoReturn:
        raise no_concepts("select_then_do")

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        views = [
            {"name": view, "width": self._widths[view], "levels": list(shows.levels), "noise": shows.noise}
            for view, shows in self._shows.items()
        ]
        return {"mean": self.moments.mean, "scatter": self.moments.scatter}, {"count": self.moments.count, "views": views}

    @classmethod
    def from_state(cls, arrays: Mapping[str, Tensor], plain: Mapping[str, Any]) -> NoiseInstance:
        try:
            widths = {view["name"]: int(view["width"]) for view in plain["views"]}
            shows = {view["name"]: Shows(tuple(view["levels"]), noise=view["noise"]) for view in plain["views"]}
            moments = Moments(int(plain["count"]), arrays["mean"], arrays["scatter"])
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"the saved noise lacks a part or has one of a wrong kind ({error}): save it again") from None
        d = sum(widths.values())
        fits = moments.mean.shape == (d,) and moments.scatter.shape == (d, d) and moments.count > 0 and min(widths.values(), default=0) > 0
        if not (fits and bool(moments.mean.isfinite().all()) and bool(moments.scatter.isfinite().all())):
            raise InvalidInput("the saved noise has moments that do not fit its views: save it again")
        return cls(moments, widths, shows)
