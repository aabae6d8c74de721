"""One link: its message against closed forms, its conditional law, fixed inputs, impossible selections."""

import math

import pytest
import torch
from scipy import stats

from generators.selection.continuous.laws import Point, base_density
from generators.selection.continuous.links import Impossible, Rotation, join
from generators.selection.continuous.selection import FREE, Selection

HALF = Rotation(math.pi / 4, 0.0)


def uniforms(*shape, seed=0):
    return torch.rand(*shape, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def pdf(law, x):
    return torch.from_numpy(law.pdf(x.numpy()))


def test_two_gaussians_make_a_gaussian():
    base = base_density("gaussian", 5.0, 256)
    message, acceptance, _ = join(base, base, Rotation(0.6, 0.0), FREE, FREE, 256)
    torch.testing.assert_close(message.values, pdf(stats.norm, message.nodes), rtol=5e-3, atol=1e-6)
    assert acceptance == 1


@pytest.mark.parametrize(
    ("law", "exact"),
    [
        ("uniform", lambda r: ((math.sqrt(6) - r.abs()) / 6).clamp_min(0)),  # triangular
        ("laplace", lambda r: (1 + 2 * r.abs()) * (-2 * r.abs()).exp() / 2),  # a sum of two
    ],
)
def test_sums_of_other_laws_have_their_closed_form(law, exact):
    base = base_density(law, 5.0, 256)
    message, _, _ = join(base, base, HALF, FREE, FREE, 256)
    assert float((message.values - exact(message.nodes)).abs().max()) < 1e-3


def test_a_heavy_tailed_sum_has_the_tail_of_one_big_jump():
    base = base_density("student", 3.0, 256)
    message, _, _ = join(base, base, HALF, FREE, FREE, 256)
    x = torch.tensor([40.0, 80.0, 160.0], dtype=torch.float64)
    single = 2 * math.sqrt(2) * base.at(math.sqrt(2) * x)  # P(X + Y > x) ~ 2 P(X > x)
    torch.testing.assert_close(message.at(x), single, rtol=0.05, atol=0)


@pytest.mark.parametrize(("low", "high"), [(-0.3, 0.5), (2.0, 2.5), (4.753424, 20.0), (-7.0, -5.0)])
def test_acceptance_of_an_interval_is_exact_down_to_1e_minus_6_and_below(low, high):
    base = base_density("gaussian", 5.0, 256)
    phi = Selection("interval", (low + high) / 2, (high - low) / 2, 1.0)
    message, acceptance, link = join(base, base, Rotation(0.6, 0.0), FREE, phi, 256)
    exact = stats.norm.cdf(high) - stats.norm.cdf(low) if high < 0 else stats.norm.sf(low) - stats.norm.sf(high)
    assert acceptance == pytest.approx(exact, rel=3e-3)
    n = 200_000
    r = message.quantile(uniforms(n))
    assert low <= r.min()
    assert r.max() <= high
    x, y = link.split(r, uniforms(2, n, seed=1))
    torch.testing.assert_close(math.cos(0.6) * x + math.sin(0.6) * y, r)
    e = math.cos(0.6) * y - math.sin(0.6) * x
    inside = stats.truncnorm(low, high)
    assert stats.kstest(r.numpy(), inside.cdf, method="asymp").pvalue > 1e-3
    assert stats.kstest(e.numpy(), stats.norm.cdf, method="asymp").pvalue > 1e-3
    assert abs(stats.spearmanr(r.numpy(), e.numpy())[0]) < 4 / math.sqrt(n)


def test_agreement_makes_the_complement_narrow():
    base = base_density("gaussian", 5.0, 256)
    phi = Selection("none", 0.0, 1.0, 1.0, agreement=0.5)
    message, acceptance, link = join(base, base, HALF, phi, phi, 256)
    assert acceptance == pytest.approx(0.5 / math.sqrt(1.25), rel=1e-3)
    n = 100_000
    x, y = link.split(message.quantile(uniforms(n)), uniforms(2, n, seed=1))
    assert stats.kstest(((y - x) / math.sqrt(2)).numpy(), stats.norm(0, 0.5 / math.sqrt(1.25)).cdf, method="asymp").pvalue > 1e-3


def test_a_uniforms_support_is_never_left():
    base = base_density("uniform", 5.0, 128)
    for tau in (0.0, 1.0):
        message, _, link = join(base, base, Rotation(0.9, tau), FREE, FREE, 128)
        for part in link.split(message.quantile(uniforms(100_000)), uniforms(2, 100_000, seed=1)):
            assert part.abs().max() <= math.sqrt(3) + 1e-9


def test_fixed_inputs_leave_nothing_or_one_thing_to_draw():
    base, rotation = base_density("gaussian", 5.0, 256), Rotation(0.6, 0.0)
    message, _, link = join(base, Point(1.5), rotation, FREE, FREE, 256)
    exact = stats.norm(1.5 * math.sin(0.6), math.cos(0.6))
    torch.testing.assert_close(message.values, pdf(exact, message.nodes), rtol=5e-3, atol=1e-6)
    x, y = link.split(message.quantile(uniforms(1000)), uniforms(2, 1000))
    assert (y == 1.5).all()
    assert x.std() > 0.9
    at, weight, link = join(Point(1.0), Point(-1.0), rotation, FREE, Selection("bump", 0.0, 1.0, 1.0), 256)
    r = math.cos(0.6) - math.sin(0.6)
    assert at.value == pytest.approx(r)
    assert weight == pytest.approx(math.exp(-(r**2) / 2))


@pytest.mark.parametrize("center", [50.0, 9.0])
def test_what_almost_nothing_passes_is_impossible(center):
    base = base_density("gaussian", 5.0, 128)
    with pytest.raises(Impossible):
        join(base, base, HALF, FREE, Selection("interval", center, 0.5, 1.0), 128)
    with pytest.raises(Impossible):
        join(Point(0.0), Point(0.0), HALF, FREE, Selection("interval", center, 0.5, 1.0), 128)
