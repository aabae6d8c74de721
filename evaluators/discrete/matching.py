"""Columns of states matched to discrete concepts, and which concepts anybody could find."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from evaluators.calibration import checked_codes, half_of, truth_of
from testbed.contracts import NotApplicable, Outcome
from testbed.numerics.edges import columns
from testbed.numerics.graphs import one_to_one
from testbed.numerics.matching import check_finite
from testbed.numerics.states import States, compact, state_similarity, states_of

ROWS = 8192
"""Rows of a half, at most, that matching looks at."""


@dataclass(frozen=True)
class MatchedStates:
    """Concepts of states side by side, each with the column of codes that it is matched to.

    Attributes
    ----------
    levels : tuple of int
        Whose concepts are scored.
    level_of, index_of : array, shape (c,)
        The level of each concept, and its number there.
    hidden : array of bool, shape (c,)
        Whether the view does not show the concept's level: it has to be inferred.
    concepts : array, shape (n, c)
        States, numbered from 0.
    column : array, shape (c,)
        The code of each concept; -1 where it has none.
    codes : array, shape (n, c)
        States of that code, numbered from 0; 0 where there is none.
    half : int
        Rows before it are for fitting, from it on for scoring.
    """

    levels: tuple[int, ...]
    level_of: NDArray[np.int64]
    index_of: NDArray[np.int64]
    hidden: NDArray[np.bool_]
    concepts: States
    column: NDArray[np.int64]
    codes: States
    half: int

    def mean(self, values: NDArray[np.float64]) -> float:
        """Mean over concepts that the view does not show; over all, where it shows all."""
        return float(values[self.hidden].mean() if self.hidden.any() else values.mean())

    def by_level(self, values: NDArray[np.float64], name: str = "") -> dict[str, float]:
        return {f"{name}level_{level}": float(values[self.level_of == level].mean()) for level in self.levels}


def shows_level_0(outcome: Outcome) -> bool:
    """Whether level 0 can be seen as such: it is a view, or a label in the row table."""
    observed = outcome.sample.observed
    in_view = any(0 in view.shows.levels for view in observed.views.values())
    return in_view or any(name.startswith("label") for name in observed.rows)


def state_levels(outcome: Outcome) -> tuple[int, ...]:
    """Levels of states that can be scored: all that have latents, but level 0 only where it is shown.

    Nothing below level 0 depends on which of its states a tuple stands for, only on which tuples are admissible: its partition is invisible
    from below, and codes for it can be neither right nor wrong.

    Raises
    ------
    NotApplicable
        If there is no truth, or no such level.
    """
    truth = truth_of(outcome)
    levels = [level for level in sorted(outcome.sample.latents) if truth.levels[level].kind == "states"]
    levels = [level for level in levels if level or shows_level_0(outcome)]
    if not levels:
        raise NotApplicable("no level of states can be scored: level 0 is invisible unless it is shown")
    return tuple(levels)


def match_states(outcome: Outcome) -> MatchedStates:
    """Match columns to concepts one to one, by adjusted mutual information on the first half of the rows.

    Raises
    ------
    NotApplicable
        If there are no states to score, or codes are no states, or fewer than 4 rows.
    """
    levels = state_levels(outcome)
    codes = checked_codes(outcome)
    n = len(codes)
    half = half_of(n)
    for level in levels:
        check_finite(outcome.sample.latents[level], "concepts hold NaN or infinity: check the generator's latents before scoring")
    z = np.concatenate([states_of(outcome.sample.latents[level]) for level in levels], axis=1)
    seen = min(half, ROWS)
    column = one_to_one(state_similarity(z[:seen], states_of(codes[:seen])))
    found = np.zeros_like(z, order="F")
    has = column >= 0
    found[:, has] = states_of(columns(codes, column[has]))
    sizes = [outcome.sample.latents[level].shape[1] for level in levels]
    shown = outcome.sample.observed.view(outcome.view).shows.levels
    level_of = np.repeat(levels, sizes)
    return MatchedStates(
        levels=levels,
        level_of=level_of,
        index_of=np.concatenate([np.arange(size) for size in sizes]),
        hidden=~np.isin(level_of, shown),
        concepts=compact(z)[0],
        column=column,
        codes=compact(found)[0],
        half=half,
    )
