"""Conditions on dictionaries: can what is written along atoms be read again, and by whom."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import combinations, islice
from math import comb
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from generators.assumptions.finding import Finding
from testbed.contracts import InvalidInput, NotApplicable

RANK = {torch.float64: 1e-9, torch.float32: 1e-5}
"""Singular values below this share of the largest count as 0: atoms in float32 depend on each other up to their rounding only."""

ENOUGH = 100_000
"""Sets of atoms that `spark` looks at before it settles for bounds."""


def injective(dictionary: Tensor) -> Finding:
    r"""The linear map :math:`v \mapsto D^\top v` loses nothing: the atoms are linearly independent.

    Necessary for linear ICA and for any reading of codes that are not sparse; superposition (c > d) gives it up by design.

    Parameters
    ----------
    dictionary : Tensor, shape (c, d)

    Returns
    -------
    Finding
        Margin: the smallest of the c singular values, in units of the data. Witness: rank, condition number and, where it fails, codes of
        norm 1 that are written as 0 (largest entries).

    References
    ----------
    .. [1] Comon (1994), Independent component analysis, a new concept?, Signal Processing, theorem 11.
    """
    atoms = _checked(dictionary)
    c, d = atoms.shape
    u, s, _ = torch.linalg.svd(atoms, full_matrices=True)
    rank = int((s > _negligible(dictionary) * s[0]).sum())
    smallest = float(s[-1]) if c <= d and rank == c else 0.0
    witness: dict[str, object] = {"rank": rank, "atoms": c, "condition": float(s[0] / s[-1]) if smallest else None}
    if rank < c:
        null = u[:, -1]
        largest = null.abs().argsort(descending=True)[:8]
        witness["written_as_nothing"] = {str(int(i)): float(null[i]) for i in largest}
    return Finding(rank == c, smallest, witness)


def coherence_of(dictionary: Tensor) -> tuple[float, tuple[int, int]]:
    r"""Mutual coherence :math:`\mu = \max_{i \ne j} |d_i \cdot d_j| / (|d_i| |d_j|)` and the pair; 0 for a single atom."""
    atoms = normalize(_checked(dictionary), dim=1)
    best, pair = 0.0, (0, 0)
    for start in range(0, len(atoms), 4096):
        gram = (atoms[start : start + 4096] @ atoms.T).abs()
        gram[torch.arange(len(gram)), torch.arange(start, start + len(gram))] = -1.0
        value = float(gram.max())
        if value > best:
            row, column = divmod(int(gram.argmax()), len(atoms))
            best, pair = min(value, 1.0), (start + row, column)
    return best, pair


def sparse_enough(dictionary: Tensor, active: int) -> Finding:
    r"""Codes with `active` non-zeros are the only ones so sparse: :math:`k < (1 + 1/\mu) / 2` [1]_.

    Sufficient, and pessimistic: it must hold for the worst set of atoms.

    Parameters
    ----------
    dictionary : Tensor, shape (c, d)
    active : int
        k.

    Returns
    -------
    Finding
        Margin: :math:`(1 + 1/\mu)/2 - k`, at most :math:`c + 1 - k` (orthogonal atoms have no bound). Witness: the most coherent pair.

    References
    ----------
    .. [1] Donoho & Elad (2003), Optimally sparse representation in general (nonorthogonal) dictionaries via l1 minimization, PNAS;
       Gribonval & Nielsen (2003), Sparse representations in unions of bases, IEEE Trans. Information Theory.
    """
    mu, pair = coherence_of(dictionary)
    limit = min((1 + 1 / mu) / 2 if mu > 0 else float("inf"), len(dictionary) + 1.0)
    return Finding.of(limit - active, coherence=mu, pair=list(pair), active=active, limit=limit)


def spark(dictionary: Tensor, enough: int = ENOUGH) -> tuple[int, int, list[int] | None]:
    r"""The smallest number of linearly dependent atoms, as bounds that meet where it is known [1]_.

    Sets of 2, 3 ... atoms are enumerated while all of them together are at most `enough`; beyond that the lower bound is what enumeration
    excluded, or :math:`1 + 1/\mu` if that is larger, and the upper bound is rank + 1. Independent atoms have spark c + 1 by convention.

    Parameters
    ----------
    dictionary : Tensor, shape (c, d)
    enough : int

    Returns
    -------
    low, high : int
        Equal if the spark is known.
    atoms : list of int or None
        A smallest dependent set, where one was found.

    References
    ----------
    .. [1] Donoho & Elad (2003), as above, definition 1 and theorem 7; exact enumeration is exponential, the problem NP-hard (Tillmann &
       Pfetsch 2014).
    """
    atoms = normalize(_checked(dictionary), dim=1)
    c = len(atoms)
    s = torch.linalg.svdvals(atoms)
    negligible = _negligible(dictionary)
    rank = int((s > negligible * s[0]).sum())
    if rank == c:
        return c + 1, c + 1, None
    # A set has rank < its size iff its Gram matrix is singular; the bound needs no look at sets smaller than it.
    mu, _ = coherence_of(atoms)
    low = max(2, int(1 + 1 / mu + 1 - 1e-6)) if mu > 0 else 2  # an integer that is at least 1 + 1/mu
    looked = 0
    for size in range(min(low, rank + 1), rank + 1):
        looked += comb(c, size)
        if looked > enough:
            return size, rank + 1, None
        for sets in _batches(c, size):
            dependent = torch.linalg.svdvals(atoms[sets])[:, -1] <= negligible
            if dependent.any():
                return size, size, sets[int(dependent.long().argmax())].tolist()
    return rank + 1, rank + 1, None


def spark_exceeds(dictionary: Tensor, active: int, enough: int = ENOUGH) -> Finding:
    r"""Every set of 2k atoms is independent, :math:`\mathrm{spark}(D) > 2k`, so that codes with k non-zeros are unique.

    Returns
    -------
    Finding
        Margin: spark - 2k, or its bound on the side that decides. Witness: bounds on the spark and whether they meet.

    Raises
    ------
    NotApplicable
        If the spark is too costly to find and its bounds leave it open.

    References
    ----------
    .. [1] Donoho & Elad (2003), corollary 3: necessary and sufficient for all codes with k non-zeros.
    """
    low, high, atoms = spark(dictionary, enough)
    known = low == high
    witness: dict[str, Any] = {"spark": low if known else [low, high], "exact": known, "dependent_atoms": atoms, "active": active}
    if low > 2 * active:
        return Finding.of(float(low - 2 * active), **witness)
    if high <= 2 * active:
        return Finding.of(float(high - 2 * active), **witness)
    raise NotApplicable(f"the spark lies between {low} and {high}, and 2k = {2 * active}: enumeration is too costly to tell more")


def _batches(c: int, size: int, step: int = 20_000) -> Iterator[Tensor]:
    sets = combinations(range(c), size)
    while chunk := list(islice(sets, step)):
        yield torch.tensor(chunk)


def _negligible(dictionary: Tensor) -> float:
    return RANK.get(dictionary.dtype, 1e-5)


def _checked(dictionary: Tensor) -> Tensor:
    """The atoms in float64, or InvalidInput."""
    if dictionary.dim() != 2 or 0 in dictionary.shape:
        raise InvalidInput(f"a dictionary has shape (c, d), not {tuple(dictionary.shape)}")
    atoms = dictionary.detach().cpu().double()
    if not atoms.isfinite().all() or (atoms.norm(dim=1) == 0).any():
        raise InvalidInput("every atom must be finite and not 0: a concept that is written nowhere has no atom")
    return atoms
