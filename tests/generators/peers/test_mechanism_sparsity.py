"""Mechanism sparsity: graphs and the criterion on them, means given actions and steps, the mixing and its inverse, bad input."""

import math

import pytest
import torch

from generators.peers.leaky_mixing import draw_leaky
from generators.peers.mechanism_sparsity import KINDS, MechanismSparsity, graph, mean_given, told_apart
from testbed.contracts import InvalidInput


def test_the_graphs_are_the_published_ones():
    ring = graph("action", 4).int().tolist()
    assert ring == [[1, 0, 0, 1], [1, 1, 0, 0], [0, 1, 1, 0], [0, 0, 1, 1]]
    assert graph("time", 3).int().tolist() == [[1, 0, 0], [1, 1, 0], [1, 1, 1]]
    assert graph("action_blocks", 4).int().tolist() == [[1, 1, 0, 0], [1, 1, 0, 0], [0, 0, 1, 1], [0, 0, 1, 1]]
    assert graph("time_blocks", 6)[:3, :3].all()
    assert graph("time_blocks", 6).sum() == 18
    assert torch.equal(graph("time_diagonal", 5), torch.eye(5, dtype=torch.bool))


@pytest.mark.parametrize("kind", KINDS)
def test_the_graphical_criterion_holds_but_for_blocks(kind):
    apart = told_apart(graph(kind, 10), kind.startswith("time"))
    assert apart.all() if not kind.endswith("blocks") else not apart.any()


def test_the_triangle_needs_both_halves_of_the_criterion():
    """From causes alone, the last concept of a triangle shares the effects of its causes with nobody; the first with everybody."""
    assert told_apart(graph("time", 5), False).int().tolist() == [0, 0, 0, 0, 1]


def test_means_are_the_published_formulas_written_out():
    a = torch.tensor([[0.3, -1.2, 0.7]], dtype=torch.float64)
    found = mean_given("action", graph("action", 3), a)[0].tolist()
    for i in range(3):
        terms = [math.sin((i + 3) / math.pi * float(a[0, j]) + i) for j in (i, (i - 1) % 3)]
        assert found[i] == pytest.approx(sum(terms))
    step = mean_given("time", graph("time", 3), a)[0].tolist()
    for i in range(3):
        moved = sum(math.sin((i + 3) / math.pi * float(a[0, j]) + i) for j in range(i + 1))
        assert step[i] == pytest.approx(float(a[0, i]) + 0.5 * moved)
    torch.testing.assert_close(mean_given("time_diagonal", graph("time_diagonal", 3), a), a + 0.5 * a.sin())
    torch.testing.assert_close(mean_given("action_diagonal", graph("action_diagonal", 3), a), a.sin())


@pytest.mark.parametrize("kind", ["action_diagonal", "action", "action_blocks"])
def test_concepts_are_normal_around_their_mean_given_the_actions(kind):
    instance = MechanismSparsity(kind).draw(0)
    sample = instance.sample(40_000, 1)
    actions = torch.stack([sample.observed.rows[f"action_{j}"] for j in range(10)], dim=1).double()
    rest = sample.latents[0].double() - mean_given(kind, instance.truth.facts["graph"], actions)
    assert abs(float(rest.mean())) < 4.5 * 0.01 / rest.numel() ** 0.5
    assert float(rest.var()) == pytest.approx(1e-4, rel=0.02)
    assert (torch.corrcoef(rest.T) - torch.eye(10)).abs().max() < 5 / 200
    assert float(actions.min()) > -2
    assert float(actions.max()) < 2
    assert float(actions.var()) == pytest.approx(16 / 12, rel=0.01)


@pytest.mark.parametrize("kind", ["time_diagonal", "time", "time_blocks"])
def test_a_step_can_be_predicted_from_the_row_before(kind):
    """The row table's row before, inverted, gives the concepts before, whose mean the concepts follow."""
    instance = MechanismSparsity(kind, noise=0.0).draw(0)
    sample = instance.sample(5000, 1)
    before = torch.stack([sample.observed.rows[f"previous_{j}"] for j in range(20)], dim=1).double()
    z = instance.truth.mixing.inverse(before)
    assert float(z.var()) == pytest.approx(1.0, rel=0.03)
    rest = sample.latents[0].double() - mean_given(kind, instance.truth.facts["graph"], z)
    assert float(rest.var()) == pytest.approx(1e-4, rel=0.05)


@pytest.mark.parametrize("kind", KINDS)
def test_rows_are_standardised_and_the_oracle_inverts_them(kind):
    instance = MechanismSparsity(kind, noise=0.0).draw(2)
    sample = instance.sample(20_000, 3)
    x = sample.observed.views["mixed"].values
    assert x.mean(dim=0).abs().max() < 0.05
    assert (x.std(dim=0) - 1).abs().max() < 0.05
    codes = instance.truth.oracle(sample.observed, "mixed")
    torch.testing.assert_close(codes, sample.latents[0], rtol=0, atol=1e-4)


def test_noise_is_that_asked_for():
    clean, noisy = (MechanismSparsity(noise=noise).draw(0).sample(8192, 1).observed.views["mixed"].values for noise in (0.0, 0.3))
    assert float((noisy - clean).std()) == pytest.approx(0.3, rel=0.02)


def test_the_mixing_is_not_linear_and_its_layers_are_orthogonal():
    mixing = draw_leaky(4, 7, torch.Generator().manual_seed(0))
    for weight in mixing.weights:
        gram = weight @ weight.T
        torch.testing.assert_close(gram, gram[0, 0] * torch.eye(len(gram), dtype=torch.float64))
    z = torch.randn(50, 4, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    assert (mixing(z) + mixing(-z)).abs().max() > 0.01
    torch.testing.assert_close(mixing.inverse(mixing(z)), z)


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (MechanismSparsity("space"), "kind must be one of"),
        (MechanismSparsity(concepts=30), "concepts <= dimension"),
        (MechanismSparsity("time_blocks", concepts=5), "even number"),
        (MechanismSparsity(noise=-1.0), "noise of at least 0"),
    ],
)
def test_bad_parameters_are_refused(spec, message):
    with pytest.raises(InvalidInput, match=message):
        spec.draw(0)
