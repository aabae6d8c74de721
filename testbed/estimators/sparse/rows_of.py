"""What a sparse autoencoder reads of its data: one view, or several side by side, without the rows put aside."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from typing import Any

import torch
from torch import Tensor

from testbed.contracts import InvalidInput, Observed
from testbed.numerics.batches import chunks, is_read_once, is_stream, rows

Reading = tuple[str | None, ...]
"""Names of the views that are read, side by side; None for the only one."""


def side_by_side(piece: Any, reading: Reading) -> Any:
    """The views of one chunk in one array, shape (n, sum of d)."""
    if len(reading) == 1:
        return piece.views[piece.name_of(reading[0])].values if isinstance(piece, Observed) else piece
    if not isinstance(piece, Observed):
        raise InvalidInput(f"views {reading} are wanted, but the data are a plain array: give an Observed with these views")
    return torch.cat([rows(piece, name) for name in reading], dim=1)


class Rows:
    """A stream of chunks, shape (n, d) each, that passes over the first `skip` rows; it can be read again if the data can."""

    def __init__(self, data: Any, reading: Reading, skip: int) -> None:
        self.data, self.reading, self.skip = data, reading, skip

    def __iter__(self) -> Iterator[Tensor]:
        return self._read(self.data, self.skip)

    def starting_at(self, row: int) -> Iterator[Tensor]:
        """From a row on; what comes before is not read where the data have `starting_at` themselves."""
        if not hasattr(self.data, "starting_at"):
            yield from self._read(self.data, self.skip + row)
            return
        pieces = iter(self.data.starting_at(self.skip + row))
        first = next(pieces, None)
        if first is not None:
            yield from self._read(chain([first], pieces), 0)

    def _read(self, data: Any, left: int) -> Iterator[Tensor]:
        for chunk in chunks(side_by_side(piece, self.reading) for piece in data):
            out = chunk[left:] if left else chunk
            left = max(0, left - len(chunk))
            if len(out):
                yield out


def training_rows(data: Any, reading: Reading, skip: int) -> Any:
    """All rows but the first `skip`: a tensor, or a stream where the data are one."""
    if is_stream(data):
        if not is_read_once(data):
            return Rows(data, reading, skip)
        if skip:
            raise InvalidInput("held-out rows need data that can be read again: set held_out to 0, or give such data")
        return iter(Rows(data, reading, 0))
    whole = rows(side_by_side(data, reading))
    if len(whole) <= skip:
        raise InvalidInput(f"the data have {len(whole)} rows and {skip} are held out, so none is left: give more, or lower held_out")
    return whole[skip:]


def held_out_rows(data: Any, reading: Reading, count: int) -> Tensor:
    """The first `count` rows, shape (count, d)."""
    if not count:
        return torch.empty(0, 0)
    pieces = (side_by_side(piece, reading) for piece in data) if is_stream(data) else side_by_side(data, reading)
    return rows(pieces, limit=count)
