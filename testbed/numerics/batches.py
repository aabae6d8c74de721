"""How estimators read `Data`: an Observed, an array, or a stream of either. What is wrong with data is found here, once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import chain
from typing import Any

import numpy as np
import torch
from torch import Tensor

from testbed.contracts import Data, InvalidInput, Observed, Sample, SparseRows
from testbed.numerics.shuffling import Mixed, Passes, Permuted, Place, Source


def rows(data: Data, view: str | None = None, *, limit: int | None = None, columns: int | None = None) -> Tensor:
    """All rows (or the first `limit` of them) in one tensor, in their order.

    Parameters
    ----------
    data : Observed, array of shape (n, d), or iterable of either
    view : str, optional
        Which view of an Observed; None where there is only one.
    limit : int, optional
        Most rows to take, so that an endless stream can be used.
    columns : int, optional
        The number of columns that is wanted.

    Returns
    -------
    Tensor, shape (n, d), float32 or float64

    Raises
    ------
    InvalidInput
        If `data` are of no known kind, hold no row, are not two-dimensional, not finite, or have the wrong number of columns.
    """
    pieces = list(chunks(data, view, limit=limit))
    out = pieces[0] if len(pieces) == 1 else torch.cat(pieces)
    if columns is not None and out.shape[1] != columns:
        raise InvalidInput(f"data have {out.shape[1]} columns, but the fit was on {columns}: encode the view that was fitted")
    return out


def chunks(data: Data, view: str | None = None, *, limit: int | None = None) -> Iterator[Tensor]:
    """The same rows as `rows`, in the chunks they come in: one pass, bounded memory."""
    count, width = 0, None
    for piece in _pieces(data):
        chunk = _checked(piece, view, count)
        if width is not None and chunk.shape[1] != width:
            raise InvalidInput(f"a stream's chunks must have equal widths, but one has {width} columns and the next {chunk.shape[1]}")
        width = chunk.shape[1]
        if limit is not None:
            chunk = chunk[: limit - count]
        count += len(chunk)
        if len(chunk):
            yield chunk
        if limit is not None and count >= limit:
            break
    if not count:
        raise InvalidInput("the data hold no row: give at least 1")


class Batches(Iterator[Tensor]):
    """Shuffled batches until `samples` rows have been seen; data that can be read again are read again.

    Arrays are shuffled whole in each epoch. Streams go through a buffer of bounded size, half of which is kept back at each refill, so
    that neighbours in the stream part. A stream that has `starting_at(row)`, an iterator from that row on, is not read from its beginning
    when training is resumed.

    Parameters
    ----------
    data : Observed, array of shape (n, d), or iterable of either
    view : str, optional
    batch_size : int
    seed : int
        The order follows from it alone.
    samples : int
        Budget in rows, repeated rows counted; the last batch may be short.

    Yields
    ------
    Tensor, shape (b, d), float32

    Raises
    ------
    InvalidInput
        As in `rows`; if `batch_size` or `samples` is less than 1; or if a stream that cannot be read again ends before the budget.
    """

    def __init__(self, data: Data, view: str | None, batch_size: int, seed: int, samples: int) -> None:
        if batch_size < 1 or samples < 1:
            raise InvalidInput(f"batch_size and samples must be at least 1, not {batch_size} and {samples}")
        generator = torch.Generator().manual_seed(seed)
        self.samples, self.seen = samples, 0
        self.source: Source
        if is_stream(data):
            stream: Any = data
            again = iter(stream) is not stream
            self.source = Mixed(Passes(lambda row: _from_row(data, view, row if again else 0), again, samples), batch_size, generator)
        else:
            self.source = Permuted(rows(data, view), batch_size, generator)

    def __next__(self) -> Tensor:
        if self.seen >= self.samples:
            raise StopIteration
        batch = next(self.source)[: self.samples - self.seen].float()
        self.seen += len(batch)
        return batch

    def place(self) -> Place:
        """All that the batches still to come follow from, besides the data."""
        return {**self.source.place(), "seen": torch.tensor(self.seen)}

    def move_to(self, place: Place) -> None:
        """Go to a place that `place` gave, of the same data, seed and sizes: what comes is what would have come."""
        self.source.move_to(place)
        self.seen = int(place["seen"])


def batches(data: Data, view: str | None, batch_size: int, seed: int, samples: int) -> Batches:
    """Shuffled batches of data, see `Batches`."""
    return Batches(data, view, batch_size, seed, samples)


def _from_row(data: Any, view: str | None, row: int) -> Iterator[Tensor]:
    """Chunks of a stream without its first rows."""
    if row and hasattr(data, "starting_at"):
        pieces = iter(data.starting_at(row))
        first = next(pieces, None)
        if first is not None:
            yield from chunks(chain([first], pieces), view)
        return
    left = row
    for chunk in chunks(data, view):
        if left < len(chunk):
            yield chunk[left:]
        left = max(0, left - len(chunk))


def require_rows(data: Any, view: str | None, wanted: int, why: str) -> None:
    """Raise InvalidInput if data that can be read more than once hold fewer than `wanted` rows (`why` says what wants them)."""
    if is_read_once(data):  # `batches` counts its rows
        return
    count = len(rows(data, view, limit=wanted))
    if count < wanted:
        raise InvalidInput(f"the data have {count} rows, but {why} needs at least {wanted}: give more rows")


def first_pieces(data: Any, limit: int) -> Iterator[Any]:
    """The first `limit` rows as they come, an Observed or an array at a time: for estimators that hand them to other estimators."""
    left = limit
    for piece in _pieces(data):
        yield piece[:left]
        left -= len(piece)
        if left <= 0:
            return


def is_read_once(data: Any) -> bool:
    """Whether reading data would use them up."""
    return is_stream(data) and iter(data) is data


def is_stream(data: Any) -> bool:
    """Whether `data` come in chunks. A list of lists of numbers is an array."""
    if isinstance(data, Observed | Sample | Tensor | SparseRows) or hasattr(data, "__array__"):
        return False
    if isinstance(data, list | tuple):
        whole = isinstance(data[0], Observed | SparseRows) if data else False
        return whole or (bool(data) and hasattr(data[0], "__array__") and data[0].ndim >= 2)
    return isinstance(data, Iterable) and not isinstance(data, str | bytes | dict)


def _pieces(data: Any) -> Iterable[Any]:
    return data if is_stream(data) else (data,)


def _checked(piece: Any, view: str | None, offset: int) -> Tensor:
    """One Observed or array as a finite tensor, shape (n, d); `offset` is the number of rows before it."""
    if isinstance(piece, Sample):
        raise InvalidInput("an estimator sees no latents: give sample.observed instead of the sample")
    values: Any = piece.views[piece.name_of(view)].values if isinstance(piece, Observed) else piece
    if isinstance(values, SparseRows):
        values = values.dense()
    if not isinstance(values, Tensor):
        try:
            array = np.ascontiguousarray(values)
            values = torch.as_tensor(array if array.flags.writeable else array.copy())
        except (TypeError, ValueError) as error:
            raise InvalidInput(
                f"data must be an Observed, an array of numbers or a stream of either, not {type(piece).__name__} ({error})"
            ) from None
    if values.ndim != 2:
        raise InvalidInput(f"data must have two dimensions (rows, columns), not shape {tuple(values.shape)}: reshape them")
    if values.shape[1] < 1:
        raise InvalidInput(f"data of shape {tuple(values.shape)} have no column: give at least 1")
    if values.is_complex():
        raise InvalidInput("data must be real numbers, not complex: give real and imaginary parts as columns")
    out: Tensor = values.detach()
    if out.dtype not in (torch.float32, torch.float64):
        out = out.float()
    finite = out.isfinite()
    if not finite.all():
        row, column = (~finite).nonzero()[0].tolist()
        value = out[row, column].item()
        raise InvalidInput(f"row {offset + row}, column {column} of the data is {value}: check the data before fitting")
    return out
