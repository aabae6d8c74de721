"""How much of the concepts linear maps read off the codes, and how much of the codes the concepts explain."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from evaluators.calibration import (
    COMMON_FACTOR,
    ORACLE,
    PERMUTED_CODES,
    RANDOM_ROTATION,
    checked_codes,
    concepts,
    half_of,
    means_by_level,
    shown_levels,
    truth_of,
)
from testbed.contracts import Codes, Evaluator, InvalidInput, Outcome, Scores, SparseRows
from testbed.numerics.covariances import compressed, correlation, covariance, mean, variance
from testbed.numerics.matching import match
from testbed.numerics.ridge import Joint, ridge

MAPS = ("affine", "linear")
BLOCKS = ("concept", "level")


class R2(Evaluator):
    r"""Held-out R2 of true concepts from codes by a linear map, and of codes from concepts.

    .. math:: R^2 = 1 - \frac{\sum_t (y_t - \hat y_t)^2}{\sum_t (y_t - \bar y)^2}

    Maps are ridge regressions fitted on the first half of the rows, the penalty chosen there by generalised cross-validation; R2 is of the
    second half, so that many codes of noise score 0 or a little below, while in sample m of them explain a share m/n of anything.
    Nothing is clipped: a concept may have R2 < 0 and enters the mean as it is; the details say how many do, and what the mean would be
    with them at 0. Each number is a mean over *all* concepts i that the view shows. :math:`\pi(i)` is the code matched one to one to
    concept i by absolute correlation on the first half; a concept without a code, or that never varies, counts 0.

    - The value, *complete*: :math:`R^2(z_i \mid a)` from all codes. 1 says that a linear map reads the concepts off the codes (linear
      identifiability [1]_). It cannot tell concepts from a rotation of them, and copies of one common factor get their squared
      correlation with the concepts.
    - ``block``: :math:`R^2(z_i \mid a_B)` from the codes matched to the concepts of i's block B, which is one concept or a level.
    - ``pure``: :math:`R^2(a_{\pi(i)} \mid z_B)`. Codes that hold all of a block's information (``block`` is 1) and nothing but it
      (``pure`` is 1) identify the block as in [2]_, definition 4.1, and [3]_, here by linear maps: up to one within the block.
    - ``no_leak``: the mean of :math:`1 - [R^2(a_{\pi(i)} \mid z) - R^2(a_{\pi(i)} \mid z_B)]`: what the concepts of other blocks explain
      of a code beyond what its own block does. That difference is 0 iff the code has no partial correlation with other blocks given
      its own, so that blocks which are correlated themselves do not count as a leak. The more they are correlated, the less there is
      to leak: copies of a factor that correlates .95 with every concept leak .1. Codes of noise leak nothing: read it with ``block`` or
      ``pure``. As a difference of two estimates it may exceed 1 a little.

    Memory: covariances of order c^2, m^2 and c m numbers in float64 (m at most `most`), whatever n is.

    Parameters
    ----------
    map : {"affine", "linear"}
        With or without an intercept; the denominator is about the mean in both.
    block : {"concept", "level"}
    most : int
        Codes used at most, since the cost is cubic in them: those of the largest absolute correlation with any concept on the first half.

    References
    ----------
    .. [1] Roeder, Metz & Kingma (2021), On linear identifiability of learned representations.
    .. [2] von Kuegelgen et al. (2021), Self-supervised learning with data augmentations provably isolates content from style,
       definition 4.1 and section 5 (R2 of content and of style from the learned block, there nonlinear).
    .. [3] Lachapelle & Lacoste-Julien (2022), Partial disentanglement via mechanism sparsity (blocks of latents, each up to a map of its
       own).
    """

    equivalence = "invertible affine (or linear) maps of all codes, up to the ridge; the parts: permutation, sign and scale of each code"
    kinds = ("sparse", "real")
    chance = PERMUTED_CODES
    ceiling = ORACLE
    floors = (RANDOM_ROTATION, COMMON_FACTOR)

    def __init__(
        self, map: Literal["affine", "linear"] = "affine", block: Literal["concept", "level"] = "concept", most: int = 4096
    ) -> None:
        self.map = map
        self.block = block
        self.most = most

    @property
    def invariances(self) -> tuple[str, ...]:  # type: ignore[override]
        return ("affine",) if self.map == "affine" else ("rotation", "scale")

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``level_0``, ``level_1`` ... of the value, and ``block``, ``pure``, ``no_leak``."""
        for name, value, allowed in (("map", self.map, MAPS), ("block", self.block, BLOCKS)):
            if value not in allowed:
                raise InvalidInput(f"{name} is {value!r}: {' or '.join(allowed)}")
        if self.most < 1:
            raise InvalidInput(f"most is {self.most}: use at least 1 code")
        levels, truth = shown_levels(outcome, self.kinds), truth_of(outcome)
        z, codes = compressed(concepts(outcome, levels)), compressed(checked_codes(outcome))
        half = half_of(len(z))
        similarity = correlation(z[:half], codes[:half]).abs()
        if codes.shape[1] > self.most:
            kept = most_correlated(similarity, self.most)
            codes, similarity = columns(codes, kept), similarity[:, kept]
        concept, code = match(similarity)

        intercept = self.map == "affine"
        fit, held_out = _Both.of(z[:half], codes[:half]), _Both.of(z[half:], codes[half:])
        complete = ridge(fit.to_concepts, intercept=intercept).r2(held_out.to_concepts)
        everything = ridge(fit.to_codes.take(y=code), intercept=intercept).r2(held_out.to_codes.take(y=code))
        block, pure = torch.zeros(2, len(complete), dtype=torch.float64)
        if self.block == "concept":
            block[concept] = _single(fit.to_concepts, held_out.to_concepts, code, concept, intercept)
            pure[concept] = _single(fit.to_codes, held_out.to_codes, concept, code, intercept)
        else:
            ends = torch.tensor([truth.levels[level].size for level in levels]).cumsum(0)
            for first, end in zip([0, *ends.tolist()], ends.tolist(), strict=False):
                of_level = (concept >= first) & (concept < end)
                inside, own, its_codes = torch.arange(first, end), concept[of_level], code[of_level]
                there, back = (its_codes, own), (inside, its_codes)
                block[own] = ridge(fit.to_concepts.take(*there), intercept=intercept).r2(held_out.to_concepts.take(*there))
                pure[own] = ridge(fit.to_codes.take(*back), intercept=intercept).r2(held_out.to_codes.take(*back))
        no_leak = torch.zeros_like(pure)
        alive = (fit.to_codes.yy[code] > 0) & (held_out.to_codes.yy[code] > 0)  # a code that is constant is none
        no_leak[concept] = torch.where(alive, 1 - (everything - pure[concept]), 0.0)
        parts = means_by_level(complete, truth, levels)
        parts |= {"block": float(block.mean()), "pure": float(pure.mean()), "no_leak": float(no_leak.mean())}
        return Scores(float(complete.mean()), parts, details=summary(complete))


def summary(r2: Tensor) -> dict[str, float]:
    """What negative values do to a mean of R2, for the report."""
    return {"share of concepts with R2 below 0": float((r2 < 0).double().mean()), "mean with these at 0": float(r2.clamp_min(0).mean())}


def most_correlated(similarity: Tensor, most: int) -> Tensor:
    """Indices, in their order, of the `most` codes of the largest similarity, shape (c, m), with any concept."""
    return similarity.amax(dim=0).argsort(descending=True, stable=True)[:most].sort().values


def columns(codes: Codes, kept: Tensor) -> Codes:
    """Codes `kept`, in the order in which they are named."""
    if not isinstance(codes, SparseRows):
        return codes[:, kept.to(codes.device)]
    place = torch.full((codes.shape[1],), -1).index_put_((kept,), torch.arange(len(kept))).to(codes.indices.device)
    used = place[codes.indices] >= 0
    return SparseRows.from_entries(codes.row_of_entry()[used], place[codes.indices[used]], codes.values[used], (len(codes), len(kept)))


@dataclass(frozen=True, slots=True)
class _Both:
    """Moments of the same rows for predictions in both directions."""

    to_concepts: Joint
    to_codes: Joint

    @classmethod
    def of(cls, z: Codes, codes: Codes) -> _Both:
        mean_z, mean_a, za = mean(z), mean(codes), covariance(z, codes)
        return cls(
            Joint(len(z), mean_a, mean_z, covariance(codes, codes), za.T, variance(z)),
            Joint(len(z), mean_z, mean_a, covariance(z, z), za, variance(codes)),
        )


def _single(fit: Joint, held_out: Joint, x: Tensor, y: Tensor, intercept: bool) -> Tensor:
    """Held-out R2 of target y[k] from predictor x[k] alone, by least squares; shape (k,)."""

    def moments(rows: Joint) -> tuple[Tensor, Tensor, Tensor, Tensor, Tensor]:
        return rows.mean_x[x], rows.mean_y[y], rows.xx.diagonal()[x], rows.xy[x, y], rows.yy[y]

    mean_x, mean_y, xx, xy, _ = moments(fit)
    if not intercept:
        xx, xy = xx + mean_x.square(), xy + mean_x * mean_y
    alive = xx > 1e-14 * (xx + mean_x.square())
    slope = torch.where(alive, xy / torch.where(alive, xx, 1.0), 0.0)
    start = mean_y - slope * mean_x if intercept else torch.zeros_like(slope)
    mean_x, mean_y, xx, xy, yy = moments(held_out)
    error = (yy - slope * (2 * xy - slope * xx)).clamp_min(0.0) + (mean_y - slope * mean_x - start).square()
    return torch.where(yy > 0, 1 - error / torch.where(yy > 0, yy, 1.0), 0.0)
