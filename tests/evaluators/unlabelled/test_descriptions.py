"""Explained variance, L0 and dead units: closed forms."""

from dataclasses import replace

import pytest
import torch

from evaluators.calibration import ORACLE
from evaluators.unlabelled.dead_units import DeadUnits
from evaluators.unlabelled.explained_variance import ExplainedVariance
from evaluators.unlabelled.l0 import L0
from testbed.contracts import InvalidInput, NotApplicable, View


def explained(outcome):
    return ExplainedVariance().score(outcome, seed=0)


def test_perfect_codes_explain_all_and_the_mean_explains_nothing(perfect):
    x = perfect.sample.observed.views["mixed"].values
    assert explained(perfect).value == pytest.approx(1.0, abs=1e-6)
    assert explained(ORACLE.make(perfect, 0)).value == pytest.approx(1.0, abs=1e-6)
    assert explained(replace(perfect, decode=lambda codes: x.mean(dim=0).expand(len(codes), -1))).value == pytest.approx(0.0, abs=1e-6)


def test_half_of_the_deviation_leaves_a_quarter_of_the_variance(perfect):
    x = perfect.sample.observed.views["mixed"].values
    shrunk = replace(perfect, decode=lambda codes: 0.5 * (perfect.decode(codes) + x.mean(dim=0)))
    assert explained(shrunk).value == pytest.approx(0.75, abs=1e-5)


def test_groups_average_to_the_whole_weighed_by_their_variance(perfect):
    x = perfect.sample.observed.views["mixed"].values
    group = torch.arange(2000) % 3
    sample = replace(perfect.sample, observed=replace(perfect.sample.observed, rows={"group": group}))
    found = explained(replace(perfect, sample=sample, decode=lambda codes: 0.9 * perfect.decode(codes)))
    total = torch.stack([(x - x.mean(dim=0))[group == i].square().sum() for i in range(3)])
    assert sum(found.groups[str(i)] * float(total[i]) for i in range(3)) / float(total.sum()) == pytest.approx(found.value, abs=1e-5)


def test_what_cannot_be_explained_does_not_apply(perfect):
    with pytest.raises(NotApplicable, match="decoder"):
        explained(replace(perfect, decode=None))
    still = replace(perfect.sample, observed=replace(perfect.sample.observed, views={"mixed": View(torch.ones(2000, 12))}))
    with pytest.raises(NotApplicable, match="vary"):
        explained(replace(perfect, sample=still))
    with pytest.raises(InvalidInput, match="check the decoder"):
        explained(replace(perfect, decode=lambda codes: torch.full((len(codes), 12), float("nan"))))
    with pytest.raises(InvalidInput, match="check the decoder"):
        explained(replace(perfect, decode=lambda codes: torch.zeros(len(codes), 3)))


def test_l0_counts_entries_other_than_0_of_codes_and_concepts(perfect):
    found = L0().score(replace(perfect, codes=torch.tensor([[1.0, 0, -2]]).expand(2000, 3)), seed=0)
    assert found.value == 2
    assert found.parts["concepts"] == pytest.approx(float((perfect.codes > 0).sum(dim=1).float().mean()))
    assert L0().score(replace(perfect, truth=None), seed=0).parts == {}


def test_dead_units_are_counted(perfect):
    codes = torch.cat([perfect.codes, torch.zeros(2000, 8)], dim=1)
    found = DeadUnits().score(replace(perfect, codes=codes), seed=0)
    assert found.value == pytest.approx(0.5)
    assert found.parts["alive"] == 8
