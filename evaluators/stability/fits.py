"""What evaluators of several fits share: checks, and the directions that live."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import combinations

import torch
from torch import Tensor

from evaluators.calibration import checked_codes, dictionary_of
from testbed.contracts import NotApplicable, Outcome, Scores
from testbed.numerics.matching import active


def several(outcome: Sequence[Outcome]) -> Sequence[Outcome]:
    """The outcomes, or NotApplicable if there are fewer than two."""
    if len(outcome) < 2:
        raise NotApplicable(f"agreement of fit seeds takes at least 2 of them, not {len(outcome)}: set fit_seeds in the suite")
    return outcome


def living_directions(outcome: Outcome) -> Tensor:
    """Dictionary rows whose code is active on a held-out row at least once, shape (living, d)."""
    dictionary = dictionary_of(outcome)
    return dictionary[active(checked_codes(outcome)).to(dictionary.device)]


def over_pairs(values: Sequence[float]) -> Scores:
    """Mean over pairs of fits; parts: the lowest and the highest of them."""
    pairs = torch.tensor(values, dtype=torch.float64)
    return Scores(float(pairs.mean()), {"lowest": float(pairs.min()), "highest": float(pairs.max())})


def pairs_of(number: int) -> list[tuple[int, int]]:
    """All pairs of so many fits."""
    return list(combinations(range(number), 2))
