"""One-to-one matching of codes to concepts: correlations, cosines, assignments, and the mean correlation coefficient (MCC)."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import normalize

from testbed.contracts import BLOCK, InvalidInput, Rows, SparseRows
from testbed.numerics.assignment import assign
from testbed.numerics.correlation import MatchedCorrelation, StreamedCorrelation, check_pair
from testbed.numerics.rows import check_finite as check_finite
from testbed.numerics.rows import dense as dense

SMALL = 512
"""Concepts or codes up to which the plain dense solver is used: there it is as fast."""


def cross_correlation(concepts: Rows, codes: Rows) -> Tensor:
    r"""Absolute Pearson correlation of every concept with every code.

    .. math:: r_{ij} = \Big| \frac{1}{n} \sum_t \frac{(z_{ti} - \bar z_i)(a_{tj} - \bar a_j)}{s(z_i)\, s(a_j)} \Big|

    Memory does not grow with n, see `StreamedCorrelation`.

    Parameters
    ----------
    concepts : Tensor or SparseRows, shape (n, c)
    codes : Tensor or SparseRows, shape (n, m)

    Returns
    -------
    Tensor, shape (c, m), float64
        Entries in [0, 1]; a constant column (a dead code) correlates 0 with everything.

    Raises
    ------
    InvalidInput
        If the rows differ in number or a value is not finite.
    """
    check_pair(concepts, codes)
    streamed = StreamedCorrelation(concepts.shape[1], codes.shape[1], _device(concepts))
    streamed.update(concepts, codes)
    return streamed.finish().abs_()  # (c, m)


def held_out_correlation(fit: tuple[Rows, Rows], score: tuple[Rows, Rows], signed: bool = False) -> Tensor:
    """Correlation of each concept with the code that it is matched to on other rows.

    The same as `matched_similarity` of `cross_correlation` on both, but on the rows that are scored of the matched pairs alone.

    Parameters
    ----------
    fit, score : pair of Tensor or SparseRows, shape (n, c) and (n, m)
        Concepts and codes: the rows that fix the assignment, and those that count.
    signed : bool
        Whether the rows that fix the assignment fix each code's sign, too, rather than taking absolute values.

    Returns
    -------
    Tensor, shape (c,), float64
        0 for a concept without a code.
    """
    concept, code = match(cross_correlation(*fit))
    pairs = concept, code, fit[0].shape[1], fit[1].shape[1]
    fitted, scored = MatchedCorrelation(*pairs), MatchedCorrelation(*pairs)
    scored.update(*score)
    found = scored.correlation()
    if signed:
        fitted.update(*fit)
        found = found * fitted.correlation().sign()
    else:
        found = found.abs()
    return found.new_zeros(fit[0].shape[1]).index_copy_(0, concept, found)


def cosine(atoms: Tensor, dictionary: Tensor) -> Tensor:
    r"""Absolute cosine :math:`|d_i \cdot w_j| / (\|d_i\| \|w_j\|)` of every true atom with every row of a dictionary.

    Parameters
    ----------
    atoms : Tensor, shape (c, d)
    dictionary : Tensor, shape (m, d)

    Returns
    -------
    Tensor, shape (c, m)
        A row of zeros has cosine 0 with everything.

    Raises
    ------
    InvalidInput
        If the widths differ or an entry is not finite.
    """
    if atoms.shape[1] != dictionary.shape[1]:
        raise InvalidInput(f"atoms have {atoms.shape[1]} columns and the dictionary {dictionary.shape[1]}: compare them in the same view")
    check_finite(dictionary, "the dictionary holds NaN or infinity: check the fit before scoring it")
    left, right = _unit(atoms.detach().double()), _unit(dictionary.detach().double().to(atoms.device))
    out = left.new_empty(len(left), len(right))
    for start in range(0, len(left), BLOCK):  # in place: at 16,384 x 16,384 every copy takes 2 GiB
        part = out[start : start + BLOCK]
        torch.mm(left[start : start + BLOCK], right.T, out=part)
        part.abs_().clamp_max_(1.0)
    return out


def match(similarity: Tensor) -> tuple[Tensor, Tensor]:
    """Assignment of codes to concepts that maximises the sum of similarities [1]_; exact, see `testbed.numerics.assignment`.

    Parameters
    ----------
    similarity : Tensor, shape (c, m)

    Returns
    -------
    concept, code : Tensor, shape (min(c, m),)
        Matched pairs of indices.

    References
    ----------
    .. [1] Hyvarinen & Morioka (2016), Unsupervised feature extraction by time-contrastive learning, section 6.
    """
    values = similarity.detach().cpu().numpy()
    if min(values.shape) <= SMALL:
        concept, code = linear_sum_assignment(values, maximize=True)
    else:
        found = assign(values)
        concept, code = found.row, found.column
    return torch.as_tensor(concept, device=similarity.device), torch.as_tensor(code, device=similarity.device)


def matched_similarity(fit: Tensor, score: Tensor) -> Tensor:
    r"""Similarity of each concept with the code it is matched to.

    The permutation :math:`\pi` comes from `fit`, the values :math:`\mathrm{score}_{i, \pi(i)}` from `score`; a concept without a code
    gets 0, so that a small dictionary cannot hide what it missed.

    Parameters
    ----------
    fit, score : Tensor, shape (c, m)
        Similarities on two halves of a sample; the same tensor twice where nothing is estimated from a sample.

    Returns
    -------
    Tensor, shape (c,)
    """
    concept, code = match(fit)
    out = score.new_zeros(len(score))
    out[concept] = score[concept, code]
    return out


def mean_correlation(fit: Tensor, score: Tensor) -> float:
    r"""Held-out mean correlation coefficient over *all* concepts, :math:`\frac1c \sum_i \mathrm{score}_{i, \pi(i)}`.

    Parameters
    ----------
    fit, score : Tensor, shape (c, m)
        As in `matched_similarity`.
    """
    return float(matched_similarity(fit, score).mean())


def active(codes: Rows) -> Tensor:
    """Which columns hold an entry other than 0, shape (m,), bool."""
    if isinstance(codes, SparseRows):
        return codes.indices[codes.values != 0].bincount(minlength=codes.shape[1]) > 0
    return (codes != 0).any(dim=0)


def _device(rows: Rows) -> torch.device:
    return (rows.values if isinstance(rows, SparseRows) else rows).device


def _unit(rows: Tensor) -> Tensor:
    return normalize(rows, dim=1, eps=torch.finfo(rows.dtype).tiny)
