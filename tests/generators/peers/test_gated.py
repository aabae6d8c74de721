"""Parent-gated concepts: winners, realised rates and samples against the enumeration of who fires, with and without a copula."""

import itertools
from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from generators.peers.gated_law import (
    GatedLaw,
    cell_probabilities,
    compensation,
    realised_rates,
    stays,
    zipf_rates,
)
from generators.peers.gated_sampling import GatedSampler, alias_table


def small_law(exclusive=(True, True, False), loading=0.0, rank=0):
    """One root, two children, two grandchildren each, two free concepts: 512 configurations, each fires by itself or not."""
    fire = torch.tensor([0.55, 0.5, 0.3, 0.6, 0.4, 0.7, 0.35, 0.15, 0.06], dtype=torch.float64)
    keep = torch.tensor([1.0, 0.9, 1.0, 0.8, 1.0, 1.0, 0.95, 1.0, 0.9], dtype=torch.float64)
    signs = torch.tensor([1, 1, -1, 1, 1, -1, 1, 1, 1], dtype=torch.float64)
    loadings = loading * signs[:, None].repeat(1, rank)
    return GatedLaw(1, 2, 2, 9, torch.tensor(exclusive), fire, keep, loadings)


def enumerate_law(law, q):
    """P(every configuration that is seen) given firing probabilities q, by gating every way in which concepts can fire."""
    children = law.children().tolist()
    seen = torch.zeros(2**law.concepts, dtype=torch.float64)
    for fired in itertools.product([0, 1], repeat=law.concepts):
        weight = float(torch.where(torch.tensor(fired, dtype=torch.bool), q, 1 - q).prod())
        states = [(list(fired), weight)]
        for parent, lower in enumerate(children):
            following = []
            for on, p in states:
                active = [c for c in lower if on[c]] if on[parent] else []
                choices = [active] if len(active) < 2 or not law.exclusive[parent] else [[c] for c in active]
                for kept in choices:
                    following.append(([v and (i not in lower or i in kept) for i, v in enumerate(on)], p / len(choices)))
            states = following
        for on, p in states:
            seen[sum(2**i for i, v in enumerate(on) if v)] += p
    return seen


def law_of_configurations(law):
    """The law of all 2**n configurations; over a common factor of rank 1 by Gauss and Hermite's rule."""
    if not law.loadings.shape[1]:
        return enumerate_law(law, law.fire * law.keep)
    points, weights = np.polynomial.hermite_e.hermegauss(15)
    weights = weights / weights.sum()
    pieces = [
        w * enumerate_law(law, cell_probabilities(law, torch.tensor([[x]], dtype=torch.float64))[0])
        for x, w in zip(points.tolist(), weights.tolist(), strict=True)
    ]
    return torch.stack(pieces).sum(dim=0)


def rates_of(seen, concepts):
    bits = torch.arange(len(seen))[:, None] >> torch.arange(concepts) & 1
    return seen @ bits.double()


LAWS = {
    "independent": small_law(),
    "all exclusive": small_law((True, True, True)),
    "nothing exclusive": small_law((False, False, False)),
    "copula": small_law(loading=0.5, rank=1),
}


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_samples_follow_the_enumerated_law(law):
    """Chi-square on all configurations, the rare ones pooled, at level 1e-4."""
    n = 200_000
    begin, concept, above = GatedSampler(law).draw(n, 5)
    row = np.repeat(np.arange(n), np.diff(begin))
    code = np.bincount(row, weights=2.0**concept, minlength=n).astype(np.int64)
    expected = law_of_configurations(law) * n
    found = torch.from_numpy(np.bincount(code, minlength=len(expected))).double()
    assert not found[expected < 1e-9].any(), "a configuration of probability 0 was drawn"
    common = expected >= 5
    pooled = torch.cat([expected[common], expected[~common].sum()[None]]), torch.cat([found[common], found[~common].sum()[None]])
    real = pooled[0] > 0
    statistic = float(((pooled[1] - pooled[0]).square() / pooled[0])[real].sum())
    assert chi2.sf(statistic, int(real.sum()) - 1) > 1e-4
    child = above >= 0
    assert ((concept[child] - 1) // 2 == concept[above[child]]).all()
    assert set(concept[~child]) == {0, 7, 8}


@pytest.mark.parametrize("law", LAWS.values(), ids=LAWS)
def test_realised_rates_are_those_of_enumeration(law):
    rates, error = realised_rates(law, seed=1)
    exact = rates_of(law_of_configurations(law), law.concepts)
    if not law.loadings.shape[1]:
        torch.testing.assert_close(rates, exact, rtol=1e-12, atol=0)
        assert not error.any()
    else:
        assert ((rates - exact).abs() <= 6 * error + 1e-9).all()
        assert (error < 1e-3 * rates).all()
        torch.testing.assert_close(rates[[0, 7, 8]], (law.fire * law.keep)[[0, 7, 8]], rtol=1e-12, atol=0)


def test_an_exclusive_child_wins_with_one_over_the_number_that_fire():
    q = torch.tensor([[0.3, 0.9, 1.0, 0.05]], dtype=torch.float64)
    exact = torch.zeros(4, dtype=torch.float64)
    for fired in itertools.product([0, 1], repeat=4):
        weight = torch.where(torch.tensor(fired, dtype=torch.bool), q[0], 1 - q[0]).prod()
        for j in range(4):
            exact[j] += weight * fired[j] / max(1, sum(fired))
    torch.testing.assert_close(stays(q, torch.tensor([True]))[0], exact)
    torch.testing.assert_close(stays(q, torch.tensor([False])), q)


def test_compensation_restores_the_rates_of_the_miniature_only_in_part():
    """By depth 1 / 2 / 3, .69 / .43 / .35 of the nominal rates with compensation, and .205 / .017 / .001 without."""
    concepts, roots, branching = 1024, 8, 4
    nominal = zipf_rates(concepts, 0.5, 0.4, 5e-4)
    starts = [0, 8, 40, 168, 680]
    children = roots + torch.arange(168 * branching).reshape(-1, branching)
    exclusive = torch.ones(168, dtype=torch.bool)
    law = GatedLaw(8, 4, 3, concepts, exclusive, nominal, torch.ones_like(nominal), torch.zeros(concepts, 0, dtype=torch.float64))
    plain, _ = realised_rates(law, 0)
    restored, _ = realised_rates(replace(law, fire=(nominal * compensation(nominal, children, exclusive)).clamp_max(1.0)), 0)
    for depth, with_it, without in ((1, 0.687, 0.205), (2, 0.434, 0.017), (3, 0.351, 0.001)):
        here = slice(starts[depth], starts[depth + 1])
        assert float(restored[here].sum() / nominal[here].sum()) == pytest.approx(with_it, abs=1e-3)
        assert float(plain[here].sum() / nominal[here].sum()) == pytest.approx(without, abs=1e-3)
    torch.testing.assert_close(plain[680:], nominal[680:])


def test_zipf_rates_run_from_the_first_to_the_floor():
    p = zipf_rates(50, 0.5, 0.4, 5e-4)
    assert float(p[0]) == pytest.approx(0.4)
    assert float(p[-1]) == pytest.approx(5e-4)
    assert (p.diff() < 0).all()
    shape = (p - p[-1]) / (p[0] - p[-1])
    assert float(shape[3]) == pytest.approx((0.5 - 50**-0.5) / (1 - 50**-0.5))


def test_an_alias_table_deals_as_its_weights_say():
    weight = np.array([0.1, 2.0, 0.0, 0.7, 1.3])
    accept, alias = alias_table(weight.copy())
    dealt = np.zeros(5)
    for cell in range(5):
        dealt[cell] += accept[cell]
        dealt[alias[cell]] += 1 - accept[cell]
    np.testing.assert_allclose(dealt / 5, weight / weight.sum(), atol=1e-12)


@pytest.mark.parametrize("rank", [0, 3])
def test_many_active_concepts_fit_and_a_certain_concept_is_always_on(rank):
    """More entries than the first guess has room for; probability 1 and 0 kept exactly."""
    n = 40
    fire = torch.full((n,), 0.97, dtype=torch.float64)
    fire[3], fire[5] = 1.0, 1e-12
    loadings = 0.3 * torch.randn(n, rank, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    law = GatedLaw(0, 4, 3, n, torch.zeros(0, dtype=torch.bool), fire, torch.ones(n, dtype=torch.float64), loadings)
    begin, concept, above = GatedSampler(law).draw(2000, 1)
    assert begin[-1] == len(concept) > 16 * 2000
    assert (concept == 3).sum() == 2000
    assert not (concept == 5).any()
    assert (above == -1).all()
    rate = (concept == 0).mean() * len(concept) / 2000
    assert abs(rate - 0.97) < 4.5 * (0.97 * 0.03 / 2000) ** 0.5
