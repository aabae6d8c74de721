"""How well codes follow the true concepts."""

from __future__ import annotations

from evaluators.calibration import (
    COMMON_FACTOR,
    ORACLE,
    PERMUTED_CODES,
    RANDOM_ROTATION,
    checked_codes,
    concepts,
    means_by_level,
    shown_levels,
    truth_of,
)
from testbed.contracts import Evaluator, NotApplicable, Outcome, Scores
from testbed.numerics.matching import cross_correlation, matched_similarity


class ActivationMCC(Evaluator):
    r"""Mean absolute correlation of true concepts and the codes they are matched to, one to one [1]_.

    Codes are matched to concepts on the first half of the rows and correlated with them on the second, so that a large number of
    codes is no advantage by itself. The mean is over *all* concepts that the view shows: one without a code, or that never varies, counts
    0. Under selection concepts are correlated, so that codes which separate nothing score well above 0: read it against its floors.

    References
    ----------
    .. [1] Hyvarinen & Morioka (2016), Unsupervised feature extraction by time-contrastive learning, section 6.
    """

    equivalence = "permutation, sign and scale of each code"
    invariances = ("permutation", "sign", "scale", "shift")
    kinds = ("sparse", "real")
    chance = PERMUTED_CODES
    ceiling = ORACLE
    floors = (RANDOM_ROTATION, COMMON_FACTOR)

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``level_0``, ``level_1`` ...: the mean over the concepts of each level."""
        levels = shown_levels(outcome, self.kinds)
        z, codes = concepts(outcome, levels), checked_codes(outcome)
        half = len(z) // 2
        if half < 2:
            raise NotApplicable(f"matching on one half and scoring on the other takes at least 4 rows, not {len(z)}")
        fit = cross_correlation(z[:half], codes[:half])
        matched = matched_similarity(fit, cross_correlation(z[half:], codes[half:]))
        return Scores(float(matched.mean()), means_by_level(matched, truth_of(outcome), levels))
