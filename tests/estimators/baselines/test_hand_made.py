import pytest
import torch

from generators.bare_concepts import BareConcepts
from testbed.contracts import InvalidInput
from testbed.estimators.baselines.hand_made import KINDS, HandMade, row_keys


@pytest.fixture(scope="module")
def x():
    return BareConcepts(correlation=0.5).draw(1).sample(4000, 2).observed.views["concepts"].values


def made(x, kind, amount=None):
    estimator = HandMade(kind, amount).fit(x, seed=3)
    return estimator, estimator.encode(x)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_has_the_same_codes_wherever_it_stands(x, kind):
    estimator, codes = made(x, kind)
    torch.testing.assert_close(estimator.encode(x[100:200].flip(0)).flip(0), codes[100:200], atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("kind", ["perfect", "permuted_scaled", "rotation", "duplicated", "dead_laden", "rotated_pairs", "sheared", "path"])
def test_codes_that_lose_nothing_decode_to_the_view(x, kind):
    estimator, codes = made(x, kind, 0.4 if kind == "path" else None)
    torch.testing.assert_close(estimator.decode(codes), x, atol=1e-3, rtol=1e-3)


def test_the_path_leads_from_the_concepts_to_a_rotation(x):
    first, last = made(x, "path", 0.0)[0], made(x, "path", 1.0)[0]
    torch.testing.assert_close(first.matrix_ * first.scale_[:, None], torch.eye(12), atol=1e-5, rtol=0)
    rotation = last.matrix_ * last.scale_[:, None]
    torch.testing.assert_close(rotation, made(x, "rotation")[0].matrix_ * last.scale_[:, None], atol=1e-4, rtol=0)
    torch.testing.assert_close(rotation.T @ rotation, torch.eye(12), atol=1e-4, rtol=0)


def test_halves_of_a_concept_add_up_to_it(x):
    codes = made(x, "split")[1]
    z = (x - x.mean(dim=0)) / x.std(dim=0, correction=0)
    torch.testing.assert_close(codes[:, :12] - codes[:, 12:], z, atol=1e-4, rtol=0)


def test_noise_is_standard_and_tells_nothing_of_the_row(x):
    codes = made(x, "noise")[1]
    assert codes.mean(dim=0).abs().max() < 0.08
    assert (codes.std(dim=0) - 1).abs().max() < 0.06
    assert torch.corrcoef(torch.cat([x, codes], dim=1).T)[:12, 12:].abs().max() < 0.08


def test_heavy_tails_are_heavy(x):
    assert made(x, "heavy_noise")[1].abs().max() > 50


def test_keys_of_rows_do_not_collide_and_minus_zero_is_zero():
    grid = torch.cartesian_prod(*[torch.arange(0, 20.0)] * 3)
    assert len(row_keys(grid, 1).unique()) == len(grid)
    assert row_keys(torch.zeros(1, 3), 1) == row_keys(-torch.zeros(1, 3), 1)


def test_an_unknown_kind_is_refused_with_the_known_ones(x):
    with pytest.raises(InvalidInput, match="rotation"):
        HandMade("nonsense").fit(x, seed=0)
