"""Comparing one's own estimator takes a class and a call."""

import pytest
import torch

import testbed
from testbed.contracts import InvalidInput
from testbed.registry import load


def test_a_class_defined_anywhere_is_compared_with_built_in_ones():
    class Mine(testbed.Estimator):
        def __init__(self, m=8):
            self.m = m

        def fit(self, data, *, seed):
            rows = torch.cat([observed.views["mixed"].values for observed in data])
            self.dictionary_ = rows[torch.randperm(len(rows), generator=torch.Generator().manual_seed(seed))[: self.m]]
            return self

        def encode(self, observed):
            return observed.views["mixed"].values @ self.dictionary_.T

        def decode(self, codes):
            return codes @ self.dictionary_

    world = {"levels": [3, 12], "dimension": 12}
    table = testbed.compare([Mine(m=6), "pca"], instances=2, train=4096, test=1024, **world)
    assert set(table.estimator) == {"Mine", "pca"}
    assert set(table.evaluator) == {"decoder_mcc", "activation_mcc", "explained_variance"}
    assert (table.n == 2).all()
    row = table[(table.estimator == "pca") & (table.evaluator == "activation_mcc") & (table.part == "")].iloc[0]
    assert row.low <= row["mean"] <= row.high
    assert row.chance < row.ceiling


def test_what_cannot_be_compared_is_refused():
    with pytest.raises(InvalidInput, match="neither a name nor an estimator"):
        testbed.compare([object()])
    with pytest.raises(InvalidInput, match="did you mean 'pca'"):
        testbed.compare(["pcaa"])


def test_a_failed_trial_is_raised_with_its_name(toys):
    estimator = load("toys:ToyEstimator")(trouble="raise")
    with pytest.raises(InvalidInput, match="ToyGenerator/0/ToyEstimator/0 failed in stage fit: RuntimeError: the toy refuses"):
        testbed.compare([estimator], "toys:ToyGenerator", evaluators=["toys:ToyScore"], instances=1, train=100, test=100)


def test_public_names_are_loaded_when_used():
    assert testbed.Estimator.__name__ == "Estimator"
    with pytest.raises(AttributeError, match="no attribute 'nothing'"):
        testbed.nothing  # noqa: B018
