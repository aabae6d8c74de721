"""Whether two fits have the same codes."""

from __future__ import annotations

from collections.abc import Sequence

from evaluators.calibration import PERMUTED_CODES, checked_codes
from evaluators.stability.fits import over_pairs, pairs_of, several
from testbed.contracts import Codes, Evaluator, Outcome, Scores
from testbed.numerics.matching import active, held_out_correlation


class CodeAgreement(Evaluator):
    r"""Mean correlation coefficient (MCC) between the codes of two fits, over all pairs of fit seeds [1]_.

    .. math:: \frac{1}{\max(m_a, m_b)} \sum_i |r(a_i, b_{\pi(i)})|

    The assignment comes from the first half of the held-out rows, correlations from the second, so that codes that fire on a few rows
    cannot agree by choice among many. Codes that are never active are left out; m counts those that remain, so that what only one
    fit has counts 0. Parts: the lowest and the highest of the pairs.

    Needs no truth, and agreement is no proof of truth. It is 1 for anything that has a single answer, right or wrong (PCA); copies of one
    common factor agree perfectly; and codes agree where directions do not, if what they are read from is the same (the concepts' common
    part), as directions agree where codes do not, since inference differs.

    References
    ----------
    .. [1] Khemakhem et al. (2020), Variational autoencoders and nonlinear ICA, section 5: MCC between two fits, without a truth.
    """

    equivalence = "permutation, sign and scale of each code"
    invariances = ("permutation", "sign", "scale")
    scope = "seeds"
    chance = PERMUTED_CODES
    ceiling = 1.0

    def score(self, outcome: Sequence[Outcome], *, seed: int) -> Scores:
        codes = [checked_codes(one) for one in several(outcome)]
        return over_pairs([_agreement(codes[a], codes[b]) for a, b in pairs_of(len(codes))])


def _agreement(a: Codes, b: Codes) -> float:
    """Held-out matched correlation of two fits' codes, over the living codes of the fit that has more; 0 if one has none."""
    living = int(active(a).sum()), int(active(b).sum())
    if not min(living):
        return 0.0
    half = len(a) // 2
    # Dead codes correlate 0 with everything, so they add nothing to the sum wherever they are matched.
    matched = held_out_correlation((a[:half], b[:half]), (a[half:], b[half:]))
    return float(matched.sum()) / max(living)
