"""How many of the true concepts have a code that follows them closely."""

from __future__ import annotations

from collections.abc import Sequence

from evaluators.calibration import (
    COMMON_FACTOR,
    ORACLE,
    PERMUTED_CODES,
    RANDOM_ROTATION,
    checked_codes,
    concepts,
    half_of,
    means_by_level,
    shown_levels,
    truth_of,
)
from testbed.contracts import Evaluator, InvalidInput, Outcome, Scores
from testbed.numerics.matching import held_out_correlation

ROUNDING = 1e-9
"""A perfect code correlates 1 but for rounding."""


class Coverage(Evaluator):
    r"""Share of true concepts whose code, matched one to one, correlates with them by at least a threshold on held-out rows.

    .. math:: \frac{1}{c} \big|\{i : |r_{i, \pi(i)}| \ge t\}\big|

    The assignment comes from the first half of the rows, the correlations r from the second. The share is of *all* concepts that the view
    shows: 64 perfect codes for 1,024 concepts cover 1/16, however good they are, while a mean over the codes would be 1. A concept counts
    or does not, so that no number of half-recovered ones makes up for a missing one; just below a threshold the score falls at once,
    which is why several are given. Under selection copies of a common factor pass a threshold below the factor's own correlation with the
    concepts (.95 where concepts are correlated at .9): read it against its floors.

    Memory: the correlations of all pairs on the first half, of order c m numbers in float64, whatever n is.

    Parameters
    ----------
    threshold : float
        Of the value, in (0, 1].
    thresholds : sequence of float
        Further ones, for the parts.
    """

    equivalence = "permutation, sign and scale of each code"
    invariances = ("permutation", "sign", "scale", "shift")
    kinds = ("sparse", "real")
    chance = PERMUTED_CODES
    ceiling = ORACLE
    floors = (RANDOM_ROTATION, COMMON_FACTOR)

    def __init__(self, threshold: float = 0.9, thresholds: Sequence[float] = (0.5, 0.7, 0.8, 0.9, 0.95, 0.99)) -> None:
        self.threshold = threshold
        self.thresholds = thresholds

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``level_0``, ``level_1`` ... at the threshold, and ``at_0.5`` ... over all levels; details count concepts per level."""
        for t in (self.threshold, *self.thresholds):
            if not 0 < t <= 1:
                raise InvalidInput(f"a threshold of a correlation lies above 0 and is at most 1, not {t}")
        levels = shown_levels(outcome, self.kinds)
        z, codes = concepts(outcome, levels), checked_codes(outcome)
        half = half_of(len(z))
        matched = held_out_correlation((z[:half], codes[:half]), (z[half:], codes[half:]))
        covered = (matched >= self.threshold - ROUNDING).double()
        parts = means_by_level(covered, truth_of(outcome), levels)
        parts |= {f"at_{t:g}": float((matched >= t - ROUNDING).double().mean()) for t in self.thresholds}
        return Scores(float(covered.mean()), parts, details={"concepts covered": int(covered.sum()), "concepts": len(covered)})
