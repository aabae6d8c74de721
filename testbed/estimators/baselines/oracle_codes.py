"""The truth's own codes, as they are or spoiled: what is left to lose once the codes are known."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any

import torch
from torch import Tensor

from testbed.contracts import (
    BLOCK,
    Codes,
    Data,
    Estimator,
    InvalidInput,
    NotApplicable,
    Observed,
    SparseRows,
    Truth,
    View,
    apart,
    joined,
    seed_of,
    stacked,
)
from testbed.numerics.batches import chunks, is_stream
from testbed.numerics.decoding import linear_decode
from testbed.numerics.matching import dense
from testbed.numerics.ridge import Joint, ridge

ROWS = 2 * BLOCK
"""Rows of the fit that magnitudes, and the decoder where the truth has none, are taken from."""
MAGNITUDES = 32
"""Magnitudes kept per concept, evenly spaced quantiles of those that occur."""


class OracleCodes(Estimator):
    r"""Codes are `Truth.oracle`, the best estimate of each concept that knowledge of the truth gives; with errors, if wanted.

    A ceiling for whatever is built on codes: graphs, composites, levels. It is fitted on nothing but the truth, which cannot be stored,
    so that a run fits it again where it needs it.

    Sparse codes can be spoiled. Each active code is set to 0 with probability `dropped`, and each inactive one is set to a magnitude with
    which its concept occurs with probability `added`. The draws of a row are a hash of the seed of the fit, the row's own values and the
    concept's number: the same row has the same errors, whatever rows are encoded with it; so have two rows that are equal to the bit.

    Parameters
    ----------
    view : str, optional
        One view. None reads `views`.
    views : list of str, optional
        Several, side by side, codes grouped by view in this order; None for all there are.
    levels : list of int, optional
        Keep the concepts of these levels; None keeps all that the oracle estimates.
    dropped, added : float
        Probability that an active code is lost, and that an inactive one is active; sparse levels only.

    Attributes
    ----------
    truth_ : Truth
    view_ : str
        The views' names joined, see `testbed.contracts.joined`.
    columns_ : Tensor, shape (m,)
        Of the oracle's codes, those that are kept.
    magnitudes_ : Tensor, shape (m, 32)
        Quantiles of each concept's positive values; 0 for one that was never on. Only where codes are spoiled.
    dictionary_ : Tensor, shape (m, d)
        The truth's, where it has one and all levels are kept.
    weights_, bias_ : Tensor, shape (m, d) and (d,)
        The decoder: the dictionary and the truth's bias, or least squares on the first rows. A nonlinear view is decoded by its
        linearisation.
    """

    needs_truth = True

    def __init__(
        self,
        view: str | None = None,
        views: list[str] | None = None,
        levels: list[int] | None = None,
        dropped: float = 0.0,
        added: float = 0.0,
    ) -> None:
        self.view = view
        self.views = views
        self.levels = levels
        self.dropped = dropped
        self.added = added

    @classmethod
    def small(cls) -> OracleCodes:
        return cls(dropped=0.15, added=0.02)

    def fit(self, data: Data, *, seed: int, truth: Truth | None = None) -> OracleCodes:
        """Take over the truth; `seed` decides on errors, and on nothing else.

        Raises
        ------
        InvalidInput
            If `truth` is missing, a view or level is not there, the views show a level twice, a share is no probability, errors are asked
            of codes that are not sparse, or plain arrays are given where there are several views.
        """
        if not (0 <= self.dropped <= 1 and 0 <= self.added <= 1):
            raise InvalidInput(f"dropped and added are probabilities, not {self.dropped} and {self.added}: choose them from 0 to 1")
        if self.view is not None and self.views is not None:
            raise InvalidInput(f"view is {self.view!r} and views {self.views}: set one of them")
        if truth is None:
            raise InvalidInput("oracle_codes was given no truth: fit it on an instance whose truth is known")
        self.truth_ = truth
        self.seed_ = seed_of("oracle_codes", seed)
        self.view_, first = self._first(data, truth)
        codes = self._oracle(first)
        levels = _levels_of(truth, first, self.view_, codes.shape[1])
        self.columns_ = self._columns(truth, levels)
        kinds = {truth.levels[levels[c]].kind for c in self.columns_.tolist()}
        if (self.dropped or self.added) and kinds != {"sparse"}:
            raise InvalidInput(
                f"errors are for sparse codes, but these are of kind {', '.join(sorted(kinds))}: leave dropped and added at 0"
            )
        if self.dropped or self.added:
            self.magnitudes_ = _magnitudes(self._kept(codes).float())
        self._learn_decoder(truth, first, codes)
        return self

    def encode(self, observed: Any) -> Codes:
        return stacked([self._encode(part) for part in self._blocks(observed)])

    def decode(self, codes: Codes) -> Tensor:
        return linear_decode(codes, self.weights_, self.bias_)

    # --------------------------------------------------------------------------------------------------------------- reading

    def _first(self, data: Any, truth: Truth) -> tuple[str, Observed]:
        """The name of the views that are read, and the first rows."""
        if isinstance(data, Observed):
            first = data[:ROWS]
        elif is_stream(data) and isinstance(piece := next(iter(data), None), Observed):
            first = piece[:ROWS]
        else:
            view = self.view or (self.views[0] if self.views and len(self.views) == 1 else None)
            if view is None and (self.views is not None or len(truth.dictionaries) != 1):
                raise InvalidInput("the data are plain arrays, and which view they are is not known: give an Observed, or set view")
            view = view or next(iter(truth.dictionaries))
            return view, Observed({view: View(next(chunks(data))[:ROWS])})
        name = first.name_of(self.view) if self.view is not None else joined(first.names_of(self.views))
        return name, first

    def _blocks(self, observed: Any) -> Iterator[Observed]:
        whole = observed if isinstance(observed, Observed) else Observed({self.view_: View(next(chunks(observed)))})
        for start in range(0, len(whole), BLOCK):
            yield whole[start : start + BLOCK]

    def _values(self, observed: Observed) -> Tensor:
        """What is read, checked, shape (n, d)."""
        x = next(chunks(observed.view(self.view_).values))
        width = self.bias_.shape[0] if hasattr(self, "bias_") else x.shape[1]
        if x.shape[1] != width:
            raise InvalidInput(f"data have {x.shape[1]} columns, but the fit was on {width}: encode the view that was fitted")
        return x

    def _oracle(self, observed: Observed) -> Codes:
        self._values(observed)
        try:
            return self.truth_.codes(observed, self.view_)
        except (NotApplicable, KeyError) as error:
            raise InvalidInput(f"the truth has no best codes of view {self.view_!r} ({error}): choose another view or generator") from None

    def _columns(self, truth: Truth, levels: list[int]) -> Tensor:
        if self.levels is None:
            return torch.arange(len(levels))
        missing = sorted(set(self.levels) - set(levels))
        if missing or not self.levels:
            raise InvalidInput(f"levels {self.levels} are wanted, but the oracle of this view estimates levels {sorted(set(levels))}")
        return torch.tensor([c for wanted in self.levels for c, level in enumerate(levels) if level == wanted])

    # -------------------------------------------------------------------------------------------------------------- encoding

    def _encode(self, observed: Observed) -> Codes:
        codes = self._oracle(observed)
        if self.levels is None and not (self.dropped or self.added):
            return codes
        kept = self._kept(codes)
        if self.dropped or self.added:
            kept = self._spoiled(kept, self._values(observed))
        return SparseRows.from_dense(kept) if isinstance(codes, SparseRows) else kept

    def _kept(self, codes: Codes) -> Tensor:
        every = dense(codes)
        return every[:, self.columns_.to(every.device)]

    def _spoiled(self, codes: Tensor, x: Tensor) -> Tensor:
        """Codes with errors, shape (n, m)."""
        word = hashed(x, self.columns_.to(x.device), self.seed_)  # (n, m)
        chance = _uniform(word)
        which = (_uniform(_mixed(word)) * MAGNITUDES).long().clamp_max(MAGNITUDES - 1)
        magnitude = self.magnitudes_.to(codes).gather(1, which.T.to(codes.device)).T
        false = torch.where(chance < self.added, magnitude, 0.0)
        return torch.where(codes > 0, torch.where(chance < self.dropped, 0.0, codes), false.to(codes))

    def _learn_decoder(self, truth: Truth, first: Observed, codes: Codes) -> None:
        parts = apart(self.view_)
        if self.levels is None and all(part in truth.dictionaries for part in parts):
            self.dictionary_ = truth.dictionary(self.view_).float()
            empty = [torch.zeros(first.view(part).values.shape[1]) for part in parts]
            self.bias_ = torch.cat([truth.facts.get(f"bias/{part}", none).float() for part, none in zip(parts, empty, strict=True)])
            self.weights_ = self.dictionary_
            return
        x = self._values(first).double()
        found = ridge(Joint.of(self._kept(codes).double().to(x.device), x))
        self.weights_, self.bias_ = found.weights.float(), found.intercept.float()


def _levels_of(truth: Truth, observed: Observed, view: str, columns: int) -> list[int]:
    """Level of each of the oracle's codes."""
    shown = observed.view(view).shows.levels
    for levels in (truth.written(view), shown, tuple(range(len(truth.levels)))):
        each = [level for level in levels for _ in range(truth.levels[level].size)]
        if len(each) == columns:
            return each
    raise InvalidInput(f"the oracle of view {view!r} gives {columns} codes, and which levels these are is not known: choose another view")


def _magnitudes(codes: Tensor) -> Tensor:
    """Quantiles of the positive values of each column, shape (m, 32)."""
    at = (torch.arange(MAGNITUDES, device=codes.device) + 0.5) / MAGNITUDES
    found = [column[column > 0] for column in codes.T]
    return torch.stack([on.quantile(at.to(on)) if len(on) else torch.zeros_like(at) for on in found])


# ------------------------------------------------------------------------------------------------------------------- hashing


def hashed(x: Tensor, columns: Tensor, seed: int) -> Tensor:
    """A 64-bit word per row and column, from the bits of the row, the column's number and the seed; shape (n, m), int64.

    The bits of a row's entries, as float32, are summed with random odd multipliers (multiply-shift hashing) and mixed with the column's
    number by the finaliser of splitmix64.
    """
    bits = (x.float() + 0.0).contiguous().view(torch.int32).long()  # adding 0 makes -0 and 0 one value
    generator = torch.Generator().manual_seed(seed)
    odd = torch.randint(-(2**63), 2**63 - 1, (x.shape[1],), generator=generator, dtype=torch.int64) | 1
    row = _mixed((_mixed(bits) * odd.to(x.device)).sum(dim=1) + seed)
    return _mixed(row[:, None] + _mixed(columns[None] + 1))


def _mixed(word: Tensor) -> Tensor:
    """The finaliser of splitmix64 (Steele, Lea & Flood 2014), on int64 with wrap-around."""
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        word = (word ^ _right(word, shift)) * (factor - 2**64)
    return word ^ _right(word, 31)


def _right(word: Tensor, shift: int) -> Tensor:
    """Shift to the right, filling in zeros."""
    return (word >> shift) & ((1 << (64 - shift)) - 1)


def _uniform(word: Tensor) -> Tensor:
    """Numbers in [0, 1), from the upper 53 bits."""
    return _right(word, 11).double() * math.ldexp(1.0, -53)
