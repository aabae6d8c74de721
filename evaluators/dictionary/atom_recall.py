"""How many true atoms a dictionary holds, and how many of its rows are atoms."""

from __future__ import annotations

from collections.abc import Sequence

from evaluators.calibration import ORACLE, RANDOM_DICTIONARY, checked_codes, dictionary_of, means_by_level, truth_of
from testbed.contracts import Evaluator, InvalidInput, Outcome, Scores
from testbed.numerics.matching import active, cosine, matched_similarity


class AtomRecall(Evaluator):
    r"""Share of true atoms whose matched decoder row lies within a threshold [1]_.

    .. math:: \frac1c\, \big|\{i : |\cos(d_i, w_{\pi(i)})| \ge \tau\}\big|

    The matching is one to one, over living rows, so that copies of one atom count once. Precision is the same number of pairs over the
    number of living rows, and F1 the harmonic mean of both: a dictionary of 64 of 1,024 concepts has precision 1 and recall 1/16.

    It says nothing about when codes fire: the true dictionary with any encoder, even a random one, is perfect. In few dimensions random
    rows reach a low threshold (see the chance level).

    Parameters
    ----------
    threshold : float
        The headline's.
    also : sequence of float
        Further thresholds, for the parts.

    References
    ----------
    .. [1] Aharon, Elad & Bruckstein (2006), K-SVD, IEEE Transactions on Signal Processing 54, section V (there 1 - |cos| < .01).
    """

    equivalence = "permutation, sign and scale of each code"
    invariances = ("permutation", "sign", "scale")
    kinds = ("sparse", "real")
    chance = RANDOM_DICTIONARY
    ceiling = ORACLE

    def __init__(self, threshold: float = 0.9, also: Sequence[float] = (0.7, 0.8, 0.95, 0.99)) -> None:
        self.threshold = threshold
        self.also = also

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``precision``, ``f1``, ``recall_0.7`` ... and ``level_0``, ``level_1`` ... (recall)."""
        for threshold in (self.threshold, *self.also):
            if not 0 < threshold <= 1:
                raise InvalidInput(f"a threshold of |cos| lies in (0, 1], not at {threshold}")
        truth = truth_of(outcome)
        atoms = truth.dictionary(outcome.view)
        dictionary = dictionary_of(outcome)
        alive = active(checked_codes(outcome)).to(atoms.device)
        similarity = cosine(atoms, dictionary) * alive
        # Rounding of single precision must not fail a row that lies on the threshold.
        matched = matched_similarity(similarity, similarity) + 1e-6
        near = (matched >= self.threshold).double()
        recall, precision = float(near.mean()), float(near.sum()) / max(1, int(alive.sum()))
        parts = {"precision": precision, "f1": 2 * recall * precision / max(recall + precision, 1e-300)}
        parts |= {f"recall_{t:g}": float((matched >= t).double().mean()) for t in self.also}
        return Scores(recall, parts | means_by_level(near, truth, truth.written(outcome.view)))
