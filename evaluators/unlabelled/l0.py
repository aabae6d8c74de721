"""How many codes are active at once."""

from __future__ import annotations

from contextlib import suppress

from evaluators.calibration import checked_codes, concepts, shown_levels
from testbed.contracts import Evaluator, NotApplicable, Outcome, Rows, Scores, SparseRows


class L0(Evaluator):
    """Mean number of codes other than 0 per row. A description: neither way is better.

    Part ``concepts``: the same for the true concepts, where they are known and sparse.
    """

    direction = "none"
    equivalence = "permutation and invertible scaling of each code that keeps 0"
    invariances = ("permutation", "sign", "scale")

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        parts = {}
        with suppress(NotApplicable):  # nobody knows, or concepts are never off
            parts["concepts"] = _mean_active(concepts(outcome, shown_levels(outcome, ("sparse",))))
        return Scores(_mean_active(checked_codes(outcome)), parts)


def _mean_active(rows: Rows) -> float:
    values = rows.values if isinstance(rows, SparseRows) else rows
    return int((values != 0).sum()) / len(rows)
