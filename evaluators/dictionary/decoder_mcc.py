"""How many true atoms a dictionary holds."""

from __future__ import annotations

from evaluators.calibration import (
    ORACLE,
    RANDOM_DICTIONARY,
    checked_codes,
    dictionary_of,
    means_by_level,
    truth_of,
)
from testbed.contracts import Evaluator, Outcome, Scores
from testbed.numerics.matching import active, cosine, matched_similarity


class DecoderMCC(Evaluator):
    r"""Mean absolute cosine of true atoms and the decoder rows they are matched to, one to one [1]_.

    .. math:: \frac{1}{c} \sum_i |\cos(d_i, w_{\pi(i)})|

    The mean is over *all* concepts that the view shows: one without a code counts 0. A code that is never active on the held-out rows
    counts 0 with every atom, since a direction that nothing uses describes nothing. Shows whether directions are found; says nothing
    about whether codes fire when they should.

    References
    ----------
    .. [1] Sharkey, Braun & Millidge (2022), Taking features out of superposition with sparse autoencoders ("mean max cosine
       similarity", there without the one-to-one matching).
    """

    equivalence = "permutation, sign and scale of each code"
    invariances = ("permutation", "sign", "scale")
    kinds = ("sparse", "real")
    chance = RANDOM_DICTIONARY
    ceiling = ORACLE

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``level_0``, ``level_1`` ...: the mean over the concepts of each level."""
        truth = truth_of(outcome)
        atoms = truth.dictionary(outcome.view)
        dictionary = dictionary_of(outcome)
        alive = active(checked_codes(outcome)).to(atoms.device)
        similarity = cosine(atoms, dictionary).mul_(alive)  # (c, m)
        matched = matched_similarity(similarity, similarity)
        return Scores(float(matched.mean()), means_by_level(matched, truth, truth.written(outcome.view)))
