"""Concepts that several codes share between them."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from evaluators.calibration import means_by_level, shown_levels, truth_of
from evaluators.dictionary.own_codes import events, halves
from testbed.contracts import Evaluator, InvalidInput, Outcome, Scores


class Splitting(Evaluator):
    r"""Share of true concepts that are split: several codes stand for it, and each is on in another part of its rows [1]_.

    Code j stands for concept i if i is the concept that it follows best (largest F1 of both as events) and it is on almost only where i
    is: :math:`P(z_i \text{ on} \mid a_j \text{ on})` is `precision` or more. That is read off the first half of the rows. In the second
    half, a code counts if it is on in a share `part` or more of the concept's rows. The concept is

    - ``whole`` if one code counts,
    - ``split`` if two of those that count are mostly apart: of the smaller one's rows (where the concept is on), less than half are the
      other's,
    - ``copied`` if several count and none are apart: copies, or one within another,
    - ``without_code`` if none counts.

    These four shares add up to 1, and the headline is the second. A description: 0 is reached by a perfect dictionary, by one that holds
    nothing, and by one whose codes are all mixtures, so read it beside ``whole``. A code of a composite that the view does not show looks
    like a part of its constituent.

    Parameters
    ----------
    precision : float
    part : float

    References
    ----------
    .. [1] Bricken et al. (2023), Towards monosemanticity, section "Feature splitting"; Chanin et al. (2024), A is for absorption.
    """

    direction = "none"
    equivalence = "permutation, sign and scale of each code"
    invariances = ("permutation", "sign", "scale")
    kinds = ("sparse",)

    def __init__(self, precision: float = 0.75, part: float = 0.05) -> None:
        self.precision = precision
        self.part = part

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``whole``, ``copied``, ``without_code``, ``codes`` (mean number of those that count, where split), ``level_0`` ..."""
        if not (0 < self.precision <= 1 and 0 < self.part <= 1):
            raise InvalidInput(f"precision {self.precision} and part {self.part} must lie in (0, 1]")
        levels = shown_levels(outcome, self.kinds)
        z_fit, codes_fit, z, codes, rule = halves(outcome, levels)
        stands = self._stands_for(events(z_fit), events(rule(codes_fit)))
        number, apart = self._parts(events(z), events(rule(codes)), stands)
        split = apart & (number > 1)
        shares = {"whole": number == 1, "copied": (number > 1) & ~apart, "without_code": number == 0}
        parts = {name: float(np.mean(share)) for name, share in shares.items()}
        parts["codes"] = float(number[split].mean()) if split.any() else 0.0
        by_level = means_by_level(torch.from_numpy(split).double(), truth_of(outcome), levels)
        return Scores(float(split.mean()), parts | by_level)

    def _stands_for(self, z: Any, on: Any) -> NDArray[np.int64]:
        """The concept that each code stands for, shape (m,); -1 for none."""
        both = (z.T @ on).toarray()
        of_concept, of_code = z.sum(axis=0), on.sum(axis=0)
        f1 = 2 * both / np.maximum(1, of_concept[:, None] + of_code)
        best = f1.argmax(axis=0)
        hits = both[best, np.arange(len(best))]
        return np.where((hits > 0) & (hits >= self.precision * of_code), best, -1)

    def _parts(self, z: Any, on: Any, stands: NDArray[np.int64]) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
        """Number of codes that count for each concept, and whether two of them are apart, shape (c,) each."""
        c = z.shape[1]
        code = np.flatnonzero(stands >= 0)
        inside = on[:, code].multiply(z[:, stands[code]]).tocsc()  # where code and concept are both on, (n, k)
        rows = inside.sum(axis=0)
        counts = (rows > 0) & (rows >= self.part * z.sum(axis=0)[stands[code]])
        concept = stands[code][counts]
        number = np.bincount(concept, minlength=c)
        shared = number[concept] > 1
        concept, rows, inside = concept[shared], rows[counts][shared], inside[:, np.flatnonzero(counts)[shared]]
        apart = np.zeros(c, dtype=bool)
        if not len(concept):
            return number, apart
        together = (inside.T @ inside).toarray()
        pair = concept[:, None] == concept
        np.fill_diagonal(pair, False)
        first, second = np.nonzero(pair & (2 * together < np.minimum(rows[:, None], rows)))
        apart[concept[first]] = True
        return number, apart & (len(second) > 0)
