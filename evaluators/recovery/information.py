"""What codes and concepts tell of each other, on two halves of the rows; and numbers to predict concepts as. Shared by several scores."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from evaluators.calibration import checked_codes, half_of, truth_of
from testbed.contracts import Outcome, Rows, SparseRows
from testbed.numerics.discretise import States, beside, discretise, take
from testbed.numerics.information import Information, mutual_information
from testbed.numerics.matching import dense

Array = NDArray[Any]

MAX_PAIRS = 250_000_000
"""Pairs of entries (a concept's and a code's, in the same row) that are counted per half: about a second."""


def information_on_halves(
    outcome: Outcome, levels: tuple[int, ...], *, bins: int, on_bins: int, seed: int
) -> tuple[Information, Information]:
    """Mutual information of the concepts of `levels` with the codes: on the first half, to choose by, and on the second, to score.

    Where codes and concepts are dense and many, rows are drawn by `seed` so that no more than `MAX_PAIRS` pairs of entries are counted.
    """
    codes = checked_codes(outcome)
    per_row = sum(_used(outcome.sample.latents[level]) for level in levels) * max(_used(codes), 1.0)
    found = []
    for index in halves(len(codes), 2 * int(MAX_PAIRS / max(per_row, 1.0)), seed):
        concepts = concept_states(outcome, levels, index, bins=bins, on_bins=on_bins)
        found.append(mutual_information(concepts, discretise(take(codes, index), bins=bins, on_bins=on_bins)))
    return found[0], found[1]


def halves(n: int, max_rows: int, seed: int) -> tuple[Array, Array]:
    """Numbers of the rows of both halves, ascending; half of `max_rows` drawn by `seed` out of each, if they have more.

    Raises
    ------
    NotApplicable
        If there are fewer than 4 rows.
    """
    half = half_of(n)
    first, second = np.arange(half), np.arange(half, n)
    most = max(2, max_rows // 2)
    if half <= most:
        return first, second
    draw = np.random.default_rng(seed)
    return np.sort(draw.choice(first, most, replace=False)), np.sort(draw.choice(second, most, replace=False))


def concept_states(outcome: Outcome, levels: tuple[int, ...], index: Array, *, bins: int, on_bins: int) -> States:
    """The concepts of `levels` in a few states each, on these rows; states stay what they are."""
    truth = truth_of(outcome)
    return beside(
        [
            discretise(
                take(outcome.sample.latents[level], index), bins=bins, on_bins=on_bins, categories=truth.levels[level].kind == "states"
            )
            for level in levels
        ]
    )


def sampled_concepts(outcome: Outcome, levels: tuple[int, ...], most: int, seed: int) -> Array:
    """Numbers of at most `most` concepts of `levels` (side by side), ascending, drawn by `seed`."""
    count = sum(truth_of(outcome).levels[level].size for level in levels)
    if count <= most:
        return np.arange(count)
    return np.sort(np.random.default_rng(seed).choice(count, most, replace=False))


def targets(outcome: Outcome, levels: tuple[int, ...], index: Array, chosen: Array) -> tuple[Tensor, Array]:
    """Columns that stand for the `chosen` concepts on these rows, shape (n, t), and the place in `chosen` of each one's concept, (t,).

    A concept of kind `states` has an indicator per state; any other one has its values.
    """
    truth = truth_of(outcome)
    columns, owner, start = [], [], 0
    for level in levels:
        size = truth.levels[level].size
        here = np.flatnonzero((chosen >= start) & (chosen < start + size))
        values = dense(take(outcome.sample.latents[level], index))[:, torch.from_numpy(chosen[here] - start)].cpu()
        if truth.levels[level].kind == "states":
            cards = truth.levels[level].cardinalities
            for place, column in zip(here, values.T, strict=True):
                k = cards[chosen[place] - start] if cards else int(outcome.sample.latents[level].max()) + 1  # type: ignore[union-attr]
                columns.append((column[:, None] == torch.arange(k)).float())
                owner += [place] * k
        else:
            columns.append(values.float())
            owner += list(here)
        start += size
    return torch.cat(columns, dim=1), np.array(owner, np.int64)


def kinds_of(outcome: Outcome, levels: tuple[int, ...], chosen: Array) -> Array:
    """The kind of each of the `chosen` concepts, shape (len(chosen),), str."""
    each = [np.repeat(level.kind, level.size) for level in (truth_of(outcome).levels[number] for number in levels)]
    return np.concatenate(each)[chosen]


def by_concept(values: Array, owner: Array, count: int) -> Array:
    """Sums over the columns of each concept, shape (..., count)."""
    out = np.zeros((*values.shape[:-1], count))
    np.add.at(out.T, owner, values.T)
    return out


def ratio_by_concept(left: Array, total: Array, owner: Array, count: int) -> Array:
    """One minus left over total, each summed over the columns of a concept; in [0, 1], 0 where there is nothing to explain."""
    left, total = by_concept(left, owner, count), by_concept(total, owner, count)
    return np.asarray(np.clip(1 - np.divide(left, total, out=np.ones_like(left), where=total > 0), 0.0, 1.0))


def mean_by_level(values: Array, chosen: Array, outcome: Outcome, levels: tuple[int, ...]) -> dict[str, float]:
    """Mean over the `chosen` concepts of each level; a level of which none was drawn is left out."""
    parts, start = {}, 0
    for level in levels:
        size = truth_of(outcome).levels[level].size
        here = (chosen >= start) & (chosen < start + size)
        if here.any():
            parts[f"level_{level}"] = float(values[here].mean())
        start += size
    return parts


def _used(rows: Rows) -> float:
    """Entries other than 0, per row."""
    used = rows.values if isinstance(rows, SparseRows) else rows
    return float(used.count_nonzero()) / max(1, len(rows))
