"""What was recovered, in one word: component by component, in part, a subspace, a common factor, nothing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from evaluators.calibration import (
    COMMON_FACTOR,
    ORACLE,
    PERMUTED_CODES,
    RANDOM_ROTATION,
    checked_codes,
    concepts,
    first_component,
    means_by_level,
    shown_levels,
    truth_of,
)
from testbed.contracts import Evaluator, NotApplicable, Outcome, Rows, Scores, SparseRows, concatenate
from testbed.numerics.matching import dense, match
from testbed.numerics.normal_scores import normal_scores
from testbed.numerics.purity import own_and_leak, purity

COMPONENTS, PART, SUBSPACE, FACTOR, NOTHING = "component by component", "in part", "subspace", "common factor", "nothing"
VERDICTS = (COMPONENTS, PART, SUBSPACE, FACTOR, NOTHING)

STRENGTH = 0.9
PURITY = 0.9
LEAST = 0.5 * STRENGTH
"""Strength from which a pair's purity is asked for."""

BENT = 0.02
ALIKE = 0.95
CARRIED = 0.1
FACTOR_VALUE = 2.0
FACTOR_AGREES = 0.8
BINS = 20

ENTRIES = 2**24
"""Most entries of concepts and codes together that are looked at, unless that were less than 4,096 rows (more take more than 3 s)."""

ROWS = 20_000
DIRECTIONS = 64
WIDEST = 2048
"""Most concepts of which a random rotation is made."""


class Verdict(Evaluator):
    r"""Whether single codes are the true concepts, by the rules of ``docs/metrics.md``.

    The value is the share of concepts that are recovered individually: matched one to one to a code which, in normal scores, has with the
    concept a squared correlation (*strength*) of at least 0.9, and which depends on its concept and not on the others (*purity*, see
    `testbed.numerics.purity`, at least 0.9). Details hold the verdict, its class (``scale`` or ``monotone``), which concepts are recovered,
    and the numbers behind.

    All is held out. Of each half the first rows are looked at: 10,000, or `ENTRIES` / 2(c + m) where concepts and codes are many (4,096
    for 1,024 of each), but never less than 2,048. Up to 4,096 rows in all are looked at whole. Memory and time do not grow further with n.

    What it cannot show: a concept whose code is noisier than a tenth of its variance is not recovered, however pure; an admixture of less
    than a tenth passes; purity takes the dependence on other concepts for linear in normal scores; of an AND of several it
    sees no more than that it is none of them.
    """

    equivalence = "permutation, sign, scale and monotone map of each code"
    invariances = ("permutation", "sign", "scale", "shift", "monotone")
    kinds = ("sparse", "real")
    chance = PERMUTED_CODES
    ceiling = ORACLE
    floors = (RANDOM_ROTATION, COMMON_FACTOR)

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts: share recovered per level, share of the codes that depend on one concept, rank of what is carried.

        Raises
        ------
        NotApplicable
            If there are fewer than 80 rows, or no truth.
        """
        levels = shown_levels(outcome, self.kinds)
        z, codes = concepts(outcome, levels), checked_codes(outcome)
        sizes = [truth_of(outcome).levels[level].size for level in levels]
        level = torch.repeat_interleave(torch.arange(len(sizes)), torch.tensor(sizes))
        kinds = [truth_of(outcome).levels[one].kind for one in levels]
        halves = _halves(len(z), z.shape[1] + codes.shape[1])
        z_parts, code_parts = ([_part(rows, half) for half in halves] for rows in (z, codes))
        seen = _Seen.of(z_parts, code_parts, level)
        pairs = judge(seen, seed)
        recovered, gate = pairs.recovered, "not needed"
        if bool(recovered.any()) and z.shape[1] >= 4:
            gate = _floors(outcome, seen, halves, int(recovered.sum()), seed)
            if gate.startswith("withheld"):
                recovered = torch.zeros_like(recovered)
        share = torch.zeros(z.shape[1], dtype=torch.float64)
        share[pairs.concept[recovered]] = 1.0
        carried = directions(seen, seed)
        verdict = _verdict(recovered, z.shape[1], carried)
        straight = _straight(dense(z_parts[1]), dense(code_parts[1]), pairs, recovered, [kinds[int(i)] for i in level[pairs.concept]])
        own_class = "" if verdict not in (COMPONENTS, PART) else "scale" if straight >= ALIKE else "monotone"
        one = codes_of_one_concept(seen, pairs)
        found = sorted(int(i) for i in pairs.concept[recovered])
        details: dict[str, Any] = {
            "verdict": verdict,
            "class": own_class,
            "recovered": found[:200],
            "reasons": {
                "concepts": z.shape[1],
                "recovered": len(found),
                "mean strength of pairs": _mean(pairs.strength),
                "mean purity of pairs": _mean(pairs.purity),
                "strength by chance": pairs.chance,
                "share of straight maps": straight,
                "floors": gate,
                "rank carried": carried.rank,
                "strongest direction": carried.strongest,
                "direction by chance": carried.chance,
                "first eigenvalue of concepts": carried.eigenvalue,
                "strongest direction and common factor": carried.agreement,
            },
            "remarks": _remarks(seen, pairs, recovered, one, verdict),
        }
        parts = means_by_level(share, truth_of(outcome), levels) | {"rank": float(carried.rank), "codes of one concept": one}
        return Scores(float(share.mean()), parts, details=details)


# --------------------------------------------------------------------------------------------------------- single codes


@dataclass(frozen=True)
class _Seen:
    """Normal scores of concepts (n, c) and codes (n, m), on the rows for fitting and on those for scoring; the concepts' levels (c,).

    All rules but the class of a map look at nothing else.
    """

    z: Tensor
    z_score: Tensor
    a: Tensor
    a_score: Tensor
    level: Tensor

    @classmethod
    def of(cls, concepts: list[Rows], codes: list[Rows], level: Tensor) -> _Seen:
        """From their values on the two parts of the rows."""
        z, z_score, a, a_score = (normal_scores(part) for part in (*concepts, *codes))
        return cls(z, z_score, a, a_score, level)

    def permuted(self, seed: int) -> _Seen:
        """Codes of other rows."""
        generator = torch.Generator().manual_seed(seed)
        order, order_score = (torch.randperm(len(t), generator=generator) for t in (self.a, self.a_score))
        return replace(self, a=self.a[order], a_score=self.a_score[order_score])


@dataclass(frozen=True)
class Pairs:
    """Matched concepts and codes, shape (p,), with what the rules ask of them."""

    concept: Tensor
    code: Tensor
    strength: Tensor
    purity: Tensor
    chance: float

    @property
    def recovered(self) -> Tensor:
        return (self.strength >= STRENGTH) & (self.purity >= PURITY) & (self.strength > self.chance)


def judge(s: _Seen, seed: int, least: float = LEAST) -> Pairs:
    """Rules 1 to 4: match on normal scores, and ask strength and purity of every pair."""
    concept, code = match(_correlation(s.z, s.a).abs())
    strength = _strength(s, concept, code)
    # Purity is costly, and asked of those alone that are strong, others have none.
    pure = torch.zeros_like(strength)
    strong = (strength >= least).nonzero()[:, 0]
    pure[strong] = _purity(s, concept[strong], code[strong])
    permuted = s.permuted(seed)
    by_chance = _strength(permuted, *match(_correlation(permuted.z, permuted.a).abs()))
    return Pairs(concept, code, strength, pure, float(by_chance.max()) if len(by_chance) else 0.0)


def _correlation(z: Tensor, a: Tensor) -> Tensor:
    """Correlations of standardised columns, shape (c, m)."""
    return z.T @ a / len(z)


def _strength(s: _Seen, concept: Tensor, code: Tensor) -> Tensor:
    """Squared correlation of each pair on the rows for scoring, 0 if its sign is not that of the rows for fitting."""
    fit = (s.z[:, concept] * s.a[:, code]).mean(dim=0)
    score = (s.z_score[:, concept] * s.a_score[:, code]).mean(dim=0)
    return torch.where(fit * score > 0, score.square(), 0.0).double()


def _purity(s: _Seen, concept: Tensor, code: Tensor) -> Tensor:
    """Purity of each pair, the others being those of the concept's own level."""
    out = torch.zeros(len(concept), dtype=torch.float64)
    for one in range(int(s.level.max()) + 1):
        columns = (s.level == one).nonzero()[:, 0]
        here = (s.level[concept] == one).nonzero()[:, 0]
        place = torch.searchsorted(columns, concept[here])
        fit, score = (s.z[:, columns], s.a[:, code[here]]), (s.z_score[:, columns], s.a_score[:, code[here]])
        if len(here):
            out[here] = purity(*own_and_leak(fit, score, place))
    return out


def codes_of_one_concept(s: _Seen, pairs: Pairs) -> float:
    """Share of the live codes that depend on the concept they correlate with most, and on no other; 0 if no code does."""
    live = (s.a.square().sum(dim=0) > 0).nonzero()[:, 0][:WIDEST]
    if not len(live):
        return 0.0
    strength, concept = _correlation(s.z, s.a[:, live]).square().max(dim=0)
    far = strength >= CARRIED
    code, concept = live[far], concept[far]
    # Of most the purity is known: the concept is the one that they were matched to.
    asked = pairs.strength >= LEAST
    known, pure = torch.full((s.a.shape[1],), -1), torch.zeros(s.a.shape[1], dtype=torch.float64)
    known[pairs.code[asked]], pure[pairs.code[asked]] = pairs.concept[asked], pairs.purity[asked]
    other = known[code] != concept
    pure[code[other]] = _purity(s, concept[other], code[other])
    return float((pure[code] >= PURITY).sum()) / len(live)


def _floors(outcome: Outcome, seen: _Seen, halves: tuple[slice, slice], recovered: int, seed: int) -> str:
    """Rule 6, in words."""
    if len(seen.level) > WIDEST:
        return f"not drawn: there are more than {WIDEST} concepts"
    fit = halves[0].stop
    rows = concatenate([outcome.sample[half] for half in halves])  # no others are looked at
    found = {}
    for floor in (RANDOM_ROTATION, COMMON_FACTOR):
        made = floor.make(replace(outcome, sample=rows), seed).codes
        a_score = normal_scores(_part(made, slice(fit, len(rows))))
        found[floor.name] = 0
        # However codes are matched, none is recovered if no pair is strong; rounding does not matter here.
        if bool((_correlation(seen.z_score, a_score).square() >= STRENGTH - 1e-3).any()):
            a = normal_scores(_part(made, slice(0, fit)))
            found[floor.name] = int(judge(replace(seen, a=a, a_score=a_score), seed, STRENGTH).recovered.sum())
    words = ", ".join(f"{name} {count}" for name, count in found.items())
    return f"withheld: {words} of {recovered}" if max(found.values()) >= recovered else f"passed: {words}, codes {recovered}"


def _straight(z: Tensor, a: Tensor, pairs: Pairs, recovered: Tensor, kinds: list[str]) -> float:
    """Rule 7: share of the recovered pairs whose code is on a line with its concept, of values as they are."""
    which = recovered.nonzero()[:, 0]
    z, a = (side[:, index[which]].T.contiguous() for side, index in ((z, pairs.concept), (a, pairs.code)))  # (pairs, n)
    straight = [_is_straight(*pair) for pair in zip(z, a, (kinds[k] for k in which), strict=True)]
    return sum(straight) / len(straight) if straight else 0.0


def _is_straight(z: Tensor, a: Tensor, kind: str) -> bool:
    if kind == "sparse":
        z, a = z[z != 0], a[z != 0]
    size = max(4, -(-len(z) // BINS))
    bins = len(z) // size
    if bins < 3:
        return True  # too few values for a bend to show
    order = z.argsort()[: bins * size]
    at, value = (t[order].reshape(bins, size).double().median(dim=1).values for t in (z, a))
    line = torch.corrcoef(torch.stack([at, value]))[0, 1]
    return bool(line.square() >= 1 - BENT)


# ------------------------------------------------------------------------------------------------------------ directions


@dataclass(frozen=True)
class Carried:
    """What codes carry of the concepts, as directions."""

    rank: int
    strongest: float
    chance: float
    eigenvalue: float
    agreement: float


def directions(s: _Seen, seed: int) -> Carried:
    """Rule 8: reduced-rank regression of codes on concepts, its directions scored on other rows."""
    factor = _whitening(s.z)
    squared, strongest = _directions(s, factor, seed)
    by_chance, _ = _directions(s.permuted(seed), factor, seed)
    chance = float(by_chance.max()) if len(by_chance) else 0.0
    value = s.z_score @ first_component(s.z)
    agreement = _squared_correlation(value[:, None], strongest[:, None]) if len(squared) else torch.zeros(1)
    rank = int((squared >= max(CARRIED, chance)).sum())
    first = float(squared.max()) if len(squared) else 0.0
    return Carried(rank, first, chance, float(value.square().mean()), float(agreement))


def _whitening(z: Tensor) -> Tensor:
    """L with L L' the covariance of concepts and a ridge, shape (c, c): concepts z L'^-1 are white."""
    n, c = z.shape
    gram = (z.T @ z).double() / n
    ridge = 1e-3 + (0.1 if c > n // 2 else 0.0)
    factor: Tensor = torch.linalg.cholesky(gram + ridge * torch.eye(c, dtype=gram.dtype))
    return factor


def _directions(s: _Seen, factor: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Squared correlation, on the rows for scoring, of each direction among concepts and among codes; concepts' value in the strongest."""
    if not s.a.shape[1]:
        return torch.zeros(0), s.z_score.new_zeros(len(s.z_score))
    # Codes regressed on white concepts have weights L^-1 z'a / n.
    weights = torch.linalg.solve_triangular(factor, (s.z.T @ s.a).double() / len(s.z), upper=False)  # (c, m)
    u, v = _leading(weights, seed)
    of_concepts = s.z_score @ torch.linalg.solve_triangular(factor.T, u, upper=True).float()
    of_codes = s.a_score @ v.float()
    squared = _squared_correlation(of_concepts, of_codes)
    return squared, of_concepts[:, int(squared.argmax())]


def _leading(weights: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Leading singular vectors, shapes (c, q) and (m, q): all where there are few, else by subspace iteration."""
    if min(weights.shape) <= 4 * DIRECTIONS:
        u, _, vt = torch.linalg.svd(weights, full_matrices=False)
        return u[:, :DIRECTIONS], vt.T[:, :DIRECTIONS]
    v = torch.randn(weights.shape[1], 2 * DIRECTIONS, generator=torch.Generator().manual_seed(seed), dtype=weights.dtype)
    for _ in range(4):
        u = torch.linalg.qr(weights @ v).Q
        v = torch.linalg.qr(weights.T @ u).Q
    left, _, right = torch.linalg.svd(u.T @ weights @ v)
    return (u @ left)[:, :DIRECTIONS], (v @ right.T)[:, :DIRECTIONS]


def _squared_correlation(x: Tensor, y: Tensor) -> Tensor:
    """Of each column of x and the same column of y; 0 for a constant one."""
    x, y = (t.double() - t.double().mean(dim=0) for t in (x, y))
    scale = (x.square().sum(dim=0) * y.square().sum(dim=0)).sqrt()
    return torch.where(scale > 1e-12, (x * y).sum(dim=0) / scale.clamp_min(1e-12), 0.0).square()


def _verdict(recovered: Tensor, c: int, carried: Carried) -> str:
    if int(recovered.sum()) == c:
        return COMPONENTS
    if bool(recovered.any()):
        return PART
    if not carried.rank:
        return NOTHING
    common = carried.eigenvalue >= FACTOR_VALUE and carried.agreement >= FACTOR_AGREES
    return FACTOR if carried.rank == 1 and common else SUBSPACE


# --------------------------------------------------------------------------------------------------------------- remarks


def _remarks(s: _Seen, pairs: Pairs, recovered: Tensor, one: float, verdict: str) -> list[str]:
    """What the verdict does not say."""
    dead = int((s.a.square().sum(dim=0) + s.a_score.square().sum(dim=0) == 0).sum())
    remarks = [f"{dead} of {s.a.shape[1]} codes are dead"] if dead else []
    if bool(recovered.any()):
        alike = _correlation(s.a_score[:, pairs.code[recovered]], s.a_score).square() >= STRENGTH
        copies = int(alike.any(dim=0).sum() - recovered.sum())
        if copies > 0:
            remarks.append(f"{copies} more codes copy those of recovered concepts")
    elif one >= STRENGTH:
        remarks.append(
            "codes depend on one concept each, but none is a concept: concepts are split over several codes, or coded too loosely"
        )
    if verdict == NOTHING and s.a.shape[1]:
        sizes = s.z_score.square() - s.z_score.square().mean(dim=0)
        deviation = sizes.square().mean(dim=0).sqrt().clamp_min(1e-9)
        even = _correlation(sizes / deviation, s.a_score).square().max(dim=0).values
        follow = int((even >= 0.5).sum())
        if follow:
            remarks.append(f"{follow} codes follow how far a concept is from its centre, and not on which side")
    return remarks


def _mean(values: Tensor) -> float:
    return float(values.mean()) if len(values) else 0.0


def _halves(n: int, columns: int) -> tuple[slice, slice]:
    """Rows for fitting and for scoring: the first of each half of the sample."""
    half = n // 2
    if half < 2 * BINS:
        raise NotApplicable(f"a verdict takes at least {4 * BINS} rows, not {n}")
    rows = min(half, ROWS // 2, max(2048, ENTRIES // (2 * columns)))
    return slice(0, rows), slice(half, half + rows)


def _part(values: Rows, rows: slice) -> Rows:
    """Some rows, on the CPU in single precision."""
    part = values[rows]
    if isinstance(part, SparseRows):
        return replace(part.to("cpu"), values=part.values.detach().cpu().float())
    return part.detach().cpu().float()
