"""A hierarchy one level up, from codes of another estimator."""

import json
import math

import pytest
import torch

from generators.selection.continuous.family import ContinuousHierarchy
from testbed.contracts import InvalidInput, NotExpressible, Observed, View
from testbed.estimators.baselines.hand_made import HandMade
from testbed.estimators.baselines.oracle_codes import OracleCodes
from testbed.estimators.classical.pca import PCA
from testbed.estimators.nonlinear.bottleneck_hierarchy import BottleneckHierarchy, interpolated

WORLD = ContinuousHierarchy(levels=(1, 3, 9), selection="bump", center=1.0, width=[0.35, 1.0], nonlinearity=0.5, cells=64).draw(610_001)
SAMPLE = WORLD.sample(6_000, 1)
LEAVES = SAMPLE.latents[2]
TRUE = sorted(sorted(one) for one in WORLD.truth.constituents[1])


def fitted(data=LEAVES, **params):
    return BottleneckHierarchy(**params).fit(data, seed=0)


def correlation(a, b):
    ranks = torch.stack([a, b]).argsort(dim=1).argsort(dim=1).double()
    return abs(float(torch.corrcoef(ranks)[0, 1]))


def test_composites_come_first_and_name_their_constituents():
    model = fitted(size=3)
    codes = model.encode(LEAVES)
    assert codes.shape == (6_000, 12)
    assert torch.allclose(codes[:, 3:], LEAVES)
    assert model.tuples_ == TRUE
    assert model.levels_ == [0] * 3 + [1] * 9
    assert [[j - 3 for j in one] for one in model.constituents_[:3]] == TRUE
    truth = {tuple(sorted(one)): SAMPLE.latents[1][:, i] for i, one in enumerate(WORLD.truth.constituents[1])}
    for k, one in enumerate(TRUE):
        assert correlation(codes[:, k], truth[tuple(one)]) > 0.99
    assert torch.allclose(model.decode(codes), LEAVES)


def test_nothing_depends_on_increasing_maps_of_codes():
    plain, mapped = fitted(size=3), fitted(LEAVES.sinh() * 5 + 1, size=3)
    assert mapped.tuples_ == plain.tuples_
    assert correlation(plain.encode(LEAVES)[:, 0], mapped.encode(LEAVES.sinh() * 5 + 1)[:, 0]) > 0.9999


def test_true_tuples_are_those_of_the_codes_that_were_matched():
    swapped = list(reversed(range(9)))
    observed = Observed({"leaves": View(LEAVES[:, swapped], SAMPLE.observed.views["leaves"].shows)})

    class Told(type(WORLD.truth)):
        def oracle(self, observed, view):
            return observed.views[view].values[:, swapped]

    told = object.__new__(Told)
    told.__dict__.update(vars(WORLD.truth))
    model = BottleneckHierarchy(tuples="truth").fit(observed, seed=0, truth=told)
    assert sorted(sorted(8 - j for j in one) for one in model.tuples_) == TRUE


def test_given_tuples_are_taken_and_codes_without_a_gain_have_no_composite():
    model = fitted(tuples=TRUE[:1])
    assert model.tuples_ == TRUE[:1]
    assert model.encode(LEAVES).shape[1] == 10
    free = torch.randn(2_000, 6, generator=torch.Generator().manual_seed(0))
    model = fitted(free, tuples=[[0, 1, 2], [3, 4, 5]])
    assert model.constituents_ == [[]] * 6
    assert model.levels_ == [0] * 6
    assert torch.equal(model.encode(free), free)


def test_the_truth_is_needed_where_it_is_used():
    assert not BottleneckHierarchy().needs_truth
    assert not BottleneckHierarchy(codes=PCA(n_components=3)).needs_truth
    assert BottleneckHierarchy(tuples="truth").needs_truth
    assert BottleneckHierarchy(codes=OracleCodes()).needs_truth
    with pytest.raises(InvalidInput, match="no truth"):
        BottleneckHierarchy(codes=OracleCodes()).fit(SAMPLE.observed, seed=0)


def test_codes_of_the_oracle_give_the_same_tuples_and_cannot_be_stored():
    model = BottleneckHierarchy(codes=OracleCodes(), size=3, samples=5_000).fit(SAMPLE.observed, seed=0, truth=WORLD.truth)
    assert model.tuples_ == TRUE
    with pytest.raises(NotExpressible):
        model.get_state()
    assert model.tuples_ == TRUE
    assert model.encode(SAMPLE.observed[:7]).shape == (7, 12)


def test_state_goes_through_json_with_the_nested_estimators():
    model = fitted(codes=PCA(n_components=9), size=3, samples=2_000)
    arrays, plain = model.get_state()
    other = BottleneckHierarchy(codes=PCA(n_components=9), size=3).set_state(arrays, json.loads(json.dumps(plain)))
    assert torch.equal(model.encode(LEAVES[:50]), other.encode(LEAVES[:50]))


def test_interpolation_meets_its_knots_and_is_constant_beyond():
    knots, scores = torch.tensor([[0.0, 1.0, 3.0]]).double(), torch.tensor([[-1.0, 0.0, 4.0]]).double()
    x = torch.tensor([[-5.0], [0.0], [0.5], [1.0], [2.0], [9.0]]).double()
    assert interpolated(x, knots, scores)[:, 0].tolist() == [-1, -1, -0.5, 0, 2, 4]


@pytest.mark.parametrize(
    "params",
    [
        {"tuples": "magic"},
        {"method": "magic"},
        {"size": 1},
        {"size": 10},
        {"most": 0},
        {"budget": 0},
        {"samples": 0},
        {"samples": 100},
        {"least_gain": -1.0},
        {"least_gain": float("nan")},
        {"tuples": [[0, 1], [1, 2]]},
        {"tuples": [[0, 9]]},
        {"tuples": []},
    ],
)
def test_bad_settings_are_refused(params):
    with pytest.raises(InvalidInput):
        fitted(**params)


def test_bad_data_are_refused():
    with pytest.raises(InvalidInput, match="only once"):
        fitted(iter([LEAVES]))
    with pytest.raises(InvalidInput, match="6 codes vary"):
        fitted(torch.cat([LEAVES[:, :6], torch.ones(len(LEAVES), 3)], dim=1), size=7)
    with pytest.raises(InvalidInput, match="columns"):
        fitted(size=3, samples=2_000).encode(LEAVES[:, :5])


def test_nested_estimators_are_cloned_and_told_the_view():
    nested = HandMade()
    observed = Observed({"a": View(LEAVES), "b": View(LEAVES.flip(1))})
    model = BottleneckHierarchy(view="b", size=3, samples=2_000).fit(observed, seed=0)
    assert torch.equal(model.encode(observed)[:, -9:], LEAVES.flip(1))
    assert nested.get_params() == HandMade().get_params()


def test_copies_of_a_code_do_no_harm():
    model = fitted(torch.cat([LEAVES, LEAVES[:, :2]], dim=1), samples=2_000)
    assert model.encode(torch.cat([LEAVES, LEAVES[:, :2]], dim=1)).isfinite().all()
    assert all(math.isfinite(gain) for one in model.gains_ for gain in one)
