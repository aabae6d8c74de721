"""Blocks of a hierarchy of states beside their contexts, and how well two explanations of them do."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from testbed.contracts import InvalidInput
from testbed.numerics.compositions import (
    Misfit,
    class_misfit,
    composition_misfit,
    conditional_information,
    fewest_classes,
    information,
    merged,
)

Array = NDArray[np.float64]
States = NDArray[np.int64]

CRITICAL = 3.0
"""Standard errors by which an explanation must miss to be rejected, besides missing by enough."""
AGAIN = 4
"""Times as many runs of EM on blocks that are neither explained nor far from it."""
MOST_CELLS = 2**24
"""Of all tables of tuples and contexts, times their classes."""


@dataclass(frozen=True)
class Block:
    """A composite and another one, its context (codes); counts (k_1, ..., k_s, X), and the state that each tuple was given."""

    code: int
    context: int
    counts: Array
    state: States


@dataclass(frozen=True)
class Tables:
    """Blocks with equally many constituents, their tables padded with 0 to one shape.

    Attributes
    ----------
    counts : array, shape (F, T, X)
    states : list of array, shape (T,)
    classes : list of int
        K, per block.
    """

    blocks: list[Block]
    counts: Array
    shape: tuple[int, ...]
    states: list[States]
    classes: list[int]

    @classmethod
    def of(cls, blocks: list[Block], classes: int | None) -> Tables:
        counts = np.zeros((len(blocks), *np.max([block.counts.shape for block in blocks], axis=0)))
        states = []
        for f, block in enumerate(blocks):
            inside: tuple[Any, ...] = tuple(slice(k) for k in block.counts.shape)
            counts[(f, *inside)] = block.counts
            state = np.zeros(counts.shape[1:-1], np.int64)
            state[inside[:-1]] = block.state
            states.append(state.ravel())
        k = [classes or max(1 + int(block.state.max()), *block.state.shape) for block in blocks]
        if counts.size * max(k) > MOST_CELLS:
            raise InvalidInput(f"tables of {counts[0].size} cells and {max(k)} classes are too large: give smaller blocks, or fewer values")
        return cls(blocks, counts.reshape(len(blocks), -1, counts.shape[-1]), counts.shape[1:-1], states, k)

    def evidence(self) -> list[dict[str, Any]]:
        return [
            {
                "block": block.code,
                "context": block.context,
                "classes": k,
                "states": 1 + int(block.state.max()),
                "information": information(table),
                "conditional_information": conditional_information(table.sum(axis=1), self.shape, state),
            }
            for block, table, state, k in zip(self.blocks, self.counts, self.states, self.classes, strict=True)
        ]

    def explained(self, enough: float, how: dict[str, int]) -> tuple[Misfit, Misfit]:
        """What latent classes leave unexplained, and what the composition does, with as few states as classes where those do."""
        caused = class_misfit(self.counts, self.shape, self.classes, **how)
        doubtful = np.flatnonzero((caused.nats > enough / 2) & (caused.nats < 5 * enough))
        if len(doubtful):  # a local optimum, perhaps: a cause is not to be rejected for want of starts
            k = [self.classes[f] for f in doubtful]
            again = class_misfit(self.counts[doubtful], self.shape, k, **how | {"starts": AGAIN * how["starts"], "seed": how["seed"] + 1})
            caused = caused.better(again, doubtful)
        most = self.classes
        if not missed([caused], enough):
            most = fewest_classes(self.counts, self.shape, self.classes, enough / 4, **how)
        states = [merged(table, state, k) for table, state, k in zip(self.counts, self.states, most, strict=True)]
        return caused, composition_misfit(self.counts, states)

    def bic_difference(self, how: dict[str, int]) -> float:
        """BIC of the composition less that of the best number of latent classes, up to K, over all blocks."""
        every, tried = list(range(1, max(self.classes) + 1)), len(self.counts)
        found = class_misfit(np.tile(self.counts, (len(every), 1, 1)), self.shape, [k for k in every for _ in range(tried)], **how)
        composed = composition_misfit(self.counts, self.states)
        n = self.counts.sum(axis=(1, 2))
        caused = (found.parameters * np.log(np.tile(n, len(every))) / 2 - found.likelihood * np.tile(n, len(every))).reshape(-1, tried)
        return float((composed.parameters * np.log(n) / 2 - composed.likelihood * n - caused.min(axis=0)).sum())


def missed(parts: Sequence[Misfit], most: float) -> bool:
    """Whether an explanation of all tables misses one of them by more than `most`, and by more than chance."""
    return any(bool((part.nats > np.maximum(most, CRITICAL * part.error)).any()) for part in parts)


def missed_on_average(parts: Sequence[Misfit], most: float) -> bool:
    """Likewise of the mean over tables."""
    nats = np.concatenate([part.nats for part in parts])
    error = np.sqrt(sum(float((part.error**2).sum()) for part in parts)) / len(nats)
    return bool(nats.mean() > max(most, CRITICAL * error))
