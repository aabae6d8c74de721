"""Whether a method says rightly what makes constituents depend on each other."""

from __future__ import annotations

from evaluators.calibration import checked_codes, truth_of
from evaluators.graph.matching import graph_levels, structure_of
from evaluators.graph.truths import true_direction
from testbed.contracts import Evaluator, NotApplicable, Outcome, Scores


class Direction(Evaluator):
    """1 where the found direction is right, 0 where it is wrong, one half where it is left undecided.

    The observed law of a forest is also that of a tree that emits each tuple *jointly* from its composite, so that no data tell these
    apart: an answer is a class, selection or joint emission in one, a cause whose children are independent given it in the other. The true
    class is what the generator says (``facts["direction_class"]``; selection where it says nothing). Where nothing is selected and nothing
    caused there is no right answer, and no score.

    Half for *undecided* makes a coin as good as silence. One outcome is one answer: what counts is its mean over instances of both
    classes, since a method that always answers "selection" has 1 on every instance of that class and one half on both.
    """

    equivalence = "every change of the codes: they are not looked at"
    invariances = ("affine", "relabelling")
    chance = 0.5
    ceiling = 1.0

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``right``, ``wrong`` and ``undecided``: one of them is 1."""
        truth, found = truth_of(outcome), structure_of(outcome)
        checked_codes(outcome)
        graph_levels(outcome)
        true = true_direction(truth)
        if true is None:
            raise NotApplicable("nothing makes constituents depend on each other in this instance: there is no direction to find")
        undecided = found.direction == "undecided"
        right = found.direction == true
        parts = {"right": float(right), "wrong": float(not right and not undecided), "undecided": float(undecided)}
        return Scores(0.5 if undecided else float(right), parts)
