"""What sparse autoencoders of several views share: how wide each view is, and which columns are whose."""

from __future__ import annotations

from itertools import accumulate, chain, pairwise
from pathlib import Path
from typing import Any, Self

from testbed.contracts import Data, InvalidInput, Observed
from testbed.estimators.sparse.autoencoder import SparseAutoencoder, require
from testbed.estimators.sparse.rows_of import Reading
from testbed.numerics.batches import is_stream


class SeveralViews(SparseAutoencoder):
    """An autoencoder that reads several views of the same rows, side by side, each centred and scaled by itself.

    `view` names the one that `dictionary_` and `decode` stand for: the one that evaluators compare them with.

    Attributes
    ----------
    widths_ : list of int
        Columns of each view, in the order of `reading`.
    bias_ : Tensor, shape (sum of widths,)
    """

    def fit(self, data: Data, *, seed: int, checkpoint: str | Path | None = None) -> Self:
        """Train on shuffled batches; see `SparseAutoencoder.fit`. Data are an Observed with these views, or a stream of such."""
        self.check()
        self.widths_, data = widths(data, self.reading())
        return super().fit(data, seed=seed, checkpoint=checkpoint)

    def check(self) -> None:
        super().check()
        require(not self.tied, "an encoder of one view cannot be the dictionary of another: set tied to false")
        require(self.inference == "encoder", "pursuit and regression know one view only: leave inference at 'encoder'")

    def parts(self, columns: int) -> list[slice]:
        known = sum(getattr(self, "widths_", [])) == columns
        require(known, f"how the {columns} columns are divided into views is not known: train {type(self).__name__} by its own fit")
        return [slice(start, end) for start, end in pairwise(accumulate(self.widths_, initial=0))]

    def compiled(self) -> bool:
        return False


def widths(data: Any, reading: Reading) -> tuple[list[int], Any]:
    """Columns of each view that is read, and the data to go on with: looking at a stream that can be read once takes its first piece.

    Raises
    ------
    InvalidInput
        If the data are plain arrays, or have no such views.
    """
    first = data
    if is_stream(data):
        source = iter(data)
        first = next(source, None)
        require(first is not None, "the data hold no row: give at least 1")
        data = chain([first], source) if source is data else data
    if not isinstance(first, Observed):
        raise InvalidInput(f"views {', '.join(map(repr, reading))} are wanted, but the data are plain arrays: give an Observed with them")
    return [first.views[first.name_of(name)].values.shape[1] for name in reading], data
