"""Chains report how they mixed, equal laws have equal chains, and what does not mix is refused."""

import math

import numpy as np
import pytest
import torch

from generators.selection.markov.factors import Factor, Factors
from generators.selection.markov.mixing import LEAST_SIZE, R_HAT, NotMixed, run


def agreement(variables, between):
    """All equal, or weight `between` per neighbours that differ: two modes, all off and all on."""
    log = np.log(np.array([1.0, between, between, 1.0]))
    factors = [Factor((v, v + 1), np.zeros(4, np.int64), log) for v in range(variables - 1)]
    return Factors.of([np.ones(2) / 2] * variables, [1] * len(factors), factors)


def test_an_easy_law_mixes_and_says_how():
    chains = run(agreement(12, 0.5), "a chain")
    report = chains.report
    largest, smallest = report.worst
    assert 0.99 < largest <= R_HAT
    assert smallest >= LEAST_SIZE
    assert 0 < report.move_rate < 1
    assert report.mixed
    facts = report.facts()
    assert facts["chains"] * facts["draws"] == len(chains.pool)
    assert (facts["r_hat"], facts["effective_size"]) == report.worst
    # Correlation of neighbours in an Ising chain: (1 - w) / (1 + w); log Z = (n - 1) log((1 + w) / 2).
    x = torch.from_numpy(chains.pool[:, :12]).double() * 2 - 1
    assert float((x[:, 3] * x[:, 4]).mean()) == pytest.approx(1 / 3, abs=0.04)
    assert report.log_partition == pytest.approx(11 * math.log(0.75), abs=5 * report.log_partition_error)


def test_two_modes_with_nearly_nothing_between_them_are_refused():
    with pytest.raises(NotMixed, match=r"have not mixed after .* R-hat .* effective sample size .* share fewer"):
        run(agreement(14, 1e-7), "a law of two modes")


def test_equal_laws_have_equal_chains_and_rows():
    one, other = run(agreement(10, 0.4), "one"), run(agreement(10, 0.4), "other")
    assert one is not other
    assert np.array_equal(one.pool, other.pool)
    assert np.array_equal(one.draw(100, 3), other.draw(100, 3))
    assert not np.array_equal(one.draw(100, 3), one.draw(100, 4))


def test_rows_are_nearly_independent_of_each_other():
    """Means of blocks spread as means of independent rows do: the variance of 60 block means, within chi-square bounds."""
    chains = run(agreement(10, 0.4), "rows")
    n = 512
    means = torch.stack([torch.from_numpy(chains.draw(n, s)[:, :10]).double().mean(dim=0) for s in range(60)])
    ratio = float((means.var(dim=0) / (0.25 / n)).mean())
    assert 0.6 < ratio < 1.5
    assert float((means.mean(dim=0) - 0.5).abs().max()) < 0.015  # the pool's own error, damped
