"""No concepts at all: Gaussian rows with the mean and covariance of the selected instance's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor

from generators.selection.sparse import SparseConcepts, SparseInstance
from testbed.contracts import BLOCK, BlockInstance, Instance, Observed, Sample, Shows, View, seed_of
from testbed.numerics.moments import Moments

ROWS = 65_536
"""Rows of the selected instance of which the moments are taken."""


class PureNoise(SparseConcepts):
    """Gaussian rows without any concept in them.

    Mean and covariance, over all views together, are those of 65,536 rows of the instance that `SparseConcepts` draws with the same seed,
    on rows that no sample of it contains. Whatever a method finds here beyond principal components is not there: the truth is None, and
    scores that need none (agreement of seeds, explained variance, dead units) show what they are worth.

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
