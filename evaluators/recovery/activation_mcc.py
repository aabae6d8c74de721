"""How well codes follow the true concepts."""

from __future__ import annotations

from typing import Literal

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
from testbed.contracts import Evaluator, InvalidInput, Outcome, Rows, Scores
from testbed.numerics.covariances import compressed
from testbed.numerics.matching import held_out_correlation
from testbed.numerics.ranks import centred_ranks

CORRELATIONS = ("pearson", "spearman")


class ActivationMCC(Evaluator):
    r"""Mean absolute correlation of true concepts and the codes they are matched to, one to one [1]_.

    Codes are matched to concepts on the first half of the rows and correlated with them on the second, so that a large number of
    codes is no advantage by itself. The mean is over *all* concepts that the view shows: one without a code, or that never varies, counts
    0. Under selection concepts are correlated, so that codes which separate nothing score well above 0: read it against its floors.

    Parameters
    ----------
    correlation : {"pearson", "spearman"}
        Spearman's is Pearson's of the ranks within each half, ties sharing their mean rank: it does not change under an increasing map of a
        code or a concept. The zeros of a sparse concept are one large tie, so that it says above all whether both are on together.
    signed : bool
        Whether the sign of each code is fixed with the assignment, on the first half, so that a correlation that turns round on the second
        counts below 0. Codes of noise then score 0 on average, and not the mean absolute value of their correlations.

    References
    ----------
    .. [1] Hyvarinen & Morioka (2016), Unsupervised feature extraction by time-contrastive learning, section 6.
    """

    equivalence = "permutation, sign and scale of each code; with Spearman's correlation also any increasing map"
    kinds = ("sparse", "real")
    chance = PERMUTED_CODES
    ceiling = ORACLE
    floors = (RANDOM_ROTATION, COMMON_FACTOR)

    def __init__(self, correlation: Literal["pearson", "spearman"] = "pearson", signed: bool = False) -> None:
        self.correlation = correlation
        self.signed = signed

    @property
    def invariances(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("permutation", "sign", "monotone" if self.correlation == "spearman" else "shift", "scale")

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``level_0``, ``level_1`` ...: the mean over the concepts of each level."""
        levels = shown_levels(outcome, self.kinds)
        z, codes = concepts(outcome, levels), checked_codes(outcome)
        half = half_of(len(z))
        if self.correlation not in CORRELATIONS:
            raise InvalidInput(f"correlation is {self.correlation!r}: {' or '.join(CORRELATIONS)}")
        pairs = [(z[rows], codes[rows]) for rows in (slice(0, half), slice(half, len(z)))]
        fit, scored = ((self._values(one), self._values(other)) for one, other in pairs)
        matched = held_out_correlation(fit, scored, self.signed)
        return Scores(float(matched.mean()), means_by_level(matched, truth_of(outcome), levels))

    def _values(self, rows: Rows) -> Rows:
        """What is correlated by Pearson's formula: the rows or their ranks."""
        return centred_ranks(compressed(rows)) if self.correlation == "spearman" else compressed(rows)
