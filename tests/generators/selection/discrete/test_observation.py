"""What is observed, and what it says about the latents: Bayes' rule by enumeration, dials that move nothing else."""

import math

import pytest
import torch

from generators.selection.discrete.family import DiscreteHierarchy
from generators.selection.discrete.random_hierarchy import RandomHierarchy
from testbed.contracts import InvalidInput, NotApplicable

SPEC = {"depth": 2, "states": [3, 3, 4], "synonyms": [[1, 3, 2], [1, 4, 2]], "leaf_concentration": 0.8, "preference": 1.0}


def likelihood(instance, brute, tokens):
    """P(tokens | configuration), from the definition, shape (n, C)."""
    eps, counts = instance.emission.noise, instance.emission.cardinalities
    leaves = brute.columns(len(brute.sizes) - 1)
    out = torch.ones(len(tokens), len(leaves), dtype=torch.float64)
    for j, k in enumerate(counts):
        hit = (tokens[:, j : j + 1] == leaves[:, j]).double()
        out *= hit * (1 - eps) + (1 - hit) * eps / (k - 1)
    return out


def test_posteriors_and_log_likelihood_are_bayes_rule(world, brute):
    sample = world.sample(20, 3)
    tokens = sample.observed.views["tokens"].values
    weights = likelihood(world, brute, tokens) * brute.law
    torch.testing.assert_close(world.log_likelihood(sample.observed), weights.sum(dim=1).log(), rtol=1e-9, atol=1e-9)
    weights /= weights.sum(dim=1, keepdim=True)
    found = world.posteriors(sample.observed)
    for level, counts in enumerate(world.model.graph.cardinalities):
        for i, count in enumerate(counts):
            for row in range(3):
                expected = brute.marginal(level, i, count, weights[row])
                torch.testing.assert_close(found[level][row, i, :count], expected, rtol=1e-8, atol=1e-12)
                assert (found[level][row, i, count:] == 0).all()
    best = torch.cat([p.argmax(dim=2) for p in found], dim=1)
    assert torch.equal(world.truth.oracle(sample.observed, "tokens"), best)


def test_the_probabilities_of_all_rows_sum_to_1():
    instance = DiscreteHierarchy(**SPEC, noise=0.2).draw(0)
    rows = torch.cartesian_prod(*[torch.arange(4)] * 4)
    assert float(instance.log_likelihood(rows).exp().sum()) == pytest.approx(1, abs=1e-9)
    clean = DiscreteHierarchy(**SPEC).draw(0)
    p = clean.log_likelihood(rows).exp()
    assert float(p.sum()) == pytest.approx(1, abs=1e-9)
    assert (p == 0).any()
    with pytest.raises(InvalidInput, match="probability 0"):
        clean.posteriors(rows[p == 0])


def test_posteriors_without_noise_are_certain_where_rules_are_deterministic():
    instance = RandomHierarchy(v=6, m=3, L=4).draw(0)
    sample = instance.sample(200, 0)
    codes = instance.truth.oracle(sample.observed, "tokens")
    assert torch.equal(codes, torch.cat(list(sample.latents.values()), dim=1))
    assert all((p.amax(dim=2) > 1 - 1e-9).all() for p in instance.posteriors(sample.observed))


def test_a_row_is_explained_alike_in_any_batch():
    instance = RandomHierarchy(v=8, m=4, L=5, noise=0.1).draw(0)
    rows = instance.sample(1000, 0).observed.views["tokens"].values
    whole, one = instance.posteriors(rows), instance.posteriors(rows[700:701])
    for a, b in zip(whole, one, strict=True):
        torch.testing.assert_close(a[700:701], b, rtol=1e-10, atol=1e-14)


def test_one_hot_rows_say_what_tokens_say():
    tokens, hot = (DiscreteHierarchy(**SPEC, noise=0.1, observe=kind).draw(0) for kind in ("tokens", "one_hot"))
    a, b = tokens.sample(500, 0), hot.sample(500, 0)
    values = b.observed.views["one_hot"].values
    assert values.shape == (500, 16)
    assert torch.equal(values.reshape(500, 4, 4).argmax(dim=2), a.observed.views["tokens"].values)
    for p, q in zip(tokens.posteriors(a.observed), hot.posteriors(b.observed), strict=True):
        assert torch.equal(p, q)


def test_embedded_rows_are_vectors_plus_noise_and_are_explained_by_their_density(enumerate_law):
    instance = DiscreteHierarchy(**SPEC, observe="embedded", dimension=3, spread=0.4, noise=0.1).draw(0)
    sample = instance.sample(4096, 0)
    x = sample.observed.views["embedded"].values.double().reshape(4096, 4, 3)
    assert sample.observed.views["embedded"].shows.noise == 0.4
    atoms = instance.truth.facts["embedding"].double()
    tokens = DiscreteHierarchy(**SPEC, noise=0.1).draw(0).sample(4096, 0).observed.views["tokens"].values
    torch.testing.assert_close(atoms.norm(dim=1), torch.ones(4, dtype=torch.float64))
    assert float((x - atoms[tokens]).std()) == pytest.approx(0.4, rel=0.02)
    brute = enumerate_law(instance.model)
    density = torch.distributions.Normal(atoms, 0.4)
    per_token = density.log_prob(x[:30, :, None]).sum(-1).exp()  # (30, positions, tokens)
    channel = torch.full((4, 4), 0.1 / 3, dtype=torch.float64).fill_diagonal_(0.9)
    per_state = per_token @ channel
    leaves = brute.columns(2)
    weights = torch.stack([per_state[:, j, leaves[:, j]] for j in range(4)]).prod(dim=0) * brute.law
    torch.testing.assert_close(instance.log_likelihood(sample.observed)[:30], weights.sum(dim=1).log(), rtol=1e-6, atol=1e-6)
    root = torch.zeros(30, 3, dtype=torch.float64).index_add(1, brute.columns(0)[:, 0], weights / weights.sum(dim=1, keepdim=True))
    torch.testing.assert_close(instance.posteriors(sample.observed)[0][:30, 0], root, rtol=1e-6, atol=1e-8)


def test_noise_moves_tokens_at_its_rate_and_uniformly_and_nothing_else():
    clean, noisy = (DiscreteHierarchy(**SPEC, noise=eps).draw(0).sample(40_960, 0) for eps in (0.0, 0.3))
    for level in clean.latents:
        assert torch.equal(clean.latents[level], noisy.latents[level])
    leaves, tokens = noisy.latents[2], noisy.observed.views["tokens"].values
    assert torch.equal(clean.observed.views["tokens"].values, leaves)
    n = leaves.numel()
    wrong = leaves != tokens
    assert abs(float(wrong.double().mean()) - 0.3) < 4.5 * math.sqrt(0.21 / n)
    shift = ((tokens - leaves)[wrong] % 4).bincount(minlength=4)[1:].double()
    assert ((shift / shift.sum() - 1 / 3).abs() < 4.5 * math.sqrt(2 / 9 / float(shift.sum()))).all()


def test_dials_leave_the_tables_alone():
    base = DiscreteHierarchy(**SPEC).draw(2).model
    for change in ({"leaf_concentration": 5.0}, {"preference": 0.0}, {"root_law": "uniform"}, {"ambiguity": 0.2}, {"noise": 0.3}):
        other = DiscreteHierarchy(**(SPEC | change)).draw(2).model
        assert other.graph == base.graph
        for a, b in zip(sum(base.rules, ()), sum(other.rules, ()), strict=True):
            assert torch.equal(a.states, b.states)
            assert torch.equal(a.potential > 0, b.potential > 0)
    few, many = (RandomHierarchy(v=8, m=m, L=2).draw(0).model for m in (4, 6))
    for a, b in zip(sum(few.rules, ()), sum(many.rules, ()), strict=True):
        assert torch.equal(a.states, b.states)
        assert (b.potential >= a.potential).all()


def test_labels_are_in_the_row_table_where_they_are_asked_for():
    sample = RandomHierarchy(L=2, label=True).draw(0).sample(50, 0)
    assert torch.equal(sample.observed.rows["label"], sample.latents[0][:, 0])
    assert not RandomHierarchy(L=2).draw(0).sample(50, 0).observed.rows
    two = DiscreteHierarchy(roots=2, label=True).draw(0).sample(50, 0)
    assert list(two.observed.rows) == ["label_0", "label_1"]
    assert two.observed.views["tokens"].values.dtype == torch.int64
    assert two.observed.views["tokens"].shows.levels == (2,)


@pytest.mark.parametrize(
    ("kind", "rows", "message"),
    [
        ("tokens", torch.zeros(3, 5), "shape"),
        ("tokens", torch.full((3, 4), 4), "whole numbers"),
        ("tokens", torch.full((3, 4), 0.5), "whole numbers"),
        ("tokens", torch.zeros(0, 4), "no row"),
        ("one_hot", torch.ones(3, 16), "single 1"),
        ("one_hot", torch.ones(3, 4), "shape"),
        ("embedded", torch.full((3, 12), math.nan), "finite"),
    ],
)
def test_rows_that_are_not_the_instances_are_refused(kind, rows, message):
    instance = DiscreteHierarchy(**SPEC, observe=kind, dimension=3).draw(0)
    for read in (instance.posteriors, instance.log_likelihood):
        with pytest.raises(InvalidInput, match=message):
            read(rows)


def test_rows_after_select_then_do_have_no_oracle():
    instance = RandomHierarchy(L=2).draw(0).select_then_do({(1, 0): 0})
    with pytest.raises(NotApplicable, match="select-then-do"):
        instance.truth.oracle(instance.sample(5, 0).observed, "tokens")
