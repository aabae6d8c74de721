"""Batches that were put aside and taken up again are those that would have come, and reading again is kept short."""

import pytest
import torch

from testbed.contracts import InvalidInput
from testbed.numerics import shuffling
from testbed.numerics.batches import batches

X = torch.arange(3000.0).reshape(1000, 3)


class Again:
    """A stream that can be read again, and counts the chunks that are read."""

    def __init__(self, size=60):
        self.size, self.read = size, 0

    def __iter__(self):
        return self.starting(0)

    def starting(self, row):
        for chunk in torch.split(X[row:], self.size):
            self.read += 1
            yield chunk


class Seekable(Again):
    def starting_at(self, row):
        return self.starting(row)


@pytest.fixture(autouse=True)
def _small_buffer(monkeypatch):
    monkeypatch.setattr(shuffling, "BUFFER", 200)


SOURCES = {"array": lambda: X, "stream": Again, "seekable": Seekable, "once": lambda: iter(Again())}


@pytest.mark.parametrize("kind", SOURCES)
@pytest.mark.parametrize("taken", [0, 1, 7, 40, 93, 94])
def test_what_comes_after_a_place_is_what_would_have_come(kind, taken):
    samples = 940 if kind == "once" else 2345
    whole = list(batches(SOURCES[kind](), None, 10 if kind == "once" else 25, 3, samples))
    size = len(whole[0])
    first = batches(SOURCES[kind](), None, size, 3, samples)
    for _ in range(taken):
        next(first)
    second = batches(SOURCES[kind](), None, size, 3, samples)
    if taken:
        next(second)
    second.move_to(first.place())
    rest = list(second)
    assert len(rest) == len(whole) - taken
    assert all(torch.equal(a, b) for a, b in zip(rest, whole[taken:], strict=True))


def test_only_the_pass_that_was_interrupted_is_read_again_and_not_even_that_where_data_can_start_elsewhere():
    read = {}
    for kind in (Again, Seekable):
        first = batches(kind(), None, 50, 0, 50_000)
        for _ in range(410):  # in the 21st pass
            next(first)
        data = kind()
        second = batches(data, None, 50, 0, 50_000)
        second.move_to(first.place())
        next(second)
        read[kind] = data.read
    assert read[Again] <= 1000 // 60 + 1
    assert read[Seekable] <= 2


def test_another_stream_or_a_shorter_array_cannot_be_gone_on_with():
    first = batches(iter(Again(60)), None, 10, 0, 900)
    for _ in range(30):
        next(first)
    with pytest.raises(InvalidInput, match="give the same stream"):
        batches(iter(Again(70)), None, 10, 0, 900).move_to(first.place())
    ahead = batches(iter(Again(60)), None, 10, 0, 900)
    next(ahead)
    with pytest.raises(InvalidInput, match="give it from its beginning"):
        ahead.move_to(batches(iter(Again(60)), None, 10, 0, 900).place())
    with pytest.raises(InvalidInput, match="ended after"):
        batches(iter([X[:60]]), None, 10, 0, 900).move_to(first.place())
    with pytest.raises(InvalidInput, match="500 rows, but had more"):
        batches(X[:500], None, 10, 0, 900).move_to(batches_after(X, 3).place())


def batches_after(x, taken):
    source = batches(x, None, 10, 0, 900)
    for _ in range(taken):
        next(source)
    return source


def test_a_place_is_as_large_as_the_buffer_at_most():
    source = batches_after(Again(), 30)
    assert sum(len(v) for v in source.place().values() if v.dtype == torch.float32) <= 260
