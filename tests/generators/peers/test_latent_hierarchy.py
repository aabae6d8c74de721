"""Linear latent hierarchies: closed-form covariances, the ranks that the graph implies, published graphs and laws, bad input."""

import pytest
import torch

from generators.peers.latent_graphs import PUBLISHED, generic_rank, graph_of, layered, published
from generators.peers.latent_hierarchy import LatentHierarchy, covariance
from testbed.contracts import InvalidInput

SPECS = {
    "rank constraints": LatentHierarchy(),
    "measurement": LatentHierarchy.rlcd("measurement"),
    "tree": LatentHierarchy.rlcd("tree", noise="uniform"),
    "hierarchy": LatentHierarchy.rlcd("hierarchy", noise="laplace"),
}


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_sample_covariance_is_the_closed_form(spec):
    """Every entry within 5 standard errors, from the sample's own fourth moments."""
    instance = spec.draw(1)
    n = 120_000
    sample = instance.sample(n, 2)
    values = torch.cat([*sample.latents.values(), sample.observed.views["measured"].values], dim=1).double()
    exact = instance.truth.facts["covariance"]
    found = values.T @ values / n
    error = ((values.square().T @ values.square() / n - found.square()).clamp_min(0) / n).sqrt()
    assert ((found - exact).abs() / error).max() < 5
    assert (values.mean(dim=0).abs() / (exact.diagonal() / n).sqrt()).max() < 4.5


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_ranks_of_cross_covariances_are_those_that_the_graph_implies(spec):
    instance = spec.draw(3)
    facts = instance.truth.facts
    names, c = facts["names"], int(instance.truth.settings["concepts"])
    generator = torch.Generator().manual_seed(0)
    for _ in range(60):
        order = (c + torch.randperm(len(names) - c, generator=generator)).tolist()
        a, b = (int(torch.randint(1, 5, (1,), generator=generator)) for _ in range(2))
        first, second = order[:a], order[a : a + b]
        scale = facts["covariance"].diagonal().sqrt()
        block = (facts["covariance"] / scale[:, None] / scale)[first][:, second]
        s = torch.linalg.svdvals(block)
        rank = int((s > 1e-10 * s[0].clamp_min(1e-10)).sum())
        assert rank == generic_rank(facts["edges"], [names[i] for i in first], [names[i] for i in second])


def test_ranks_of_small_graphs_are_known():
    star = [("L1", f"X{i}") for i in range(1, 5)]
    assert generic_rank(star, ["X1", "X2"], ["X3", "X4"]) == 1
    two = [(f"L{k}", f"X{i}") for k in (1, 2) for i in range(1, 7)]
    assert generic_rank(two, ["X1", "X2", "X3"], ["X4", "X5", "X6"]) == 2
    assert generic_rank([("X1", "X2")], ["X1"], ["X2"]) == 1
    assert generic_rank([("X1", "X3"), ("X2", "X3")], ["X1"], ["X2"]) == 0


def test_each_cover_of_a_layered_graph_is_told_by_its_rank():
    """The measured descendants of a cover of k latents share rank k with the rest, where that is no smaller than k."""
    graph = layered([[2], [1, 2, 1]])
    parents = {v: {a for a, b in graph.edges if b == v} for v in graph.names}
    for cover in graph.covers[1:]:
        own = [v for v in graph.measured if parents[v] == set(cover)]
        rest = [v for v in graph.measured if v not in own]
        assert len(own) >= len(cover) + 1
        assert generic_rank(graph.edges, own, rest) == min(len(cover), 2)


def test_the_oracle_is_the_regression_on_measured_variables():
    instance = LatentHierarchy().draw(0)
    sample = instance.sample(60_000, 1)
    latents = torch.cat(list(sample.latents.values()), dim=1).double()
    codes = instance.truth.oracle(sample.observed, "measured").double()
    x = sample.observed.views["measured"].values.double()
    fitted = x @ torch.linalg.lstsq(x, latents).solution
    torch.testing.assert_close(codes, fitted, rtol=0, atol=0.05 * float(latents.std()))
    residual = latents - codes
    assert ((residual.T @ x / len(x)).abs() / (residual.std(dim=0)[:, None] * x.std(dim=0) / len(x) ** 0.5)).max() < 5


def test_weights_and_variances_lie_where_they_were_published():
    facts = LatentHierarchy().draw(5).truth.facts
    sizes = facts["weights"][facts["weights"] != 0].abs()
    assert 0.5 <= float(sizes.min()) < float(sizes.max()) <= 5
    assert 1 <= float(facts["variances"].min()) < float(facts["variances"].max()) <= 5
    raw = LatentHierarchy.rlcd("tree", standardise=False).draw(5).truth.facts
    assert float(raw["weights"][raw["weights"] != 0].abs().min()) >= 1
    assert 0.1 <= float(raw["variances"].min()) < float(raw["variances"].max()) <= 1
    unit = LatentHierarchy.rlcd("tree").draw(5).truth
    c = int(unit.settings["concepts"])
    torch.testing.assert_close(unit.facts["covariance"].diagonal()[c:], torch.ones(18, dtype=torch.float64))
    torch.testing.assert_close(covariance(unit.facts["weights"], unit.facts["variances"]), unit.facts["covariance"])


@pytest.mark.parametrize(
    ("name", "latent", "measured", "edges"), [("measurement", 4, 12, 16), ("tree", 4, 18, 21), ("hierarchy", 5, 17, 41)]
)
def test_published_graphs_have_the_published_sizes(name, latent, measured, edges):
    graph = published(name)
    assert (len(graph.latent), len(graph.measured), len(graph.edges)) == (latent, measured, edges)
    assert len(set(graph.edges)) == edges


def test_levels_and_constituents_follow_the_latents():
    truth = LatentHierarchy.rlcd("measurement").draw(0).truth
    assert [level.size for level in truth.levels] == [1, 2, 1]
    assert truth.constituents == {0: ((0, 1),), 1: ((0,), (0,)), 2: ((),)}
    assert set(PUBLISHED) == {"measurement", "tree", "hierarchy"}
    layers = LatentHierarchy(covers=[[1], [2, 1], [1, 1, 1]]).draw(0).truth
    assert [level.size for level in layers.levels] == [1, 3, 3]
    assert layers.constituents == {0: ((0, 1, 2),), 1: ((0, 1), (0, 1), (2,)), 2: ((),) * 3}


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (LatentHierarchy(graph="ring"), "graph must be layered or one of"),
        (LatentHierarchy(covers=[[2], []]), "at least one layer"),
        (LatentHierarchy(covers=[[1, 1], [1]]), "as many covers as the one above"),
        (LatentHierarchy(weight_low=0.0), "0 < low <= high"),
        (LatentHierarchy(noise="cauchy"), "noise must be one of"),
    ],
)
def test_bad_parameters_are_refused(spec, message):
    with pytest.raises(InvalidInput, match=message):
        spec.draw(0)


def test_a_cycle_is_refused():
    with pytest.raises(InvalidInput, match="no cycles"):
        graph_of([("L1", "L2"), ("L2", "L1")])
