"""Tables of discrete hierarchies that assumptions speak of, asked of an instance that can give joint laws of its latents."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Protocol, runtime_checkable

from torch import Tensor

from testbed.contracts import Instance, InvalidInput, NotApplicable, Truth

LARGEST = 2**14
"""Most entries of a table of co-constituents: a context is cut to as many as fit (its laws are told apart at most as well then)."""
WIDER = 2**10
"""Most entries up to which the composites' own co-constituents join the context, level by level."""


@runtime_checkable
class Tabular(Protocol):
    """An instance of discrete concepts that knows joint laws."""

    def joint(self, concepts: Sequence[tuple[int, int]]) -> Tensor:
        """Exact joint law of a few latents (level, concept), one axis each."""


def is_discrete(instance: Instance) -> bool:
    """Whether all levels are states and their joint laws can be asked for."""
    truth = instance.truth
    return truth is not None and all(level.kind == "states" for level in truth.levels) and isinstance(instance, Tabular)


def tuples(instance: Instance, deterministic: bool = True) -> dict[str, tuple[Tensor, Tensor]]:
    """Law of every composite's tuple and g on it, one axis per constituent each.

    With `deterministic`, NotApplicable if a composite's rule is stochastic; without, g is what a tuple stands for most of the time.
    """
    found = {}
    for level, i, below in _composites(_truth(instance)):
        if deterministic:
            _refuse_stochastic(_truth(instance), level, i)
        table = _joint(instance, [(level + 1, j) for j in below])
        found[_name(level, i)] = (table, _states(_truth(instance), level, i, table))
    return found


def contexts(instance: Instance) -> dict[str, Tensor]:
    """Joint law of every composite that is a constituent itself and its co-constituents, shape (states, contexts)."""
    found = {}
    for level, i, _ in _composites(_truth(instance)):
        around = _context(_truth(instance), level, i, _truth(instance).levels[level].cardinalities[i])
        if around:
            table = _joint(instance, [(level, i), *around])
            found[_name(level, i)] = table.reshape(len(table), -1)
    if not found:
        raise NotApplicable("no composite has a context: level 0 is told apart only where it is itself a view")
    return found


def tuple_contexts(instance: Instance, stochastic: bool = False) -> dict[str, tuple[Tensor, Tensor]]:
    """Joint law of the tuple of every composite with a context and that context, shape (tuples, contexts), and g, shape (tuples,).

    Of composites with a deterministic rule, or of the others.
    """
    truth = _truth(instance)
    found = {}
    for level, i, below in _composites(truth):
        if bool(truth.facts[f"chance/{level}"][i] > 0) is not stochastic:
            continue
        count = math.prod(truth.levels[level + 1].cardinalities[j] for j in below)
        around = [c for c in _context(truth, level, i, count) if c not in [(level + 1, j) for j in below]]
        if around:
            table = _joint(instance, [*((level + 1, j) for j in below), *around])
            found[_name(level, i)] = (table.reshape(count, -1), _states(truth, level, i, table).flatten())
    if not found:
        kind = "stochastic" if stochastic else "deterministic"
        raise NotApplicable(f"no composite with a {kind} rule has a context")
    return found


def _truth(instance: Instance) -> Truth:
    if instance.truth is None:
        raise NotApplicable("nobody knows the truth of this instance")
    return instance.truth


def _composites(truth: Truth) -> list[tuple[int, int, tuple[int, ...]]]:
    found = [(level, i, below) for level, every in truth.constituents.items() for i, below in enumerate(every) if below]
    if not found:
        raise NotApplicable("no concept is composed of others")
    return found


def _context(truth: Truth, level: int, index: int, count: int) -> list[tuple[int, int]]:
    """What surrounds a concept, as much as a table with `count` rows has room for: its co-constituents, then those of its composites, ...

    In a forest that is all there is to tell its states apart, once every level up to 0 is in.
    """
    chosen: list[tuple[int, int]] = []
    members = {index}
    while level > 0:
        composites = {i for i, below in enumerate(truth.constituents[level - 1]) if members & set(below)}
        others = {j for i in composites for j in truth.constituents[level - 1][i]} - members
        for j in sorted(others):
            count *= truth.levels[level].cardinalities[j]
            if count > (WIDER if chosen else LARGEST):
                return chosen
            chosen.append((level, j))
        members, level = composites, level - 1
    return chosen


def _joint(instance: Instance, concepts: list[tuple[int, int]]) -> Tensor:
    assert isinstance(instance, Tabular)
    try:
        return instance.joint(concepts).double().cpu()
    except InvalidInput as error:
        raise NotApplicable(str(error)) from None


def _states(truth: Truth, level: int, index: int, table: Tensor) -> Tensor:
    """g, of the shape of the tuple's axes (the first of `table`)."""
    g: Tensor = truth.facts[f"composition/{level}"][index]
    below = truth.constituents[level][index]
    shape = table.shape[: len(below)]
    return g[: math.prod(shape)].cpu().reshape(shape)


def _refuse_stochastic(truth: Truth, level: int, index: int) -> None:
    if truth.facts[f"chance/{level}"][index] > 0:
        raise NotApplicable(f"the rule of composite {index} of level {level} is stochastic: its state does not follow from its tuple")


def _name(level: int, index: int) -> str:
    return f"level {level} composite {index}"
