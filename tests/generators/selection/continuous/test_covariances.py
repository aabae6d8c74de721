"""Covariances, entropies and quantiles by quadrature: the Gaussian closed form, base laws, importance weights, samples."""

import math
from functools import cache

import pytest
import torch
from scipy import stats

from generators.selection.continuous.entropies import entropy
from generators.selection.continuous.family import ContinuousHierarchy
from generators.selection.continuous.laws import Density, Point, base_density


@cache
def _drawn(params):
    return ContinuousHierarchy(**{"levels": (1, 2, 5), "branching": 2, "dimension": 6, **dict(params)}).draw(3)


def drawn(**params):
    return _drawn(tuple(sorted(params.items())))


def gaussian(instance):
    """Mean and covariance of the leaves of a linear world of Gaussians under Gaussian potentials; and what composes them, (c, n_L)."""
    world = instance.world
    composing = [torch.eye(world.forest.sizes[-1], dtype=torch.float64)]
    precision, shift = torch.eye(world.forest.sizes[-1], dtype=torch.float64), torch.zeros(world.forest.sizes[-1], dtype=torch.float64)

    def weigh(direction, center, deviation):
        nonlocal precision, shift
        precision = precision + torch.outer(direction, direction) / deviation**2
        shift = shift + direction * center / deviation**2

    for level in reversed(range(len(world.couplings))):
        rows = []
        for i, lower in enumerate(world.forest.constituents[level].tolist()):
            phi, coupling, below = world.selections[level][i], world.couplings[level][i], composing[0][lower]  # (2, n_L)
            a = coupling.weights()
            rows.append(a @ below)
            signed = below * torch.tensor(coupling.signs, dtype=torch.float64)[:, None]
            rotated = math.cos(coupling.angles[0]) * signed[1] - math.sin(coupling.angles[0]) * signed[0]
            weigh(rows[-1], phi.center, phi.width)
            if phi.agreement is not None:
                weigh(rotated, 0.0, phi.agreement)
        composing.insert(0, torch.stack(rows))
    for i, phi in enumerate(world.root_selections):
        weigh(composing[0][i], phi.center, phi.width)
    covariance = torch.linalg.inv(precision)
    return covariance @ shift, covariance, torch.cat(composing)


def within(instance, wanted, scale=None):
    """The covariance fact agrees with `wanted` up to its stated error."""
    facts = instance.truth.facts
    deviation = wanted.diagonal().sqrt() if scale is None else scale
    return float(((facts["covariance"] - wanted).abs() / deviation / deviation[:, None]).max()) < facts["covariance_error"]


GAUSSIAN = {"width": 0.8, "agreement": 1.5, "root_selection": "bump", "root_center": -0.5, "root_width": 1.2}


@pytest.mark.parametrize("cells", [128, 256])
def test_covariances_of_a_gaussian_world_have_their_closed_form(cells):
    instance = drawn(**GAUSSIAN, cells=cells)
    mean, covariance, composing = gaussian(instance)
    assert within(instance, composing @ covariance @ composing.T)
    means = torch.cat([instance.truth.facts[f"mean/{level}"] for level in range(3)])
    torch.testing.assert_close(means, composing @ mean, rtol=0, atol=4e-3)


def test_entropies_of_a_gaussian_world_have_their_closed_form():
    instance = drawn(**GAUSSIAN)
    _, covariance, composing = gaussian(instance)
    facts = instance.truth.facts
    joint = 0.5 * float(torch.logdet(2 * math.pi * math.e * covariance))
    each = 0.5 * (2 * math.pi * math.e * (composing @ covariance @ composing.T).diagonal()).log()
    assert facts["entropy"] == pytest.approx(joint, abs=3e-3)
    torch.testing.assert_close(torch.cat([facts[f"concept_entropies/{level}"] for level in range(3)]), each, rtol=0, atol=2e-3)
    assert facts["total_correlation"] == pytest.approx(float(each[3:].sum()) - joint, abs=3e-3)
    assert facts["total_correlation"] > 0.1


@pytest.mark.parametrize(
    ("law", "exact"),
    [
        ("gaussian", 0.5 * math.log(2 * math.pi * math.e)),
        ("laplace", 1 + 0.5 * math.log(2)),
        ("uniform", 0.5 * math.log(12)),
        ("student", float(stats.t(5).entropy()) + 0.5 * math.log(3 / 5)),
    ],
)
def test_entropies_of_base_laws_have_their_closed_form(law, exact):
    assert entropy(base_density(law, 5.0, 256)) == pytest.approx(exact, abs=1e-3)
    assert entropy(Point(1.0)) == -math.inf
    triangle = Density(torch.tensor([0.0, 1.0], dtype=torch.float64), torch.tensor([0.0, 2.0], dtype=torch.float64))
    assert entropy(triangle) == pytest.approx(0.5 - math.log(2))  # of the density 2x on [0, 1]


CASES = {
    "bent, hard": {"nonlinearity": 1.0, "selection": "interval", "width": 1.0},
    "uniform, hard tuples": {"law": "uniform", "agreement": 1.2, "agreement_kind": "interval", "width": 1.0},
    "laplace, logistic, phi_S": {"law": "laplace", "nonlinearity": 0.7, "selection": "logistic", "root_selection": "interval"},
}


@pytest.mark.parametrize("case", CASES)
@pytest.mark.parametrize("change", ["as it is", "do_then_select"])
def test_covariances_and_entropies_match_importance_weighted_base_samples(base_sample, case, change):
    """Each within 4.5 standard errors of the weighted mean, plus the stated error."""
    instance, forced = drawn(**CASES[case]), {}
    if change != "as it is":
        forced = {(1, 0): float(instance.truth.facts["mean/1"][0]) + 0.1, (2, 3): 0.2}
        instance = instance.do_then_select(forced)
    facts = instance.truth.facts
    values, weight = base_sample(instance, 100_000, 1, forced)
    rows, w = torch.cat(values, dim=1), weight / weight.sum()
    centred = rows - w @ rows
    products = centred[:, :, None] * centred[:, None]
    wanted = (w[:, None, None] * products).sum(dim=0)
    error = ((w**2)[:, None, None] * (products - wanted) ** 2).sum(dim=0).sqrt()
    scale = wanted.diagonal().sqrt()
    assert ((facts["covariance"] - wanted).abs() <= 4.5 * error + facts["covariance_error"] * scale * scale[:, None] + 1e-12).all()
    # Entropy of the leaves: minus the mean log of p = base x phi / Z, Z being the mean of phi.
    passes = weight > 0
    free = [j for j in range(5) if (2, j) not in forced]
    base = instance.world.base.at(values[-1][passes][:, free].contiguous()).log().sum(dim=1)
    surprise = torch.zeros(len(rows), dtype=torch.float64)
    surprise[passes] = math.log(float(weight.mean())) - base - weight[passes].log()
    found = float(w @ surprise)
    error = float(((w**2) @ (surprise - found) ** 2).sqrt()) + float((weight.var() / len(weight)).sqrt() / weight.mean())
    assert abs(facts["entropy"] - found) < 4.5 * error + 3e-3


def test_conditioned_concepts_do_not_vary_and_shield_what_is_below_them():
    plain = drawn(**GAUSSIAN)
    value = float(plain.truth.facts["mean/1"][0]) + 0.2
    instance = plain.condition({(1, 0): value})
    facts = instance.truth.facts
    _, covariance, composing = gaussian(plain)
    every = composing @ covariance @ composing.T
    wanted = every - torch.outer(every[:, 1], every[1]) / every[1, 1]  # given a Gaussian
    wanted[1] = wanted[:, 1] = 0
    assert within(instance, wanted, every.diagonal().sqrt())
    below = [3 + j for j in instance.truth.constituents[1][0]]
    rest = [c for c in range(8) if c not in (1, *below)]
    assert (facts["covariance"][below][:, rest] == 0).all()
    assert facts["concept_entropies/1"][0] == -math.inf
    assert "entropy" not in facts
    assert (facts["quantiles/1"][0] == value).all()


def test_quantiles_are_those_of_samples():
    instance = drawn(**CASES["uniform, hard tuples"])
    n = 40_000
    for level, v in enumerate(instance.latents(n, 1)):
        for column, quantiles in zip(v.T, instance.truth.facts[f"quantiles/{level}"], strict=True):
            share = (column[:, None] <= quantiles).double().mean(dim=0)
            u = torch.arange(1, 100, dtype=torch.float64) / 100
            assert ((share - u).abs() / (u * (1 - u) / n).sqrt()).max() < 5


def test_after_select_then_do_moments_are_estimated_and_say_so():
    instance = drawn(**GAUSSIAN).select_then_do({(2, 0): 3.0})
    facts = instance.truth.facts
    assert facts["covariance_error"] == pytest.approx(facts["moments_rows"] ** -0.5, rel=1e-3)
    assert facts["moments_rows"] == 65_536
    assert not {"entropy", "concept_entropies/0", "quantiles/0"} & set(facts)
