"""The oracle dictionary under each inference method, and probes that are told the answers."""

import json

import pytest
import torch

from evaluators.recovery.activation_f1 import ActivationF1
from generators.selection.continuous.family import ContinuousHierarchy
from generators.selection.sparse import SparseConcepts
from testbed.contracts import InvalidInput, Outcome
from testbed.estimators.baselines.identity import Identity
from testbed.estimators.baselines.oracle_dictionary import OracleDictionary
from testbed.estimators.baselines.supervised_probe import SupervisedProbe
from testbed.numerics.matching import cosine, cross_correlation, dense


@pytest.fixture(scope="module")
def world():
    instance = SparseConcepts(levels=[6, 30], dimension=24, noise=0.02).draw(5)
    train, test = instance.sample(6000, 1), instance.sample(4000, 2, "test")
    return instance, train.observed, test


def f1(world, estimator):
    instance, train, test = world
    known = {"truth": instance.truth} if estimator.needs_truth else {}
    codes = estimator.fit(train, seed=0, **known).encode(test.observed)
    return ActivationF1().score(Outcome(codes, test, "mixed", truth=instance.truth), seed=0).value


def test_methods_order_as_they_should(world):
    scores = {method: f1(world, OracleDictionary(method)) for method in ("pursuit", "regression", "encoder")}
    assert scores["pursuit"] > 0.95
    assert scores["regression"] > 0.9
    assert scores["encoder"] < scores["regression"]
    assert scores["encoder"] > f1(world, Identity())


@pytest.mark.parametrize("method", ["pursuit", "regression", "encoder"])
def test_state_and_streams_give_the_same_codes(world, method):
    instance, train, test = world
    fitted = OracleDictionary(method).fit(train, seed=0, truth=instance.truth)
    arrays, plain = fitted.get_state()
    again = OracleDictionary(method).set_state(arrays, json.loads(json.dumps(plain)))
    pieces = [train[i : i + 1000] for i in range(0, len(train), 1000)]
    streamed = OracleDictionary(method).fit(pieces, seed=5, truth=instance.truth)
    expected = dense(fitted.encode(test.observed))
    assert torch.equal(dense(again.encode(test.observed)), expected)
    assert torch.equal(dense(streamed.encode(test.observed)), expected)
    assert fitted.decode(fitted.encode(test.observed)).shape == (4000, 24)


def test_unknown_methods_are_refused(world):
    with pytest.raises(InvalidInput, match="pursuit, regression, encoder"):
        OracleDictionary("guess").fit(world[1], seed=0, truth=world[0].truth)


def test_a_linear_probe_is_least_squares_and_no_linear_code_correlates_more(world):
    instance, train, test = world
    probe = SupervisedProbe().fit(train, seed=0, truth=instance.truth)
    z = torch.cat([dense(test.latents[level]) for level in sorted(test.latents)], dim=1)
    own = cross_correlation(z, probe.encode(test.observed)).diagonal()
    transposed = (dense(test.observed.views["mixed"].values) - instance.truth.facts["bias/mixed"]) @ instance.truth.dictionary("mixed").T
    assert (own > cross_correlation(z, transposed).diagonal() - 0.02).all()
    assert cosine(instance.truth.dictionary("mixed"), probe.dictionary_).diagonal().mean() > 0.95


def test_a_logistic_probe_stands_between_the_transposed_decoder_and_pursuit(world):
    probe = f1(world, SupervisedProbe("logistic"))
    assert f1(world, OracleDictionary("encoder")) < probe < f1(world, OracleDictionary())


def test_probes_of_real_concepts_are_linear_only():
    instance = ContinuousHierarchy.small().draw(3)
    view = next(iter(instance.truth.dictionaries), None)
    if view is None:
        pytest.skip("this family states no dictionary")
    data = instance.sample(500, 0).observed
    SupervisedProbe(view=view).fit(data, seed=0, truth=instance.truth)
    with pytest.raises(InvalidInput, match="set read to 'linear'"):
        SupervisedProbe("logistic", view=view).fit(data, seed=0, truth=instance.truth)


def test_what_a_probe_needs_is_said(world):
    instance, train, _ = world
    with pytest.raises(InvalidInput, match="no truth"):
        SupervisedProbe().fit(train, seed=0)
    with pytest.raises(InvalidInput, match="'nowhere'"):
        SupervisedProbe(view="nowhere").fit(train, seed=0, truth=instance.truth)
    for wrong in ({"read": "deep"}, {"samples": 0}, {"ridge": 0.0}, {"max_iter": 0}):
        with pytest.raises(InvalidInput, match="linear or logistic"):
            SupervisedProbe(**wrong).fit(train, seed=0, truth=instance.truth)
