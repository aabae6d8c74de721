"""How much of what a fit finds the other fits find, too."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from numpy.typing import NDArray
from scipy.sparse import coo_array
from scipy.sparse.csgraph import connected_components

from evaluators.calibration import RANDOM_DICTIONARY
from evaluators.stability.fits import living_directions, pairs_of, several
from testbed.contracts import Evaluator, InvalidInput, Outcome, Scores
from testbed.numerics.matching import cosine, match


class Consensus(Evaluator):
    r"""Share of the directions that every fit seed finds.

    Directions of two fits are matched one to one, and linked where :math:`|\cos|` is at least `threshold`; linked ones, over all pairs of
    fits, form clusters. The score is the share of all living dictionary rows, of all fits together, that lie in a cluster with every fit in
    it. Parts: ``most``, the share in a cluster of more than half of the fits; ``mean_seeds``, in how many fits a row is found, on average,
    itself included. With two fits ``most`` is the score itself. Where fits agree on a core and fill up the rest at random, this
    tells how large the core is, while the mean cosine of `seed_agreement` blurs the two [1]_.

    Needs no truth, and consensus is no proof of truth: merged and common directions are found by every fit, too.

    Parameters
    ----------
    threshold : float

    References
    ----------
    .. [1] Paulo & Belrose (2025), Sparse autoencoders trained on the same data learn different features, section 3.
    """

    equivalence = "permutation, sign and scale of each code"
    invariances = ("permutation", "sign", "scale")
    scope = "seeds"
    chance = RANDOM_DICTIONARY
    ceiling = 1.0

    def __init__(self, threshold: float = 0.9) -> None:
        self.threshold = threshold

    def score(self, outcome: Sequence[Outcome], *, seed: int) -> Scores:
        if not 0 < self.threshold <= 1:
            raise InvalidInput(f"threshold is {self.threshold}: a cosine above 0, at most 1, is wanted")
        living = [living_directions(one) for one in several(outcome)]
        found = self._found_by(living)  # (rows of all fits,)
        fits = len(living)
        if not len(found):
            return Scores(0.0, {"most": 0.0, "mean_seeds": 0.0})
        parts = {"most": float((found > fits / 2).mean()), "mean_seeds": float(found.mean())}
        return Scores(float((found == fits).mean()), parts)

    def _found_by(self, living: Sequence[torch.Tensor]) -> NDArray[np.int64]:
        """In how many fits each row, of all fits one after the other, is found."""
        starts = np.cumsum([0, *(len(rows) for rows in living)])
        links = [np.zeros((2, 0), dtype=np.int64)]
        for a, b in pairs_of(len(living)):
            if len(living[a]) and len(living[b]):
                similarity = cosine(living[a], living[b])
                first, second = match(similarity)
                near = similarity[first, second] >= self.threshold
                links.append(np.stack([first[near].cpu().numpy() + starts[a], second[near].cpu().numpy() + starts[b]]))
        row, column = np.concatenate(links, axis=1)
        total = int(starts[-1])
        graph = coo_array((np.ones(len(row)), (row, column)), shape=(total, total))
        number, cluster = connected_components(graph, directed=False)
        fit = np.repeat(np.arange(len(living)), [len(rows) for rows in living])
        members = np.zeros((number, len(living)), dtype=np.int64)
        members[cluster, fit] = 1
        found: NDArray[np.int64] = members.sum(axis=1)[cluster]
        return found
