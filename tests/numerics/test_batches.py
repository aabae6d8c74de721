"""Reading of data: what is accepted, what is refused, and that batches are shuffled, complete and repeatable."""

import numpy as np
import pytest
import torch

from testbed.contracts import InvalidInput, Observed, Sample, SparseRows, View
from testbed.numerics.batches import batches, chunks, is_stream, require_rows, rows

X = torch.arange(30.0).reshape(10, 3)


class Again:
    """A stream that can be read again."""

    def __init__(self, x, size=3):
        self.x, self.size = x, size

    def __iter__(self):
        return iter(torch.split(self.x, self.size))


def observed(x):
    return Observed({"only": View(x)})


FORMS = {
    "tensor": X,
    "numpy": X.numpy(),
    "read-only numpy": np.frombuffer(X.numpy().tobytes(), dtype=np.float32).reshape(10, 3),
    "backwards numpy": X.flip(0).numpy()[::-1],
    "lists": X.tolist(),
    "rows in a list": list(X.numpy()),
    "integers": X.long(),
    "observed": observed(X),
    "sparse": Observed({"only": View(SparseRows.from_dense(X))}),
    "list of tensors": [X[:4], X[4:]],
    "generator": None,
    "stream of observed": [observed(X[:1]), observed(X[1:])],
    "stream": Again(X),
}


@pytest.mark.parametrize("form", FORMS)
def test_every_form_of_data_gives_the_same_rows(form):
    data = (x for x in torch.split(X, 4)) if form == "generator" else FORMS[form]
    assert torch.equal(rows(data).float(), X)


def test_float64_stays_and_a_limit_cuts_endless_streams():
    assert rows(X.double()).dtype == torch.float64
    endless = (X for _ in iter(int, 1))
    assert len(rows(endless, limit=25)) == 25
    assert sum(map(len, chunks(Again(X), limit=4))) == 4


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (torch.zeros(3), "two dimensions"),
        (torch.zeros(2, 2, 2), "two dimensions"),
        (torch.zeros(0, 3), "at least 1"),
        (torch.zeros(3, 0), "no column"),
        ([], "two dimensions"),
        (iter([]), "no row"),
        (torch.zeros(3, 2, dtype=torch.complex64), "complex"),
        ({"a": 1}, "dict"),
        ("text", "str"),
        (np.array([["a"]]), "array of numbers"),
        ([X, X[:, :2]], "equal widths"),
        (Sample(observed(X)), "sample.observed"),
    ],
)
def test_what_is_no_data_is_refused_in_a_sentence(data, message):
    with pytest.raises(InvalidInput, match=message):
        rows(data)


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_what_is_not_finite_is_named_by_row_and_column(bad):
    x = X.clone()
    x[7, 2] = bad
    for data in (x, Again(x), observed(x)):
        with pytest.raises(InvalidInput, match=r"row 7, column 2 .* check the data before fitting"):
            rows(data)


def test_views_are_named_where_there_are_several():
    two = Observed({"a": View(X), "b": View(-X)})
    assert torch.equal(rows(two, "b"), -X)
    for view in (None, "c"):
        with pytest.raises(InvalidInput, match="'a', 'b'"):
            rows(two, view)


def test_another_width_than_the_fit_is_refused():
    with pytest.raises(InvalidInput, match="3 columns, but the fit was on 4"):
        rows(X, columns=4)


@pytest.mark.parametrize("data", [X, Again(X), observed(X)])
def test_an_epoch_has_every_row_once_and_the_budget_is_exact(data):
    whole = torch.cat(list(batches(data, None, 4, seed=1, samples=10)))
    assert torch.equal(whole.sort(dim=0).values, X)
    assert not torch.equal(whole, X)
    sizes = [len(b) for b in batches(data, None, 4, seed=1, samples=33)]
    assert sum(sizes) == 33
    assert max(sizes) == 4


@pytest.mark.parametrize("data", [X, Again(X)])
def test_the_order_follows_from_the_seed_alone(data):
    first, again, other = (torch.cat(list(batches(data, None, 4, seed, 40))) for seed in (1, 1, 2))
    assert torch.equal(first, again)
    assert not torch.equal(first, other)


def test_a_long_stream_is_shuffled_beyond_its_chunks_in_bounded_memory():
    x = torch.arange(100_000.0)[:, None]
    order = torch.cat(list(batches(Again(x, 500), None, 512, seed=0, samples=100_000)))[:, 0]
    assert torch.equal(order.sort().values, x[:, 0])
    neighbours = (order.diff().abs() == 1).float().mean()
    assert neighbours < 0.01
    assert (order - x[:, 0]).abs().mean() > 5000


def test_a_stream_that_cannot_be_read_again_says_how_many_rows_it_had():
    with pytest.raises(InvalidInput, match="10 of the 25 rows"):
        list(batches(iter([X]), None, 4, seed=0, samples=25))
    assert len(torch.cat(list(batches(iter([X]), None, 4, seed=0, samples=10)))) == 10


def test_no_more_is_drawn_from_a_stream_than_the_budget_needs():
    drawn = []

    def source():
        for i in range(1000):
            drawn.append(i)
            yield X

    list(batches(source(), None, 4, seed=0, samples=25))
    assert len(drawn) == 3


def test_too_few_rows_are_told_with_their_reason():
    for data in (X, Again(X), [X]):
        with pytest.raises(InvalidInput, match="10 rows, but k = 11 needs at least 11"):
            require_rows(data, None, 11, "k = 11")
        require_rows(data, None, 10, "k = 10")


def test_batches_do_not_touch_the_data():
    before = X.clone()
    for batch in batches(X, None, 4, seed=0, samples=20):
        batch += 1
    assert torch.equal(X, before)


def test_lists_of_numbers_are_arrays_and_lists_of_arrays_are_streams():
    assert not is_stream([[1.0, 2.0]])
    assert not is_stream([np.zeros(3)])
    assert is_stream([np.zeros((2, 3))])
