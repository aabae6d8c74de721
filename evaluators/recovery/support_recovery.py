"""Whether a decoder writes each concept into the coordinates that depend on it, and into no others."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor

from evaluators.calibration import ORACLE, PERMUTED_CODES, checked_codes, concepts, half_of, shown_levels, truth_of, uniform_rotation
from testbed.contracts import Codes, Evaluator, InvalidInput, NotApplicable, Outcome, Reference, Scores
from testbed.numerics.edge_rotation import strong
from testbed.numerics.matching import check_finite, cross_correlation, dense, match

STEP = 0.1
"""Half-width of differences, in standard deviations of a code."""


def _turned_oracle(outcome: Outcome, seed: int) -> Outcome:
    best = ORACLE.make(outcome, seed)
    decode = best.decode
    assert decode is not None
    codes = dense(best.codes)
    centre, deviation = codes.mean(dim=0), codes.std(dim=0).clamp_min(1e-12)
    turn = uniform_rotation(codes.shape[1], seed).to(codes)
    turned = (codes - centre) / deviation @ turn
    return replace(best, codes=turned, dictionary=None, decode=lambda s: decode(dense(s) @ turn.T * deviation + centre), structure=None)


TURNED_ORACLE = Reference("turned_oracle", "instance", _turned_oracle)
"""The oracle's codes and decoder in a random frame: the right function, told in the wrong coordinates."""


class SupportRecovery(Evaluator):
    r"""F1 of the edges from codes to observed coordinates, found in the decoder, against the support of the true f's Jacobian.

    The strength of edge (i, j) is the root mean square, over rows, of :math:`\partial x_i / \partial s_j` by central differences of
    `decode`, a tenth of a code's standard deviation each way, in units of both standard deviations. Strengths are split in two by
    `testbed.numerics.edge_rotation.strong`, alike for every estimator and without the truth. Codes are matched to concepts by correlation
    on the first half of the rows; edges of codes without a concept count as wrong, those of concepts without a code as missed.
    Chance rises with the share of edges that are there; where all are, nothing is scored.

    Parameters
    ----------
    rows : int
        Rows at which differences are taken, of the second half.
    """

    equivalence = "permutation, sign, scale and shift of each code"
    invariances = ("permutation", "sign", "scale", "shift")
    kinds = ("real",)
    chance = PERMUTED_CODES
    ceiling = ORACLE
    floors = (TURNED_ORACLE,)

    def __init__(self, rows: int = 256) -> None:
        self.rows = rows

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``precision``, ``recall``, ``edges`` found and ``true edges``."""
        if self.rows < 1:
            raise InvalidInput(f"rows must be at least 1, not {self.rows}")
        if outcome.decode is None:
            raise NotApplicable("the estimator has no decoder")
        levels = shown_levels(outcome, self.kinds)
        support = true_support(outcome, levels)
        if support.all():
            raise NotApplicable(
                f"every coordinate of view {outcome.view!r} depends on every concept: no edge is missing that could be told"
            )
        z, codes = dense(concepts(outcome, levels)), dense(checked_codes(outcome))
        half = half_of(len(z))
        concept, code = match(cross_correlation(z[:half], codes[:half]))
        found = strong(strengths(outcome.decode, codes, codes[half : half + self.rows], outcome.sample.observed.view(outcome.view).values))
        both = int((support.to(found.device)[:, concept] & found[:, code]).sum())
        edges, true = int(found.sum()), int(support.sum())
        return Scores(
            2 * both / max(edges + true, 1),
            {"precision": both / max(edges, 1), "recall": both / max(true, 1), "edges": float(edges), "true edges": float(true)},
        )


def true_support(outcome: Outcome, levels: tuple[int, ...]) -> Tensor:
    """Which concepts each coordinate depends on, shape (d, c), bool; NotApplicable where the truth does not tell."""
    truth, view = truth_of(outcome), outcome.view
    if all(f"support/{view}/{level}" in truth.facts for level in levels):
        return torch.cat([torch.as_tensor(truth.facts[f"support/{view}/{level}"]) for level in levels], dim=1)
    if view in truth.dictionaries and all(level in truth.dictionaries[view] for level in levels):
        return torch.cat([truth.dictionaries[view][level] for level in levels]).T != 0
    raise NotApplicable(f"the truth does not tell which coordinates of view {view!r} depend on which concept")


def strengths(decode: Callable[[Codes], Tensor], codes: Tensor, at: Tensor, x: Codes) -> Tensor:
    """Root mean square slope of every coordinate in every code, in standard deviations, shape (d, m).

    Parameters
    ----------
    decode : callable
    codes : Tensor, shape (n, m)
        Whose standard deviations are the units.
    at : Tensor, shape (r, m)
    x : Tensor or SparseRows, shape (n, d)
    """
    deviation, columns = codes.double().std(dim=0), []
    for j in range(codes.shape[1]):
        step = torch.zeros_like(at)
        step[:, j] = STEP * float(deviation[j])
        columns.append(((decode(at + step) - decode(at - step)) / (2 * STEP)).double().square().mean(dim=0).sqrt())
    slope = torch.stack(columns, dim=1)
    check_finite(slope, "decoded rows hold NaN or infinity: check the decoder before scoring it")
    scale = dense(x).double().std(dim=0).to(slope.device)
    return torch.where(scale[:, None] > 0, slope / scale.clamp_min(torch.finfo(scale.dtype).tiny)[:, None], 0.0)
