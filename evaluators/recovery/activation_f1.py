"""Whether codes are on when concepts are."""

from __future__ import annotations

import torch
from torch import Tensor

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
from testbed.contracts import Evaluator, Outcome, Rows, Scores, SparseRows
from testbed.numerics.correlation import add_cross_products, matched_cross_products
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
        half = half_of(len(z))
        rule = firing(codes[:half])
        concept, code = match(_f1(_events(z[:half]), _events(rule(codes[:half]))))
        on, fired = _events(z[half:]), _events(rule(codes[half:]))
        of_concept, of_code = _counts(on), _counts(fired)
        hits = matched_cross_products(on, fired, concept, code)
        c = len(of_concept)
        f1, precision, recall = torch.zeros(3, c, dtype=torch.float64)
        f1[concept] = 2 * hits / (of_concept[concept] + of_code[code]).clamp_min(1)
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


def _events(rows: Rows) -> SparseRows:
    """1 where an entry is not 0, on the CPU."""
    if not isinstance(rows, SparseRows):
        rows = SparseRows.from_dense(rows)
    return SparseRows(rows.indptr, rows.indices, (rows.values != 0).float(), rows.shape).to("cpu")


def _counts(events: SparseRows) -> Tensor:
    """Rows with each column on, shape (columns,), float64."""
    return events.values.new_zeros(events.shape[1], dtype=torch.float64).index_add_(0, events.indices, events.values.double())


def _f1(z: SparseRows, on: SparseRows) -> Tensor:
    """F1 of every concept with every code, shape (c, m); 0 where both are never on."""
    both = torch.zeros(z.shape[1], on.shape[1], dtype=torch.float64)
    add_cross_products(both, z, on)
    of_concept, of_code = _counts(z), _counts(on)
    for i in range(len(both)):  # in place: a matrix of 16,384 x 16,384 takes 2 GiB
        both[i].mul_(2).div_((of_concept[i] + of_code).clamp_min_(1))
    return both
