"""Rows, dense or sparse, as what a computation wants."""

from __future__ import annotations

from torch import Tensor

from testbed.contracts import InvalidInput, Rows, SparseRows


def dense(rows: Rows) -> Tensor:
    """The rows as a dense tensor, shape (n, m)."""
    return rows.dense() if isinstance(rows, SparseRows) else rows


def check_finite(rows: Rows, message: str) -> None:
    """Raise InvalidInput with `message` if an entry is NaN or infinite."""
    if not (rows.values if isinstance(rows, SparseRows) else rows).isfinite().all():
        raise InvalidInput(message)
