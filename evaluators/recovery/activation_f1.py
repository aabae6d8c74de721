"""Whether codes are on when concepts are."""

from __future__ import annotations

from typing import Any

import scipy.sparse
import torch
from torch import Tensor

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
from testbed.contracts import Evaluator, NotApplicable, Outcome, Rows, Scores, SparseRows
from testbed.numerics.firing import firing
from testbed.numerics.matching import match


class ActivationF1(Evaluator):
    r"""Mean F1 of true concepts and the codes they are matched to, one to one: both as events, on or off.

    .. math:: F_{ij} = \frac{2\, |\{t : z_{ti} \text{ on}, a_{tj} \text{ on}\}|}{|\{t : z_{ti} \text{ on}\}| + |\{t : a_{tj} \text{ on}\}|}

    A concept is on where it is not 0. When a code is on is read off its own distribution, without the truth (`testbed.numerics.firing`):
    above 0, unless its magnitudes have two parts, of which the lower one is noise. Thresholds and matching come from the first half of the
    rows, the score from the second. The mean is over *all* concepts that the view shows: one without a code, or that is never on in
    the second half, counts 0, for the oracle too.

    References
    ----------
    .. [1] van Rijsbergen (1979), Information retrieval, chapter 7.
    """

    equivalence = "permutation, sign and scale of each code"
    invariances = ("permutation", "sign", "scale")
    kinds = ("sparse",)
    chance = PERMUTED_CODES
    ceiling = ORACLE
    floors = (RANDOM_ROTATION, COMMON_FACTOR)

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``level_0``, ``level_1`` ... and the mean ``precision`` and ``recall``; details per level."""
        levels = shown_levels(outcome, self.kinds)
        z, codes = concepts(outcome, levels), checked_codes(outcome)
        half = len(z) // 2
        if half < 2:
            raise NotApplicable(f"matching on one half and scoring on the other takes at least 4 rows, not {len(z)}")
        rule = firing(codes[:half])
        concept, code = match(_f1(*_counts(z[:half], rule(codes[:half]))))
        both, of_concept, of_code = _counts(z[half:], rule(codes[half:]))
        c = len(of_concept)
        f1, precision, recall = torch.zeros(3, c, dtype=torch.float64)
        hits = both[concept, code]
        f1[concept] = _f1(both, of_concept, of_code)[concept, code]
        precision[concept] = hits / of_code[code].clamp_min(1)
        recall[concept] = hits / of_concept[concept].clamp_min(1)
        truth = truth_of(outcome)
        parts = means_by_level(f1, truth, levels) | {"precision": float(precision.mean()), "recall": float(recall.mean())}
        by_level = {
            "precision": means_by_level(precision, truth, levels),
            "recall": means_by_level(recall, truth, levels),
            "share of concepts without a code": means_by_level(1 - torch.zeros(c).index_fill_(0, concept, 1.0), truth, levels),
            "share of concepts never on in the scored half": means_by_level((of_concept == 0).double(), truth, levels),
        }
        return Scores(float(f1.mean()), parts, details=by_level)


def _counts(z: Rows, on: SparseRows) -> tuple[Tensor, Tensor, Tensor]:
    """Rows with both on, shape (c, m), and with each concept (c,), and each code (m,), on; float64, on the CPU."""
    concept, code = _events(z), _events(on)
    both = torch.from_numpy((concept.T @ code).toarray())
    return both, torch.from_numpy(concept.sum(axis=0)), torch.from_numpy(code.sum(axis=0))


def _events(rows: Rows) -> Any:
    """A sparse array with 1 where an entry is not 0, shape (n, columns)."""
    if not isinstance(rows, SparseRows):
        rows = SparseRows.from_dense(rows)
    used = (rows.values != 0).double().cpu().numpy()
    return scipy.sparse.csr_array((used, rows.indices.cpu().numpy(), rows.indptr.cpu().numpy()), shape=rows.shape)


def _f1(both: Tensor, of_concept: Tensor, of_code: Tensor) -> Tensor:
    """F1 of every concept with every code, shape (c, m); 0 where both are never on."""
    return 2 * both / (of_concept[:, None] + of_code).clamp_min(1)
