"""Absorption: a constituent that its composite's code speaks for, and the other way round."""

from dataclasses import replace

import pytest
import torch

from evaluators.dictionary.absorption import Absorption
from testbed.contracts import NotApplicable

ASKED = 6  # both composites and their four constituents; the free leaf has no relatives


def score(outcome, **params):
    return Absorption(**params).score(outcome, seed=0)


def with_codes(outcome, codes, rows):
    a, w = outcome.codes.clone(), outcome.dictionary.clone()
    for i, column in codes.items():
        a[:, i] = column
    for i, row in rows.items():
        w[i] = row
    return replace(outcome, codes=a, dictionary=w)


def test_perfect_codes_absorb_nothing(conjunctions):
    found = score(conjunctions)
    assert found.value == 0
    assert found.parts == {"absorbed": 0, "silent": 0, "without_code": 0, "level_0": 0, "level_1": 0}


def test_a_constituent_is_absorbed_where_its_composite_is_on(conjunctions):
    z, d = conjunctions.codes, conjunctions.dictionary
    on = z[:, 0] > 0
    absorbing = with_codes(conjunctions, {2: z[:, 2] * ~on}, {0: d[0] + d[2]})
    scored = slice(2000, None)
    share = float((on & (z[:, 2] > 0))[scored].sum() / (z[:, 2] > 0)[scored].sum())
    found = score(absorbing)
    assert share == pytest.approx(0.5, abs=0.05)
    assert found.value == pytest.approx(share / ASKED)
    assert found.parts["level_1"] == pytest.approx(share / 4)
    assert found.details["most absorbed"] == [[2, pytest.approx(share)]]
    # The same in other signs and scales.
    scale = torch.tensor([-2.0, 1, 3, -1, 1, 1, 0.5])
    other = replace(absorbing, codes=absorbing.codes * scale, dictionary=absorbing.dictionary / scale[:, None])
    assert score(other).value == pytest.approx(found.value)


def test_a_code_that_is_off_where_no_relative_holds_its_atom_is_silent(conjunctions):
    z = conjunctions.codes
    silent = with_codes(conjunctions, {2: z[:, 2] * (z[:, 0] == 0)}, {})
    found = score(silent)
    assert found.value == 0
    assert found.parts["silent"] == pytest.approx(0.5 / ASKED, abs=0.02)
    d = conjunctions.dictionary
    stranger = with_codes(silent, {}, {6: d[6] + d[2]})  # the free leaf's row is no relative's
    assert score(stranger).value == 0


def test_a_composite_is_absorbed_by_a_constituent(conjunctions):
    z, d = conjunctions.codes, conjunctions.dictionary
    half = torch.arange(len(z)) % 2 == 0
    found = score(with_codes(conjunctions, {0: z[:, 0] * half}, {2: d[2] + d[0]}))
    scored = z[2000:, 0] > 0
    assert found.value == pytest.approx(float((scored & ~half[2000:]).sum() / scored.sum()) / ASKED)


def test_to_have_no_code_is_to_be_absorbed_wholly(conjunctions):
    found = score(
        replace(conjunctions, codes=conjunctions.codes[:, [0, 1, 3, 4, 5, 6]], dictionary=conjunctions.dictionary[[0, 1, 3, 4, 5, 6]])
    )
    assert found.value == pytest.approx(1 / ASKED)
    assert found.parts["without_code"] == pytest.approx(1 / ASKED)
    assert score(replace(conjunctions, codes=torch.zeros_like(conjunctions.codes))).value == 1


def test_a_little_of_an_atom_is_not_held(conjunctions):
    z, d = conjunctions.codes, conjunctions.dictionary
    faint = with_codes(conjunctions, {2: z[:, 2] * (z[:, 0] == 0)}, {0: d[0] + 0.22 * d[2]})
    assert score(faint).value == 0
    assert score(faint, held=0.2).value > 0.05


def test_without_a_hierarchy_in_the_view_it_does_not_apply(conjunctions):
    with pytest.raises(NotApplicable, match="composite"):
        score(replace(conjunctions, truth=replace(conjunctions.truth, constituents={})))
    with pytest.raises(NotApplicable, match="dictionary"):
        score(replace(conjunctions, truth=replace(conjunctions.truth, dictionaries={})))
