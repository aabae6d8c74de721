"""SynthSAEBench: what rows are made of, published numbers, seeds, orthogonalisation, bad input."""

import itertools

import pytest
import torch
from scipy.stats import multivariate_normal

from generators.mixing import random_directions
from generators.peers.orthogonal import orthogonalised
from generators.peers.synth_sae_bench import SynthSAEBench
from testbed.contracts import InvalidInput


def world(**params):
    return SynthSAEBench(**{"concepts": 120, "dimension": 24, "roots": 2, "branching": 3, "correlation_rank": 4, **params})


def dense(sample):
    return torch.cat([rows.dense() for rows in sample.latents.values()], dim=1)


@pytest.fixture(scope="module", params=[0, 4], ids=["independent", "copula"])
def drawn(request):
    torch.set_num_threads(1)
    instance = world(correlation_rank=request.param, rate_floor=5e-3).draw(0)
    return instance, instance.sample(81_920, 1)


def test_rows_are_what_the_latents_write(drawn):
    instance, sample = drawn
    truth = instance.truth
    x = dense(sample).double() @ truth.dictionary("mixed").double() + truth.facts["bias/mixed"]
    torch.testing.assert_close(sample.observed.views["mixed"].values.double(), x, rtol=0, atol=1e-4)
    assert truth.facts["bias/mixed"].norm() == pytest.approx(0.5, rel=1e-5)


def test_children_fire_only_with_their_parent_and_exclude_each_other(drawn):
    instance, sample = drawn
    on = {level: rows.dense() > 0 for level, rows in sample.latents.items()}
    for level in range(3):
        for parent, children in enumerate(instance.truth.constituents[level]):
            family = on[level + 1][:, list(children)]
            assert not family[~on[level][:, parent]].any()
            assert (family.sum(dim=1) <= 1).all()
    assert all(children == () for children in instance.truth.constituents[3])


def test_realised_rates_are_the_stated_ones(drawn):
    instance, sample = drawn
    rates = torch.cat(list(instance.truth.rates.values()))
    found = (dense(sample) > 0).double().mean(dim=0)
    error = (rates * (1 - rates) / len(sample) + instance.truth.facts["rates_error"].square()).sqrt()
    assert ((found - rates).abs() / error).max() < 4.5


def test_magnitudes_are_rectified_normals_times_the_parents(drawn):
    """Where it is on, a free concept has mean m + s phi(m/s) / Phi(m/s), and so has a child once its parent's factor is taken out."""
    instance, sample = drawn
    law = instance.truth.facts["magnitude"]
    mean, spread = law["mean"], law["spread"]
    ratio = mean / spread
    truncated = mean + spread * torch.exp(-ratio.square() / 2) / (2 * torch.pi) ** 0.5 / torch.special.ndtr(ratio)
    values = dense(sample).double()
    for concept in (0, 1, 100):
        own = values[values[:, concept] > 0, concept]
        assert abs(float(own.mean() - truncated[concept])) < 4.5 * float(own.std()) / len(own) ** 0.5
    for parent, child in ((0, 2), (0, 3), (1, 5)):
        rows = values[:, child] > 0
        own = values[rows, child] / values[rows, parent] * mean[parent]
        assert abs(float(own.mean() - truncated[child])) < 4.5 * float(own.std()) / len(own) ** 0.5


def test_the_published_counts_and_l0():
    """16,384 concepts with about 34 active: 128 x (1 + 4 + 16 + 64) in trees and 5,504 free. The miniature has 8 trees and about 7."""
    torch.set_num_threads(1)
    full = SynthSAEBench(orthogonal_steps=0, correlation_rank=0).draw(0).truth
    assert [level.size for level in full.levels] == [128, 512, 2048, 8192 + 5504]
    assert full.settings["l0"] == pytest.approx(34, abs=1)
    mini = SynthSAEBench.miniature(orthogonal_steps=0, correlation_rank=0).draw(0).truth
    assert [level.size for level in mini.levels] == [8, 32, 128, 512 + 344]
    assert mini.settings["l0"] == pytest.approx(7.2, abs=0.2)


def test_correlation_leaves_roots_alone_and_binds_them_together():
    """Two concepts of one loading fire together more often than their rates say, by the bivariate normal's amount."""
    instance = world(correlation_rank=1, correlation_scale=0.6, roots=0, rate=0.3, rate_floor=0.05, concepts=10).draw(0)
    law = instance.law
    threshold, correlation = torch.special.ndtri(law.fire), law.loadings @ law.loadings.T
    both = torch.zeros(10, 10, dtype=torch.float64)
    for i, j in itertools.permutations(range(10), 2):
        covariance = [[1.0, float(correlation[i, j])], [float(correlation[i, j]), 1.0]]
        both[i, j] = multivariate_normal(cov=covariance).cdf([float(threshold[i]), float(threshold[j])])
    both *= torch.outer(law.keep, law.keep)
    on = (dense(instance.sample(204_800, 3)) > 0).double()
    found = on.T @ on / len(on)
    error = (both * (1 - both) / len(on)).clamp_min(0).sqrt() + 1 / len(on)
    off = ~torch.eye(10, dtype=torch.bool)
    assert ((found - both).abs() / error)[off].max() < 4.5
    assert ((both - torch.outer(law.fire * law.keep, law.fire * law.keep)).abs() / error)[off].max() > 20


def test_a_dial_moves_nothing_but_itself():
    base, louder = world().draw(4), world(bias=3.0).draw(4)
    a, b = base.sample(300, 2), louder.sample(300, 2)
    assert torch.equal(dense(a), dense(b))
    for changed in ({"rate": 0.2}, {"correlation_rank": 0}, {"exclusive": 0.5}, {"spread": 0.2}):
        other = world(**changed).draw(4).truth
        assert torch.equal(other.dictionary("mixed"), base.truth.dictionary("mixed"))
    half = world(exclusive=0.5).draw(4).truth.facts["exclusive"]
    assert int(half.sum()) == len(half) // 2


def test_orthogonalising_is_adam_on_the_stated_loss():
    atoms = random_directions(30, 8, torch.Generator().manual_seed(0)).double()
    d = torch.nn.functional.normalize(atoms, dim=1).clone().requires_grad_()
    adam = torch.optim.Adam([d], lr=3e-3)
    for _ in range(25):
        gram = d @ d.T
        loss = gram.square().sum() - gram.diagonal().square().sum() + 30 * (gram.diagonal() - 1).square().sum()
        adam.zero_grad()
        loss.backward()
        adam.step()
    torch.testing.assert_close(orthogonalised(atoms, 25, 3e-3), torch.nn.functional.normalize(d.detach(), dim=1), rtol=1e-9, atol=1e-12)


def test_orthogonalising_lowers_the_overlap():
    atoms = random_directions(64, 16, torch.Generator().manual_seed(1))

    def overlap(d):
        return float((d @ d.T).square().sum())

    assert overlap(orthogonalised(atoms, 100, 3e-3)) < overlap(atoms)


def test_the_oracle_finds_concepts_where_overlap_is_small():
    instance = world(dimension=256, spread=0.2, spread_spread=0.0).draw(0)
    sample = instance.sample(2000, 0)
    codes = instance.truth.oracle(sample.observed, "mixed").dense()
    assert ((codes > 0) == (dense(sample) > 0)).double().mean() > 0.995


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
def test_rows_are_the_same_on_cuda():
    instance = world().draw(0)
    here, there = instance.sample(5000, 1), instance.to("cuda").sample(5000, 1)
    assert there.observed.views["mixed"].values.is_cuda
    torch.testing.assert_close(there.observed.views["mixed"].values.cpu(), here.observed.views["mixed"].values, rtol=1e-5, atol=1e-5)
    assert torch.equal(dense(there).cpu(), dense(here))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"roots": 20}, "need 800 concepts, but there are 120"),
        ({"branching": 1}, "at least 2 children"),
        ({"rate_floor": 0.6}, "0 < rate_floor < rate"),
        ({"exclusive": 1.5}, "exclusive must lie in"),
        ({"dimension": 0}, "dimension must be at least 1"),
        ({"spread": -1.0}, "spread and spread_spread"),
        ({"concepts": 0, "roots": 0}, "at least 1 concept"),
    ],
)
def test_bad_parameters_are_refused(params, message):
    with pytest.raises(InvalidInput, match=message):
        world(**params).draw(0)
