"""Rare concepts under a copula: bounds that hold, and rows that follow the law given their factors, in every shell and beyond the last."""

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from generators.peers.gated_law import GatedLaw, arguments, cell_probabilities
from generators.peers.gated_rare import CELL, DEAREST, dear, draw_rare, rare_tables
from generators.peers.gated_sampling import PHI, WORTHWHILE, GatedSampler

RANK, CONCEPTS = 5, 400


def law(rate=3e-3, scale=0.2):
    generator = torch.Generator().manual_seed(0)
    fire = rate * (0.2 + 1.6 * torch.rand(CONCEPTS, generator=generator, dtype=torch.float64))
    keep = 0.5 + 0.5 * torch.rand(CONCEPTS, generator=generator, dtype=torch.float64)
    loadings = scale * torch.randn(CONCEPTS, RANK, generator=generator, dtype=torch.float64)
    loadings = loadings * (0.8 / loadings.norm(dim=1, keepdim=True)).clamp_max(1.0)
    return GatedLaw(0, 4, 3, CONCEPTS, torch.zeros(0, dtype=torch.bool), fire, keep, loadings)


def tables_of(given):
    slope, offset = (a.numpy() for a in arguments(given))
    return rare_tables(np.arange(CONCEPTS), np.hstack([slope, offset[:, None]]).astype(np.float32), given.keep.numpy(), RANK)


def draw(given, f, seed):
    rows = np.hstack([f, np.ones((len(f), 1))]).astype(np.float32)
    begin, concept = np.zeros(len(f) + 1, np.int64), np.empty(64 * len(f), np.int64)
    radius = np.linalg.norm(rows[:, :RANK].astype(np.float64), axis=1)
    last = np.full(CONCEPTS, -1)
    assert draw_rare(rows, radius, seed, tables_of(given), given.keep.numpy(), PHI, last, begin, concept)
    return begin, concept[: begin[-1]]


def test_proposals_bound_the_hazard_of_every_concept_in_their_shell():
    given = law()
    tables = tables_of(given)
    assert sorted(tables.concept[tables.concept >= 0]) == list(range(CONCEPTS))
    direction = torch.nn.functional.normalize(
        torch.randn(300, RANK, generator=torch.Generator().manual_seed(1), dtype=torch.float64), dim=1
    )
    own = torch.nn.functional.normalize(given.loadings, dim=1)  # the worst row for each concept points along its loadings
    for shell, radius in enumerate(tables.edge):
        hazard = -torch.log1p(-cell_probabilities(given, float(radius) * torch.cat([direction, own]))).numpy()
        ceiling = np.repeat(tables.ceiling[shell], CELL)
        for place, concept in enumerate(tables.concept):
            if concept >= 0:
                assert hazard[:, concept].max() <= ceiling[place]


@pytest.mark.parametrize("length", [0.3, 2.0, 4.5, 9.0], ids=["shorter than any shell", "usual", "long", "beyond the last shell"])
def test_rows_follow_the_law_given_their_factors(length):
    """Chi-square over all concepts at level 1e-4, for one point of the common factors at a time; pairs are independent given it."""
    given = law()
    n = 100_000 if length < 9 else 4000
    f = np.full((n, RANK), length / RANK**0.5) * np.array([1, -1, 1, 1, -1])
    q = cell_probabilities(given, torch.from_numpy(f[:1]))[0].numpy()
    begin, concept = draw(given, f, 3)
    found = np.bincount(concept, minlength=CONCEPTS)
    keep = n * q > 5
    statistic = ((found - n * q)[keep] ** 2 / (n * q * (1 - q))[keep]).sum()
    assert keep.sum() > 20
    assert chi2.sf(statistic, keep.sum()) > 1e-4
    assert abs((found - n * q)[~keep].sum()) < 4.5 * (n * q[~keep].sum() + 1) ** 0.5
    count = np.diff(begin)  # its variance is that of independent draws
    assert abs(count.var() - (q * (1 - q)).sum()) < 5 * (2 / n) ** 0.5 * max(1, q.sum()) + 5 * (q.sum() / n) ** 0.5


def test_no_concept_is_twice_in_a_row():
    begin, concept = draw(law(rate=0.02, scale=0.25), 1.2 * np.random.default_rng(0).standard_normal((5000, RANK)), 1)
    for row in range(5000):
        here = concept[begin[row] : begin[row + 1]]
        assert len(set(here)) == len(here)


def test_the_sampler_takes_rare_concepts_this_way_and_keeps_their_rates_and_pairs():
    given = law()
    sampler = GatedSampler(given)
    assert sampler.rare is not None
    n = 300_000
    begin, concept, above = sampler.draw(n, 4)
    assert (above == -1).all()
    rates = (given.fire * given.keep).numpy()
    z = (np.bincount(concept, minlength=CONCEPTS) - n * rates) / np.sqrt(n * rates)
    assert np.abs(z).max() < 4.5
    # E[count^2] - E[count] sums P(i and j) over pairs: averaged over factors drawn anew.
    f = torch.randn(20_000, RANK, generator=torch.Generator().manual_seed(9), dtype=torch.float64)
    q = cell_probabilities(given, f)
    pairs = q.sum(dim=1).square() - q.square().sum(dim=1)
    count = np.diff(begin)
    product = count * (count - 1.0)
    error = (product.var() / n + float(pairs.var()) / len(pairs)) ** 0.5
    assert abs(product.mean() - float(pairs.mean())) < 4.5 * error
    assert product.mean() > rates.sum() ** 2 - (rates**2).sum() + 10 * error  # the copula binds them together


def test_what_is_too_dear_or_too_few_stays_in_tiles():
    given = law()
    slope, offset = (a.numpy() for a in arguments(given))
    assert not dear(slope, offset).any()
    assert dear(10 * slope, offset).any()
    assert 0 < DEAREST < 1
    few = GatedLaw(0, 4, 3, WORTHWHILE - 1, given.exclusive, *(v[: WORTHWHILE - 1] for v in (given.fire, given.keep, given.loadings)))
    assert GatedSampler(few).rare is None
