import pytest
import torch

from testbed.numerics.normal_scores import normal_scores
from testbed.numerics.purity import own_and_leak, purity


def correlated(n, c, rho, seed):
    g = torch.Generator().manual_seed(seed)
    return rho**0.5 * torch.randn(n, 1, generator=g) + (1 - rho) ** 0.5 * torch.randn(n, c, generator=g)


def standard(x):
    return (x - x.mean(dim=0)) / x.std(dim=0, correction=0)


def shares(code, c=2, rho=0.0, n=40_000):
    parts = [standard(correlated(n, c, rho, seed)) for seed in (1, 2)]
    fit, score = ((z, standard(code(z))[:, None]) for z in parts)
    own, leak = own_and_leak(fit, score, torch.tensor([0]))
    return float(own), float(leak)


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.9])
def test_a_sum_of_two_concepts_is_half_pure(rho):
    own, leak = shares(lambda z: z[:, 0] + z[:, 1], rho=rho)
    variance = 2 + 2 * rho  # of the sum, of which each concept alone explains all but (1 - rho^2)
    assert own == pytest.approx((1 - rho**2) / variance, abs=0.01)
    assert leak == pytest.approx((1 - rho**2) / variance, abs=0.01)


@pytest.mark.parametrize("rho", [0.0, 0.9])
def test_a_code_of_one_concept_leaks_nothing_even_if_it_bends(rho):
    own, leak = shares(lambda z: z[:, 0] + 0.5 * z[:, 0] ** 2, c=5, rho=rho)
    assert leak < 0.001
    assert own > 0.05


def test_a_code_of_other_concepts_is_not_pure_at_all():
    own, leak = shares(lambda z: z[:, 1:].sum(dim=1), c=5, rho=0.9)
    assert own < 0.001
    assert leak > 0.02


def test_of_very_many_concepts_the_ones_that_leak_are_found():
    own, leak = shares(lambda z: z[:, 0] + z[:, 150], c=300, n=4000)
    assert leak == pytest.approx(0.5, abs=0.05)
    assert own == pytest.approx(0.5, abs=0.05)


def test_a_single_concept_has_no_others_to_leak():
    own, leak = shares(lambda z: z[:, 0], c=1)
    assert own == pytest.approx(1, abs=0.01)
    assert leak == 0


def test_purity_of_nothing_is_nothing():
    torch.testing.assert_close(purity(torch.tensor([0.0, 1.0, 1.0]), torch.tensor([0.0, 0.0, 3.0])), torch.tensor([0.0, 1.0, 0.25]))


def test_normal_scores_do_not_change_under_increasing_maps_and_have_no_tails():
    x = torch.randn(501, 3, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    torch.testing.assert_close(normal_scores(x), normal_scores(x.exp()))
    torch.testing.assert_close(normal_scores(x), -normal_scores(-(x**3)))
    assert normal_scores(torch.tan(x)).abs().max() < 4


def test_tied_values_share_a_score_and_a_constant_has_none():
    scores = normal_scores(torch.tensor([[0.0, 5.0], [0.0, 5.0], [1.0, 5.0], [2.0, 5.0]]))
    assert scores[0, 0] == scores[1, 0] < scores[2, 0] < scores[3, 0]
    assert (scores[:, 1] == 0).all()
