"""Label hierarchy: a coarse code that covers the fine ones, that is absorbed, that is one of them."""

from dataclasses import replace

import pytest
import torch

from evaluators.labels.label_hierarchy import LabelHierarchy
from testbed.contracts import InvalidInput, NotApplicable, SparseRows

N = 4000


def score(outcome, labels=("coarse", "fine"), **params):
    return LabelHierarchy(labels, **params).score(outcome, seed=0)


@pytest.fixture
def told(perfect):
    """Six fine classes, equally frequent, of which 0 1 2 and 3 4 5 have a coarse class each; a code per class, fine ones first."""
    fine = torch.randint(0, 6, (N,), generator=torch.Generator().manual_seed(0))
    coarse = fine // 3
    codes = torch.cat([torch.eye(6)[fine], torch.eye(2)[coarse]], dim=1)
    observed = replace(perfect.sample.observed, views={}, rows={"coarse": coarse, "fine": fine})
    return replace(perfect, codes=codes, sample=replace(perfect.sample, observed=_Rows(observed.rows), latents={}), truth=None)


class _Rows:
    """What the evaluator reads of observed rows: the table."""

    def __init__(self, rows):
        self.rows, self.views = rows, {}

    def __len__(self):
        return N


def test_codes_that_are_the_labels_cover_wholly(told):
    found = score(told)
    assert found.value == 1
    assert found.parts == {"same": 0, "kept": 1, "coarse_f1": 1, "fine_f1": 1, "pairs": 6}
    assert score(replace(told, codes=SparseRows.from_dense(-3 * told.codes))).value == 1


def test_a_fine_class_that_is_absorbed_is_below_nothing(told):
    codes = told.codes.clone()
    absorbed = codes[:, 0] > 0
    codes[absorbed, 6] = 0  # the first coarse code is off for the first fine class
    scored = codes[N // 2 :]
    base = float((scored[:, 6] > 0).double().mean())
    found = score(replace(told, codes=codes))
    assert found.value == pytest.approx((5 - base / (1 - base)) / 6)
    assert found.parts["kept"] == pytest.approx(5 / 6)


def test_one_code_for_both_knows_no_hierarchy(told):
    found = score(replace(told, codes=told.codes[:, 6:]))
    assert (found.value, found.parts["same"]) == (0, 1)
    assert found.parts["coarse_f1"] == 1
    assert found.parts["fine_f1"] == pytest.approx(2 * (1 / 3) / (1 + 1 / 3), abs=0.03)


def test_codes_that_have_nothing_to_do_with_each_other_score_0(told):
    g = torch.Generator().manual_seed(1)
    found = score(replace(told, codes=(torch.rand(N, 40, generator=g) < 0.3).float()))
    assert found.value == pytest.approx(0, abs=0.06)
    assert score(replace(told, codes=torch.zeros(N, 5))).value == 0


def test_only_classes_that_are_nested_with_siblings_count(told):
    fine = told.sample.observed.rows["fine"]
    rows = {"coarse": torch.where(fine == 5, 2, fine // 3), "fine": fine}  # class 5 is its coarse class
    alone = replace(told, sample=replace(told.sample, observed=_Rows(rows)))
    assert score(alone).parts["pairs"] == 5
    rows = {"coarse": torch.randint(0, 2, (N,), generator=torch.Generator().manual_seed(2)), "fine": fine}
    with pytest.raises(NotApplicable, match="coarser"):
        score(replace(told, sample=replace(told.sample, observed=_Rows(rows))))


def test_three_labels_are_compared_step_by_step(told):
    fine = told.sample.observed.rows["fine"]
    finest = 2 * fine + torch.randint(0, 2, (N,), generator=torch.Generator().manual_seed(3))
    three = replace(told, sample=replace(told.sample, observed=_Rows({**told.sample.observed.rows, "finest": finest})))
    found = score(three, ("coarse", "fine", "finest"))
    assert found.parts["coarse/fine"] == 1
    assert found.parts["fine/finest"] == 0  # no code is on for the finest classes but that of the fine one
    assert found.parts["pairs"] == 18


def test_wrong_settings_are_refused(told):
    with pytest.raises(InvalidInput, match="two labels"):
        score(told, ("fine",))
    with pytest.raises(InvalidInput, match="purity"):
        score(told, purity=0.4)
    with pytest.raises(NotApplicable, match="no column"):
        score(told, ("coarse", "breed"))
