"""How long a description of the data the codes give."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from evaluators.calibration import ORACLE, PERMUTED_CODES, checked_codes, dictionary_of
from testbed.contracts import BLOCK, Codes, Evaluator, InvalidInput, NotApplicable, Outcome, Rows, Scores, SparseRows
from testbed.numerics.matching import dense


class DescriptionLength(Evaluator):
    r"""Nats per row that data cost when they are told by codes and a dictionary, to a stated precision [1]_ [2]_.

    .. math::
        \underbrace{\sum_j H(p_j)}_{\text{which}}
        + \underbrace{\sum_j \frac{p_j}{2} \log\Big(1 + \frac{s_j^2 \|w_j\|^2}{q^2}\Big)}_{\text{how much}}
        + \underbrace{\frac d2 \log\Big(1 + \frac{e^2}{d\, q^2}\Big)}_{\text{residual}}
        + \underbrace{\frac{m (d + 3)}{2 N} \log N}_{\text{dictionary}}

    p is how often a code is on and H the entropy of that; s the standard deviation of the code where it is on, w its row, so that what
    they write is told to the precision q; e^2 the mean squared norm of the residual x - decode(a), which is then told to the same
    precision (the rate of a Gaussian source at distortion q^2). Each of m living codes has d + 3 parameters (row, p, mean, deviation), told
    at 1/2 log N nats each, for which N rows pay together. Unlike squares and a penalty it needs no weight between fit and sparsity.

    q is `precision` times the standard deviation of the data per dimension, so units do not matter. Telling the data by their mean alone
    costs d/2 log(1 + 1 / precision^2), part ``mean_alone``. The residual is taken for white and Gaussian and codes for independent given
    that they are on, so this is an upper bound: a hierarchy that codes keep to is not rewarded.

    Says nothing of recovery by itself: one code for each of a few distinct rows is short, too. Lengths of different `rows`, `precision` or
    data cannot be compared.

    Parameters
    ----------
    precision : float
    rows : int or None
        N, the number of rows that pay for the dictionary; by default those that are scored.

    References
    ----------
    .. [1] Rissanen (1978), Modeling by shortest data description, Automatica 14.
    .. [2] Ayonrinde, Pearce & Sharkey (2024), Interpretability as compression: reconsidering SAE explanations of neural activations with
       MDL-SAEs, arXiv 2410.11179.
    """

    direction = "lower"
    equivalence = "permutation, sign and scale of each code, with the dictionary that undoes it"
    invariances = ("permutation", "sign", "scale")
    chance = PERMUTED_CODES
    ceiling = ORACLE

    def __init__(self, precision: float = 0.1, rows: int | None = None) -> None:
        self.precision = precision
        self.rows = rows

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``which``, ``how_much``, ``residual`` and ``dictionary``, which add up to the value, and ``mean_alone``."""
        if not self.precision > 0 or (self.rows is not None and self.rows < 1):
            raise InvalidInput(f"precision {self.precision} and rows {self.rows} must be positive")
        codes, dictionary = checked_codes(outcome), dictionary_of(outcome)
        if outcome.decode is None:
            raise NotApplicable("the estimator has no decoder")
        n, d = outcome.sample.observed.view(outcome.view).values.shape
        squared, total = _residual(outcome, codes)
        if not total > 0:
            raise NotApplicable("the held-out rows do not vary: there is nothing to describe")
        quantum = self.precision**2 * total / d  # q^2
        rate, variance = _while_on(codes)
        written = variance * dictionary.double().cpu().square().sum(dim=1)
        paying = max(2, n if self.rows is None else self.rows)
        parts = {
            "which": float(-(torch.xlogy(rate, rate) + torch.xlogy(1 - rate, 1 - rate)).sum()),
            "how_much": float((rate / 2 * (written / quantum).log1p()).sum()),
            "residual": d / 2 * math.log1p(squared / d / quantum),
            "dictionary": int((rate > 0).sum()) * (d + 3) * math.log(paying) / (2 * paying),
        }
        return Scores(sum(parts.values()), parts | {"mean_alone": d / 2 * math.log1p(1 / self.precision**2)})


def _residual(outcome: Outcome, codes: Codes) -> tuple[float, float]:
    """Mean squared norms of the residual, and of the rows about their mean."""
    assert outcome.decode is not None
    values = outcome.sample.observed.view(outcome.view).values
    starts = range(0, len(values), BLOCK)
    mean = _sum(values) / len(values)
    squared = total = 0.0
    for start in starts:
        x = dense(values[start : start + BLOCK]).double()
        described = outcome.decode(codes[start : start + BLOCK]).double().to(x.device)
        if described.shape != x.shape:
            raise InvalidInput(f"decoded rows have shape {tuple(described.shape)}, the data {tuple(x.shape)}: check the decoder")
        squared += float((x - described).square().sum())
        total += float((x - mean).square().sum())
    if not math.isfinite(squared):
        raise InvalidInput("decoded rows hold NaN or infinity: check the decoder's output before scoring it")
    return squared / len(values), total / len(values)


def _sum(values: Rows) -> Tensor:
    return torch.stack([dense(values[i : i + BLOCK]).double().sum(dim=0) for i in range(0, len(values), BLOCK)]).sum(dim=0)


def _while_on(codes: Codes) -> tuple[Tensor, Tensor]:
    """How often each code is other than 0, and its variance where it is, shape (m,) each, float64, on the CPU."""
    n, m = codes.shape
    if isinstance(codes, SparseRows):
        used = codes.values != 0
        column, value = codes.indices[used], codes.values[used].double()
        count = column.bincount(minlength=m).double()
        mean = value.new_zeros(m).index_add_(0, column, value) / count.clamp_min(1)
        spread = value.new_zeros(m).index_add_(0, column, (value - mean[column]).square())
    else:
        count, mean, spread = torch.zeros(3, m, dtype=torch.float64, device=codes.device)
        for start in range(0, n, BLOCK):
            block = codes[start : start + BLOCK]
            count += (block != 0).sum(dim=0)
            mean += block.double().sum(dim=0)
        mean = mean / count.clamp_min(1)
        for start in range(0, n, BLOCK):
            block = codes[start : start + BLOCK]
            spread += torch.where(block != 0, block.double() - mean, 0.0).square().sum(dim=0)
    return (count / max(1, n)).cpu(), (spread / count.clamp_min(1)).cpu()
