"""Whether two fits find the same graph among their codes."""

from __future__ import annotations

from collections.abc import Sequence

from evaluators.calibration import PERMUTED_CODES, checked_codes
from evaluators.stability.fits import over_pairs, pairs_of, several
from testbed.contracts import Codes, Evaluator, InvalidInput, NotApplicable, Outcome, Scores, Structure
from testbed.numerics.matching import active, cross_correlation, match


class GraphAgreement(Evaluator):
    r"""F1 of the edges of two fits' graphs after their codes were matched, over all pairs of fit seeds.

    .. math:: F_1 = \frac{2\, |E_a \cap \pi(E_b)|}{|E_a| + |E_b|}

    Codes are matched by their correlation on the held-out rows, living ones only. An edge runs from a constituent to its composite, and
    counts as the same only in that direction; one whose end has no partner in the other fit counts as missed. A pair in which neither
    found an edge is left out. Parts: the lowest and the highest of the pairs.

    Needs no truth, and agreement is no proof of truth: a rule that draws an edge between any two codes agrees with itself perfectly. Where
    codes disagree graphs must, so read it beside `code_agreement`.
    """

    equivalence = "permutation, sign and scale of each code"
    invariances = ("permutation", "sign", "scale")
    scope = "seeds"
    chance = PERMUTED_CODES
    ceiling = 1.0

    def score(self, outcome: Sequence[Outcome], *, seed: int) -> Scores:
        fits = [(checked_codes(one), _structure(one)) for one in several(outcome)]
        found = [_f1(*fits[a], *fits[b]) for a, b in pairs_of(len(fits))]
        kept = [value for value in found if value is not None]
        if not kept:
            raise NotApplicable("no fit found an edge, so there are no graphs to compare")
        return over_pairs(kept)


def _structure(outcome: Outcome) -> Structure:
    if outcome.structure is None:
        raise NotApplicable("the estimator finds no graph among its codes")
    if len(outcome.structure.levels) != outcome.codes.shape[1]:
        raise InvalidInput(f"the structure is of {len(outcome.structure.levels)} codes, but there are {outcome.codes.shape[1]}")
    return outcome.structure


def _f1(codes_a: Codes, a: Structure, codes_b: Codes, b: Structure) -> float | None:
    """F1 of the edges of two fits, None where there is none at all."""
    edges_a, edges_b = _edges(a), _edges(b)
    if not edges_a and not edges_b:
        return None
    living_a, living_b = active(codes_a), active(codes_b)
    pairs = zip(*(index.tolist() for index in match(cross_correlation(codes_a, codes_b))), strict=True)
    name = {j: i for i, j in pairs if living_a[i] and living_b[j]}
    renamed = {(name[child], name[parent]) for child, parent in edges_b if child in name and parent in name}
    return 2 * len(edges_a & renamed) / (len(edges_a) + len(edges_b))


def _edges(structure: Structure) -> set[tuple[int, int]]:
    """Edges (constituent, composite)."""
    return {(j, i) for i, constituents in enumerate(structure.constituents) for j in constituents}
