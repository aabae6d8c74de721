"""The texts on which codes fire most, for a reader to look at."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import torch
from torch import Tensor

from evaluators.calibration import checked_codes
from testbed.contracts import Evaluator, InvalidInput, Legible, NotApplicable, Outcome, Scores, SparseRows


class TopContexts(Evaluator):
    """Where the most active codes fire most strongly; its value is the share of codes that fire in the held-out rows at all.

    A code *fires* on a row where its activation is above 0. Codes are ranked by frequency times mean activation when firing. Those that
    fire on more than `densest` of the rows are skipped, since their strongest contexts say little about what they stand for; what
    share of codes they are is the part ``dense``. Of each code the strongest rows are shown, at most one of each window of text.

    ``details["codes"]`` holds, for each code shown, ``code``, ``density``, ``max`` and ``contexts``: lists of ``tokens``, ``at`` (the place
    of the row's own token), ``activations`` (the code's activation at each token, null where the sample has no row for it) and ``value``.

    Parameters
    ----------
    codes, contexts : int
        Codes to show, and contexts of each.
    before, after : int
        Tokens to show before and after the row's own.
    densest : float
        Share of rows above which a code is skipped.
    """

    direction: ClassVar[Literal["higher", "lower", "none"]] = "none"
    equivalence: ClassVar[str] = "order and positive scale of each code"
    invariances: ClassVar[tuple[str, ...]] = ("permutation", "scale")

    def __init__(self, codes: int = 12, contexts: int = 5, before: int = 16, after: int = 8, densest: float = 0.3) -> None:
        self.codes = codes
        self.contexts = contexts
        self.before = before
        self.after = after
        self.densest = densest

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """See `Evaluator.score`; nothing here is random.

        Raises
        ------
        NotApplicable
            If the rows have no text around them, or there are no codes.
        """
        if min(self.codes, self.contexts) < 1 or min(self.before, self.after) < 0:
            raise InvalidInput("codes and contexts must be at least 1, before and after at least 0")
        instance = outcome.instance
        if instance is None or not isinstance(instance, Legible):
            raise NotApplicable("the rows have no text around them")
        n, m = checked_codes(outcome).shape
        if n * m == 0:
            raise NotApplicable("there are no codes to show")
        table = {name: column.cpu() for name, column in outcome.sample.observed.rows.items()}
        fired = _Fired(outcome.codes)
        density = fired.count / n
        rank = torch.where(density > self.densest, -1.0, fired.total / n)  # frequency x mean activation
        shown = [code for code in rank.argsort(descending=True, stable=True)[: self.codes].tolist() if rank[code] > 0]
        places = _Places(table, n)
        described = [
            {
                "code": code,
                "density": float(density[code]),
                "max": float(fired.of(code)[1].max()),
                "contexts": [self._context(instance, table, places, fired, code, row) for row in self._rows(places, fired, code)],
            }
            for code in shown
        ]
        return Scores(
            float((fired.count > 0).double().mean()),
            parts={"dense": float((density > self.densest).double().mean())},
            details={"codes": described, "densest": self.densest, "rows": n},
        )

    def _rows(self, places: _Places, fired: _Fired, code: int) -> list[int]:
        """The strongest rows of a code, at most one of each window."""
        rows, values = fired.of(code)
        found: dict[Any, int] = {}
        for row in rows[values.argsort(descending=True, stable=True)].tolist():
            found.setdefault(places.window(row), row)
            if len(found) == self.contexts:
                break
        return list(found.values())

    def _context(
        self, instance: Legible, table: Mapping[str, Tensor], places: _Places, fired: _Fired, code: int, row: int
    ) -> dict[str, Any]:
        tokens, at = instance.context(table, row, self.before, self.after)
        rows, values = fired.of(code)
        active = dict(zip(rows.tolist(), values.tolist(), strict=True))
        others = [places.row(row, place - at) for place in range(len(tokens))]
        return {
            "tokens": tokens,
            "at": at,
            "activations": [None if other is None else active.get(other, 0.0) for other in others],
            "value": active[row],
        }


class _Fired:
    """Entries of codes above 0, column by column."""

    def __init__(self, codes: Tensor | SparseRows) -> None:
        sparse = (codes if isinstance(codes, SparseRows) else SparseRows.from_dense(codes.detach())).to("cpu")
        keep = sparse.values > 0
        columns = sparse.indices[keep]
        order = columns.argsort(stable=True)
        self._rows = sparse.row_of_entry()[keep][order]
        self._values = sparse.values[keep][order].double()
        self.count = columns.bincount(minlength=sparse.shape[1])
        self.total = torch.zeros(sparse.shape[1], dtype=torch.float64).index_add_(0, columns[order], self._values)
        self._first = [0, *self.count.cumsum(0).tolist()]

    def of(self, code: int) -> tuple[Tensor, Tensor]:
        """Rows on which a code fires, ascending, and its activations there."""
        own = slice(self._first[code], self._first[code + 1])
        return self._rows[own], self._values[own]


class _Places:
    """Which window of text each row lies in, and which rows lie beside it."""

    def __init__(self, table: Mapping[str, Tensor], n: int) -> None:
        named = [table[name].tolist() for name in ("group", "window") if name in table]
        self._window: list[Any] = list(zip(*named, strict=True)) if named else list(range(n))
        self._position = table["position"].tolist() if "position" in table else None
        self._row = {(self._window[i], self._position[i]): i for i in range(n)} if self._position is not None else {}

    def window(self, row: int) -> Any:
        return self._window[row]

    def row(self, row: int, steps: int) -> int | None:
        """The row that lies `steps` tokens further in the same window, or None if the sample has none."""
        if steps == 0 or self._position is None:
            return row if steps == 0 else None
        return self._row.get((self._window[row], self._position[row] + steps))
