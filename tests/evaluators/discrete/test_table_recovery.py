"""Composition tables up to relabelling."""

from dataclasses import replace

import pytest
import torch

from evaluators.calibration import PERMUTED_CODES
from evaluators.discrete.table_recovery import TableRecovery
from testbed.contracts import Level, NotApplicable, Structure


def score(outcome):
    return TableRecovery().score(outcome, seed=0)


def test_tables_are_found_under_any_names_and_order(perfect, permute):
    names = replace(perfect, codes=(perfect.codes * 7 + 3) % 11)
    for outcome in (perfect, permute(names, [6, 2, 4, 0, 1, 5, 3]), replace(perfect, structure=None)):
        found = score(outcome)
        assert found.value == pytest.approx(1.0)
        assert found.parts == pytest.approx({"level_1": 1.0})


def test_level_0_has_a_table_where_it_is_shown(labelled):
    assert score(labelled).parts == pytest.approx({"level_0": 1.0, "level_1": 1.0})


def test_noise_in_rows_is_outvoted_within_a_tuple(perfect):
    codes = perfect.codes.clone()
    noisy = torch.rand(len(codes), generator=torch.Generator().manual_seed(1)) < 0.2
    codes[noisy, 1] = (codes[noisy, 1] + 1) % 3
    assert score(replace(perfect, codes=codes)).value == pytest.approx(1.0)


def test_a_table_without_one_constituent_knows_one_tuple_in_three(perfect):
    """(a + b) mod 3 given a alone is uniform."""
    less = Structure(perfect.structure.levels, ((1, 2), (3,), (5, 6), (), (), (), ()))
    assert score(replace(perfect, structure=less)).value == pytest.approx((1 + 1 / 3) / 2, abs=0.06)
    none = Structure(perfect.structure.levels, ((1, 2), (), (), (), (), (), ()))
    assert score(replace(perfect, structure=none)).value == pytest.approx(1 / 3, abs=0.06)


def test_a_surplus_constituent_is_no_harm(perfect):
    more = Structure(perfect.structure.levels, ((1, 2), (3, 4, 5), (5, 6), (), (), (), ()))
    assert score(replace(perfect, structure=more)).value == pytest.approx(1.0)


def test_one_state_merged_into_another_loses_its_share(perfect):
    codes = perfect.codes.clone()
    codes[:, 1][codes[:, 1] == 2] = 1
    assert score(replace(perfect, codes=codes)).value == pytest.approx((1 + 2 / 3) / 2, abs=0.02)


def test_a_composite_without_a_code_has_no_table(perfect):
    codes = perfect.codes.clone()
    codes[:, 1] = 0
    assert score(replace(perfect, codes=codes)).value == pytest.approx(1 / 2)
    assert score(PERMUTED_CODES.make(perfect, 0)).value < 0.6


def test_without_composites_there_is_no_table(perfect):
    truth = replace(perfect.truth, levels=(*perfect.truth.levels[:2], Level("states", 4, (3,) * 4)), constituents={})
    with pytest.raises(NotApplicable, match="no composite"):
        score(replace(perfect, truth=truth))
