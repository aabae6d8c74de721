"""One-to-one matching of codes to concepts: correlations, cosines, assignments, and the mean correlation coefficient (MCC)."""

from __future__ import annotations

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor
from torch.nn.functional import normalize

from testbed.contracts import BLOCK, InvalidInput, Rows, SparseRows


def cross_correlation(concepts: Rows, codes: Rows) -> Tensor:
    r"""Absolute Pearson correlation of every concept with every code.

    .. math:: r_{ij} = \Big| \frac{1}{n} \sum_t \frac{(z_{ti} - \bar z_i)(a_{tj} - \bar a_j)}{s(z_i)\, s(a_j)} \Big|

    Sparse rows are made dense a block at a time, so that memory does not grow with n.

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
    if len(concepts) != len(codes):
        raise InvalidInput(f"concepts have {len(concepts)} rows and codes {len(codes)}: score them on the same sample")
    check_finite(concepts, "concepts hold NaN or infinity: check the generator's latents before scoring")
    check_finite(codes, "codes hold NaN or infinity: check the encoder's output before scoring it")
    mean_z, scale_z = _location_and_scale(concepts)
    mean_a, scale_a = _location_and_scale(codes)
    total = mean_z.new_zeros(len(mean_z), len(mean_a))
    for start in range(0, len(concepts), BLOCK):
        z = (dense(concepts[start : start + BLOCK]).double() - mean_z) * scale_z
        a = (dense(codes[start : start + BLOCK]).double() - mean_a) * scale_a
        total += z.T @ a
    return (total / len(concepts)).abs().clamp_max(1.0)  # (c, m)


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
    return (_unit(atoms.double()) @ _unit(dictionary.double().to(atoms.device)).T).abs().clamp_max(1.0)


def match(similarity: Tensor) -> tuple[Tensor, Tensor]:
    """Assignment of codes to concepts that maximises the sum of similarities [1]_.

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
    concept, code = linear_sum_assignment(similarity.detach().cpu().numpy(), maximize=True)
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


def dense(rows: Rows) -> Tensor:
    """The rows as a dense tensor, shape (n, m)."""
    return rows.dense() if isinstance(rows, SparseRows) else rows


def check_finite(rows: Rows, message: str) -> None:
    """Raise InvalidInput with `message` if an entry is NaN or infinite."""
    if not (rows.values if isinstance(rows, SparseRows) else rows).isfinite().all():
        raise InvalidInput(message)


def _location_and_scale(rows: Rows) -> tuple[Tensor, Tensor]:
    """Column means and reciprocal standard deviations (0 for a constant column), shape (m,) each, float64."""
    n, width = rows.shape
    if isinstance(rows, SparseRows):
        values = rows.values.double()
        total = values.new_zeros(width).index_add_(0, rows.indices, values)
        mean = total / n
        count = rows.indices.bincount(minlength=width).to(values)
        spread = values.new_zeros(width).index_add_(0, rows.indices, (values - mean[rows.indices]).square())
        variance = (spread + (n - count) * mean.square()) / n
    else:
        wide = rows.double()
        mean = wide.mean(dim=0)
        variance = (wide - mean).square().mean(dim=0)
    deviation, size = variance.sqrt(), (variance + mean.square()).sqrt()
    # A deviation of rounding size is a constant column: dividing by it would invent a correlation.
    return mean, torch.where(deviation > 1e-7 * size, 1 / deviation.clamp_min(torch.finfo(torch.float64).tiny), 0.0)


def _unit(rows: Tensor) -> Tensor:
    return normalize(rows, dim=1, eps=torch.finfo(rows.dtype).tiny)
