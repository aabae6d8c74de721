"""Whether codes follow concepts in combinations that training did not hold."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from evaluators.calibration import ORACLE, PERMUTED_CODES, checked_codes, concepts, shown_levels, truth_of
from evaluators.discrete.matching import ROWS, state_levels
from evaluators.discrete.references import STATES_ORACLE
from testbed.contracts import BLOCK, Codes, Evaluator, NotApplicable, Outcome, Reference, Scores, Truth
from testbed.numerics.edges import columns
from testbed.numerics.graphs import one_to_one
from testbed.numerics.matching import check_finite, cross_correlation, dense, match
from testbed.numerics.states import compact, contingency, relabelling, state_similarity, states_of
from testbed.numerics.unseen import FACT, take, unseen


class UnseenTuples(Evaluator):
    r"""How well codes follow a composite and its constituents where their tuple was held out from training.

    For an instance that holds admissible tuples out [1]_. Codes are matched to concepts, one to one, and fitted on half of the test rows
    in which *no* tuple is unseen. Each composite with held-out tuples is then scored on the rows in which its own tuple is one of them,
    over itself and its constituents C, and the value is the mean over composites; part ``seen`` is the same on the other half of the seen
    rows, ``gap`` the fall from it. Sparse concepts are scored by what a line :math:`\hat z` in the matched code, fitted on seen rows,
    explains about their mean :math:`\bar z` and in units of their variance :math:`s^2` there:

    .. math:: \max\Big(0,\ 1 - \frac{\sum_{i \in C} \sum_t (z_{ti} - \hat z_{ti})^2 / s_i^2}
                                   {\sum_{i \in C} \sum_t (z_{ti} - \bar z_i)^2 / s_i^2}\Big)

    (not by a correlation, which does not exist where a concept is always off in a tuple). States are scored by the accuracy up to
    relabelling, names being fitted on seen rows, over concepts of levels that the view does not show, and level 0 only where it is
    shown, as in `StateRecovery`.

    Codes that look tuples up score 0 here (chance, for states), those that compose score as on seen rows. A gap has other reasons, too:
    an encoder that relies on which concepts go together, and rows that are harder (more concepts on): compare with the oracle's gap.
    Concepts without a code count as unexplained. A composite whose unseen tuples do not occur in the test rows is left out.

    References
    ----------
    .. [1] Lake & Baroni (2018), Generalization without systematicity, ICML.
    """

    equivalence = "permutation, sign, scale and shift of each code; for states relabelling"
    invariances = ("permutation", "sign", "scale", "shift", "state relabelling")
    kinds = ("sparse", "states")
    chance = PERMUTED_CODES

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Fit on seen rows, score on unseen ones.

        Raises
        ------
        NotApplicable
            If there is no truth, the instance holds nothing out, or there are too few rows of either sort.
        """
        truth = truth_of(outcome)
        if not truth.facts.get(FACT):
            raise NotApplicable("the instance holds no tuples out: use the generator held_out_tuples")
        if not outcome.sample.latents:
            raise NotApplicable("the sample holds no latents, so nobody knows which tuples its rows hold")
        codes = checked_codes(outcome)
        new = unseen(outcome.sample.latents, truth)
        seen = (~new.any(dim=1)).nonzero()[:, 0]
        if len(seen) < 4:
            raise NotApplicable(f"fitting on one half of the rows without unseen tuples and scoring on the other takes 4, not {len(seen)}")
        split = _Split(new, seen[: len(seen) // 2], seen[len(seen) // 2 :])
        score = _states if truth.levels[0].kind == "states" else _sparse
        place, then, now = score(outcome, codes, split)
        if not place:
            raise NotApplicable("no row holds an unseen tuple of a composite that can be scored: use more rows")
        levels = [truth.facts[FACT][k][0] for k in place]
        by_level = {f"level_{at}": float(np.mean([x for x, level in zip(now, levels, strict=True) if level == at])) for at in set(levels)}
        value, before = float(np.mean(now)), float(np.mean(then))
        share = float(new.any(dim=1).double().mean())
        return Scores(value, {"seen": before, "gap": before - value} | by_level, details={"rows with unseen tuples": share})


@dataclass(frozen=True)
class _Split:
    """Rows: `new`, shape (n, composites), says whose tuples are unseen; `fit` and `held` number the rows without any."""

    new: Tensor
    fit: Tensor
    held: Tensor


def _members(truth: Truth, place: int, number: dict[tuple[int, int], int]) -> list[int]:
    """A composite and its constituents, as far as they are scored."""
    level, i, _ = truth.facts[FACT][place]
    return [number[key] for key in [(level, i), *((level + 1, j) for j in truth.constituents[level][i])] if key in number]


def _sparse(outcome: Outcome, codes: Codes, split: _Split) -> tuple[list[int], list[float], list[float]]:
    """Composites, and how well they are explained on seen and on unseen rows."""
    truth = truth_of(outcome)
    levels = shown_levels(outcome, ("sparse",))
    z = concepts(outcome, levels)
    places = [(level, i) for level in levels for i in range(truth.levels[level].size)]
    number = {key: k for k, key in enumerate(places)}
    concept, code = (index.cpu() for index in match(cross_correlation(take(z, split.fit), take(codes, split.fit))))
    c = z.shape[1]

    def pairs(rows: Tensor) -> tuple[Tensor, Tensor]:
        """Concepts and their codes, shape (b, c) each, float64; 0 for a concept without a code."""
        found = torch.zeros(len(rows), c, dtype=torch.float64)
        found[:, concept] = dense(take(codes, rows)).cpu().double()[:, code]
        return dense(take(z, rows)).cpu().double(), found

    sums = [_sums(pairs(rows)) for rows in torch.split(split.fit, BLOCK)]
    mean_z, mean_a = (torch.stack(one).sum(dim=0) / len(split.fit) for one in zip(*sums, strict=True))
    spread, slope, size = (torch.zeros(c, dtype=torch.float64) for _ in range(3))
    for rows in torch.split(split.fit, BLOCK):
        zs, found = pairs(rows)
        spread += (zs - mean_z).square().sum(dim=0)
        size += (found - mean_a).square().sum(dim=0)
        slope += ((zs - mean_z) * (found - mean_a)).sum(dim=0)
    tiny = torch.finfo(torch.float32).tiny
    slope = torch.where(size > tiny, slope / size.clamp_min(tiny), 0.0)
    scale = torch.where(spread > 0, len(split.fit) / spread.clamp_min(tiny), 0.0)

    composites = split.new.shape[1]
    wrong, all_of = torch.zeros(2, 2, composites, c, dtype=torch.float64)  # each of seen and of unseen rows
    for which, every in enumerate((split.held, split.new.any(dim=1).nonzero()[:, 0])):
        for rows in torch.split(every, BLOCK):
            zs, found = pairs(rows)
            weight = split.new[rows].double() if which else torch.ones(len(rows), composites, dtype=torch.float64)
            wrong[which] += weight.T @ ((zs - mean_z - slope * (found - mean_a)).square() * scale)
            all_of[which] += weight.T @ ((zs - mean_z).square() * scale)
    scored, results = [], []
    for place in range(composites):
        own = _members(truth, place, number)
        if own and bool(split.new[:, place].any()):
            error, total = wrong[:, place, own].sum(dim=1), all_of[:, place, own].sum(dim=1)
            results.append(torch.where(total > 0, 1 - error / total.clamp_min(tiny), 0.0).clamp_min(0).tolist())
            scored.append(place)
    return scored, [r[0] for r in results], [r[1] for r in results]


def _sums(pair: tuple[Tensor, Tensor]) -> tuple[Tensor, Tensor]:
    return pair[0].sum(dim=0), pair[1].sum(dim=0)


def _states(outcome: Outcome, codes: Codes, split: _Split) -> tuple[list[int], list[float], list[float]]:
    """Composites, and the accuracy up to relabelling on seen and on unseen rows."""
    truth = truth_of(outcome)
    levels = state_levels(outcome)
    hidden = [level for level in levels if level not in outcome.sample.observed.view(outcome.view).shows.levels]
    levels = tuple(hidden) or levels
    for level in levels:
        check_finite(outcome.sample.latents[level], "concepts hold NaN or infinity: check the generator's latents before scoring")
    places = [(level, i) for level in levels for i in range(truth.levels[level].size)]
    number = {key: k for k, key in enumerate(places)}
    z = compact(np.concatenate([states_of(outcome.sample.latents[level]) for level in levels], axis=1))[0]
    fit, held = split.fit.numpy(), split.held.numpy()
    some = split.fit[:ROWS]
    column = one_to_one(state_similarity(z[some.numpy()], states_of(take(codes, some))))
    right = np.zeros(z.shape, dtype=bool)
    for k in np.flatnonzero(column >= 0):
        a = compact(states_of(columns(codes, column[[k]])))[0][:, 0]
        name = relabelling(contingency(z[fit, k], a[fit]))
        known = a < len(name)
        right[:, k] = (name[np.where(known, a, 0)] == z[:, k]) & known
    scored, then, now = [], [], []
    for place in range(split.new.shape[1]):
        own, rows = _members(truth, place, number), split.new[:, place].numpy()
        if own and rows.any():
            scored.append(place)
            then.append(float(right[held][:, own].mean()))
            now.append(float(right[rows][:, own].mean()))
    return scored, then, now


def _oracle(outcome: Outcome, seed: int) -> Outcome:
    """The best codes by knowledge of the truth, whatever the kind of concept."""
    return (STATES_ORACLE if truth_of(outcome).levels[0].kind == "states" else ORACLE).make(outcome, seed)


UnseenTuples.ceiling = Reference("oracle", "instance", _oracle)
