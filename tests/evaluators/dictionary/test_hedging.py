"""Hedging: rows that hold a known share of a related atom."""

from dataclasses import replace

import pytest
import torch
from torch.nn.functional import normalize

from evaluators.dictionary.hedging import Hedging
from testbed.contracts import NotApplicable, SparseRows

ASKED = 6


def score(outcome, **params):
    return Hedging(**params).score(outcome, seed=0)


def with_rows(outcome, rows):
    w = outcome.dictionary.clone()
    for i, row in rows.items():
        w[i] = row
    return replace(outcome, dictionary=w)


def test_true_atoms_hedge_nothing(conjunctions):
    found = score(conjunctions)
    assert found.value == pytest.approx(0, abs=1e-5)
    assert found.parts == pytest.approx({"hedged": 0, "negative": 0, "without_code": 0, "level_0": 0, "level_1": 0}, abs=1e-5)


def test_a_row_that_holds_three_tenths_of_a_relative_hedges_by_three_tenths(conjunctions):
    d = conjunctions.dictionary
    for other in (0, 3):  # its composite, its co-constituent
        found = score(with_rows(conjunctions, {2: -2 * (d[2] + 0.3 * d[other])}))
        assert found.value == pytest.approx(0.3 / ASKED, abs=1e-5)
        assert found.parts["level_1"] == pytest.approx(0.3 / 4, abs=1e-5)
    assert score(with_rows(conjunctions, {2: d[2] + 0.3 * d[0] + 0.2 * d[3]})).value == pytest.approx(0.5 / ASKED, abs=1e-5)


def test_strangers_and_negative_parts_do_not_count(conjunctions):
    d = conjunctions.dictionary
    assert score(with_rows(conjunctions, {2: d[2] + 0.3 * d[4]})).value == pytest.approx(0, abs=1e-5)
    found = score(with_rows(conjunctions, {2: d[2] - 0.3 * d[0]}))
    assert found.value == pytest.approx(0, abs=1e-5)
    assert found.parts["negative"] == pytest.approx(0.3 / ASKED, abs=1e-5)


def test_atoms_that_overlap_are_told_apart(conjunctions):
    atoms = normalize(torch.randn(7, 10, generator=torch.Generator().manual_seed(3)), dim=1)
    truth = replace(conjunctions.truth, dictionaries={"mixed": {0: atoms[:2], 1: atoms[2:]}})
    overlapping = replace(conjunctions, truth=truth, dictionary=atoms)
    assert score(overlapping).value == pytest.approx(0, abs=1e-4)
    assert score(with_rows(overlapping, {2: atoms[2] + 0.3 * atoms[0]})).value == pytest.approx(0.3 / ASKED, abs=1e-4)


def test_concepts_that_are_on_together_are_related_without_a_hierarchy(conjunctions):
    z, d = conjunctions.codes.clone(), conjunctions.dictionary
    free = replace(conjunctions.truth, constituents={})
    z[:, :2] = z[:, 2:3] * torch.tensor([1.0, 0])  # concept 0 is on where 2 is; the others are independent
    latents = {0: SparseRows.from_dense(z[:, :2]), 1: SparseRows.from_dense(z[:, 2:])}
    paired = replace(conjunctions, codes=z, sample=replace(conjunctions.sample, latents=latents), truth=free)
    assert score(with_rows(paired, {2: d[2] + 0.3 * d[0]})).value == pytest.approx(0.3 / 2, abs=1e-5)
    with pytest.raises(NotApplicable, match="related"):
        score(replace(paired, sample=replace(paired.sample, latents={0: 0 * z[:, :2], 1: 0 * z[:, 2:]})))


def test_a_concept_without_a_code_counts_1(conjunctions):
    few = replace(conjunctions, codes=conjunctions.codes[:, :2], dictionary=conjunctions.dictionary[:2])
    assert score(few).value == pytest.approx(4 / ASKED)
    assert score(few).parts["without_code"] == pytest.approx(4 / ASKED)
    assert score(replace(conjunctions, codes=torch.zeros_like(conjunctions.codes))).value == 1
