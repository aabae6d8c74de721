"""Sparse probing: labels that one code tells, that several tell together, that none tells."""

from dataclasses import replace

import pytest
import torch
from sklearn.metrics import roc_auc_score

from evaluators.calibration import PERMUTED_CODES
from evaluators.labels.sparse_probing import SparseProbing
from testbed.contracts import InvalidInput, NotApplicable, SparseRows


def labelled(outcome, **labels):
    return replace(outcome, sample=replace(outcome.sample, observed=replace(outcome.sample.observed, rows=labels)))


def score(outcome, labels=("label",), **params):
    return SparseProbing(labels, **params).score(outcome, seed=0)


def test_a_label_that_is_one_code_is_told_by_it_alone(perfect):
    found = score(labelled(perfect, label=(perfect.codes[:, 3] > 0).long()))
    assert found.value == found.parts["label/auc_1"] == 1
    assert found.parts["accuracy_1"] > 0.95  # magnitudes near 0 are on the wrong side of a threshold
    assert found.parts["tasks"] == 1
    assert found.details["codes"]["label/0"][0] == 3


def test_one_code_ranks_rows_as_itself(perfect):
    g = torch.Generator().manual_seed(0)
    label = ((perfect.codes[:, 2] > 0) & (torch.rand(2000, generator=g) < 0.8)).long()
    found = score(labelled(perfect, label=label), ks=(1,))
    assert found.value == pytest.approx(roc_auc_score(label[1000:], perfect.codes[1000:, 2]))


def test_a_label_of_three_codes_takes_three(perfect):
    label = (perfect.codes[:, :3] > 0).any(dim=1).long()
    found = score(labelled(perfect, label=label), ks=(1, 3))
    # One of three tells a share of the rows that are any of them: P(one) / P(any) = .3 / (1 - .7^3), all else half right.
    share = 0.3 / (1 - 0.7**3)
    assert found.value == pytest.approx(share + (1 - share) / 2, abs=0.03)
    assert found.parts["auc_3"] == pytest.approx(1, abs=0.01)
    assert found.parts["auc_all"] > 0.95


def test_permuted_codes_and_unrelated_labels_are_at_half(perfect):
    label = torch.randint(0, 5, (2000,), generator=torch.Generator().manual_seed(0))
    told = labelled(perfect, label=(perfect.codes[:, 3] > 0).long())
    assert score(PERMUTED_CODES.make(told, 0)).value == pytest.approx(0.5, abs=0.05)
    found = score(labelled(perfect, label=label))
    assert found.value == pytest.approx(0.5, abs=0.03)
    assert found.parts["auc_all"] == pytest.approx(0.5, abs=0.05)
    assert found.parts["majority"] == pytest.approx(0.8, abs=0.01)
    assert found.parts["tasks"] == 5


def test_scale_sign_and_dead_codes_do_not_matter(perfect):
    told = labelled(perfect, label=(perfect.codes[:, 3] + perfect.codes[:, 4] > 0.5).long())
    scale = torch.tensor([1e3, -1, 1e-3, -5, 0.1, 1, 1, 1])
    codes = torch.cat([perfect.codes * scale, torch.zeros(2000, 2)], dim=1)
    assert score(replace(told, codes=SparseRows.from_dense(codes))).value == pytest.approx(score(told).value, abs=1e-6)
    assert score(replace(told, codes=torch.zeros(2000, 3))).value == 0.5


def test_classes_are_capped_rare_ones_left_out_and_rows_drawn_by_the_seed(perfect):
    label = torch.arange(2000) % 7
    label[:10] = 9
    told = labelled(perfect, label=label, other=(perfect.codes[:, 0] > 0).long())
    assert score(told).parts["tasks"] == 7
    both = score(told, ("label", "other"), classes=3)
    assert both.parts["tasks"] == 4
    assert both.parts["other/auc_1"] == 1
    few = SparseProbing(("label",), rows=600)
    assert few.score(told, seed=1).value == few.score(told, seed=1).value
    assert few.score(told, seed=1).value != few.score(told, seed=2).value


def test_without_the_labels_it_does_not_apply(perfect):
    with pytest.raises(NotApplicable, match="no column 'animal'"):
        score(perfect, ("animal",))
    with pytest.raises(NotApplicable, match="20 rows"):
        score(labelled(perfect, label=torch.arange(2000)))
    with pytest.raises(NotApplicable, match="20 rows"):
        score(labelled(perfect, label=torch.zeros(2000)))
    with pytest.raises(NotApplicable, match="20 rows"):  # classes that the other half has not
        score(labelled(perfect, label=torch.arange(2000) // 1000))
    for wrong in ((), "label"):
        with pytest.raises(InvalidInput, match="labels"):
            score(perfect, wrong)
    with pytest.raises(InvalidInput, match="ks"):
        score(perfect, ks=())
