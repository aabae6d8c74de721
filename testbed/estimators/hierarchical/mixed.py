"""All levels in one view: levels and edges from which codes are functions of which others."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from testbed.contracts import Codes, Estimator, InvalidInput, Truth, seed_of
from testbed.estimators.hierarchical.consensus_dictionary import ConsensusDictionary
from testbed.estimators.hierarchical.edge_learner import in_range
from testbed.estimators.hierarchical.nested import down
from testbed.estimators.hierarchical.sizing import fit_sized
from testbed.numerics.batches import first_pieces, is_read_once
from testbed.numerics.firing import is_on
from testbed.numerics.matching import dense
from testbed.numerics.sufficiency import Events, smallest_sufficient, told_share


@dataclass(kw_only=True, eq=False, repr=False)
class MixedHierarchySAE(Estimator):
    """A hierarchy among the codes of one view that shows all levels at once.

    A composite is a function of its constituents; a constituent that fires alone is no function of anything. So each code is told by the
    smallest sufficient set of *all other* codes, and it is a composite where a share of at most 1 - `sufficient` of its activations is told
    wrongly. The best told ones come first, and what they are part of is nothing that they are composed of: there are no circles. A code's
    level follows from its height: codes without constituents are the lowest level.

    What cannot be told so: in an exclusive choice of two that never are on together each of the three is a function of the other
    two. And an autoencoder of one view tends to give composite and constituents one atom, as they fire together: codes are the
    bottleneck.

    Parameters
    ----------
    codes : Estimator, optional
        `ConsensusDictionary` by default.
    sufficient : float
        Smallest share of a composite's activations that its constituents tell, false alarms being taken off.
    effect, least, beam, largest
        See `SmallestSufficient`.
    size : {"found", "given"}
        See `HierarchicalSAE`.
    samples : int
        Most rows that edges are learned from, the first ones.
    view : str, optional

    Attributes
    ----------
    constituents_, levels_
        See `Structure`.
    told_ : array, shape (m,)
        Share of each code's activations that the smallest sufficient set tells, whether or not it became a tuple.
    dictionary_ : Tensor, shape (m, d)
        That of `codes`, if it has one.
    """

    codes: Estimator | None = None
    sufficient: float = 0.8
    effect: float = 0.06
    least: float = 0.0125
    beam: int = 20
    largest: int = 6
    size: str = "found"
    samples: int = 20_000
    view: str | None = None

    @classmethod
    def small(cls) -> Self:
        return cls(codes=ConsensusDictionary.small())

    @property
    def needs_truth(self) -> bool:  # type: ignore[override]
        return bool(getattr(self.codes, "needs_truth", False))

    def fit(self, data: Any, *, seed: int, truth: Truth | None = None) -> Self:
        """Learn codes, then levels and edges among them.

        Raises
        ------
        InvalidInput
            If a parameter is out of range, data can be read only once, or as `codes` says.
        """
        in_range("sufficient", self.sufficient, 0, 1)
        in_range("effect", self.effect, 0, 0.99)
        in_range("least", self.least, 0, 0.99)
        in_range("beam", self.beam, 1, 10_000)
        in_range("largest", self.largest, 1, 16)
        in_range("samples", self.samples, 20, 10**9)
        if is_read_once(data):
            raise InvalidInput("codes and edges take a pass each: give data that can be read again, not an iterator")
        self.model_ = fit_sized(self.blank("model_"), data, seed_of("codes", seed), self.size == "found", truth)
        on = is_on(torch.cat([dense(self.model_.encode(piece)) for piece in first_pieces(data, self.samples)]))
        self.constituents_, self.told_ = self._tuples(on)
        height = heights(self.constituents_)
        self.levels_ = [max(height) - h for h in height]
        return self

    @property
    def dictionary_(self) -> Tensor:
        return self.model_.dictionary_  # type: ignore[attr-defined, no-any-return]

    def blank(self, name: str) -> Estimator:
        model = ConsensusDictionary() if self.codes is None else self.codes.clone()
        return model.set_params(view=self.view) if "view" in model.parameter_names() and self.view is not None else model

    def _tuples(self, on: NDArray[np.bool_]) -> tuple[list[list[int]], NDArray[np.float64]]:
        """Constituents without circles, and how far each code is told."""
        m = on.shape[1]
        events = Events.of(on)

        def search(i: int, allowed: NDArray[np.bool_]) -> tuple[list[int], float]:
            settings = {"effect": self.effect, "least": self.least}
            found = smallest_sufficient(events, on[:, i], beam=self.beam, largest=self.largest, allowed=allowed, **settings)
            return list(found.members), told_share(events, on[:, i], found.members)

        constituents: list[list[int]] = [[] for _ in range(m)]
        first = [search(i, np.arange(m) != i) for i in range(m)]
        for i in sorted(range(m), key=lambda i: -first[i][1]):
            tuple_, told = first[i]
            above = np.array([i in down(constituents, j) for j in range(m)])
            if told >= self.sufficient and above[tuple_].any():
                tuple_, told = search(i, ~above)
            if told >= self.sufficient:
                constituents[i] = tuple_
        return constituents, np.array([told for _, told in first])

    def encode(self, observed: Any) -> Codes:
        if not hasattr(self, "model_"):
            raise InvalidInput("MixedHierarchySAE is not fitted yet: call fit first")
        return self.model_.encode(observed)

    def decode(self, codes: Codes) -> Tensor:
        return self.model_.decode(codes)


def heights(constituents: Sequence[Sequence[int]]) -> list[int]:
    """Longest path down from each code of a graph without circles, 0 where it is composed of none."""
    out: dict[int, int] = {}

    def height(i: int) -> int:
        if i not in out:
            out[i] = 1 + max((height(j) for j in constituents[i]), default=-1)
        return out[i]

    return [height(i) for i in range(len(constituents))]
