"""How many codes nothing activates."""

from __future__ import annotations

from evaluators.calibration import checked_codes
from testbed.contracts import Evaluator, Outcome, Scores
from testbed.numerics.matching import active


class DeadUnits(Evaluator):
    """Share of codes that are 0 on every held-out row.

    A code for a rare concept may be 0 on a short sample and still be right: compare like with like.
    """

    direction = "lower"
    equivalence = "permutation and invertible scaling of each code that keeps 0"
    invariances = ("permutation", "sign", "scale")
    ceiling = 0.0

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        alive = active(checked_codes(outcome))
        return Scores(1 - int(alive.sum()) / len(alive), {"alive": int(alive.sum())})
