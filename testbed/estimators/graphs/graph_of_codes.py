"""A graph among the codes of another estimator."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from testbed.contracts import Codes, Data, Estimator, InvalidInput, Truth
from testbed.estimators.baselines.identity import Identity
from testbed.estimators.graphs.pc import PC
from testbed.numerics.batches import first_pieces, is_read_once
from testbed.numerics.matching import dense


class GraphOfCodes(Estimator):
    """First codes, then a graph among them: any estimator of codes with any of `testbed.estimators.graphs`.

    With the truth's own codes it is the ceiling of what a search can find of a hierarchy: what is wrong then is the search, or what it
    assumes.

    Parameters
    ----------
    codes : Estimator, optional
        Fitted first, on the data; by default the columns themselves.
    graph : Estimator
        Fitted on the codes of the first `samples` rows; `PC` by default. Its hidden nodes, if any, are further codes, before the others.
    active : bool
        Give the graph whether codes are on (1) or not (0) in place of their values: states, for tests that need them.
    samples : int
        Most rows whose codes are used.

    Attributes
    ----------
    codes_, graph_ : Estimator
    constituents_, levels_, n_states_
        Those of the graph, see `Structure`.
    """

    def __init__(self, codes: Estimator | None = None, graph: Estimator | None = None, active: bool = False, samples: int = 20_000) -> None:
        self.codes = codes
        self.graph = graph
        self.active = active
        self.samples = samples

    @property
    def needs_truth(self) -> bool:  # type: ignore[override]
        return self.codes is not None and bool(self.codes.needs_truth)

    @property
    def view(self) -> str | None:
        """The view that the codes are of, or None if there are several."""
        return getattr(self.codes, "view", None)

    @property
    def views(self) -> Any:
        """The views that the codes are of, where their estimator reads several."""
        return self.codes.views  # type: ignore[union-attr]

    @property
    def constituents_(self) -> list[list[int]]:
        return self.graph_.constituents_  # type: ignore[attr-defined, no-any-return]

    @property
    def levels_(self) -> list[int]:
        return self.graph_.levels_  # type: ignore[attr-defined, no-any-return]

    @property
    def n_states_(self) -> list[int]:
        return self.graph_.n_states_  # type: ignore[attr-defined, no-any-return]

    @property
    def stopped_(self) -> str:
        return str(getattr(self.graph_, "stopped_", ""))

    def fit(self, data: Data, *, seed: int, truth: Truth | None = None) -> GraphOfCodes:
        """Fit one, then the other, with the same `seed`.

        Raises
        ------
        InvalidInput
            If `samples` is below 1, data are a stream that cannot be read twice, or either estimator refuses them.
        """
        if self.samples < 1:
            raise InvalidInput(f"samples must be at least 1, not {self.samples}")
        if is_read_once(data):
            raise InvalidInput("the data can be read only once, but codes and graph each read them: give what can be read again")
        known: dict[str, Any] = {"truth": truth} if self.needs_truth else {}
        self.codes_ = self.blank("codes_").fit(data, seed=seed, **known)
        found = torch.cat([dense(self.codes_.encode(piece)) for piece in first_pieces(data, self.samples)])
        self.width_ = found.shape[1]
        self.graph_ = self.blank("graph_").fit(self._given(found), seed=seed)
        return self

    def encode(self, observed: Any) -> Codes:
        codes = dense(self.codes_.encode(observed))
        hidden = dense(self.graph_.encode(self._given(codes)))[:, : -self.width_]
        return torch.cat([hidden.to(codes), codes], dim=1)

    def decode(self, codes: Codes) -> Tensor:
        return self.codes_.decode(dense(codes)[:, -self.width_ :])

    def _given(self, codes: Tensor) -> Tensor:
        return (codes != 0).float() if self.active else codes

    def blank(self, name: str) -> Estimator:
        given, default = {"codes_": (self.codes, Identity), "graph_": (self.graph, PC)}[name]
        return default() if given is None else given.clone()
