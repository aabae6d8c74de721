"""Along which directions the concepts of each view are written."""

from __future__ import annotations

from typing import Literal, get_args

import torch
from torch import Tensor

from generators.mixing import clustered, equiangular, less_coherent, random_directions
from testbed.contracts import InvalidInput, seed_of

Dictionary = Literal["random", "orthogonalised", "equiangular", "clustered"]


def draw_dictionary(
    kind: Dictionary, sizes: tuple[int, ...], levels: tuple[int, ...], dimension: int, clusters: int, cosine: float, seed: int
) -> dict[int, Tensor]:
    """Atoms of the levels that one view shows, by level, shape (n_l, d).

    Random directions of a level are the same in every view; what depends on all atoms of a view (pushing them apart, a simplex) is
    done for the view as a whole.

    Raises
    ------
    InvalidInput
        If the kind is unknown or cannot be had in this dimension.
    """
    if dimension < 1:
        raise InvalidInput(f"dimension must be at least 1, not {dimension}")
    if kind not in get_args(Dictionary):
        raise InvalidInput(f"dictionary must be one of {', '.join(map(repr, get_args(Dictionary)))}, not {kind!r}")
    shown = [sizes[level] for level in levels]
    if kind == "equiangular":
        atoms = equiangular(sum(shown), dimension, _generator("dictionary", seed, *levels))
    elif kind == "clustered":
        atoms = clustered(sum(shown), dimension, clusters, cosine, _generator("dictionary", seed, *levels))
    else:
        raw = [random_directions(sizes[level], dimension, _generator("dictionary", seed, level)) for level in levels]
        atoms = less_coherent(torch.cat(raw)) if kind == "orthogonalised" else torch.cat(raw)
    return dict(zip(levels, torch.split(atoms, shown), strict=True))


def draw_bias(norm: float, levels: tuple[int, ...], dimension: int, seed: int) -> Tensor:
    """The constant of the view that shows `levels`, shape (d,)."""
    return norm * random_directions(1, dimension, _generator("bias", seed, *levels))[0]


def _generator(*parts: str | int) -> torch.Generator:
    return torch.Generator().manual_seed(seed_of(*parts))
