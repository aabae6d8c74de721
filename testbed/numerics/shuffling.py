"""Shuffled batches that can be put aside and taken up again: arrays by permutations, streams through a bounded buffer."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator
from typing import TypeAlias

import torch
from torch import Tensor

from testbed.contracts import InvalidInput

BUFFER = 32_768
"""Rows that the shuffle buffer of a stream holds at most,"""
BUFFER_ENTRIES = 2**26
"""and entries: whichever is reached first (256 MB of float32)."""

Place: TypeAlias = dict[str, Tensor]
"""Where a source is: all that the batches still to come follow from, besides the data."""


class Source(ABC, Iterator[Tensor]):
    """Batches of rows in an order that follows from a seed alone."""

    @abstractmethod
    def place(self) -> Place:
        """Where it is, as tensors."""

    @abstractmethod
    def move_to(self, place: Place) -> None:
        """Go to a place that another source over the same data gave.

        Raises
        ------
        InvalidInput
            If the data do not reach that far.
        """


class Permuted(Source):
    """Endless batches of an array; an epoch's last rows share a batch with the next epoch's first.

    Parameters
    ----------
    x : Tensor, shape (n, d)
    batch_size : int
    generator : torch.Generator
    """

    def __init__(self, x: Tensor, batch_size: int, generator: torch.Generator) -> None:
        self.x, self.batch_size, self.generator = x, batch_size, generator
        self.held = torch.empty(0, dtype=torch.int64)

    def __next__(self) -> Tensor:
        while len(self.held) < self.batch_size:
            self.held = torch.cat([self.held, torch.randperm(len(self.x), generator=self.generator)])
        out = self.x[self.held[: self.batch_size].to(self.x.device)]
        self.held = self.held[self.batch_size :]
        return out

    def place(self) -> Place:
        return {"held": self.held.clone(), "generator": self.generator.get_state()}

    def move_to(self, place: Place) -> None:
        if len(place["held"]) and int(place["held"].max()) >= len(self.x):
            raise InvalidInput(f"the data have {len(self.x)} rows, but had more before: give the same data to go on")
        self.held = place["held"].clone()
        self.generator.set_state(place["generator"])


class Passes:
    """Chunks of a stream, again and again if it can be read again, until `samples` rows have been seen.

    Parameters
    ----------
    read : callable
        From the number of rows to leave out to an iterator of chunks, shape (n, d) each.
    again : bool
        Whether `read` gives the same rows each time; if not, it goes on where it was.
    samples : int
    """

    def __init__(self, read: Callable[[int], Iterator[Tensor]], again: bool, samples: int) -> None:
        self.read, self.again, self.samples = read, again, samples
        self.seen = self.row = 0  # rows in all, and in this pass
        self._chunks: Iterator[Tensor] | None = None

    def next(self) -> Tensor | None:
        """The next chunk; None at the end. No row more than the budget needs is drawn."""
        while self.seen < self.samples:
            if self._chunks is None:
                self._chunks = self.read(self.row)
            chunk = next(self._chunks, None)
            if chunk is not None:
                self.seen += len(chunk)
                self.row += len(chunk)
                return chunk
            if not self.again:
                raise InvalidInput(
                    f"the stream ended after {self.seen} of the {self.samples} rows asked for: "
                    "lower samples, or give data that can be read again"
                )
            self._chunks, self.row = None, 0
        return None

    def move_to(self, seen: int, row: int) -> None:
        """Go to row `row` of a pass: only the rows before it in that pass are passed over, at most."""
        if self.again:
            self._chunks = self.read(row) if seen < self.samples else None
        elif self.row > row:
            raise InvalidInput(f"the stream is past row {row} and cannot be read again: give it from its beginning to go on")
        while not self.again and self.row < row:
            chunk = self.next()
            if chunk is None or self.row > row:
                raise InvalidInput(
                    f"the stream does not come in the chunks that it came in before row {row}: give the same stream to go on"
                )
        self.seen, self.row = seen, row


class Mixed(Source):
    """Batches of a stream from a shuffle buffer of bounded size.

    Half of it is kept back at each refill, so that neighbours in the stream part.

    Parameters
    ----------
    passes : Passes
    batch_size : int
    generator : torch.Generator
    """

    def __init__(self, passes: Passes, batch_size: int, generator: torch.Generator) -> None:
        self.passes, self.batch_size, self.generator = passes, batch_size, generator
        self.buffer: Tensor | None = None
        self.at = self.out = 0  # the next batch starts at `at`, the last of this filling ends at `out`
        self.open = True

    def __next__(self) -> Tensor:
        if self.at >= self.out:
            self._fill()
        assert self.buffer is not None
        stop = min(self.at + self.batch_size, self.out)
        batch = self.buffer[self.at : stop]
        self.at = stop
        return batch

    def _fill(self) -> None:
        held = [] if self.buffer is None else [self.buffer[self.out :]]
        count = sum(map(len, held))
        capacity = max(2 * self.batch_size, BUFFER)
        while self.open and count < capacity:
            piece = self.passes.next()
            if piece is None:
                self.open = False
                break
            capacity = max(2 * self.batch_size, min(BUFFER, BUFFER_ENTRIES // piece.shape[1]))
            held.append(piece.float())
            count += len(piece)
        if not count:
            raise StopIteration
        whole = torch.cat(held)
        self.buffer = whole[torch.randperm(count, generator=self.generator).to(whole.device)]
        self.at, self.out = 0, count // 2 // self.batch_size * self.batch_size if self.open else count

    def place(self) -> Place:
        rows = torch.empty(0, 0) if self.buffer is None else self.buffer[self.at :].cpu().clone()
        counts = torch.tensor([self.out - self.at, self.passes.seen, self.passes.row, self.open])
        return {"buffer": rows, "counts": counts, "generator": self.generator.get_state()}

    def move_to(self, place: Place) -> None:
        left, seen, row, open_ = place["counts"].tolist()
        device = None if self.buffer is None else self.buffer.device
        self.passes.move_to(seen, row)
        self.buffer = place["buffer"].clone().to(device) if place["buffer"].shape[1] else None
        self.at, self.out, self.open = 0, left, bool(open_)
        self.generator.set_state(place["generator"])
