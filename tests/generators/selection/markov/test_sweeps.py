"""Blocked Gibbs sampling keeps the law of a graph of tables, and annealing finds its partition function: against plain enumeration."""

import itertools
import math

import numpy as np
import pytest
import torch
from scipy.stats import chi2

from generators.selection.markov.annealing import Nothing, anneal
from generators.selection.markov.factors import Factor, Factors
from generators.selection.markov.sweeps import compose, draw_base, log_weights, sweep
from testbed.contracts import InvalidInput

LEVEL = 1e-4


def graph(seed=0, forbidden=0.2):
    """Four variables of unequal numbers of states, two composites that share one of them, and a third above both."""
    g = np.random.default_rng(seed)
    laws = [g.dirichlet(np.ones(k)) * 2 for k in (2, 3, 4, 2)]
    shapes, members, counts = [(2, 3), (3, 4, 2), (3, 2)], [(0, 1), (1, 2, 3), (4, 5)], [3, 2, 2]
    factors = []
    for shape, below, count in zip(shapes, members, counts, strict=True):
        p = math.prod(shape)
        weight = np.where(g.random(p) < forbidden, 0.0, g.random(p))
        with np.errstate(divide="ignore"):
            factors.append(Factor(below, g.integers(count, size=p), np.log(weight)))
    return Factors.of(laws, counts, factors), laws, factors


def brute(laws, factors):
    """Every configuration of all nodes with its weight."""
    rows, weights = [], []
    for values in itertools.product(*(range(len(law)) for law in laws)):
        row, weight = list(values), math.prod(law[v] for law, v in zip(laws, values, strict=True))
        for one in factors:
            shape = [len(laws[j]) if j < len(laws) else (3, 2, 2)[j - len(laws)] for j in one.members]
            code = int(np.ravel_multi_index([row[j] for j in one.members], shape))
            row.append(int(one.states[code]))
            weight *= math.exp(one.log_weight[code])
        rows.append(row)
        weights.append(weight)
    return np.array(rows), np.array(weights)


def misfit(rows, configurations, law):
    place = {tuple(c): i for i, c in enumerate(configurations.tolist())}
    found = np.bincount([place[tuple(r)] for r in rows.tolist()], minlength=len(law))
    if found[law == 0].any():
        return 0.0
    expected = law * len(rows)
    common = expected >= 5
    e, f = (np.append(x[common], x[~common].sum()) for x in (expected, found))
    keep = e > 0
    return float(chi2.sf(((f - e) ** 2 / np.where(keep, e, 1))[keep].sum(), keep.sum() - 1))


@pytest.mark.parametrize("seed", [0, 1, 2])
def test_many_sweeps_give_the_enumerated_law(seed):
    factors, laws, tables = graph(seed)
    configurations, weights = brute(laws, tables)
    start = anneal(factors, seed).rows
    rows = np.repeat(start, 8, axis=0)
    moved = sweep(factors, rows, factors.log_weight, 10, 5)
    assert 0 < moved < 1
    assert misfit(rows, configurations, weights / weights.sum()) > LEVEL


def test_a_row_of_the_law_stays_one_after_a_single_sweep():
    """Invariance itself: exact draws, one sweep, exact draws."""
    factors, laws, tables = graph(3)
    configurations, weights = brute(laws, tables)
    law = weights / weights.sum()
    rows = configurations[np.random.default_rng(0).choice(len(law), size=40_000, p=law)].astype(np.int32)
    sweep(factors, rows, factors.log_weight, 1, 7)
    assert misfit(rows, configurations, law) > LEVEL


def test_base_rows_have_the_base_law_and_composites_follow():
    factors, laws, _ = graph()
    rows = draw_base(factors, 40_000, 1)
    for v, law in enumerate(laws):
        share = np.bincount(rows[:, v], minlength=len(law)) / len(rows)
        assert (np.abs(share - law / law.sum()) < 4.5 * np.sqrt(0.25 / len(rows))).all()
    again = rows.copy()
    again[:, factors.variables :] = 0
    compose(factors, again)
    assert (again == rows).all()


def test_sweeps_keep_composites_consistent_and_rows_admissible():
    factors, _, _ = graph(4, forbidden=0.4)
    rows = anneal(factors, 0).rows
    sweep(factors, rows, factors.log_weight, 3, 2)
    again = rows.copy()
    compose(factors, again)
    assert (again == rows).all()
    assert np.isfinite(log_weights(factors, rows, factors.log_weight)).all()


def test_annealing_estimates_the_partition_function():
    values = []
    factors, laws, tables = graph(5)
    exact = math.log(brute(laws, tables)[1].sum())
    for seed in range(12):
        found = anneal(factors, seed)
        values.append((found.log_partition - exact) / found.error)
    values = torch.tensor(values)
    assert abs(float(values.mean())) < 1.5
    assert float(values.abs().max()) < 6  # Student-t, 7 degrees of freedom


def test_nothing_admissible_is_said():
    _, laws, tables = graph()
    none = [*tables[:2], Factor(tables[2].members, tables[2].states, np.full(6, -np.inf))]
    with pytest.raises(Nothing, match="no configuration"):
        anneal(Factors.of(laws, [3, 2, 2], none), 0)


def test_variables_without_a_value_and_wide_tables_are_refused():
    _, laws, tables = graph()
    with pytest.raises(InvalidInput, match="without a possible state"):
        Factors.of([np.zeros(2), *laws[1:]], [3, 2, 2], tables)
    wide = Factor(tuple(range(21)), np.zeros(2, np.int64), np.zeros(2))
    with pytest.raises(InvalidInput, match="tuples"):
        Factors.of([np.ones(2)] * 21, [2], [wide])
