"""All that an instance of sparse concepts is: what is saved, steered and sampled from."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import torch
from torch import Tensor

from generators.selection.forest import Forest
from generators.selection.magnitudes import Magnitudes
from generators.selection.markov.mixing import SAMPLERS, Sampler
from generators.selection.messages import Evidence
from generators.selection.rules import Composition
from generators.selection.sharing import components
from testbed.contracts import InvalidInput, Shows
from testbed.store import canonical


@dataclass(frozen=True)
class World:
    """A drawn forest of sparse concepts.

    Attributes
    ----------
    forest : Forest
    compositions : tuple of tuple of Composition
        Level by level, concept by concept.
    tilts : Tensor, shape (N,), float64
    magnitudes : Magnitudes
    dictionaries : dict of str to dict of int to Tensor, shape (n_l, d)
        By view and level.
    biases : dict of str to Tensor, shape (d,)
    shows : dict of str to Shows
    loadings : Tensor, shape (T, R), float64
        Of the copula that correlates trees; R = 0 where they are independent.
    evidence : Evidence
        What the states are conditioned on, and what was forced before selection.
    fixed : Tensor, shape (N,), float32
        Magnitudes that are given; -1 where they are not.
    forced : Tensor, shape (N,), float32
        Magnitudes (0: off) forced after selection; -1 where none is.
    sampler : {"auto", "exact", "markov_chain"}
        How components with shared constituents are sampled.
    """

    forest: Forest
    compositions: tuple[tuple[Composition, ...], ...]
    tilts: Tensor
    magnitudes: Magnitudes
    dictionaries: dict[str, dict[int, Tensor]]
    biases: dict[str, Tensor]
    shows: dict[str, Shows]
    loadings: Tensor
    evidence: Evidence
    fixed: Tensor
    forced: Tensor
    sampler: Sampler = "auto"


def unsteered(nodes: int) -> tuple[Evidence, Tensor, Tensor]:
    """Evidence, fixed and forced values of an instance that nobody has steered."""
    return Evidence.none(nodes), torch.full((nodes,), -1.0), torch.full((nodes,), -1.0)


def to_state(world: World) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """A world as arrays and JSON; the JSON carries a digest of itself, since a number in it could be changed for another."""
    distinct = list(dict.fromkeys(one for level in world.compositions for one in level))
    arrays = {
        "tilts": world.tilts,
        "loadings": world.loadings,
        "clamp": world.evidence.clamp,
        "cut": world.evidence.cut,
        "fixed": world.fixed,
        "forced": world.forced,
    }
    for level, (lower, every) in enumerate(zip(world.forest.constituents, world.compositions, strict=True)):
        arrays[f"constituents/{level}"] = lower
        arrays[f"composition/{level}"] = torch.tensor([distinct.index(one) for one in every])
    for view, levels in world.dictionaries.items():
        arrays[f"bias/{view}"] = world.biases[view]
        arrays |= {f"dictionary/{view}/{level}": atoms for level, atoms in levels.items()}
    plain: dict[str, Any] = {
        "sizes": list(world.forest.sizes),
        "compositions": [asdict(one) for one in distinct],
        "magnitudes": asdict(world.magnitudes),
        "sampler": world.sampler,
        "views": [{"name": view, "levels": list(shows.levels), "noise": shows.noise} for view, shows in world.shows.items()],
    }
    return arrays, {**plain, "digest": _digest(plain)}


def from_state(arrays: Mapping[str, Tensor], plain: Mapping[str, Any]) -> World:
    """The world that `to_state` wrote.

    Raises
    ------
    InvalidInput
        If the state is not one: changed, incomplete, or of wrong shapes.
    """
    rest = {name: value for name, value in plain.items() if name != "digest"}
    if _digest(rest) != plain.get("digest"):
        raise InvalidInput("the saved instance's JSON is not what was written: save the instance again")
    try:
        world = _read(arrays, rest)
    except (KeyError, TypeError, IndexError) as error:
        raise InvalidInput(f"the saved instance lacks a part or has one of a wrong kind ({error}): save it again") from None
    _check(world)
    return world


def _read(arrays: Mapping[str, Tensor], plain: Mapping[str, Any]) -> World:
    sizes = tuple(plain["sizes"])
    above = range(len(sizes) - 1)
    kinds = {i: Composition(**one) for i, one in enumerate(plain["compositions"])}
    shows = {view["name"]: Shows(tuple(view["levels"]), noise=view["noise"]) for view in plain["views"]}
    return World(
        Forest(sizes, tuple(arrays[f"constituents/{level}"] for level in above)),
        tuple(tuple(kinds[i] for i in arrays[f"composition/{level}"].tolist()) for level in above),
        arrays["tilts"],
        Magnitudes(**plain["magnitudes"]),
        {view: {level: arrays[f"dictionary/{view}/{level}"] for level in about.levels} for view, about in shows.items()},
        {view: arrays[f"bias/{view}"] for view in shows},
        shows,
        arrays["loadings"],
        Evidence(arrays["clamp"], arrays["cut"]),
        arrays["fixed"],
        arrays["forced"],
        plain["sampler"],
    )


def _check(world: World) -> None:
    """Raise InvalidInput unless every part fits the others."""
    sizes, nodes = world.forest.sizes, sum(world.forest.sizes)
    by_node = (world.tilts, world.evidence.clamp, world.evidence.cut, world.fixed, world.forced)
    fits = all(part.shape == (nodes,) for part in by_node) and min(sizes) > 0
    for level, lower in enumerate(world.forest.constituents):
        used = lower.flatten()
        fits = fits and lower.ndim == 2 and len(lower) == len(world.compositions[level]) == sizes[level]
        fits = fits and all(one.size == lower.shape[1] for one in world.compositions[level])
        fits = fits and bool(((used >= 0) & (used < sizes[level + 1])).all())
        fits = fits and all(len(set(below)) == len(below) for below in lower.tolist())
    for view, levels in world.dictionaries.items():
        width = world.biases[view].shape
        fits = fits and all(atoms.shape == (sizes[level], *width) for level, atoms in levels.items())
    if not fits:
        raise InvalidInput("the saved instance's arrays do not fit each other: save it again")
    trees = len(components(world.forest))
    finite = all(array.isfinite().all() for array in (world.tilts, world.loadings, world.fixed, world.forced))
    states = all(bool(((part >= -1) & (part <= 1)).all()) for part in (world.evidence.clamp, world.evidence.cut))
    inside = world.loadings.ndim == 2 and len(world.loadings) == trees and bool((world.loadings.square().sum(dim=1) < 1).all())
    if not (finite and states and inside and world.sampler in SAMPLERS):
        raise InvalidInput("the saved instance holds values that no instance has: save it again")


def _digest(plain: Mapping[str, Any]) -> str:
    return hashlib.sha256(canonical(dict(plain)).encode()).hexdigest()
