"""Matching pursuit in batches: sparse non-negative codes of rows in a known dictionary."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from testbed.contracts import InvalidInput, SparseRows
from testbed.numerics.pursuit_kernel import pursue

ROWS = 2048
"""Rows worked on at once; bounds the memory of correlations with all atoms."""
GRAM_ENTRIES = 2**26
"""Entries of the largest Gram matrix that the compiled loop is given (256 MB of float32)."""


def orthogonal_matching_pursuit(x: Tensor, dictionary: Tensor, *, max_active: int, threshold: float) -> SparseRows:
    r"""Non-negative orthogonal matching pursuit [1]_ [2]_.

    From :math:`r = x`, repeat: add the atom :math:`\arg\max_j r \cdot d_j`; refit the coefficients of the active set S by least squares
    under :math:`a_S \ge 0`; set :math:`r = x - D_S^\top a_S`. A row is done when no atom correlates with its residual by `threshold` or
    more, or when it has `max_active` atoms. On the CPU a compiled loop on the Gram matrix does it, elsewhere (and for dictionaries whose
    Gram matrix would be too large) the same steps in torch.

    Parameters
    ----------
    x : Tensor, shape (n, d)
    dictionary : Tensor, shape (m, d)
        Rows of any norm; a row of zeros is never used.
    max_active : int
        Most atoms per row; no more than min(m, d) are ever used.
    threshold : float
        Smallest correlation of the residual with a *unit* atom that is worth an entry.

    Returns
    -------
    SparseRows, shape (n, m)
        Coefficients of the rows of `dictionary` as they are given, all > 0, by ascending column.

    Raises
    ------
    InvalidInput
        If the widths differ, `max_active` is less than 1 or `threshold` is negative.

    References
    ----------
    .. [1] Pati, Rezaiifar & Krishnaprasad (1993), Orthogonal matching pursuit.
    .. [2] Bruckstein, Elad & Zibulevsky (2008), On the uniqueness of nonnegative sparse solutions, section IV.
    """
    check_fit(x, dictionary)
    if max_active < 1 or threshold < 0:
        raise InvalidInput(f"max_active must be at least 1 and threshold at least 0, not {max_active} and {threshold}")
    m = len(dictionary)
    unit, norm = unit_rows(dictionary)
    steps = min(max_active, *dictionary.shape)
    if compiled(x, unit):
        indptr, columns, values = pursued(x, unit, steps, threshold)
        return SparseRows(indptr, columns, values / norm[columns], (len(x), m))
    pieces = [_pursue(rows, unit, steps, threshold) for rows in torch.split(x, ROWS)]
    rows = torch.cat([row + i * ROWS for i, (row, _, _) in enumerate(pieces)])
    columns = torch.cat([column for _, column, _ in pieces])
    values = torch.cat([value for _, _, value in pieces])
    order = (rows * m + columns).argsort()
    return SparseRows.from_entries(rows[order], columns[order], (values / norm[columns])[order], (len(x), m))


def check_fit(x: Tensor, dictionary: Tensor) -> None:
    """Raise InvalidInput unless rows (n, d) and dictionary (m, d) have equal widths."""
    if x.ndim != 2 or dictionary.ndim != 2 or x.shape[1] != dictionary.shape[1]:
        raise InvalidInput(
            f"rows of shape {tuple(x.shape)} do not fit a dictionary of shape {tuple(dictionary.shape)}: equal widths wanted"
        )


def unit_rows(dictionary: Tensor) -> tuple[Tensor, Tensor]:
    """Rows scaled to norm 1 (a row of zeros stays), shape (m, d), and their norms, shape (m,)."""
    norm = dictionary.norm(dim=1)
    return dictionary / norm.clamp_min(torch.finfo(dictionary.dtype).tiny)[:, None], norm


def compiled(x: Tensor, dictionary: Tensor) -> bool:
    """Whether the compiled loops can be used: on the CPU, in single or double precision, with a Gram matrix that fits."""
    plain = x.device.type == dictionary.device.type == "cpu" and x.dtype == dictionary.dtype in (torch.float32, torch.float64)
    return plain and 0 < len(dictionary) ** 2 <= GRAM_ENTRIES


def pursued(x: Tensor, unit: Tensor, steps: int, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """Row pointers, columns and values by the compiled loop; `unit` has rows of norm 1 (or 0)."""
    gram = (unit @ unit.T).numpy()
    counts = np.zeros(len(x), np.int64)
    found = []
    for start in range(0, len(x), ROWS):
        rows = x[start : start + ROWS]
        columns, values = np.empty((len(rows), steps), np.int64), np.empty((len(rows), steps), gram.dtype)
        count = counts[start : start + ROWS]
        pursue((rows @ unit.T).numpy(), gram, rows.norm(dim=1).numpy(), steps, threshold, columns, values, count)
        found.append(filled(columns, values, count))
    return joined(counts, found, x)


def filled(columns: NDArray[Any], values: NDArray[Any], counts: NDArray[Any]) -> tuple[Tensor, Tensor]:
    """Columns and values of the first ``counts[i]`` entries of each row i, one row after the other."""
    used = np.arange(columns.shape[1])[None, :] < counts[:, None]
    return torch.from_numpy(columns[used]), torch.from_numpy(values[used])


def joined(counts: NDArray[Any], found: list[tuple[Tensor, Tensor]], like: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Row pointers, columns and values of all batches; there may be none."""
    indptr = torch.from_numpy(np.concatenate([[0], counts.cumsum()]).astype(np.int64))
    columns = torch.cat([column for column, _ in found]) if found else indptr.new_zeros(0)
    return indptr, columns, torch.cat([value for _, value in found]) if found else like.new_zeros(0)


def _pursue(x: Tensor, unit: Tensor, steps: int, threshold: float) -> tuple[Tensor, Tensor, Tensor]:
    """Entries (row, column, value), shape (nnz,) each, of one batch; `unit` has rows of norm 1 (or 0)."""
    live = torch.arange(len(x), device=x.device)  # rows that are not done
    residual = x
    atoms = live.new_zeros(len(x), 0)  # (live, t): the active set, in the order of choice
    values = x.new_zeros(len(x), 0)
    done: list[tuple[Tensor, Tensor, Tensor]] = []
    for _ in range(steps):
        correlation = (residual @ unit.T).scatter_(1, atoms, -torch.inf)  # (live, m)
        best, atom = correlation.max(dim=1)
        # An exact 0 is never worth an entry: it would make an empty dictionary row, or an empty data row, active.
        go = (best >= threshold) & (best > 1e-6 * x[live].norm(dim=1)) if len(live) else best > 0
        done.append(_entries(live[~go], atoms[~go], values[~go]))
        live, atoms = live[go], torch.cat([atoms[go], atom[go, None]], dim=1)
        if not len(live):
            return _joined(done)
        chosen = unit[atoms]  # (live, t, d)
        values = _nonnegative_least_squares(chosen @ chosen.mT, (chosen @ x[live, :, None])[..., 0])
        residual = x[live] - (values[:, None] @ chosen)[:, 0]
    return _joined([*done, _entries(live, atoms, values)])


def _nonnegative_least_squares(gram: Tensor, target: Tensor) -> Tensor:
    r"""Minimise :math:`\frac12 a^\top G a - b^\top a` over :math:`a \ge 0` by dropping what comes out negative, then refitting.

    Parameters
    ----------
    gram : Tensor, shape (b, t, t)
    target : Tensor, shape (b, t)

    Returns
    -------
    Tensor, shape (b, t)
    """
    # The ridge keeps nearly parallel atoms solvable; its bias is far below float32's own rounding of the data.
    gram = gram + 1e-6 * torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
    out = _solve(gram, target)
    for _ in range(gram.shape[1]):
        rows = (out < 0).any(dim=1).nonzero()[:, 0]
        if not len(rows):
            break
        keep = out[rows] > 0  # (rows, t)
        both = keep[:, :, None] & keep[:, None, :]
        eye = torch.eye(gram.shape[1], dtype=gram.dtype, device=gram.device)
        out[rows] = _solve(torch.where(both, gram[rows], eye), torch.where(keep, target[rows], 0.0))
    return out.clamp_min(0)


def _solve(gram: Tensor, target: Tensor) -> Tensor:
    factor, _ = torch.linalg.cholesky_ex(gram)
    return torch.cholesky_solve(target[..., None], factor)[..., 0]


def _entries(rows: Tensor, atoms: Tensor, values: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    used = values > 0
    return rows[:, None].expand_as(atoms)[used], atoms[used], values[used]


def _joined(pieces: list[tuple[Tensor, Tensor, Tensor]]) -> tuple[Tensor, Tensor, Tensor]:
    rows, columns, values = zip(*pieces, strict=True)
    return torch.cat(rows), torch.cat(columns), torch.cat(values)
