"""The sampler against plain rejection from the base law, closed forms, importance weights; and the three interventions."""

import math
from functools import cache

import numpy as np
import pytest
import torch
from scipy import stats

from generators.selection.continuous.couplings import slope, unwarp, warp
from generators.selection.continuous.family import ContinuousHierarchy
from testbed.contracts import InvalidInput
from testbed.numerics.mmd import two_sample_test

LEVEL = 1e-4
"""Of every chi-square, Kolmogorov-Smirnov and correlation test here."""
MMD_LEVEL = 2e-3
"""Of every MMD test here: the smallest p-value that 499 permutations can give rejects."""

CASES = {
    "gaussian, bump": {"levels": (1, 3)},
    "gaussian, bent, interval": {"levels": (1, 3), "selection": "interval", "width": 1.0, "nonlinearity": 1.0},
    "laplace, bent, agreeing": {"levels": (1, 3), "law": "laplace", "nonlinearity": 0.7, "selection": "logistic", "agreement": 1.0},
    "uniform, interval": {"levels": (1, 3), "law": "uniform", "selection": "interval", "width": 0.5},
    "uniform, bent": {"levels": (2, 6), "law": "uniform", "nonlinearity": 1.5, "selection": "none", "cells": 128},
    "student, interval": {"levels": (1, 3), "law": "student", "law_parameter": 3.0, "selection": "interval", "width": 1.0},
    "two levels, interval": {"levels": (1, 2, 4), "branching": 2, "selection": "interval", "center": 0.5, "width": 1.0},
    "two levels, bent, student": {
        "levels": (1, 2, 4),
        "branching": 2,
        "law": "student",
        "nonlinearity": 1.0,
        "selection": "bump",
        "width": 1.0,
        "agreement": 2.0,
    },
    "hard tuples": {"levels": (1, 3), "law": "laplace", "nonlinearity": 0.7, "width": 1.0, "agreement": 1.2, "agreement_kind": "interval"},
    "hard tuples of uniform leaves, two levels": {
        "levels": (1, 2, 4),
        "branching": 2,
        "law": "uniform",
        "selection": "none",
        "agreement": 1.0,
        "agreement_kind": "interval",
    },
    "phi_S, hard": {"levels": (1, 2, 5), "branching": 2, "width": 1.0, "root_selection": "interval", "root_center": 0.5, "root_width": 1.0},
    "phi_S, soft, alone": {"levels": (1, 3), "law": "student", "selection": "none", "root_selection": "logistic", "root_width": 0.3},
    "phi_S on leaves": {"levels": (3,), "law": "laplace", "root_selection": "interval", "root_center": 0.7, "root_width": 0.8},
    "two levels, uniform": {"levels": (1, 2, 5), "branching": 2, "law": "uniform", "selection": "interval", "center": 0.3, "width": 0.8},
}


@cache
def _drawn(params):
    return ContinuousHierarchy(**{"dimension": 6, **dict(params)}).draw(3)


def drawn(**params):
    """Instances do not change: those with the same parameters are drawn once."""
    return _drawn(tuple(sorted(params.items())))


def same_law(a, b, pairs=True):
    """The least p-value, times their number, of chi-square tests on binned columns (12 bins) and pairs (6 x 6), rows (n, c) and (m, c)."""
    p, pooled = [], torch.cat([a, b])

    def binned(x, bins):
        moving = pooled.std(dim=0) > 1e-9
        edges = torch.quantile(pooled[:: max(1, len(pooled) // 8_000)], torch.linspace(0, 1, bins + 1, dtype=torch.float64)[1:-1], dim=0)
        return torch.stack([torch.searchsorted(edges[:, c].contiguous(), x[:, c].contiguous()) for c in range(x.shape[1])]), moving

    def compare(x, y, cells):
        table = torch.stack([x.bincount(minlength=cells), y.bincount(minlength=cells)])
        table = table[:, table.sum(dim=0) >= 10]
        p.append(stats.chi2_contingency(table.numpy()).pvalue if table.shape[1] > 1 else 1.0)

    for bins in (12, 6) if pairs else (12,):
        (x, moving), (y, _) = binned(a, bins), binned(b, bins)
        columns = moving.nonzero()[:, 0].tolist()
        for c in columns:
            if bins == 12:
                compare(x[c], y[c], bins)
            else:
                for d in columns[: columns.index(c)]:
                    compare(bins * x[c] + x[d], bins * y[c] + y[d], bins**2)
    return min(p) * len(p)


def mmd_p(a, b, n=4000):
    """p-value of the MMD test on the first n rows of each: all columns and their dependence at once."""
    return two_sample_test(a[:n], b[:n], permutations=499, seed=7, features=128).p_value


def sampled(instance, n, seed):
    return torch.cat(instance.latents(n, seed), dim=1)


@pytest.mark.parametrize("case", CASES)
def test_samples_have_the_law_that_rejection_gives(rejected, case):
    instance = drawn(**CASES[case])
    reference, acceptance = rejected(instance, 200_000, 1)
    rows = sampled(instance, 100_000, 2)
    assert len(reference) > 5_000
    assert same_law(rows, reference) > LEVEL
    assert mmd_p(rows, reference) > MMD_LEVEL
    assert instance.truth.facts["acceptance"] == pytest.approx(acceptance, rel=4 / math.sqrt(len(reference)) + 2e-3)


def test_the_comparison_tells_a_top_down_flow_from_selection(rejected):
    instance = drawn(**CASES["laplace, bent, agreeing"])
    reference, _ = rejected(instance, 300_000, 1)
    (lower,) = instance.world.forest.constituents[0].tolist()
    coupling, rows = instance.world.couplings[0][0], sampled(instance, 150_000, 2)
    v, e = coupling.compose(rows[:, 1:][:, lower])
    alone = rows.clone()  # the complement drawn on its own: right marginals of v and e, wrong law
    alone[:, 1:][:, lower] = coupling.decompose(v, e[torch.randperm(len(e), generator=torch.Generator().manual_seed(0))])
    assert same_law(rows, reference) > LEVEL > same_law(alone, reference)
    assert mmd_p(rows, reference, 10_000) > MMD_LEVEL >= mmd_p(alone, reference, 10_000)


@pytest.mark.parametrize("weights", ["equal", "random"])
def test_a_gaussian_sum_selected_at_acceptance_1e_minus_6_has_its_closed_form(weights):
    low = stats.norm.isf(1e-6)
    instance = drawn(levels=(1, 3), weights=weights, selection="interval", center=low + 2, width=2.0)
    assert instance.truth.facts["acceptance"] == pytest.approx(1e-6, rel=1e-2)  # the standard deviation has an error, too
    inside = stats.truncnorm(*instance.world.selections[0][0].support())
    assert instance.truth.facts["acceptance"] == pytest.approx(stats.norm.sf(inside.a) - stats.norm.sf(inside.b), rel=2e-3)
    n = 100_000
    v, t = instance.latents(n, 1)
    (lower,) = instance.world.forest.constituents[0].tolist()
    again, e = instance.world.couplings[0][0].compose(t[:, lower])
    torch.testing.assert_close(again, v[:, 0])
    assert stats.kstest(v[:, 0].numpy(), inside.cdf, method="asymp").pvalue > LEVEL
    for k in range(2):  # orthogonal to v: untouched by selection
        assert stats.kstest(e[:, k].numpy(), stats.norm.cdf, method="asymp").pvalue > LEVEL
        assert abs(stats.spearmanr(e[:, k].numpy(), v[:, 0].numpy())[0]) < 4 / math.sqrt(n)


def test_two_levels_selected_at_acceptance_1e_minus_6_have_the_law_of_nested_rejection():
    """Each composite passes one base row in a hundred: rejected below first, then above."""
    instance = drawn(levels=(1, 2, 4), branching=2, nonlinearity=0.5, selection="interval", center=(2.6, 2.3), width=0.3)
    world, kept = instance.world, []
    assert 1e-7 < instance.truth.facts["acceptance"] < 1e-5
    generator, shares = np.random.default_rng(1), []
    for i in range(2):
        leaves = torch.from_numpy(generator.standard_normal((1_500_000, 2)))
        v, _ = world.couplings[1][i].compose(leaves)
        passes = world.selections[1][i].of_value(v) > 0
        shares.append(float(passes.double().mean()))
        kept.append((leaves[passes], v[passes]))
    n = min(len(v) for _, v in kept)
    below = torch.stack([v[:n] for _, v in kept], dim=1)
    (order,) = world.forest.constituents[0].tolist()
    top, _ = world.couplings[0][0].compose(below[:, order])
    passes = world.selections[0][0].of_value(top) > 0
    columns = torch.empty(n, 4, dtype=torch.float64)
    for i, lower in enumerate(world.forest.constituents[1].tolist()):
        columns[:, lower] = kept[i][0][:n]
    reference = torch.cat([top[:, None], below, columns], dim=1)[passes]
    assert len(reference) > 100
    rows = sampled(instance, 4000, 2)
    assert mmd_p(rows, reference) > MMD_LEVEL
    p = float(passes.double().mean())
    assert instance.truth.facts["acceptance"] == pytest.approx(math.prod(shares) * p, rel=4.5 * (p * n) ** -0.5)


@pytest.mark.parametrize("law", ["gaussian", "laplace", "uniform", "student"])
def test_without_selection_leaves_are_independent_and_keep_their_law(base_sample, law):
    instance, off = (
        drawn(levels=(1, 2, 4), branching=2, law=law, nonlinearity=1.0, **how) for how in ({"selection": "none"}, {"strength": 0.0})
    )
    assert instance.truth.facts["acceptance"] == 1
    assert instance.truth.facts["total_correlation"] == pytest.approx(0, abs=5e-3)
    leaves = instance.latents(100_000, 1)[2]
    assert torch.equal(instance.latents(2000, 1)[2], off.latents(2000, 1)[2])  # strength 0 is no selection, to the bit
    exact, _ = base_sample(instance, 100_000, 2)
    assert same_law(leaves, exact[2]) > LEVEL
    ranks = leaves.argsort(dim=0).argsort(dim=0).double()
    assert (ranks.T.corrcoef() - torch.eye(4, dtype=torch.float64)).abs().max() < 4.3 / math.sqrt(100_000)  # Spearman's


@pytest.mark.parametrize("case", ["gaussian, bent, interval", "two levels, bent, student", "two levels, uniform"])
def test_composites_are_composed_of_the_leaves_that_are_returned(case):
    instance = drawn(**CASES[case])
    values = instance.latents(20_000, 5)
    for level, row in enumerate(instance.truth.constituents[i] for i in range(len(values) - 1)):
        for i, lower in enumerate(row):
            v, _ = instance.world.couplings[level][i].compose(values[level + 1][:, list(lower)])
            torch.testing.assert_close(values[level][:, i], v, rtol=1e-9, atol=1e-9)
            assert (instance.world.selections[level][i].of_value(v.clamp(v.min() + 1e-9, v.max() - 1e-9)) > 0).all()


def test_means_match_importance_weighted_base_samples(base_sample):
    instance = drawn(levels=(1, 2, 4), branching=2, nonlinearity=0.5, agreement=1.5)
    values, weight = base_sample(instance, 200_000, 1)
    base, w = torch.cat(values, dim=1), weight / weight.sum()
    rows = sampled(instance, 200_000, 2)
    for power in (1, 2):
        wanted = w @ base**power
        error = ((w**2) @ (base**power - wanted) ** 2 + (rows**power).var(dim=0) / len(rows)).sqrt()
        assert (((rows**power).mean(dim=0) - wanted) / error).abs().max() < 4.5


# ---------------------------------------------------------------------------------------------------------- interventions


def test_conditioning_a_root_leaves_the_gaussian_rest_as_it_is():
    instance = drawn(levels=(2, 6)).condition({(0, 0): 1.3})
    v, t = instance.latents(100_000, 1)
    assert (v[:, 0] == 1.3).all()
    lower = list(instance.truth.constituents[0][0])
    again, e = instance.world.couplings[0][0].compose(t[:, lower])
    torch.testing.assert_close(again, torch.full_like(again, 1.3))
    assert stats.kstest(e[:, 0].numpy(), stats.norm.cdf, method="asymp").pvalue > LEVEL
    plain = drawn(levels=(2, 6)).latents(100_000, 1)
    assert torch.equal(v[:, 1], plain[0][:, 1])  # another tree, the same uniform numbers


def solved(coupling, value, first):
    """The second constituent of a pair that is composed to `value`, given the first, and its derivative in `value`."""
    (angle,), (tau,) = coupling.angles, coupling.strengths
    warped = (warp(value, tau) - math.cos(angle) * warp(coupling.signs[0] * first, tau)) / math.sin(angle)
    second = unwarp(warped, tau)
    return coupling.signs[1] * second, slope(value, tau) / (math.sin(angle) * slope(second, tau))


def conditioned_rows(instance, which, value, n, seed):
    """Rows given the value of a composite, without a slab: all leaves but one are drawn, one follows; rejection by what is left."""
    world, generator = instance.world, np.random.default_rng(seed)
    leaves = torch.from_numpy(generator.standard_normal((n, 4)))
    lowers, (top,) = world.forest.constituents[1].tolist(), world.forest.constituents[0].tolist()
    fixed = torch.full((n,), value, dtype=torch.float64)
    weight = torch.ones(n, dtype=torch.float64)
    if which == (0, 0):
        last = top[1]  # the composite that follows
        first, _ = world.couplings[1][top[0]].compose(leaves[:, lowers[top[0]]])
        fixed, density = solved(world.couplings[0][0], fixed, first)
        weight = weight * density
    else:
        last = which[1]
    a, b = lowers[last]
    leaves[:, b], density = solved(world.couplings[1][last], fixed, leaves[:, a])
    weight = weight * density * (-(leaves[:, b] ** 2) / 2).exp()
    values = [leaves]
    for level in (1, 0):
        columns = []
        for i, lower in enumerate(world.forest.constituents[level].tolist()):
            v, e = world.couplings[level][i].compose(values[0][:, lower])
            phi = world.selections[level][i]
            weight = weight * phi.of_value(v) * phi.of_complement(e).prod(dim=1)
            columns.append(v)
        values.insert(0, torch.stack(columns, dim=1))
    keep = torch.from_numpy(generator.random(n)) < weight / weight.max()
    return torch.cat(values, dim=1)[keep]


@pytest.mark.parametrize("which", [(2, 1), (1, 0), (0, 0)])
def test_conditioning_is_rejection_from_the_base_law_on_the_surface_of_that_value(rejected, which):
    instance = drawn(levels=(1, 2, 4), branching=2, nonlinearity=0.5)
    at = float(instance.truth.facts[f"mean/{which[0]}"][which[1]]) + 0.1
    if which[0] == 2:  # a leaf has no causes: conditioning on it and forcing it are one
        reference, _ = rejected(instance, 400_000, 1, {which: at})
    else:
        reference = conditioned_rows(instance, which, at, 400_000, 1)
    assert len(reference) > 10_000
    given = sampled(instance.condition({which: at}), 100_000, 2)
    column = which[1] + sum(instance.world.forest.sizes[: which[0]])
    torch.testing.assert_close(reference[:, column], torch.full((len(reference),), at, dtype=torch.float64))
    reference[:, column] = given[:, column] = at
    assert same_law(given, reference) > LEVEL
    assert mmd_p(given, reference) > MMD_LEVEL


@pytest.mark.parametrize("setting", [{(2, 1): 0.8}, {(1, 0): 0.6}, {(1, 1): 0.4, (2, 0): -0.3}, {(0, 0): 1.0}])
def test_do_then_select_is_rejection_from_the_base_law_with_forced_values(rejected, setting):
    instance = drawn(levels=(1, 2, 4), branching=2, nonlinearity=0.5, selection="bump", width=1.0, agreement=1.5)
    done = instance.do_then_select(setting)
    reference, acceptance = rejected(instance, 250_000, 1, setting)
    rows = sampled(done, 120_000, 2)
    assert same_law(rows, reference) > LEVEL
    assert mmd_p(rows, reference) > MMD_LEVEL
    assert done.truth.facts["acceptance"] == pytest.approx(acceptance, rel=4 / math.sqrt(len(reference)) + 2e-3)


def test_select_then_do_changes_only_what_is_composed_of_it():
    instance = drawn(levels=(1, 2, 4), branching=2)
    before, after = (i.latents(1000, 1) for i in (instance, instance.select_then_do({(1, 0): 5.0})))
    assert torch.equal(before[2], after[2])
    assert torch.equal(before[1][:, 1], after[1][:, 1])
    assert (after[1][:, 0] == 5).all()
    top, _ = instance.world.couplings[0][0].compose(after[1][:, list(instance.truth.constituents[0][0])])
    torch.testing.assert_close(after[0][:, 0], top)
    leaf = instance.select_then_do({(2, 0): 5.0}).latents(1000, 1)
    assert torch.equal(leaf[2][:, 1:], before[2][:, 1:])
    changed = [i for i, lower in enumerate(instance.truth.constituents[1]) if 0 in lower]
    for i in range(2):
        assert torch.equal(leaf[1][:, i], before[1][:, i]) == (i not in changed)


@pytest.mark.parametrize("setting", [{(2, 1): 0.8}, {(1, 0): 0.6, (2, 3): -0.4}])
def test_select_then_do_is_rejection_first_and_composing_anew_after(rejected, setting):
    instance = drawn(levels=(1, 2, 4), branching=2, nonlinearity=0.5, selection="bump", width=1.0, agreement=1.5)
    reference, _ = rejected(instance, 100_000, 1)
    leaves = reference[:, 3:]
    for (level, i), value in setting.items():
        if level == 2:
            leaves[:, i] = value
    done = instance.select_then_do(setting)
    reference = torch.cat(done.truth.compose(leaves), dim=1)
    assert mmd_p(sampled(done, 5000, 2), reference) > MMD_LEVEL
    assert same_law(sampled(done, 100_000, 2), reference) > LEVEL


def test_interventions_come_in_the_order_that_they_have_in_time():
    instance = drawn(levels=(1, 2, 4), branching=2)
    done = instance.do_then_select({(2, 0): 0.1}).condition({(1, 0): 0.5}).select_then_do({(0, 0): 9.0})
    values = done.latents(100, 1)
    assert (values[2][:, 0] == 0.1).all()
    torch.testing.assert_close(values[1][:, 0], torch.full((100,), 0.5, dtype=torch.float64))
    assert (values[0] == 9).all()
    with pytest.raises(InvalidInput, match="use it first"):
        instance.condition({(0, 0): 0.5}).do_then_select({(2, 0): 0.1})
    with pytest.raises(InvalidInput, match="before select_then_do"):
        done.condition({(2, 1): 0.1})
