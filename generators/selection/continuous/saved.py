"""A continuous hierarchy as arrays and JSON, and back; what is read is checked."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import torch
from torch import Tensor

from generators.mixing_maps import Mixing, mixing_from
from generators.selection.continuous.couplings import Coupling
from generators.selection.continuous.graph import World
from generators.selection.continuous.laws import Law, base_density
from generators.selection.continuous.selection import Selection
from generators.selection.forest import Forest
from testbed.contracts import InvalidInput, Setting, Shows


def to_plain(
    world: World,
    law: tuple[Law, float],
    mixings: Mapping[str, Mapping[int, Mixing]],
    shows: Mapping[str, Shows],
    settings: Mapping[str, Setting],
) -> tuple[dict[str, Tensor], dict[str, Any]]:
    """Arrays and JSON that `from_plain` takes back; tables are left out, since they follow from the rest."""
    arrays: dict[str, Tensor] = {}
    for level, lower in enumerate(world.forest.constituents):
        arrays[f"constituents/{level}"] = lower
        for part in ("signs", "angles", "strengths"):
            arrays[f"{part}/{level}"] = torch.tensor([getattr(c, part) for c in world.couplings[level]], dtype=torch.float64)
    maps: dict[str, dict[str, Any]] = {}
    for view, by_level in mixings.items():
        maps[view] = {}
        for level, f in by_level.items():
            tensors, maps[view][str(level)] = f.state()
            arrays |= {f"mixing/{view}/{level}/{name}": t for name, t in tensors.items()}
    plain = {
        "sizes": list(world.forest.sizes),
        "law": list(law),
        "cells": world.cells,
        "selections": [[asdict(phi) for phi in level] for level in world.selections],
        "root_selections": [asdict(phi) for phi in world.root_selections],
        "mixings": maps,
        "noise": {view: shown.noise for view, shown in shows.items()},
        "settings": {name: [[*place, value] for place, value in setting.items()] for name, setting in settings.items()},
    }
    return {name: t.cpu() for name, t in arrays.items()}, plain


def from_plain(
    arrays: Mapping[str, Tensor], plain: Mapping[str, Any]
) -> tuple[World, tuple[Law, float], dict[str, dict[int, Mixing]], dict[str, Shows], dict[str, dict[tuple[int, int], float]]]:
    """What `to_plain` was given.

    Raises
    ------
    InvalidInput
        If the state is not one.
    """
    try:
        sizes, (law, parameter), cells = tuple(plain["sizes"]), plain["law"], plain["cells"]
        forest = Forest(sizes, tuple(_constituents(arrays[f"constituents/{level}"], sizes, level) for level in range(len(sizes) - 1)))
        couplings = tuple(
            tuple(
                Coupling(tuple(signs), tuple(angles), tuple(strengths))
                for signs, angles, strengths in zip(
                    *(arrays[f"{part}/{level}"].tolist() for part in ("signs", "angles", "strengths")), strict=True
                )
            )
            for level in range(len(sizes) - 1)
        )
        selections = tuple(tuple(Selection(**phi) for phi in level) for level in plain["selections"])
        if [len(level) for level in selections] != list(sizes[:-1]) or [len(level) for level in couplings] != list(sizes[:-1]):
            raise ValueError("another number of composites")
        roots = tuple(Selection(**phi) for phi in plain["root_selections"])
        if len(roots) not in (0, sizes[0]):
            raise ValueError("another number of concepts in level 0")
        mixings = {
            view: {int(level): _mixing(arrays, view, level, f) for level, f in maps.items()} for view, maps in plain["mixings"].items()
        }
        shows = {view: Shows(tuple(maps), noise=plain["noise"][view]) for view, maps in mixings.items()}
        settings = {name: {(level, i): value for level, i, value in plain["settings"][name]} for name in ("forced", "given", "after")}
        world = World(forest, couplings, base_density(law, parameter, cells), selections, cells, roots)
        return world, (law, parameter), mixings, shows, settings
    except (KeyError, ValueError, TypeError, RuntimeError, AttributeError) as error:
        raise InvalidInput(f"this is not the state of a continuous hierarchy ({error!r}): save the instance again") from None


def _constituents(lower: Tensor, sizes: tuple[int, ...], level: int) -> Tensor:
    below, flat = sizes[level + 1], lower.flatten()
    if lower.dtype != torch.int64 or lower.dim() != 2 or len(lower) != sizes[level]:
        raise ValueError(f"constituents of level {level} have shape {tuple(lower.shape)}")
    if int(flat.min()) < 0 or int(flat.max()) >= below or len(set(flat.tolist())) != len(flat):
        raise ValueError(f"constituents of level {level} are shared, or not among {below} concepts")
    return lower


def _mixing(arrays: Mapping[str, Tensor], view: str, level: str, plain: Mapping[str, Any]) -> Mixing:
    prefix = f"mixing/{view}/{level}/"
    return mixing_from({name.removeprefix(prefix): t for name, t in arrays.items() if name.startswith(prefix)}, plain)
