"""Whether every code points at a concept of its own."""

from __future__ import annotations

from evaluators.calibration import ORACLE, RANDOM_DICTIONARY, checked_codes, dictionary_of, truth_of
from testbed.contracts import Evaluator, Outcome, Scores
from testbed.numerics.matching import active, cosine


class Uniqueness(Evaluator):
    r"""Distinct concepts that the living rows of a dictionary are nearest to, per living row [1]_.

    .. math:: \frac{\big|\{\arg\max_i |\cos(d_i, w_j)| : j \text{ alive}\}\big|}{|\{j : j \text{ alive}\}|}

    1 where no two rows are nearest to the same atom. The published one counts dead rows too (part ``published``); part ``concepts`` has
    the number of concepts below instead, so that what no row is nearest to counts.

    A score of rows, not of concepts, so easily fooled: 64 copies of 64 atoms out of 1,024 score 1, a single row scores 1, and as many
    *random* rows as there are concepts score about 1 - 1/e = .63. A perfect dictionary with surplus rows scores c/m at most.

    References
    ----------
    .. [1] SAELens, ``sae_lens.synthetic.evals.feature_uniqueness``; Chanin & Garriga-Alonso (2026), SynthSAEBench, arXiv 2602.14687.
    """

    equivalence = "permutation, sign and scale of each code"
    invariances = ("permutation", "sign", "scale")
    kinds = ("sparse", "real")
    chance = RANDOM_DICTIONARY
    ceiling = ORACLE

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``published`` and ``concepts``; 0 where nothing is alive."""
        atoms = truth_of(outcome).dictionary(outcome.view)
        alive = active(checked_codes(outcome)).to(atoms.device)
        similarity = cosine(atoms, dictionary_of(outcome))
        somewhere = similarity.amax(dim=0) > 0  # a row of zeros is nearest to nothing
        nearest = similarity.argmax(dim=0)
        living = len(set(nearest[alive & somewhere].tolist()))
        every = len(set(nearest[somewhere].tolist()))
        parts = {"published": every / max(1, len(alive)), "concepts": living / len(atoms)}
        return Scores(living / max(1, int(alive.sum())), parts)
