"""Shrinkage: codes of half the size are half the size."""

from dataclasses import replace

import pytest
import torch

from evaluators.dictionary.shrinkage import Shrinkage
from testbed.contracts import NotApplicable, SparseRows


def score(outcome):
    return Shrinkage().score(outcome, seed=0)


def test_perfect_codes_are_not_shrunk_and_half_as_large_ones_by_half(conjunctions):
    assert score(conjunctions).value == pytest.approx(1)
    found = score(replace(conjunctions, codes=0.5 * conjunctions.codes))
    assert found.value == pytest.approx(0.5)
    assert found.parts == pytest.approx({"measured": 1, "median": 0.5, "level_0": 0.5, "level_1": 0.5})


def test_what_the_decoder_gives_back_is_not_shrunk(conjunctions):
    assert score(replace(conjunctions, codes=-0.5 * conjunctions.codes, dictionary=-2 * conjunctions.dictionary)).value == pytest.approx(1)


def test_a_constant_that_a_penalty_takes_off_shrinks_by_its_share_of_the_mean(conjunctions):
    # Magnitudes are uniform on [1, 2]: taking off .75 leaves half of the mean, but off are no concepts then.
    z = conjunctions.codes
    assert score(replace(conjunctions, codes=(z - 0.75).clamp_min(0))).value == pytest.approx(0.5, abs=0.01)


def test_only_rows_where_both_are_on_count(conjunctions):
    g = torch.Generator().manual_seed(1)
    kept = conjunctions.codes * (torch.rand(conjunctions.codes.shape, generator=g) < 0.5)
    false = 5 * (torch.rand(kept.shape, generator=g) < 0.1) * (conjunctions.codes == 0)
    assert score(replace(conjunctions, codes=kept)).value == pytest.approx(1)
    # False ones are as large as the others: a lower part of the magnitudes would be taken for noise.
    assert score(replace(conjunctions, codes=kept + false / 3)).value == pytest.approx(1)


def test_concepts_without_a_code_are_not_measured_which_is_said(conjunctions):
    few = replace(conjunctions, codes=SparseRows.from_dense(0.5 * conjunctions.codes[:, :2]), dictionary=conjunctions.dictionary[:2])
    found = score(few)
    assert found.value == pytest.approx(0.5)
    assert found.parts["measured"] == pytest.approx(2 / 7)
    with pytest.raises(NotApplicable, match="no concept has a code"):
        score(replace(conjunctions, codes=torch.zeros_like(conjunctions.codes)))
