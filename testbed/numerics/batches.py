"""How estimators read `Data`: an Observed, an array, or a stream of either. What is wrong with data is found here, once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

import numpy as np
import torch
from torch import Tensor

from testbed.contracts import Data, InvalidInput, Observed, Sample, SparseRows

BUFFER = 32_768
"""Rows that the shuffle buffer of a stream holds at most,"""
BUFFER_ENTRIES = 2**26
"""and entries: whichever is reached first (256 MB of float32)."""


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


def batches(data: Data, view: str | None, batch_size: int, seed: int, samples: int) -> Iterator[Tensor]:
    """Shuffled batches until `samples` rows have been seen; data that can be read again are read again.

    Arrays are shuffled whole in each epoch. Streams go through a buffer of bounded size, half of which is kept back at each refill, so
    that neighbours in the stream part.

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
    if batch_size < 1 or samples < 1:
        raise InvalidInput(f"batch_size and samples must be at least 1, not {batch_size} and {samples}")
    generator = torch.Generator().manual_seed(seed)
    if is_stream(data):
        source = _mixed(_cycled(data, view, samples), batch_size, generator)
    else:
        source = _permuted(rows(data, view), batch_size, generator)
    seen = 0
    for batch in source:
        batch = batch[: samples - seen].float()
        seen += len(batch)
        yield batch
        if seen >= samples:
            return


def require_rows(data: Any, view: str | None, wanted: int, why: str) -> None:
    """Raise InvalidInput if data that can be read more than once hold fewer than `wanted` rows (`why` says what wants them)."""
    if is_stream(data) and iter(data) is data:  # reading it would use it up; `batches` counts its rows
        return
    count = len(rows(data, view, limit=wanted))
    if count < wanted:
        raise InvalidInput(f"the data have {count} rows, but {why} needs at least {wanted}: give more rows")


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


def _permuted(x: Tensor, batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Endless batches of an array; an epoch's last rows share a batch with the next epoch's first."""
    held = torch.empty(0, dtype=torch.int64)
    while True:
        while len(held) < batch_size:
            held = torch.cat([held, torch.randperm(len(x), generator=generator)])
        yield x[held[:batch_size].to(x.device)]
        held = held[batch_size:]


def _cycled(data: Any, view: str | None, samples: int) -> Iterator[Tensor]:
    """Chunks of a stream, again and again if it can be read again."""
    seen = 0
    while True:
        for chunk in chunks(data, view):
            seen += len(chunk)
            yield chunk
            if seen >= samples:  # no row more than the budget needs is drawn from a stream
                return
        if iter(data) is data:
            raise InvalidInput(
                f"the stream ended after {seen} of the {samples} rows asked for: lower samples, or give data that can be read again"
            )


def _mixed(source: Iterator[Tensor], batch_size: int, generator: torch.Generator) -> Iterator[Tensor]:
    """Batches from a shuffle buffer of bounded size."""
    held: list[Tensor] = []
    count, open_ = 0, True
    while open_ or count:
        capacity = max(2 * batch_size, BUFFER)
        while open_ and count < capacity:
            piece = next(source, None)
            if piece is None:
                open_ = False
                break
            capacity = max(2 * batch_size, min(BUFFER, BUFFER_ENTRIES // piece.shape[1]))
            held.append(piece.float())
            count += len(piece)
        if not count:
            return
        buffer = torch.cat(held)
        buffer = buffer[torch.randperm(count, generator=generator).to(buffer.device)]
        out = count // 2 // batch_size * batch_size if open_ else count
        yield from torch.split(buffer[:out], batch_size)
        held, count = [buffer[out:]], count - out
