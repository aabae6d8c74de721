"""A turned specification as a generator: its rows and truth are those of the specification."""

import pytest
import torch

from generators.assumptions.dialed import Dialed
from generators.selection.sparse import SparseConcepts
from testbed.contracts import Dialable, InvalidInput

PARAMS = {"levels": [2, 6], "views": "per_level", "dimension": 16}


def test_rows_and_truth_are_those_of_the_turned_specification():
    dialed = Dialed("lone_firing", PARAMS, amount=1.0).draw(3)
    plain = SparseConcepts(**PARAMS, zipf=0.0, lone_firing=0.0).draw(3)
    assert isinstance(dialed, Dialable)
    ours, theirs = (one.sample(100, seed=1).observed.views["level_1"].values for one in (dialed, plain))
    assert torch.equal(ours, theirs)
    assert torch.equal(dialed.truth.rates[0], plain.truth.rates[0])


def test_margins_are_those_of_the_same_seed_at_any_amount():
    half, whole = Dialed("frequent", PARAMS, amount=0.5).draw(3), Dialed("frequent", PARAMS, amount=1.0).draw(3)
    assert half.margins(1.0) == whole.margins(1.0)
    assert half.margins(0.0)["mostly_off"][0]
    assert not half.margins(1.0)["mostly_off"][0]
    assert half.margins(1.0)["mostly_off"][1] == pytest.approx(-0.25)


def test_parameters_of_another_family_are_refused():
    with pytest.raises(InvalidInput, match="DiscreteHierarchy, which has no parameter 'levels'"):
        Dialed("admissible", PARAMS).draw(0)
    with pytest.raises(InvalidInput, match="did you mean 'selection'"):
        Dialed("selections").draw(0)
