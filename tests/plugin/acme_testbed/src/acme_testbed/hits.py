"""How many concepts some code follows closely."""

from __future__ import annotations

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
from testbed import Evaluator
from testbed.contracts import InvalidInput, Outcome, Scores
from testbed.numerics.matching import cross_correlation


class Hits(Evaluator):
    """Share of concepts whose best code correlates with them by at least `closely`; the code is chosen on one half, judged on the other.

    Parameters
    ----------
    closely : float
    """

    equivalence = "permutation, sign, scale and shift of each code"
    invariances = ("permutation", "sign", "scale", "shift")
    kinds = ("sparse", "real")
    chance = PERMUTED_CODES
    ceiling = ORACLE
    floors = (RANDOM_ROTATION, COMMON_FACTOR)

    def __init__(self, closely: float = 0.9) -> None:
        self.closely = closely

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``level_0`` ...: the share of each level's concepts."""
        if not 0 < self.closely < 1:
            raise InvalidInput(f"closely is a correlation between 0 and 1, not {self.closely}")
        levels = shown_levels(outcome, self.kinds)
        z, codes = concepts(outcome, levels), checked_codes(outcome)
        half = half_of(len(z))
        if codes.shape[1] == 0:
            return Scores(0.0)
        code = cross_correlation(z[:half], codes[:half]).argmax(dim=1)
        hit = (cross_correlation(z[half:], codes[half:]).gather(1, code[:, None])[:, 0] >= self.closely).float()
        return Scores(float(hit.mean()), means_by_level(hit, truth_of(outcome), levels))
