"""Whether composites that no view shows are found: levels that an estimator made of its own codes."""

from __future__ import annotations

from dataclasses import replace
from itertools import combinations

import torch
from torch import Tensor

from evaluators.calibration import PERMUTED_CODES, checked_codes, half_of, truth_of
from testbed.contracts import Evaluator, InvalidInput, NotApplicable, Outcome, Reference, Scores, Structure
from testbed.numerics.matching import cross_correlation, dense, held_out_correlation, match
from testbed.numerics.normal_scores import normal_scores
from testbed.numerics.ranks import centred_ranks
from testbed.numerics.ridge import Joint, ridge


def _levels(outcome: Outcome, wanted: list[int] | None) -> tuple[int, ...]:
    """Levels of composites that are scored, or NotApplicable."""
    truth = truth_of(outcome)
    shown = outcome.sample.observed.view(outcome.view).shows.levels
    composed = [level for level, tuples in truth.constituents.items() if any(tuples) and level in outcome.sample.latents]
    if wanted is not None:
        if not set(wanted) <= set(composed):
            raise InvalidInput(f"levels {wanted} are to be scored, but composites are on levels {composed}: choose among these")
        composed = wanted
    else:
        composed = [level for level in composed if level > 0 or level in shown]
    if not composed:
        raise NotApplicable("no level but the invisible top one is composed of others")
    if any(truth.levels[level].kind != "real" for level in composed):
        raise NotApplicable("composites are scored by rank correlation, which takes real concepts: see state_recovery and activation_f1")
    return tuple(sorted(composed))


def _concepts(outcome: Outcome, levels: tuple[int, ...]) -> Tensor:
    return torch.cat([dense(outcome.sample.latents[level]) for level in levels], dim=1).double()


def _composite_codes(outcome: Outcome) -> list[int]:
    """Codes that are composed of others; all where there is no graph."""
    if outcome.structure is None:
        return list(range(outcome.codes.shape[1]))
    if len(outcome.structure.levels) != outcome.codes.shape[1]:
        raise InvalidInput(f"the structure has {len(outcome.structure.levels)} codes, not {outcome.codes.shape[1]}: give one entry each")
    return [code for code, tuple_ in enumerate(outcome.structure.constituents) if tuple_]


def _side(concept: Tensor, code: Tensor) -> float:
    """|2 AUC - 1| of a code for the concept being above its median, from mean ranks (Mann & Whitney 1947)."""
    above = concept > concept.median()
    ranks = dense(centred_ranks(code[:, None]))[:, 0].double()
    if not above.any() or above.all():
        return 0.0
    return abs(float(ranks[above].mean() - ranks[~above].mean())) / (len(code) / 2)


def _information(outcome: Outcome, levels: tuple[int, ...]) -> float:
    found = []
    for level in levels:
        scores = normal_scores(outcome.sample.latents[level]).double()
        if scores.shape[1] < 2:
            found.append(0.0)
            continue
        for i in range(scores.shape[1]):
            rest = torch.cat([scores[:, :i], scores[:, i + 1 :]], dim=1)
            rows = Joint.of(rest, scores[:, i : i + 1])
            r2 = float(ridge(rows).r2(rows).clamp(0.0, 1 - 1e-12))
            found.append(-0.5 * float(torch.tensor(1 - r2).log()))
    return min(found)


# ------------------------------------------------------------------------------------------------------------- references


def _with(outcome: Outcome, codes: Tensor) -> Outcome:
    """These codes, each said to be composed of a last one that stands for all below."""
    m = codes.shape[1]
    codes = torch.cat([codes, torch.zeros_like(codes[:, :1])], dim=1).float()
    structure = Structure((0,) * m + (1,), ((m,),) * m + ((),))
    return replace(outcome, codes=codes, dictionary=None, decode=None, encode=None, structure=structure)


def _constituent(outcome: Outcome, seed: int) -> Outcome:
    truth, columns = truth_of(outcome), []
    for level in _levels(outcome, None):
        z, below = dense(outcome.sample.latents[level]), dense(outcome.sample.latents[level + 1])
        close = cross_correlation(centred_ranks(z), centred_ranks(below))
        for i, tuple_ in enumerate(truth.constituents[level]):
            best = max(tuple_, key=lambda j, i=i: float(close[i, j]), default=None)  # type: ignore[misc]
            columns.append(torch.zeros_like(z[:, 0]) if best is None else below[:, best])
    return _with(outcome, torch.stack(columns, dim=1))


def _told(outcome: Outcome, seed: int) -> Outcome:
    truth = truth_of(outcome)
    z = _concepts(outcome, _levels(outcome, None))
    known = normal_scores(dense(truth.codes(outcome.sample.observed, outcome.view)).float()).double()
    pairs = combinations(range(known.shape[1]), 2) if known.shape[1] <= MOST else ()
    x = torch.cat([known, known**2, known**3, *(known[:, [i]] * known[:, [j]] for i, j in pairs)], dim=1)
    half = half_of(len(x))
    found = ridge(Joint.of(x[:half], normal_scores(z[:half].float()).double()))
    return _with(outcome, x @ found.weights + found.intercept)


MOST = 24
"""Codes up to which the ceiling's regression has products of two."""

CONSTITUENT = Reference("constituent", "instance", _constituent)
"""For each composite the true constituent whose rank correlation with it is largest."""

TOLD = Reference("told", "instance", _told)
"""Composites regressed on polynomials of the oracle's codes, with the answers on half of the rows."""


class LevelRecovery(Evaluator):
    r"""Mean absolute rank correlation of true composites and the composite codes they are matched to, one to one.

    A composite is identified up to an invertible map of its own, so that ranks are what can be asked for (Spearman). Only codes that the
    found graph says are composed of others count, all codes where there is no graph. Composites of level 0 are scored only where a view
    shows them: nothing below tells what they are, since they have no context. Codes are matched on the first half of the rows and scored
    on the second; a composite without a code counts 0.

    The floor ``constituent`` is, for each composite, the one true constituent that follows it best: what is reached without composing
    anything. The ceiling is a regression of the composite's normal scores on polynomials of the oracle's codes, which is told the answers
    on half of the rows.

    Parameters
    ----------
    levels : list of int, optional
        Levels to score; None for all that have constituents, level 0 only where it is shown.
    """

    equivalence = "permutation, sign and increasing maps of each code"
    invariances = ("permutation", "sign", "scale", "shift", "monotone")
    kinds = ("real",)
    chance = PERMUTED_CODES
    ceiling = TOLD
    floors = (CONSTITUENT,)

    def __init__(self, levels: list[int] | None = None) -> None:
        self.levels = levels

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        r"""Parts ``level_1`` ...; ``minimum``, the worst composite; and three that help to read them.

        ``side``: mean of :math:`|2\,\mathrm{AUC} - 1|` of codes for whether their composite is above its median, all that is identified
        where contexts tell the two sides apart and no more. ``found``: composite codes per composite of these levels. ``information``: of
        the least informed composite, :math:`-\tfrac12 \log(1 - R^2)` of its normal scores regressed on those of the rest of its level, a
        lower bound of their mutual information in nats.
        """
        levels = _levels(outcome, self.levels)
        z = _concepts(outcome, levels)
        codes = dense(checked_codes(outcome))
        made = _composite_codes(outcome)
        codes = codes[:, made].double()
        half = half_of(len(z))
        parts = {"found": len(made) / z.shape[1], "information": _information(outcome, levels)}
        if len(made):
            fit, scored = ((centred_ranks(z[rows]), centred_ranks(codes[rows])) for rows in (slice(0, half), slice(half, len(z))))
            matched = held_out_correlation(fit, scored)
            concept, code = match(cross_correlation(*fit))
            side = torch.zeros(z.shape[1], dtype=torch.float64)
            side[concept] = torch.tensor([_side(z[half:, i], codes[half:, j]) for i, j in zip(concept, code, strict=True)]).double()
        else:
            matched = side = torch.zeros(z.shape[1], dtype=torch.float64)
        sizes = [truth_of(outcome).levels[level].size for level in levels]
        for level, piece in zip(levels, torch.split(matched, sizes), strict=True):
            parts[f"level_{level}"] = float(piece.mean())
        parts |= {"minimum": float(matched.min()), "side": float(side.mean())}
        return Scores(float(matched.mean()), parts, details={"correlations": matched.tolist(), "sides": side.tolist()})
