"""What the evaluators of dictionaries share: the code that is a concept's own, what its row is made of, and who is related to whom."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import scipy.sparse
import torch
from torch import Tensor
from torch.nn.functional import normalize

from evaluators.calibration import checked_codes, concepts, dictionary_of, half_of, shown_levels, true_structure, truth_of
from testbed.contracts import BLOCK, Codes, NotApplicable, Outcome, Rows, SparseRows
from testbed.numerics.firing import Firing, firing
from testbed.numerics.matching import active, cosine, match

FOUND = 0.5
"""Smallest |cos| of an atom with the row matched to it for the code to be the concept's own."""
RIDGE = 1e-6
"""Ridge of small regressions on atoms, which may be collinear."""
ENTRIES = 2**22
"""Entries of the Gram matrices that are solved together."""


@dataclass(frozen=True)
class OwnCodes:
    """One-to-one assignment of living codes to concepts by the absolute cosine of their directions.

    Attributes
    ----------
    code : Tensor, shape (c,), int64
        The code matched to each concept; -1 for none.
    cosine : Tensor, shape (c,), float64
        |cos| of the concept's atom with that code's row; 0 for none.
    """

    code: Tensor
    cosine: Tensor

    @property
    def found(self) -> Tensor:
        """Which concepts have a code of their own, shape (c,), bool."""
        return (self.code >= 0) & (self.cosine >= FOUND)


def own_codes(outcome: Outcome, atoms: Tensor) -> OwnCodes:
    """Match codes to concepts; dead ones are nobody's."""
    alive = active(checked_codes(outcome)).to(atoms.device)
    similarity = cosine(atoms, dictionary_of(outcome)) * alive
    concept, code = match(similarity)
    reached = similarity[concept, code]
    used = reached > 0
    owner = torch.full((len(atoms),), -1, device=atoms.device)
    owner[concept[used]] = code[used]
    best = similarity.new_zeros(len(atoms))
    best[concept] = reached
    return OwnCodes(owner, best)


def written_levels(outcome: Outcome, kinds: tuple[str, ...] = ("sparse",)) -> tuple[int, ...]:
    """Levels whose concepts the view writes along directions, in the dictionary's order.

    Raises
    ------
    NotApplicable
        If the truth holds no dictionary for the view, or it does not go with the latents of the levels shown.
    """
    truth = truth_of(outcome)
    truth.dictionary(outcome.view)
    levels = truth.written(outcome.view)
    if set(levels) != set(shown_levels(outcome, kinds)):
        raise NotApplicable(f"the true dictionary of view {outcome.view!r} is of levels {levels}, its latents are not")
    return levels


# ----------------------------------------------------------------------------------------------------------------- the hierarchy


def compositions(outcome: Outcome, levels: tuple[int, ...]) -> Tensor:
    """Who is a constituent of whom among the concepts of `levels`, side by side: [composite, constituent], shape (c, c), bool."""
    constituents = true_structure(truth_of(outcome), levels).constituents
    below = torch.zeros(len(constituents), len(constituents), dtype=torch.bool)
    for i, lower in enumerate(constituents):
        below[i, list(lower)] = True
    return below


def lineage(below: Tensor) -> Tensor:
    """Concepts of which one is, at any depth, a constituent of the other, shape (c, c), symmetric."""
    reach, deeper = below, below.float()
    while bool((deeper := ((deeper @ below.float()) > 0).float()).any()):
        reach = reach | (deeper > 0)
    return reach | reach.T


def family(below: Tensor) -> Tensor:
    """Composites and constituents of each concept, and its co-constituents, shape (c, c), symmetric, without itself."""
    steps = below.float()
    together = (steps.T @ steps) > 0
    near = below | below.T | together
    near.fill_diagonal_(False)
    return near


def contents(rows: Tensor, atoms: Tensor, near: Tensor) -> Tensor:
    r"""What each row holds of an atom of its own and of related ones, by least squares on these atoms alone.

    .. math:: \min_b \Big\| w_i - b_{ii} d_i - \sum_{k \in R(i)} b_{ik} d_k \Big\|^2

    with w, d of norm 1. Where there are more atoms than dimensions a regression on all of them says nothing.

    Parameters
    ----------
    rows : Tensor, shape (c, d)
        The row matched to each concept; a row of zeros gives zeros.
    atoms : Tensor, shape (c, d)
    near : Tensor, shape (c, c), bool
        Who is related to whom.

    Returns
    -------
    Tensor, shape (c, c)
        b; 0 for all that are not related. Signed so that a concept's own share is not negative.
    """
    unit, written = normalize(atoms.double(), dim=1), normalize(rows.double(), dim=1)
    asked = near.to(atoms.device) | torch.eye(len(atoms), dtype=torch.bool, device=atoms.device)
    gram, cross = unit @ unit.T, written @ unit.T
    held = torch.zeros_like(gram)
    # Regressions of about equal size together: a root's lineage may be a whole tree, a leaf's is a few.
    sizes = 2 ** asked.sum(dim=1).double().log2().ceil().long()
    for size in sorted(set(sizes.tolist())):
        mine = (sizes == size).nonzero()[:, 0]
        for which in mine.split(max(1, ENTRIES // size**2)):
            real, place = asked[which].byte().topk(min(size, len(atoms)), dim=1)  # (k, r): padded with atoms that are not asked for
            real = real.bool()
            small = gram[place[:, :, None], place[:, None, :]] * (real[:, :, None] & real[:, None, :])
            small = small + torch.diag_embed(torch.where(real, RIDGE, 1.0).to(small))
            solved = torch.linalg.solve(small, (cross[which].gather(1, place) * real)[:, :, None])[:, :, 0]
            held[which] = held[which].scatter(1, place, solved * real)
    return held * torch.where(held.diagonal() < 0, -1.0, 1.0)[:, None]


def matched_rows(dictionary: Tensor, own: OwnCodes) -> Tensor:
    """The row of each concept's code, shape (c, d); zeros where it has none."""
    return dictionary.to(own.code.device)[own.code.clamp_min(0)] * (own.code >= 0)[:, None]


# ----------------------------------------------------------------------------------------------------------------- what is on


def csr(rows: Rows) -> Any:
    """The entries other than 0 as a sparse array, shape (n, columns), float64, on the CPU."""
    if not isinstance(rows, SparseRows):
        rows = SparseRows.from_dense(rows)
    entries = (rows.values.double().cpu().numpy(), rows.indices.cpu().numpy(), rows.indptr.cpu().numpy())
    out = scipy.sparse.csr_array(entries, shape=rows.shape)
    out.eliminate_zeros()
    return out


def events(rows: Rows) -> Any:
    """1 where an entry is not 0, shape (n, columns)."""
    return (csr(rows) != 0).astype(float)


def magnitudes(rule: Firing, codes: Codes) -> SparseRows:
    """How far from rest each code is where it is on, shape (n, m)."""
    if isinstance(codes, SparseRows) and not rule.direction.any():
        used = codes.values.abs() > rule.threshold[codes.indices]
        return SparseRows.from_entries(codes.row_of_entry()[used], codes.indices[used], codes.values[used].abs(), codes.shape)
    pieces = []
    for start in range(0, max(1, len(codes)), BLOCK):
        block = codes[start : start + BLOCK]
        on = rule(block)
        off = ((block.dense() if isinstance(block, SparseRows) else block) - rule.rest).abs()
        pieces.append(SparseRows(on.indptr, on.indices, off[on.row_of_entry(), on.indices], on.shape))
    return SparseRows.cat(pieces)


def halves(outcome: Outcome, levels: tuple[int, ...]) -> tuple[Rows, Codes, Rows, Codes, Firing]:
    """Concepts and codes of both halves of the rows, and when codes are on, which is read off the first half.

    Raises
    ------
    NotApplicable
        If there are fewer than 4 rows.
    """
    z, codes = concepts(outcome, levels), checked_codes(outcome)
    half = half_of(len(z))
    return z[:half], codes[:half], z[half:], codes[half:], firing(codes[:half])
