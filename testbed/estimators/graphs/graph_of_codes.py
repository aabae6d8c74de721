"""A graph among the codes of another estimator."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor

from testbed.contracts import Codes, Data, Estimator, InvalidInput, Truth
from testbed.estimators.baselines.identity import Identity
from testbed.estimators.graphs.pc import PC
from testbed.numerics.batches import is_read_once, is_stream
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
        self.codes_ = _fresh(self.codes, Identity).fit(data, seed=seed, **known)
        found = self._first_codes(data)
        self.width_ = found.shape[1]
        self.graph_ = _fresh(self.graph, PC).fit(self._given(found), seed=seed)
        return self

    def encode(self, observed: Any) -> Codes:
        codes = dense(self.codes_.encode(observed))
        hidden = dense(self.graph_.encode(self._given(codes)))[:, : -self.width_]
        return torch.cat([hidden.to(codes), codes], dim=1)

    def decode(self, codes: Codes) -> Tensor:
        return self.codes_.decode(dense(codes)[:, -self.width_ :])

    def _given(self, codes: Tensor) -> Tensor:
        return (codes != 0).float() if self.active else codes

    def _first_codes(self, data: Any) -> Tensor:
        pieces: list[Tensor] = []
        seen = 0
        for piece in data if is_stream(data) else [data]:
            pieces.append(dense(self.codes_.encode(piece[: self.samples - seen])))
            seen += len(pieces[-1])
            if seen >= self.samples:
                break
        return torch.cat(pieces)

    def get_state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        arrays: dict[str, Any] = {}
        plain: dict[str, Any] = {"width_": self.width_}
        for part in ("codes", "graph"):
            own, rest = getattr(self, f"{part}_").get_state()
            arrays |= {f"{part}/{name}": value for name, value in own.items()}
            plain |= {f"{part}/{name}": value for name, value in rest.items()}
        return arrays, plain

    def set_state(self, arrays: Mapping[str, Any], plain: Mapping[str, Any]) -> GraphOfCodes:
        self.width_ = plain["width_"]
        for part, given in (("codes", _fresh(self.codes, Identity)), ("graph", _fresh(self.graph, PC))):
            own, rest = ({name.partition("/")[2]: v for name, v in one.items() if name.startswith(f"{part}/")} for one in (arrays, plain))
            setattr(self, f"{part}_", given.set_state(own, rest))
        return self


def _fresh(given: Estimator | None, default: type[Estimator]) -> Estimator:
    return default() if given is None else given.clone()
