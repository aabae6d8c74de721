"""Continuous hierarchies: what Jacobians and covariances tell, and what they leave open."""

import math

import pytest
import torch

from generators.assumptions.information import total_correlation_gaussian
from generators.assumptions.real_law import Moments, correlated, faithful_moments, spread
from generators.assumptions.table import assumption_table
from generators.assumptions.theorems import check_theorems
from generators.selection.continuous.family import ContinuousHierarchy
from testbed.contracts import NotApplicable


def table(**params):
    generator = ContinuousHierarchy(**{"levels": (2, 6), "dimension": 16, "cells": 64, **params})
    return {row.assumption: row for row in assumption_table(generator.draw(0))}


def test_a_sparse_nonlinear_f_meets_what_a_linear_one_cannot():
    bent, linear = table(mixing="mlp", row_support=2), table(mixing="linear", row_support=2)
    for rows in (bent, linear):
        assert rows["structural_sparsity"].verdict == rows["no_nested_effects"].verdict == "holds"
        assert rows["injective"].verdict == "holds"
    assert bent["rows_span_support"].verdict == "holds"
    assert linear["rows_span_support"].verdict == "fails"
    assert table(mixing="mlp")["structural_sparsity"].verdict == "fails"  # dense


def test_the_smallest_singular_value_of_a_linear_f_follows_from_its_condition_number():
    row = table(mixing="linear", condition=5.0)["injective"]
    assert row.witness["condition"] == pytest.approx(5.0)


def test_selection_is_seen_in_correlations_and_its_absence_in_the_truth():
    selected, free = table(selection="bump"), table(selection="none")
    assert selected["not_void"].verdict == "holds"
    assert selected["independent"].verdict == "fails"
    assert free["not_void"].verdict == "fails"
    assert free["independent"].verdict == "holds"
    assert table(strength=0.0)["not_void"].verdict == "fails"


def test_theorems_of_real_concepts_apply_where_they_should():
    def status(**params):
        instance = ContinuousHierarchy(levels=(2, 6), dimension=16, cells=64, **params).draw(0)
        return {result.theorem.name: result.status for result in check_theorems(instance)}

    assert status(mixing="mlp", row_support=2)["continuous_minimality"] == "applies"
    assert status(mixing="mlp", row_support=2)["structural_sparsity"] == "does not apply"  # selection makes concepts dependent
    assert status(mixing="mlp", row_support=1)["anchors"] == "applies"  # every coordinate is an anchor
    free = status(mixing="mlp", row_support=2, selection="none")
    assert free["structural_sparsity"] == "applies"
    assert free["continuous_minimality"] == "does not apply"
    assert free["sparse_basis"] == "does not apply"  # real concepts are never off


def test_correlations_within_their_sampling_error_leave_it_open():
    rho = 0.3
    c = torch.tensor([[1.0, rho], [rho, 1.0]], dtype=torch.float64)
    assert correlated(Moments(c, 10_000, False)).margin == pytest.approx(-0.5 * math.log(1 - rho**2))
    with pytest.raises(NotApplicable, match="sampling error"):
        correlated(Moments(c, 100, False))
    assert not correlated(Moments(c, 10_000, True)).holds
    assert not correlated(Moments(c[:1, :1], 10_000, False)).holds
    # what independent constituents reach: far below the level at the stated number of rows
    x = torch.randn(20_000, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    with pytest.raises(NotApplicable):
        correlated(Moments(x.T.cov(), 20_000, False))
    assert total_correlation_gaussian(x.T.cov()) < 1e-3


def test_faithfulness_of_a_sum_is_what_a_constituent_adds_to_the_others():
    # v = t_1 + t_2 with correlation rho: cov(v, t_1 | t_2) = 1 - rho^2, sd(v) = sqrt(2 + 2 rho)
    rho = 0.5
    c = torch.tensor([[2 + 2 * rho, 1 + rho, 1 + rho], [1 + rho, 1, rho], [1 + rho, rho, 1]], dtype=torch.float64)
    assert faithful_moments(Moments(c, 10_000, False)).margin == pytest.approx((1 - rho**2) / math.sqrt(2 + 2 * rho))
    ignored = torch.tensor([[1, 1, 0.5], [1, 1, 0.5], [0.5, 0.5, 1]], dtype=torch.float64)  # v = t_1
    with pytest.raises(NotApplicable, match="constituent 1"):
        faithful_moments(Moments(ignored, 10_000, False))


def test_a_concept_that_does_not_vary_is_degenerate():
    assert spread(torch.tensor([1.0, 0.2])).margin == pytest.approx(0.2)
    assert not spread(torch.tensor([1.0, 0.0])).holds


def test_a_steered_instance_is_not_judged_by_its_moments():
    instance = ContinuousHierarchy(levels=(2, 6), dimension=16, cells=64).draw(0).select_then_do({(1, 0): 2.0})
    rows = {row.assumption: row for row in assumption_table(instance, ["not_void"])}
    assert rows["not_void"].verdict == "cannot be told"
    assert "steered" in rows["not_void"].witness["reason"]


def test_phi_s_alone_selects_composites_of_level_0():
    assert table(selection="none")["not_void"].verdict == "fails"
    assert table(selection="none", root_selection="bump")["not_void"].verdict == "holds"
