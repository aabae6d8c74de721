"""Whether two fits find the same directions."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from evaluators.calibration import RANDOM_DICTIONARY
from evaluators.stability.fits import living_directions, over_pairs, pairs_of, several
from testbed.contracts import Evaluator, Outcome, Scores
from testbed.numerics.matching import cosine, match


class SeedAgreement(Evaluator):
    r"""Mean absolute cosine of matched dictionary rows, over all pairs of fit seeds [1]_.

    .. math:: \frac{1}{\max(m_a, m_b)} \sum_i |\cos(w^a_i, w^b_{\pi(i)})|

    Rows whose code is never active on the held-out sample are left out; m counts those that remain. Needs no truth, and agreement is no
    proof of truth: what every seed finds may be wrong in the same way. Parts: the lowest and the highest of the pairs.

    References
    ----------
    .. [1] Paulo & Belrose (2025), Sparse autoencoders trained on the same data learn different features.
    """

    equivalence = "permutation, sign and scale of each code"
    invariances = ("permutation", "sign", "scale")
    scope = "seeds"
    chance = RANDOM_DICTIONARY
    ceiling = 1.0

    def score(self, outcome: Sequence[Outcome], *, seed: int) -> Scores:
        living = [living_directions(one) for one in several(outcome)]
        return over_pairs([_agreement(living[a], living[b]) for a, b in pairs_of(len(living))])


def _agreement(a: torch.Tensor, b: torch.Tensor) -> float:
    """Matched mean cosine of two dictionaries, over the rows of the larger; 0 if one has none."""
    if not len(a) or not len(b):
        return 0.0
    similarity = cosine(a, b)
    first, second = match(similarity)
    return float(similarity[first, second].sum()) / max(len(a), len(b))
