"""Laws of concepts after selection: closed forms, and agreement with samples."""

import math
from functools import cache

import pytest
import torch
from scipy import stats

from generators.selection.continuous.family import ContinuousHierarchy
from generators.selection.continuous.laws import Point
from generators.selection.continuous.marginals import moments
from testbed.contracts import InvalidInput


@cache
def _drawn(params):
    return ContinuousHierarchy(**{"levels": (1, 2, 4), "branching": 2, "dimension": 9, **dict(params)}).draw(3)


def drawn(**params):
    return _drawn(tuple(sorted(params.items())))


def test_a_gaussian_under_a_bump_has_gaussian_marginals():
    instance = drawn(levels=(1, 3), branching=3)
    phi, (coupling,) = instance.world.selections[0][0], instance.world.couplings[0]
    shrink = 1 / (1 + phi.width**2)  # v | phi is N(c / (1 + w^2), w^2 / (1 + w^2))
    (top,), leaves = instance.marginals()
    assert moments(top) == pytest.approx((phi.center * shrink, phi.width * math.sqrt(shrink)), abs=1e-3)
    for a, j in zip(coupling.weights().tolist(), instance.truth.constituents[0][0], strict=True):
        exact = stats.norm(a * phi.center * shrink, math.sqrt(1 - a**2 * shrink))
        assert moments(leaves[j]) == pytest.approx((exact.mean(), exact.std()), abs=1e-3)
        x = torch.linspace(-2, 2, 41, dtype=torch.float64)
        torch.testing.assert_close(leaves[j].at(x), torch.from_numpy(exact.pdf(x.numpy())), rtol=5e-3, atol=0)


@pytest.mark.parametrize(
    "params",
    [
        {"law": "laplace", "nonlinearity": 1.0},
        {"law": "uniform", "selection": "interval", "width": 1.0, "agreement": 1.5},
        {"law": "student", "nonlinearity": 0.5, "selection": "logistic", "levels": (2, 7), "branching": 3, "cells": 128},
        {"selection": "none"},
    ],
)
@pytest.mark.parametrize("change", ["as it is", "condition", "do_then_select"])
def test_samples_follow_the_stated_laws(params, change):
    instance = drawn(**params)
    if change != "as it is":
        last = len(instance.truth.levels) - 1
        instance = getattr(instance, change)({(0, 0): float(instance.truth.facts["mean/0"][0]), (last, 1): 0.25})
    laws = [law for row in instance.marginals() for law in row]
    for law, v in zip(laws, torch.cat(instance.latents(50_000, 1), dim=1).T, strict=True):
        if isinstance(law, Point):
            torch.testing.assert_close(v, torch.full_like(v, law.value))
            continue
        edges = law.quantile(torch.linspace(0, 1, 21, dtype=torch.float64)[1:-1])
        counts = torch.bucketize(v.contiguous(), edges).bincount(minlength=20)
        assert stats.chisquare(counts.numpy()).pvalue > 1e-5


def test_after_select_then_do_marginals_are_not_claimed():
    with pytest.raises(InvalidInput, match="estimate them from a sample"):
        drawn().select_then_do({(0, 0): 1.0}).marginals()
