import numpy as np
import pytest
import torch

from evaluators.discrete.state_count import StateCount
from evaluators.discrete.state_recovery import StateRecovery
from generators.selection.discrete.family import DiscreteHierarchy
from testbed.contracts import InvalidInput, Outcome, Structure
from testbed.estimators.discrete.context_states import ContextStates


def world(seed, noise=0.0, **changed):
    spec = {"depth": 3, "states": 8, "synonyms": [[2, 3, 4]] * 3, "leaf_concentration": 5.0, "minimum_gap": 0.2, "noise": noise} | changed
    return DiscreteHierarchy(**spec).draw(seed)


def scores(instance, estimator, n=10_000):
    estimator.fit(instance.sample(n, 0).observed, seed=0)
    test = instance.sample(2000, 0, "test")
    outcome = Outcome(estimator.encode(test.observed), test, "tokens", truth=instance.truth, structure=Structure.of(estimator))
    return StateCount().score(outcome, seed=0).parts["exact"], StateRecovery().score(outcome, seed=0).parts["accuracy"]


@pytest.mark.parametrize("rule", ["g_test", "bic", "mdl", "held_out"])
@pytest.mark.parametrize("seed", [0, 1])
def test_states_are_exact_where_no_two_are_near(rule, seed):
    assert scores(world(seed), ContextStates(rule=rule)) == (1.0, 1.0)


@pytest.mark.parametrize("n", [10_000, 60_000])
def test_leaf_noise_is_estimated_and_makes_no_state_however_many_rows(n):
    instance, estimator = world(0, noise=0.01), ContextStates()
    exact, accuracy = scores(instance, estimator, n)
    assert exact == 1.0
    assert abs(estimator.noise_ - 0.01) < 0.001
    test = instance.sample(2000, 0, "test")
    best = (instance.truth.oracle(test.observed, "tokens")[:, 1:7] == torch.cat([test.latents[1], test.latents[2]], 1)).double().mean()
    assert accuracy > float(best) - 0.01


def test_tuples_are_found_whatever_the_order_of_columns():
    instance = world(2, shuffle=True)
    estimator = ContextStates(tuples="found")
    assert scores(instance, estimator) == (1.0, 1.0)
    assert sorted(map(tuple, estimator.blocks_[0])) == sorted(tuple(sorted(one)) for one in instance.truth.constituents[2])
    assert estimator.stopped_ == ""


def test_triples_of_independent_pairs_are_found_though_nobody_says_they_are_triples():
    spec = {"depth": 2, "branching": 3, "states": [2, 3, 4], "synonyms": [[2, 3, 4], [1]], "rules": ["random", "parity"]}
    instance = world(4, leaf_concentration=None, shuffle=True, **spec)
    estimator = ContextStates(tuples="found", arity="unknown")
    assert scores(instance, estimator, 6000) == (1.0, 1.0)
    assert sorted(map(tuple, estimator.blocks_[0])) == sorted(tuple(sorted(one)) for one in instance.truth.constituents[1])
    assert [len(one) for one in estimator.blocks_[1]] == [3]


def test_where_nothing_depends_on_anything_there_is_no_tuple():
    x = torch.from_numpy(np.random.default_rng(0).integers(0, 3, (2000, 6)))
    estimator = ContextStates(tuples="found").fit(x, seed=0)
    assert estimator.blocks_ == []
    assert torch.equal(estimator.encode(x), x)


def test_a_search_says_what_it_did_not_look_at():
    x = world(1).sample(2000, 0).observed
    estimator = ContextStates(tuples="found", arity=3, depth=1, search_budget=10).fit(x, seed=0)
    assert "height 0: 10 of 56 sets" in estimator.stopped_


def test_budgets_are_kept_and_the_true_one_explains_held_out_rows_best():
    instance = world(0)
    rows = instance.sample(10_000, 0).observed
    assert ContextStates(n_states=5).fit(rows, seed=0).n_states_[1:7] == [5] * 6
    estimator = ContextStates(n_states=[6, 7, 8, 9])
    assert scores(instance, estimator) == (1.0, 1.0)
    assert estimator.budget_ == 8
    assert np.argmax(estimator.held_out_) == 2


def test_without_a_constraint_all_tuples_are_one_state():
    estimator = ContextStates()
    scores(world(0, states=4, synonyms=4, minimum_gap=0.0), estimator)
    assert set(estimator.n_states_[:-8]) == {1}


def test_names_of_leaf_values_do_not_matter():
    x = world(1).sample(5000, 0).observed.views["tokens"].values
    other = torch.from_numpy(np.random.default_rng(0).permutation(8))[x]
    a, b = (ContextStates().fit(rows, seed=0).encode(rows) for rows in (x, other))
    for j in range(a.shape[1] - 8):  # a one-to-one map of states
        pairs = torch.unique(torch.stack([a[:, j], b[:, j]], dim=1), dim=0)
        assert len(pairs) == len(a[:, j].unique()) == len(b[:, j].unique())


def test_leaves_come_back_and_a_stream_gives_what_an_array_gives():
    x = world(1).sample(5000, 0).observed.views["tokens"].values
    estimator = ContextStates().fit(x, seed=0)
    assert torch.equal(estimator.decode(estimator.encode(x)), x.float())
    other = ContextStates().fit([x[:3000].float(), x[3000:].float()], seed=1)
    assert torch.equal(estimator.encode(x), other.encode(x))


@pytest.mark.parametrize(
    ("settings", "spoil", "sentence"),
    [
        ({}, lambda x: x * torch.tensor([0, 1, 1, 1, 1, 1, 1, 1]), "column 0 is constant"),
        ({"arity": 3}, lambda x: x, "cannot be cut into blocks of arity 3"),
        ({"rule": "aic"}, lambda x: x, "rule must be"),
        ({"arity": "unknown"}, lambda x: x, "arity must be at least 2"),
        ({"tuples": "found", "arity": 1}, lambda x: x, "arity and max_arity must be at least 2"),
        ({"n_states": []}, lambda x: x, "n_states and search_budget"),
        ({"tuples": [[[0, 0]]]}, lambda x: x, "once at most"),
        ({}, lambda x: x + 0.5, "whole numbers"),
        ({}, lambda x: iter([x.float()]), "read only once"),
    ],
)
def test_errors_are_sentences(settings, spoil, sentence):
    x = world(1).sample(500, 0).observed.views["tokens"].values
    with pytest.raises(InvalidInput, match=sentence):
        ContextStates(**settings).fit(spoil(x), seed=0)
