"""Whether the code of a coarse label is on wherever the codes of its fine labels are."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from evaluators.calibration import PERMUTED_CODES, checked_codes, half_of
from evaluators.labels.tasks import columns, csr, frequent, one_hot
from testbed.contracts import Evaluator, InvalidInput, NotApplicable, Outcome, Scores
from testbed.numerics.firing import firing


class LabelHierarchy(Evaluator):
    r"""How far codes keep to a known hierarchy of labels: coarse ones (animal) over fine ones (cat, dog).

    A fine class f belongs to the coarse class C that has at least `purity` of its rows; C must have two fine classes or more, as otherwise
    both are one. Each class gets the code that, as an event, correlates most with it (Pearson). With these codes :math:`j(C), j(f)` the
    score is

    .. math:: \frac{P(a_{j(C)} \mid a_{j(f)}) - P(a_{j(C)})}{1 - P(a_{j(C)})}

    (each "on"): 1 where the coarse code is on whenever the fine one is, 0 where that tells nothing about it, below 0 where it is off
    then, as an absorbed code is. It is 0, too, where both are the same code, which knows no hierarchy, and where either is never on or
    the coarse one always. The mean is over all fine classes that belong somewhere. Codes are chosen, and when they are on is read off, on
    the first half of the rows; probabilities are those of the second.

    Says how two codes go together, not whether they are right: read it beside the parts ``coarse_f1`` and ``fine_f1``, the F1 of the chosen
    codes with their labels. Two copies of one common factor cover each other.

    Parameters
    ----------
    labels : sequence of str
        Columns of the row table, from coarse to fine; neighbours are compared.
    purity : float
    fewest : int
        Rows of a class in either half, at least.
    classes : int
        Classes per label, at most: the most frequent ones.

    References
    ----------
    .. [1] Chanin et al. (2024), A is for absorption, arXiv 2409.14507 (a first letter's latent that is off for some of its words).
    .. [2] Deng et al. (2014), Large-scale object classification using label relation graphs (subsumption of labels).
    """

    equivalence = "permutation, sign and scale of each code"
    invariances = ("permutation", "sign", "scale")
    chance = PERMUTED_CODES

    def __init__(self, labels: Sequence[str] = (), purity: float = 0.9, fewest: int = 20, classes: int = 100) -> None:
        self.labels = labels
        self.purity = purity
        self.fewest = fewest
        self.classes = classes

    @classmethod
    def small(cls) -> Self:
        return cls(labels=("next", "token"), purity=0.6, fewest=1)

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``same`` (share of fine classes that have the coarse one's code), ``kept`` (mean share of a fine class's rows in which the
        coarse code is on), ``coarse_f1``, ``fine_f1``, ``pairs`` (their number) and, for more than two labels, ``COARSE/FINE`` ..."""
        if not 0.5 < self.purity <= 1:
            raise InvalidInput(f"purity must lie in (.5, 1], not at {self.purity}")
        codes = checked_codes(outcome)
        table = columns(outcome, self.labels)
        if len(table) < 2:
            raise InvalidInput(f"a hierarchy takes two labels or more, from coarse to fine, not {list(self.labels)}")
        half = half_of(len(codes))
        rule = firing(codes[:half])
        on = csr(rule(codes[:half])), csr(rule(codes[half:]))
        found: dict[str, list[NDArray[np.float64]]] = {}
        for coarse, fine in pairwise(table):
            nested = self._nested(table[coarse], table[fine], half)
            if len(nested[0]):
                found[f"{coarse}/{fine}"] = _pairs(on, table[coarse], table[fine], *nested, half)
        if not found:
            raise NotApplicable(f"no class of {' or '.join(self.labels[1:])} belongs to a coarser class that has others, too")
        covered, same, kept, coarse_f1, fine_f1 = (np.concatenate([one[i] for one in found.values()]) for i in range(5))
        parts = {"same": same.mean(), "kept": kept.mean(), "coarse_f1": coarse_f1.mean(), "fine_f1": fine_f1.mean(), "pairs": len(same)}
        if len(table) > 2:
            parts |= {name: one[0].mean() for name, one in found.items()}
        return Scores(float(covered.mean()), {name: float(part) for name, part in parts.items()})

    def _nested(self, coarse: NDArray[np.int64], fine: NDArray[np.int64], half: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Fine classes, and the coarse class that each belongs to, shape (pairs,) each."""
        above = frequent(coarse[:half], coarse[half:], self.fewest, self.classes)
        below = frequent(fine[:half], fine[half:], self.fewest, self.classes)
        if not len(above) or not len(below):
            return below[:0], above[:0]
        table = (one_hot(fine[:half], below).T @ one_hot(coarse[:half], above)).toarray()
        most = table.argmax(axis=1)
        pure = table.max(axis=1) >= self.purity * one_hot(fine[:half], below).sum(axis=0)
        several = pure & (np.bincount(most[pure], minlength=len(above))[most] > 1)
        return below[several], above[most[several]]


def _pairs(
    on: tuple[Any, Any],
    coarse: NDArray[np.int64],
    fine: NDArray[np.int64],
    below: NDArray[np.int64],
    above: NDArray[np.int64],
    half: int,
) -> list[NDArray[np.float64]]:
    """Coverage, whether both codes are one, share of the fine class's rows with the coarse code, and F1 of either code with its label."""
    parents, place = np.unique(above, return_inverse=True)
    coarse_code = _best(one_hot(coarse[:half], parents), on[0])[place]
    fine_code = _best(one_hot(fine[:half], below), on[0])
    coarse_on, fine_on = on[1][:, coarse_code], on[1][:, fine_code]
    is_coarse, is_fine = one_hot(coarse[half:], parents)[:, place], one_hot(fine[half:], below)
    together, times, base = (coarse_on * fine_on).sum(axis=0), fine_on.sum(axis=0), coarse_on.mean(axis=0)
    same = (coarse_code == fine_code).astype(float)
    told = (times > 0) & (base > 0) & (base < 1) & (same == 0)
    covered = np.where(told, (together / np.maximum(1, times) - base) / np.where(base < 1, 1 - base, 1), 0.0)
    kept = (coarse_on * is_fine).sum(axis=0) / np.maximum(1, is_fine.sum(axis=0))
    return [covered, same, kept, _f1(is_coarse, coarse_on), _f1(is_fine, fine_on)]


def _best(label: Any, on: Any) -> NDArray[np.int64]:
    """The code that correlates most with each class, both as events, shape (classes,)."""
    n = label.shape[0]
    both, p, q = (label.T @ on).toarray() / n, label.mean(axis=0)[:, None], on.mean(axis=0)
    scale = np.sqrt(p * (1 - p) * q * (1 - q))
    return np.asarray(np.where(scale > 0, (both - p * q) / np.where(scale > 0, scale, 1), -2.0).argmax(axis=1))


def _f1(label: Any, on: Any) -> NDArray[np.float64]:
    """F1 of matching columns, as events."""
    return np.asarray(2 * (label * on).sum(axis=0) / np.maximum(1, label.sum(axis=0) + on.sum(axis=0)))
