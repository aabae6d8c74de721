"""Sparse concepts: realised rates, rules recomputed from the latents, views, seeds, and the oracle."""

import itertools
import math

import pytest
import torch

from generators.selection.sparse import SparseConcepts
from testbed.contracts import InvalidInput
from testbed.numerics.matching import cross_correlation

RULES = ["and", "k_of_n", "exclusive", "any"]


def world(**params):
    return SparseConcepts(**{"levels": (3, 9, 30), "dimension": 24, **params})


def latents(sample):
    return {level: rows.dense() for level, rows in sample.latents.items()}


def holds(rule, k, states):
    count = states.sum(dim=-1)
    return {"and": count == states.shape[-1], "k_of_n": count >= k, "exclusive": count == 1, "any": count >= 1}[rule]


@pytest.mark.parametrize("rule", RULES)
def test_composites_are_on_exactly_when_their_rule_holds(rule):
    instance = world(rule=rule).draw(0)
    on = {level: values > 0 for level, values in latents(instance.sample(20_000, 1)).items()}
    for level in (0, 1):
        constituents = torch.tensor(instance.truth.constituents[level])
        assert torch.equal(on[level], holds(rule, 2, on[level + 1][:, constituents]))
        assert on[level].any()


@pytest.mark.parametrize("rule", RULES)
def test_realised_rates_are_the_requested_ones(rule):
    instance = world(rule=rule, rate=0.2, rate_floor=0.03).draw(3)
    leaves = instance.truth.rates[2].sort(descending=True).values
    wanted = (0.2 * torch.arange(1, 31, dtype=torch.float64) ** -0.5).clamp_min(0.03)
    torch.testing.assert_close(leaves, wanted, rtol=0, atol=1e-6)
    n = 81_920
    for level, values in latents(instance.sample(n, 5)).items():
        rates = instance.truth.rates[level]
        deviations = ((values > 0).double().mean(dim=0) - rates) / (rates * (1 - rates) / n).sqrt()
        assert deviations.abs().max() < 4.5


def test_requested_composite_rates_hold_after_selection():
    truth = world(composite_rate=[0.005, 0.02]).draw(0).truth
    torch.testing.assert_close(truth.rates[0], torch.full((3,), 0.005, dtype=torch.float64), rtol=0, atol=1e-6)
    torch.testing.assert_close(truth.rates[1], torch.full((9,), 0.02, dtype=torch.float64), rtol=0, atol=1e-6)
    assert truth.settings["l0"] == pytest.approx(sum(float(r.sum()) for r in truth.rates.values()))
    assert truth.settings["concepts"] == 42


def test_without_selection_leaves_are_independent_and_with_it_co_constituents_are_not():
    n = 40_960
    for lone_firing, all_on, dependent in ((1.0, 1.0, False), (0.1, 10.0, True)):
        instance = SparseConcepts(levels=(4, 12), lone_firing=lone_firing, all_on=all_on, zipf=0.2).draw(1)
        leaves = (latents(instance.sample(n, 0))[1] > 0).float()
        correlation = cross_correlation(leaves, leaves).fill_diagonal_(0)
        together = [correlation[i, j] for tuple_ in instance.truth.constituents[0] for i, j in itertools.combinations(tuple_, 2)]
        assert (min(together) > 0.1) if dependent else (correlation.max() < 5 / math.sqrt(n))


def test_a_sample_is_the_beginning_of_a_longer_one_and_parts_differ():
    instance = world().draw(0)
    long, short = instance.sample(9000, 1), instance.sample(100, 1)
    assert torch.equal(long.observed.views["mixed"].values[:100], short.observed.views["mixed"].values)
    assert torch.equal(long.latents[1][:100].dense(), short.latents[1].dense())
    other = instance.sample(100, 1, "test").observed.views["mixed"].values
    assert not torch.isclose(other, short.observed.views["mixed"].values).any(dim=0).all()


def test_a_dial_moves_nothing_but_itself():
    base, louder, biased = world(), world(noise=0.5), world(bias=3.0)
    a, b, c = (g.draw(4).sample(500, 2) for g in (base, louder, biased))
    for level in a.latents:
        assert torch.equal(a.latents[level].dense(), b.latents[level].dense())
    clean = world(noise=0.0).draw(4).sample(500, 2).observed.views["mixed"].values
    noise = [s.observed.views["mixed"].values - clean for s in (a, b)]
    torch.testing.assert_close(10 * noise[0], noise[1], rtol=1e-3, atol=1e-4)
    shift = c.observed.views["mixed"].values - a.observed.views["mixed"].values
    torch.testing.assert_close(shift, shift[:1].expand_as(shift), rtol=0, atol=1e-5)
    assert shift[0].norm() == pytest.approx(3.0, rel=1e-4)
    selected = world(lone_firing=0.9).draw(4).truth
    assert selected.constituents == base.draw(4).truth.constituents
    torch.testing.assert_close(selected.rates[2], base.draw(4).truth.rates[2], rtol=0, atol=1e-7)
    assert torch.equal(selected.dictionary("mixed"), base.draw(4).truth.dictionary("mixed"))


def test_views_per_level_show_the_parts_of_the_mixed_view():
    mixed = world(noise=0.0).draw(0).sample(200, 0).observed.views["mixed"].values
    views = world(noise=0.0, views="per_level").draw(0).sample(200, 0).observed.views
    assert [view.shows.levels for view in views.values()] == [(0,), (1,), (2,)]
    torch.testing.assert_close(sum(view.values for view in views.values()), mixed, rtol=0, atol=1e-5)
    noisy = world(noise=[1.0, 0.1, 0.0], views="per_level").draw(0).sample(4096, 0).observed.views
    clean = world(noise=0.0, views="per_level").draw(0).sample(4096, 0).observed.views
    spread = [float((noisy[name].values - clean[name].values).std()) for name in noisy]
    assert spread == pytest.approx([1.0, 0.1, 0.0], rel=0.02)


def test_magnitudes_are_positive_and_composites_follow_their_constituents():
    instance = world(tie=1.0, jitter=0.0, spread=0.5).draw(0)
    values = latents(instance.sample(20_000, 1))
    for level in (0, 1):
        below = values[level + 1][:, torch.tensor(instance.truth.constituents[level])]
        mean = below.sum(dim=-1) / (below > 0).sum(dim=-1).clamp_min(1)
        on = values[level] > 0
        torch.testing.assert_close(values[level][on], mean[on])
    assert values[2][values[2] > 0].min() >= 0.01 * 0.999


def test_the_oracle_finds_concepts_where_noise_and_overlap_are_small():
    instance = world(dimension=64, dictionary="orthogonalised", noise=0.02, spread=0.1, bias=2.0).draw(0)
    sample = instance.sample(4096, 0)
    truth = torch.cat(list(latents(sample).values()), dim=1)
    codes = instance.truth.oracle(sample.observed, "mixed").dense()
    assert ((codes > 0) == (truth > 0)).double().mean() > 0.9999
    assert (codes - truth).abs().mean() < 0.003


def test_every_composite_of_a_mixture_follows_its_own_rule():
    instance = world(rule=["and", "k_of_n", "exclusive", "any"], branching=[2, 3], lone_firing=[0.4, 0.2], all_on=[2.0, 5.0]).draw(1)
    on = {level: values > 0 for level, values in latents(instance.sample(20_000, 1)).items()}
    rules = instance.truth.facts["rule"]
    assert instance.truth.facts["branching"] == [[2] * 3, [3] * 9]
    assert len(set(rules[1])) > 2
    for level in (0, 1):
        for i, (rule, lower) in enumerate(zip(rules[level], instance.truth.constituents[level], strict=True)):
            k = instance.truth.facts["k"][level][i]
            assert torch.equal(on[level][:, i], holds(rule, k, on[level + 1][:, list(lower)]))
    assert instance.truth.facts["potentials"][1].shape == (9, 4)


@pytest.mark.parametrize("rates", ["uniform", "geometric"])
def test_other_laws_of_rates_are_realised_too(rates):
    truth = world(rates=rates, rate=0.3, rate_floor=0.02, rule=["and", "any"]).draw(0).truth
    found = truth.rates[2].sort(descending=True).values
    torch.testing.assert_close(found[[0, -1]], torch.tensor([0.3, 0.02], dtype=torch.float64), rtol=0, atol=1e-6)
    steps = found.diff() if rates == "uniform" else found.log().diff()
    torch.testing.assert_close(steps, steps[:1].expand_as(steps), rtol=0, atol=1e-4)


def test_correlation_changes_how_trees_go_together_and_no_rate():
    setting = {"levels": (3, 40), "rate": 0.2}
    plain, tied = world(**setting).draw(0), world(**setting, correlation=0.8, correlation_rank=2).draw(0)
    for level, rates in plain.truth.rates.items():
        torch.testing.assert_close(rates, tied.truth.rates[level], rtol=0, atol=0)
    n = 40_960
    loadings = tied.truth.facts["tree_loadings"]
    assert loadings.shape == (3 + 31, 2)
    cosine = (loadings @ loadings.T)[3:, 3:].float() / 0.8  # of free leaves, which are the last trees, in their order
    alike, found = cosine.fill_diagonal_(0.0).abs() > 0.8, []
    for instance in (plain, tied):
        states = torch.cat([v > 0 for v in latents(instance.sample(n, 1)).values()], dim=1).double()
        rates = torch.cat(list(instance.truth.rates.values()))
        assert ((states.mean(dim=0) - rates).abs() / (rates * (1 - rates) / n).sqrt()).max() < 4.5
        free = states[:, 3:][:, instance.world.forest.roots(1)]
        found.append((torch.corrcoef(free.T) * cosine.sign())[alike])
    assert found[0].abs().max() < 5 / math.sqrt(n)
    assert found[1].min() > 0.02
    assert found[1].mean() > 0.15
    assert "tilts" in plain.truth.facts
    assert tied.truth.facts["pursuit/mixed"]["max_active"] > plain.truth.facts["pursuit/mixed"]["max_active"]


def test_the_entropy_of_independent_leaves_is_the_sum_of_theirs_and_selection_lowers_it():
    free, selected = world(all_on=1.0, lone_firing=1.0).draw(0).truth.facts, world().draw(0).truth.facts
    assert free["total_correlation"] == pytest.approx(0.0, abs=1e-9)
    assert selected["total_correlation"] > 0.1
    assert selected["entropy"] + selected["total_correlation"] == pytest.approx(free["entropy"], rel=1e-6)  # equal rates of leaves


def test_a_simplex_is_written_where_there_is_one():
    atoms = world(levels=(2, 7), dimension=8, dictionary="equiangular").draw(0).truth.dictionary("mixed")
    torch.testing.assert_close(atoms @ atoms.T, torch.full((9, 9), -1 / 8).fill_diagonal_(1.0), rtol=0, atol=1e-5)
    atoms = world(dictionary="clustered", clusters=1, cluster_cosine=0.9).draw(0).truth.dictionary("mixed")
    assert float((atoms @ atoms.T).min()) > 0.6


def test_one_level_is_a_list_of_independent_concepts():
    instance = SparseConcepts(levels=[20], dimension=8).draw(0)
    assert instance.truth.constituents == {0: ((),) * 20}
    assert instance.sample(10, 0).latents[0].shape == (10, 20)


def test_moving_an_instance_keeps_its_rows():
    instance = world().draw(0)
    moved = instance.to("cpu")
    assert torch.equal(moved.sample(50, 0).observed.views["mixed"].values, instance.sample(50, 0).observed.views["mixed"].values)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_rates_hold_on_cuda_too():
    instance = world().draw(0).to("cuda")
    sample = instance.sample(81_920, 0)
    for level, rows in sample.latents.items():
        rates = instance.truth.rates[level]
        found = (rows.dense() > 0).double().mean(dim=0).cpu()
        assert (((found - rates) / (rates * (1 - rates) / len(sample)).sqrt()).abs() < 4.5).all()
    assert instance.truth.oracle(sample.observed, "mixed").shape == (81_920, 42)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"levels": (10, 20)}, "need 10 x branching"),
        ({"levels": []}, "numbers of concepts"),
        ({"levels": (0, 3)}, "at least 1"),
        ({"rule": "xor"}, "'xor' is not one of"),
        ({"rule": "k_of_n", "k": 4}, "between 1 and branching = 3"),
        ({"branching": 0}, "branching"),
        ({"all_on": 0.0}, "all_on"),
        ({"lone_firing": -1.0}, "lone_firing"),
        ({"rate": 1.2}, "strictly between 0 and 1"),
        ({"composite_rate": 0.5}, "smallest of them"),
        ({"composite_rate": [0.01]}, "1 rates, but there are 2"),
        ({"magnitude": 0.0}, "magnitude"),
        ({"tie": 1.5}, "tie"),
        ({"dimension": 0}, "dimension"),
        ({"dictionary": "dft"}, "'dft'"),
        ({"dictionary": "equiangular"}, "regular simplex"),
        ({"dictionary": "clustered", "clusters": 0}, "clusters"),
        ({"branching": [3]}, "branching gives 1 values"),
        ({"all_on": [1.0, 2.0, 3.0]}, "all_on gives 3 values"),
        ({"rule": []}, "at least one rule"),
        ({"rule": ["and", "xor"]}, "'xor' is not one of"),
        ({"rule": "xor", "levels": [5]}, "'xor' is not one of"),
        ({"rates": "flat"}, "'flat'"),
        ({"magnitude_law": "cauchy"}, "'cauchy'"),
        ({"magnitude_law": "pareto", "tail": 1.0}, "above 1"),
        ({"correlation": 1.0}, "correlation must"),
        ({"correlation": 0.5, "correlation_rank": 0}, "correlation_rank"),
        ({"noise": -0.1}, "noise"),
        ({"noise": [0.1, 0.1]}, "one per view"),
        ({"views": "all"}, "views"),
    ],
)
def test_what_cannot_be_drawn_is_refused_before_sampling(params, message):
    with pytest.raises(InvalidInput, match=message):
        world(**params).draw(0)
