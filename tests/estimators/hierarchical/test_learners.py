"""Learners of edges, on activity whose rules are known."""

import numpy as np
import pytest
import torch
from sklearn.linear_model import Lasso, LogisticRegression

from testbed.contracts import InvalidInput
from testbed.estimators.graphs.pc import PC
from testbed.estimators.hierarchical.adjacent_tests import AdjacentTests
from testbed.estimators.hierarchical.correlated import CorrelationEdges
from testbed.estimators.hierarchical.edge_dictionary import EdgeDictionary
from testbed.estimators.hierarchical.learners import LEARNERS, learner_named
from testbed.estimators.hierarchical.regression_edges import (
    SHARES,
    RegressionEdges,
    first_chosen,
    linear_path,
    logistic_path,
    standardised,
)
from testbed.estimators.hierarchical.smallest_sufficient import SmallestSufficient

LEVELS = (0,) * 3 + (1,) * 9
TRUE = [[3, 4], [5, 6], [7, 8]]


def world(n=6_000, seed=0):
    """Three composites, each on iff both of its two constituents are, which like to fire together; three bystanders."""
    generator = np.random.default_rng(seed)
    both = generator.random((n, 3)) < 0.15
    lower = np.repeat(both, 2, axis=1) | (generator.random((n, 6)) < 0.05)
    upper = lower[:, ::2] & lower[:, 1::2]
    return torch.from_numpy(np.concatenate([upper, lower, generator.random((n, 3)) < 0.1], axis=1)).float()


def recovered(learner):
    true = {(i, j) for i, tuple_ in enumerate(TRUE) for j in tuple_}
    found = {(i, j) for i, tuple_ in enumerate(learner.constituents_) for j in tuple_}
    return 2 * len(true & found) / (len(true) + len(found))


@pytest.mark.parametrize("name", LEARNERS)
def test_every_learner_finds_easy_edges_and_none_between_shuffled_levels(name):
    learner = learner_named(name).set_params(levels=LEVELS)
    if name == "edge_dictionary":
        learner.set_params(steps=30)
    x = world()
    assert recovered(learner.fit(x, seed=0)) == pytest.approx(1.0, abs=0.15 if name == "edge_dictionary" else 1e-9)
    assert learner.constituents_[3:] == [[]] * 9
    assert learner.levels_ == list(LEVELS)
    shuffled = torch.cat([x[torch.randperm(len(x), generator=torch.Generator().manual_seed(0)), :3], x[:, 3:]], dim=1)
    again = learner.clone().fit(shuffled, seed=0)
    if name not in ("edge_dictionary", "lasso", "logistic"):  # which choose what is best, and not whether anything is
        assert again.constituents_ == [[]] * 12


def test_scale_and_sign_of_codes_change_nothing():
    x = world()
    scale = torch.linspace(0.2, 5.0, 12) * torch.tensor([1.0, -1.0] * 6)
    learner = SmallestSufficient(levels=LEVELS)
    assert learner.fit(x * scale, seed=0).constituents_ == learner.clone().fit(x, seed=0).constituents_ == [*TRUE, *[[]] * 9]


def test_little_lone_firing_breaks_tests_of_independence_and_not_the_smallest_sufficient_set():
    generator = np.random.default_rng(1)
    both = generator.random(20_000) < 0.2
    lower = np.stack([both.copy() for _ in range(3)] + [generator.random(20_000) < 0.2], axis=1)
    for j in range(3):
        lower[8 * j : 8 * j + 8, :3] = np.arange(3) != j  # all but one of them fire
    upper = lower[:, :3].all(axis=1)
    x = torch.from_numpy(np.column_stack([upper, lower])).float()
    levels = (0, 1, 1, 1, 1)
    assert SmallestSufficient(levels=levels, least=0.0).fit(x, seed=0).constituents_[0] == [1, 2, 3]
    assert len(AdjacentTests(levels=levels, test="g2").fit(x, seed=0).constituents_[0]) < 3


def test_without_lone_firing_ties_are_given_or_one_of_them():
    on = np.random.default_rng(0).random(4_000) < 0.2
    x = torch.from_numpy(np.column_stack([on, on, on, np.random.default_rng(1).random(4_000) < 0.2])).float()
    assert SmallestSufficient(levels=(0, 1, 1, 1)).fit(x, seed=0).constituents_[0] == [1, 2]
    assert len(SmallestSufficient(levels=(0, 1, 1, 1), ties="one").fit(x, seed=0).constituents_[0]) == 1


def test_a_shared_constituent_is_beyond_plain_correlation():
    generator = np.random.default_rng(0)
    lower = generator.random((8_000, 3)) < 0.3
    x = torch.from_numpy(np.column_stack([lower[:, 0] & lower[:, 1], lower[:, 1] & lower[:, 2], lower])).float()
    levels = (0, 0, 1, 1, 1)
    assert SmallestSufficient(levels=levels).fit(x, seed=0).constituents_[:2] == [[2, 3], [3, 4]]
    assert sum(map(len, CorrelationEdges(levels=levels).fit(x, seed=0).constituents_)) == 3


def test_linear_paths_are_the_lassos():
    generator = np.random.default_rng(0)
    x = (generator.random((500, 6)) < 0.3).astype(np.float32)
    y = x[:, :2].sum(axis=1, keepdims=True) + generator.normal(size=(500, 1)).astype(np.float32)
    weights = linear_path(x, y)
    z, target = standardised(x), standardised(y)
    for at in (5, 15):
        penalty = SHARES[at] * np.abs(z.T @ target / 500).max()
        np.testing.assert_allclose(weights[at, 0], Lasso(alpha=penalty, tol=1e-8).fit(z, target[:, 0]).coef_, atol=2e-3)


def test_logistic_paths_come_to_the_l1_penalised_optimum():
    generator = np.random.default_rng(0)
    x = (generator.random((800, 5)) < 0.4).astype(np.float32)
    y = (x[:, :1] * 2 + generator.logistic(size=(800, 1)) > 1.5).astype(np.float32)
    path = logistic_path(x, y, most=5)
    z = standardised(x)
    top = np.abs(z.T @ (y - y.mean()) / 800).max()
    share = SHARES[::2][len(path) // 2]
    exact = LogisticRegression(l1_ratio=1, C=1 / (800 * share * top), solver="liblinear", tol=1e-8, intercept_scaling=100).fit(z, y[:, 0])
    np.testing.assert_allclose(path[len(path) // 2, 0], exact.coef_[0], atol=0.05)


def test_the_support_is_the_last_one_that_is_small_enough():
    weights = np.zeros((4, 2, 3))
    weights[1, 0, 0] = weights[2, 0, :2] = weights[3, 0] = 1.0
    assert first_chosen(weights, 2).tolist() == [[True, True, False], [False, False, False]]


@pytest.mark.parametrize("norm", ["l1", "l0"])
def test_a_penalty_on_edges_leaves_fewer_weights_than_one_on_codes(norm):
    x = world(3_000)
    edges = EdgeDictionary(levels=LEVELS, norm=norm, steps=40).fit(x, seed=0)
    codes = EdgeDictionary(levels=LEVELS, penalty="codes", steps=40).fit(x, seed=0)
    assert (edges.strength_ > 0).sum() <= (codes.strength_ > 0).sum()
    assert recovered(edges) >= recovered(codes)


@pytest.mark.parametrize(
    ("learner", "sentence"),
    [
        (SmallestSufficient(), "told no levels"),
        (SmallestSufficient(levels=(0, 1)), "2 entries for 12 columns"),
        (SmallestSufficient(levels=LEVELS, samples=3), "samples must be at least"),
        (SmallestSufficient(levels=LEVELS, effect=1.0), "effect must lie between"),
        (SmallestSufficient(levels=LEVELS, ties="some"), "ties must be"),
        (RegressionEdges(levels=LEVELS, loss="hinge"), "loss must be"),
        (RegressionEdges(levels=LEVELS, share=0.5), "share must lie between"),
        (AdjacentTests(levels=LEVELS, test="kci"), "test is 'kci'"),
        (EdgeDictionary(levels=LEVELS, penalty="rows"), "penalty must be"),
        (EdgeDictionary(levels=LEVELS, lr=0.0), "lr must lie between"),
    ],
)
def test_what_cannot_be_used_is_refused_with_a_sentence(learner, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        learner.fit(world(200), seed=0)


def test_few_rows_and_unknown_names_are_refused():
    with pytest.raises(InvalidInput, match="10 rows"):
        SmallestSufficient(levels=LEVELS).fit(world(10), seed=0)
    with pytest.raises(InvalidInput, match="edges is 'magic'"):
        learner_named("magic")
    with pytest.raises(InvalidInput, match="edges is a int"):
        learner_named(3)
    given = PC()
    assert learner_named(given) is not given
