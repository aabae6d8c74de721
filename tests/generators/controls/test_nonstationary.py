"""Concepts with a variance per environment: the law that is stated is the law that is sampled."""

import pytest
import torch

from generators.assumptions.dials import find, moved
from generators.assumptions.table import assumption_table
from generators.assumptions.theorems import check_theorems
from generators.controls.nonstationary import NonstationaryConcepts, NonstationaryInstance
from testbed.contracts import InvalidInput


def test_variances_given_the_environment_are_those_of_the_natural_parameters():
    instance = NonstationaryConcepts(concepts=3, environments=4).draw(0)
    sample = instance.sample(40_960, seed=1)
    z, u = sample.latents[0], sample.observed.rows["environment"]
    assert torch.equal(u.unique(), torch.arange(4))
    stated = -0.5 / instance.truth.facts["natural_parameters"]
    for environment in range(4):
        own = z[u == environment].double()
        assert (own.var(dim=0) / stated[environment]).log().abs().max() < 0.1  # 5 standard errors of log variance are .07
        assert torch.corrcoef(own.T).fill_diagonal_(0).abs().max() < 0.06


def test_rows_are_written_along_the_atoms_and_read_back():
    instance = NonstationaryConcepts(noise=0.0).draw(0)
    sample = instance.sample(200, seed=1)
    assert torch.allclose(instance.truth.oracle(sample.observed, "mixed"), sample.latents[0], atol=1e-4)


def test_enough_environments_are_needed():
    def verdict(environments):
        (row,) = assumption_table(NonstationaryConcepts(concepts=4, environments=environments).draw(0), ["sufficient_variability"])
        return row.verdict

    assert verdict(5) == "holds"  # concepts + 1
    assert verdict(4) == "fails"


def test_the_theorem_on_auxiliary_variables_applies():
    (result,) = [r for r in check_theorems(NonstationaryConcepts().draw(0)) if r.theorem.name == "auxiliary_variable"]
    assert {row.verdict for row in result.rows} == {"holds"}


def test_the_dial_of_variation_breaks_it_and_moves_nothing_else():
    sweep = find("variation").sweep(NonstationaryConcepts(), [0, 0.5, 1], seed=0)
    margins = [{row.assumption: row.margin for row in rows}["sufficient_variability"] for rows in sweep.values()]
    assert margins[0] > margins[1] > margins[2] == 0
    assert moved(sweep[0], sweep[1]) | moved(sweep[0], sweep[1.0]) == {"sufficient_variability"}


def test_a_saved_instance_samples_the_same_and_a_spoilt_one_is_refused():
    instance = NonstationaryConcepts().draw(0)
    arrays, plain = instance.state()
    again = NonstationaryInstance.from_state(arrays, plain)
    assert torch.equal(again.sample(50, seed=2).observed.views["mixed"].values, instance.sample(50, seed=2).observed.views["mixed"].values)
    for spoilt in ({}, {**arrays, "variances": -arrays["variances"]}, {**arrays, "atoms": arrays["atoms"][1:]}):
        with pytest.raises(InvalidInput, match="save"):
            NonstationaryInstance.from_state(spoilt, plain)


@pytest.mark.parametrize(
    ("params", "says"), [({"concepts": 0}, "1 or more"), ({"dimension": 3}, "raise dimension"), ({"noise": -1.0}, "noise")]
)
def test_bad_parameters_are_refused(params, says):
    with pytest.raises(InvalidInput, match=says):
        NonstationaryConcepts(**params).draw(0)
