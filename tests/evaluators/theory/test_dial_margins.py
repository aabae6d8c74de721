"""Margins over amounts: what moved that should not is counted, and what is broken is told at both ends."""

import pytest
import torch

from evaluators.theory.dial_margins import DialMargins
from testbed.contracts import Dialable, InvalidInput, NotApplicable, Observed, Outcome, Sample, View

MOVING = {0.0: 1.0, 0.5: 0.4, 1.0: 0.0}


class Instance:
    breaks = ("injective",)
    moves = ("spark_exceeds",)

    def __init__(self, stray):
        self.stray = stray

    def margins(self, amount):
        found = {"injective": (amount < 1, MOVING[amount]), "spark_exceeds": (True, 3 - amount), "anchors": (True, 2.0)}
        if self.stray == "margin" and amount == 0.5:
            found["anchors"] = (True, 2.1)
        if self.stray == "untold" and amount == 1:
            del found["anchors"]
        return found


def score(instance, **params):
    outcome = Outcome(codes=torch.zeros(2, 1), sample=Sample(Observed({"x": View(torch.zeros(2, 1))})), view="x", instance=instance)
    return DialMargins(**{"amounts": [0.0, 0.5, 1.0], **params}).score(outcome, seed=0)


def test_what_the_dial_breaks_is_told_at_both_ends_and_the_rest_lies_flat():
    assert isinstance(Instance(None), Dialable)
    found = score(Instance(None))
    assert found.value == 0
    ends = {"injective at 0": 1.0, "injective holds at 0": 1.0, "injective at 1": 0.0, "injective holds at 1": 0.0}
    assert found.parts == {"outside": 1.0, **ends}
    assert found.details["dial"]["margins"]["spark_exceeds"] == [3.0, 2.5, 2.0]
    assert found.details["dial"]["outside"] == ["anchors"]


@pytest.mark.parametrize("stray", ["margin", "untold"])
def test_a_margin_that_moves_outside_is_counted(stray):
    found = score(Instance(stray))
    assert found.value == 1
    assert found.details["dial"]["stray"] == ["anchors"]


def test_instances_without_dial_and_wrong_amounts_are_refused():
    with pytest.raises(NotApplicable, match="has no dial"):
        score(object())
    for amounts in ([0.0], [0.5, 0.0], [0.0, 0.0]):
        with pytest.raises(InvalidInput, match="increasing"):
            score(Instance(None), amounts=amounts)
