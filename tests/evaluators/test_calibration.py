"""Reference codes are what their names say."""

from dataclasses import replace

import pytest
import torch

from evaluators.calibration import (
    COMMON_FACTOR,
    ORACLE,
    PERMUTED_CODES,
    RANDOM_DICTIONARY,
    RANDOM_ROTATION,
)
from testbed.contracts import NotApplicable, SparseRows
from testbed.numerics.matching import dense

ALL = [COMMON_FACTOR, ORACLE, PERMUTED_CODES, RANDOM_DICTIONARY, RANDOM_ROTATION]


def blank(outcome):
    return replace(outcome, codes=torch.zeros(len(outcome.sample), 0), dictionary=None, decode=None)


@pytest.mark.parametrize("reference", ALL, ids=lambda r: r.name)
def test_references_follow_from_the_seed_and_change_nothing(perfect, reference):
    before = perfect.codes.clone(), perfect.dictionary.clone()
    given = blank(perfect) if reference.scope == "instance" else perfect
    a, b, c = (reference.make(given, seed) for seed in (1, 1, 2))
    assert torch.equal(a.codes, b.codes)
    assert torch.equal(perfect.codes, before[0])
    assert torch.equal(perfect.dictionary, before[1])
    if reference is not ORACLE:
        assert not (torch.equal(a.codes, c.codes) and (a.dictionary is None or torch.equal(a.dictionary, c.dictionary)))


def test_permuted_codes_are_the_same_rows_in_another_order_dense_or_sparse(perfect):
    dense = PERMUTED_CODES.make(perfect, 3).codes
    sparse = PERMUTED_CODES.make(replace(perfect, codes=SparseRows.from_dense(perfect.codes)), 3).codes
    assert torch.equal(sparse.dense(), dense)
    assert torch.equal(dense.sum(dim=1).sort().values, perfect.codes.sum(dim=1).sort().values)
    assert not torch.equal(dense, perfect.codes)


def test_a_random_dictionary_has_unit_rows_of_the_same_number(perfect):
    made = RANDOM_DICTIONARY.make(perfect, 0)
    assert made.dictionary.shape == perfect.dictionary.shape
    torch.testing.assert_close(made.dictionary.norm(dim=1), torch.ones(8))
    with pytest.raises(NotApplicable):
        RANDOM_DICTIONARY.make(replace(perfect, dictionary=None), 0)


def test_the_oracle_decodes_with_the_truth(perfect):
    made = ORACLE.make(blank(perfect), 0)
    assert torch.equal(made.dictionary, perfect.truth.dictionary("mixed"))
    torch.testing.assert_close(made.decode(made.codes), perfect.sample.observed.views["mixed"].values, rtol=0, atol=1e-4)


def test_a_rotation_keeps_all_and_separates_nothing(perfect):
    codes = RANDOM_ROTATION.make(blank(perfect), 0).codes
    z = perfect.codes - perfect.codes.mean(dim=0)
    z = z / z.square().mean(dim=0).sqrt()
    torch.testing.assert_close(codes.square().sum(dim=1), z.square().sum(dim=1), rtol=1e-4, atol=1e-3)


def test_common_factor_codes_are_copies_of_one_thing(perfect):
    codes = COMMON_FACTOR.make(blank(perfect), 0).codes
    assert codes.shape == perfect.codes.shape
    assert torch.corrcoef(codes.T).min() > 0.95


@pytest.mark.parametrize("reference", [COMMON_FACTOR, ORACLE, RANDOM_ROTATION], ids=lambda r: r.name)
def test_without_a_truth_there_is_no_reference_of_an_instance(perfect, reference):
    with pytest.raises(NotApplicable):
        reference.make(replace(perfect, truth=None), 0)


def test_the_oracle_of_several_views_is_theirs_side_by_side(several):
    whole = ORACLE.make(blank(several), 0)
    apart = [ORACLE.make(blank(replace(several, view=f"level_{level}")), 0) for level in (0, 1)]
    assert torch.equal(dense(whole.codes), torch.cat([dense(one.codes) for one in apart], dim=1))
    assert torch.equal(whole.dictionary, torch.block_diag(*(one.dictionary for one in apart)))
    x = [several.sample.observed.views[f"level_{level}"].values for level in (0, 1)]
    assert torch.allclose(whole.decode(whole.codes), torch.cat(x, dim=1), atol=1e-4)
    assert whole.structure.levels == (0,) * 3 + (1,) * 5
