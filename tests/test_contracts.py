"""The nouns: sparse rows are the dense rows they stand for, samples are prefixes of longer ones, components store what they are given."""

import itertools
import json
import math

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from testbed.contracts import (
    BLOCK,
    BlockInstance,
    Estimator,
    InvalidInput,
    NotExpressible,
    Observed,
    Sample,
    Shows,
    SparseRows,
    Structure,
    View,
    concatenate,
    joined,
    seed_of,
    side_by_side,
)


def sparse_matrix(n, m, seed, density=0.3):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, m, generator=g) * (torch.rand(n, m, generator=g) < density)


class Counter(BlockInstance):
    """Rows that say where they are, so that order and gaps show."""

    def block(self, seed):
        rows = torch.arange(BLOCK, dtype=torch.float64).unsqueeze(1) + (seed % 1_000_003) * BLOCK
        return Sample(Observed({"x": View(rows)}), {0: SparseRows.from_dense(rows)})


@given(st.integers(1, 40), st.integers(1, 12), st.integers(0, 99))
def test_sparse_rows_are_the_dense_rows_they_came_from(n, m, seed):
    dense = sparse_matrix(n, m, seed)
    sparse = SparseRows.from_dense(dense)
    assert torch.equal(sparse.dense(), dense)
    assert len(sparse.values) == int((dense != 0).sum())


@given(st.integers(1, 30), st.integers(0, 30), st.integers(0, 30), st.integers(0, 99))
def test_cutting_and_stacking_sparse_rows_is_cutting_and_stacking_rows(n, start, stop, seed):
    dense = sparse_matrix(n, 5, seed)
    sparse = SparseRows.from_dense(dense)
    assert torch.equal(sparse[start:stop].dense(), dense[start : max(stop, start)])
    assert torch.equal(SparseRows.cat([sparse[:start], sparse[start:]]).dense(), dense)


def test_sparse_rows_are_not_cut_in_steps():
    with pytest.raises(InvalidInput, match="steps of 1"):
        SparseRows.from_dense(torch.ones(4, 2))[::2]


@given(st.integers(1, 3 * BLOCK), st.integers(1, BLOCK))
def test_a_sample_is_the_beginning_of_every_longer_one(n, fewer):
    instance = Counter()
    fewer = min(n, fewer)
    long, short = instance.sample(n, 3), instance.sample(fewer, 3)
    assert torch.equal(long[:fewer].observed.views["x"].values, short.observed.views["x"].values)


@pytest.mark.parametrize("batch_size", [37, 1000, BLOCK - 1, BLOCK, BLOCK + 1, 2 * BLOCK + 7])
@pytest.mark.parametrize("start", [0, 1, 500, BLOCK, 2 * BLOCK - 1])
def test_batch_size_and_starting_row_do_not_change_the_rows(batch_size, start):
    instance, n = Counter(), 3 * BLOCK
    batches = list(itertools.islice(instance.stream(batch_size, 5, start=start), math.ceil((n - start) / batch_size)))
    assert {len(batch) for batch in batches} == {batch_size}
    found = concatenate(batches).observed.views["x"].values
    assert torch.equal(found[: n - start], instance.sample(n, 5).observed.views["x"].values[start:])


def test_parts_and_seeds_give_other_rows():
    instance = Counter()
    rows = {instance.sample(1, s, p).observed.views["x"].values.item() for s in (1, 2) for p in ("train", "test", "reference")}
    assert len(rows) == 6


def test_an_instance_that_ends_says_how_many_rows_there_are():
    class Short(Counter):
        def chunks(self, seed, part="train", start=0):
            yield self.block(seed)[start:10]

    with pytest.raises(InvalidInput, match="only 10"):
        Short().sample(11, 0)
    assert sum(map(len, Short().stream(4, 0))) == 10


def test_views_of_different_length_are_refused():
    with pytest.raises(InvalidInput, match="same number of rows"):
        Observed({"a": View(torch.zeros(3, 1)), "b": View(torch.zeros(4, 1))})


def test_the_only_view_needs_no_name_and_of_several_one_must_be_named():
    one, two = Observed({"a": View(torch.zeros(3, 1))}), Observed({"a": View(torch.zeros(3, 1)), "b": View(torch.zeros(3, 1))})
    assert one.name_of(None) == "a"
    with pytest.raises(InvalidInput, match="set view to one of 'a', 'b'"):
        two.name_of(None)
    with pytest.raises(InvalidInput, match="no view 'c'"):
        two.name_of("c")


def test_views_stand_side_by_side_under_their_joined_names():
    a, b = torch.arange(6.0).reshape(3, 2), torch.tensor([[0.0], [4], [0]])
    observed = Observed({"low": View(a, Shows((1,))), "high": View(SparseRows.from_dense(b), Shows((0,)))})
    assert observed.names_of(None) == ("low", "high")
    both = observed.view(joined(observed.names_of(["high", "low"])))
    assert torch.equal(both.values, torch.cat([b, a], dim=1))
    assert both.shows.levels == (0, 1)
    assert observed.view("low") is observed.views["low"]
    with pytest.raises(InvalidInput, match="no view 'middle'"):
        observed.view("low+middle")


def test_sparse_rows_stand_side_by_side():
    a, b = torch.tensor([[1.0, 0], [0, 2]]), torch.tensor([[0.0], [3]])
    whole = side_by_side([SparseRows.from_dense(a), SparseRows.from_dense(b)])
    assert torch.equal(whole.dense(), torch.cat([a, b], dim=1))
    assert torch.equal(side_by_side([a, SparseRows.from_dense(b)]), torch.cat([a, b], dim=1))


def test_a_seed_depends_on_every_part_and_stays_what_it_is():
    assert seed_of("fit", 0, 1) == 8209301657139183395  # stores of yesterday must be found tomorrow
    assert len({seed_of("fit", i, j) for i in range(10) for j in range(10)}) == 100
    assert all(0 <= seed_of("x", i) < 2**63 for i in range(100))


class Plain(Estimator):
    def __init__(self, k=2, view=None):
        self.k = k
        self.view = view

    def fit(self, data, *, seed):
        self.mean_ = data.mean(0)
        self.history_ = {"loss": [1.0]}
        self._private_ = object()
        return self

    def encode(self, observed):
        return observed - self.mean_

    def decode(self, codes):
        return codes + self.mean_


def test_clone_keeps_parameters_and_forgets_what_was_learned():
    model = Plain(k=5).fit(torch.ones(3, 2), seed=0)
    copy = model.clone()
    assert copy.get_params() == {"k": 5, "view": None}
    assert not hasattr(copy, "mean_")
    assert repr(copy) == "Plain(k=5, view=None)"
    with pytest.raises(InvalidInput, match="has no parameter 'q'"):
        copy.set_params(q=1)


def test_state_is_what_ends_in_an_underscore():
    arrays, plain = Plain().fit(torch.ones(3, 2), seed=0).get_state()
    assert set(arrays) == {"mean_"}
    assert plain == {"history_": {"loss": [1.0]}}
    other = Plain().set_state(arrays, plain)
    assert torch.equal(other.encode(torch.ones(1, 2)), torch.zeros(1, 2))


class Pair(Plain):
    """One estimator inside, and a list of two."""

    def blank(self, name):
        return Plain()

    def fit(self, data, *, seed):
        self.one_ = Plain(k=7).fit(data, seed=seed)
        self.two_ = [Plain(k=k).fit(data, seed=seed) for k in (8, 9)]
        return self


def test_estimators_inside_an_estimator_are_part_of_its_state():
    model = Pair().fit(torch.ones(3, 2), seed=0)
    arrays, plain = model.get_state()
    back = Pair().set_state(arrays, json.loads(json.dumps(plain)))
    assert [one.k for one in (back.one_, *back.two_)] == [7, 8, 9]  # parameters that differ from those of a blank one
    for mine, theirs in zip((model.one_, *model.two_), (back.one_, *back.two_), strict=True):
        assert mine.get_state()[1] == theirs.get_state()[1]
        assert all(torch.equal(value, theirs.get_state()[0][name]) for name, value in mine.get_state()[0].items())


def test_an_estimator_that_does_not_say_what_it_holds_cannot_be_restored():
    arrays, plain = Pair().fit(torch.ones(3, 2), seed=0).get_state()
    with pytest.raises(NotExpressible, match="blank"):
        Plain().set_state(arrays, plain)


@pytest.mark.parametrize("name", ["encode", "k", "__class__", "_hidden_", "not a name_", "fit"])
def test_a_state_sets_fitted_attributes_and_nothing_else(name):
    arrays, plain = Pair().fit(torch.ones(3, 2), seed=0).get_state()
    with pytest.raises(InvalidInput, match="whose names end in '_'"):
        Pair().set_state(arrays, {**plain, name: 1})
    with pytest.raises(InvalidInput, match="whose names end in '_'"):
        Pair().set_state(arrays, {"nested": {name: plain["nested"]["one_"]}})


@pytest.mark.parametrize("nested", [3, {"one_": 3}, {"one_": {"params": {}}}, {"one_": {"params": [], "plain": {}}}, {"two_": [None]}])
def test_a_state_of_estimators_that_is_none_is_refused(nested):
    with pytest.raises(InvalidInput, match="fit again"):
        Pair().set_state({}, {"nested": nested})


def test_state_that_is_neither_array_nor_json_is_named():
    model = Plain().fit(torch.ones(3, 2), seed=0)
    model.forest_ = object()
    with pytest.raises(NotExpressible, match="forest_"):
        model.get_state()
    model.forest_ = np.ones(2)
    assert "forest_" in model.get_state()[0]


def test_structure_is_read_off_a_fitted_estimator():
    model = Plain().fit(torch.ones(3, 2), seed=0)
    assert Structure.of(model) is None
    model.constituents_, model.levels_, model.n_states_ = [[1, 2], [], []], [0, 1, 1], [4, 2, 2]
    assert Structure.of(model) == Structure((0, 1, 1), ((1, 2), (), ()), (4, 2, 2))


@pytest.mark.parametrize(
    ("levels", "constituents", "states", "direction", "message"),
    [
        ((0, 1), ((1,),), (), "undecided", "one per code"),
        ((0, 1), ((1,), ()), (2,), "undecided", "one per code"),
        ((0, 1), ((2,), ()), (), "undecided", "code 0 of 2"),
        ((0, 1), ((0,), ()), (), "undecided", "code 0 of 2"),
        ((0, 1), ((1,), ()), (), "up", "direction is 'up'"),
    ],
)
def test_a_structure_that_cannot_be_is_refused(levels, constituents, states, direction, message):
    with pytest.raises(InvalidInput, match=message):
        Structure(levels, constituents, states, direction)
