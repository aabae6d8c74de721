"""Instances of parent-gated concepts: magnitudes, views and truth."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numba
import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import embedding_bag

from generators.peers.gated_kernels import GOLDEN, Floats, Ints, Singles, unit
from generators.peers.gated_law import GatedLaw, realised_rates
from generators.peers.gated_sampling import GatedSampler
from generators.selection.sparse_truth import SMALLEST, TAIL, SparseTruth
from testbed.contracts import BLOCK, BlockInstance, Level, Observed, Sample, Shows, SparseRows, View, seed_of


def gated_truth(law: GatedLaw, atoms: Tensor, bias: Tensor, mean: Tensor, spread: Tensor, seed: int, **facts: Any) -> SparseTruth:
    """What is known of parent-gated concepts.

    Parameters
    ----------
    law : GatedLaw
    atoms : Tensor, shape (n, d)
    bias : Tensor, shape (d,)
    mean, spread : Tensor, shape (n,)
        Of each concept's magnitude before rectification.
    seed : int
        Of the points over which children's rates are averaged under a copula.
    **facts
        More to tell.
    """
    sizes = list(law.sizes)
    rates, error = realised_rates(law, seed_of("rates", seed))
    constituents: dict[int, tuple[tuple[int, ...], ...]] = {level: ((),) * size for level, size in enumerate(sizes)}
    for level in range(len(sizes) - 1):
        lower = law.children()[law.levels[level] : law.levels[level + 1]] - law.levels[level + 1]
        constituents[level] = tuple(map(tuple, lower.tolist()))
    by_level = torch.split(rates, sizes)
    settings: dict[str, float] = {"concepts": law.concepts, "l0": float(rates.sum())}
    settings |= {f"l0_level_{level}": float(r.sum()) for level, r in enumerate(by_level)}
    begin, _, _ = GatedSampler(law).draw(BLOCK, seed_of("counts", seed))
    count = torch.from_numpy(np.diff(begin)).double()
    known = {
        "direction": "joint_emission",
        "direction_class": ["joint_emission"],
        "fire": law.fire,
        "keep": law.keep,
        "loadings": law.loadings,
        "exclusive": law.exclusive,
        "rates_error": error,
        "magnitude": {"law": "rectified normal", "mean": mean, "spread": spread},
        "noise/mixed": 0.0,
        "bias/mixed": bias,
        "pursuit/mixed": {
            "max_active": max(1, min(law.concepts, math.ceil(float(count.mean() + TAIL * count.std())))),
            "threshold": SMALLEST * float(mean.mean()),
        },
    }
    return SparseTruth(
        levels=tuple(Level("sparse", size) for size in sizes),
        constituents=constituents,
        dictionaries={"mixed": dict(enumerate(torch.split(atoms, sizes)))},
        rates=dict(enumerate(by_level)),
        settings=settings,
        facts=known | facts,
    )


class GatedInstance(BlockInstance):
    """Parent-gated concepts, drawn on the CPU whatever the device (a block has few active concepts) and written into the view there."""

    def __init__(self, truth: SparseTruth, law: GatedLaw, scaled: bool) -> None:
        self.truth: SparseTruth = truth
        self.law = law
        self._sampler = GatedSampler(law)
        self._mean = truth.facts["magnitude"]["mean"].double().numpy()
        self._spread = truth.facts["magnitude"]["spread"].double().numpy()
        self._scaled = scaled
        self._atoms = truth.dictionary("mixed")
        self._bias = truth.facts["bias/mixed"]

    def to(self, device: str) -> GatedInstance:
        other = super().to(device)
        other._atoms, other._bias = self._atoms.to(device), self._bias.to(device)
        return other

    def block(self, seed: int) -> Sample:
        begin, concept, above = self._sampler.draw(BLOCK, seed_of("states", seed))
        magnitudes = seed_of("magnitudes", seed)
        normals = np.random.Generator(np.random.SFC64(magnitudes)).standard_normal(len(concept), np.float32)
        values = _values(concept, above, normals, self._mean, self._spread, self._scaled, magnitudes)
        latents = self._latents(begin, concept, values)
        rows = (torch.from_numpy(array).to(self.device) for array in (concept, begin[:-1], values))
        index, offset, weight = rows
        x = embedding_bag(index, self._atoms, offset, mode="sum", per_sample_weights=weight).add_(self._bias)
        shows = Shows(tuple(range(len(self.truth.levels))), noise=0.0)
        return Sample(Observed({"mixed": View(x, shows)}), latents)

    def _latents(self, begin: Ints, concept: Ints, values: Singles) -> Mapping[int, SparseRows]:
        starts = np.array([*self.law.levels, self.law.concepts])
        indptr, indices, kept = _by_level(begin, concept, values, starts)
        out = {}
        for level, size in enumerate(self.law.sizes):
            first, last = indptr[level, 0], indptr[level, -1]
            pieces = (indptr[level] - first, indices[first:last], kept[first:last])
            pointer, column, value = (torch.from_numpy(piece).to(self.device) for piece in pieces)
            out[level] = SparseRows(pointer, column, value, (BLOCK, size))
        return out


@numba.njit(cache=True)
def _values(concept: Ints, above: Ints, normals: Singles, mean: Floats, spread: Floats, scaled: bool, seed: int) -> Any:
    """Magnitudes, given that they are positive; of children times their parent's magnitude over its mean."""
    state = np.uint64(seed)
    out = np.empty(len(concept), np.float32)
    for e in range(len(concept)):
        i = concept[e]
        value = mean[i] + spread[i] * normals[e]
        while value <= 0.0:  # Box & Muller (1958), until one is positive
            state += GOLDEN
            radius = math.sqrt(-2.0 * math.log1p(-unit(state)))
            state += GOLDEN
            value = mean[i] + spread[i] * radius * math.cos(2.0 * math.pi * unit(state))
        if scaled and above[e] >= 0:
            value *= out[above[e]] / mean[concept[above[e]]]
        out[e] = value
    return out


@numba.njit(cache=True)
def _by_level(begin: Ints, concept: Ints, values: Singles, starts: Ints) -> Any:
    """Entries sorted by level, row and column: where each level's rows begin, columns, values."""
    levels, n = len(starts) - 1, len(begin) - 1
    level_of = np.empty(starts[-1], np.int8)
    for level in range(levels):
        level_of[starts[level] : starts[level + 1]] = level
    count = np.zeros((levels, n + 1), np.int64)
    for row in range(n):
        for e in range(begin[row], begin[row + 1]):
            count[level_of[concept[e]], row + 1] += 1
    total = 0
    for level in range(levels):
        count[level, 0] = total
        for row in range(n):
            total += count[level, row + 1]
            count[level, row + 1] = total
    column = np.empty(len(concept), np.int64)
    kept = np.empty(len(concept), np.float32)
    place = np.empty(levels, np.int64)
    for row in range(n):
        place[:] = count[:, row]
        for e in range(begin[row], begin[row + 1]):
            level = level_of[concept[e]]
            own = concept[e] - starts[level]
            at = place[level]
            while at > count[level, row] and column[at - 1] > own:  # insertion: a row has few entries
                column[at], kept[at] = column[at - 1], kept[at - 1]
                at -= 1
            column[at], kept[at] = own, values[e]
            place[level] += 1
    return count, column, kept
