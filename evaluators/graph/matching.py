"""Codes of a found graph matched to the concepts of the true one."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from evaluators.calibration import checked_codes, concepts, half_of, true_structure, truth_of
from evaluators.discrete.matching import shows_level_0
from testbed.contracts import Codes, InvalidInput, NotApplicable, Outcome, Structure
from testbed.numerics.edges import columns
from testbed.numerics.graphs import Edges, edges_of, labels_of_codes, leaf_sets, one_to_one, relabelled, set_similarity
from testbed.numerics.matching import check_finite, cross_correlation, dense
from testbed.numerics.states import state_similarity, states_of

Match = Literal["activity", "descendants"]

ROWS = 8192
"""Rows of each half, at most, that matching looks at."""


@dataclass(frozen=True)
class MatchedGraph:
    """The true and the found graph, and which code of the one is which concept of the other.

    Attributes
    ----------
    true, found : Structure
        Of c concepts, level 0 first, and of m codes.
    code_of : array, shape (c,)
        The code of each concept; -1 where it has none.
    alive : array of bool, shape (m,)
        Codes that vary in the sample, or have a place in the found graph.
    """

    true: Structure
    found: Structure
    code_of: NDArray[np.int64]
    alive: NDArray[np.bool_]

    @property
    def true_edges(self) -> Edges:
        return edges_of(self.true.constituents)

    @property
    def label_of(self) -> NDArray[np.int64]:
        """What each code is called: the concept that it is matched to, or a number from c on, shape (m,)."""
        return labels_of_codes(self.code_of, len(self.found.levels))

    @property
    def found_edges(self) -> Edges:
        """Found edges by those names; edges of codes that are matched to no concept are among them."""
        return relabelled(edges_of(self.found.constituents), self.label_of)

    def picture(self) -> dict[str, Any]:
        """Both graphs by those names, as JSON that a report can draw: nodes with their levels, edges, and which concepts have a code."""
        found = self.found_edges
        level = dict(zip(self.label_of.tolist(), self.found.levels, strict=True))
        strangers = sorted({int(node) for node in found.ravel() if node >= len(self.true.levels)})
        return {
            "levels": list(self.true.levels),
            "edges": self.true_edges.tolist(),
            "matched": (self.code_of >= 0).tolist(),
            "found": found.tolist(),
            "strangers": {str(node): level[node] for node in strangers},
        }


def graph_levels(outcome: Outcome) -> tuple[int, ...]:
    """Levels of the true graph: all that have latents, shown or not, since a found hierarchy speaks of all of them.

    Raises
    ------
    NotApplicable
        If there is no truth, no latents, or no concept is composed of others.
    """
    truth = truth_of(outcome)
    levels = tuple(sorted(outcome.sample.latents))
    if not levels:
        raise NotApplicable("the sample holds no latents")
    if not any(true_structure(truth, levels).constituents):
        raise NotApplicable("no concept is composed of others: there is no graph to find")
    return levels


def structure_of(outcome: Outcome) -> Structure:
    """The found graph, or NotApplicable; InvalidInput if it is not one of these codes."""
    if outcome.structure is None:
        raise NotApplicable("the estimator finds no graph among its codes")
    if len(outcome.structure.levels) != outcome.codes.shape[1]:
        raise InvalidInput(f"the structure has {len(outcome.structure.levels)} codes, not {outcome.codes.shape[1]}: give one entry each")
    return outcome.structure


def matched_graph(outcome: Outcome, match: Match, least: float) -> MatchedGraph:
    """Match the codes of the found graph to the concepts of the true one, one to one.

    By *activity*, similarity is absolute correlation (adjusted mutual information for states) on the first half of the rows, and a pair
    that is less similar than `least` on either half is no pair. By *descendants*, only concepts and codes without constituents are
    matched so; composites are matched by the Jaccard index of the sets of leaves below them, whatever their own activity. Level 0 of
    discrete hierarchies is always matched by descendants unless it is shown: the graph can have it, though its states are invisible from
    below.

    Raises
    ------
    NotApplicable
        If there is no truth, no found graph, or nothing composed.
    InvalidInput
        If codes are not finite, or `match` is not one of the two.
    """
    if match not in ("activity", "descendants"):
        raise InvalidInput(f"match is {match!r}: activity or descendants")
    levels = graph_levels(outcome)
    found, codes, truth = structure_of(outcome), checked_codes(outcome), truth_of(outcome)
    true = true_structure(truth, levels)
    half_of(len(codes))
    c, m = len(true.levels), len(found.levels)
    own, own_found = (np.array([not tuple_ for tuple_ in one.constituents], dtype=bool) for one in (true, found))
    visible = np.ones(c, dtype=bool)
    if truth.levels[0].kind == "states" and not shows_level_0(outcome):
        visible = np.array(true.levels) != 0
    by_activity = own if match == "descendants" else visible | own
    similar = _similarity(outcome, codes, levels)
    similar[~by_activity] = 0.0
    if match == "descendants":
        similar[:, ~own_found] = 0.0
    code_of = _confirmed(outcome, codes, levels, one_to_one(similar, least), least)
    rest = np.flatnonzero(~by_activity)
    if len(rest):
        label = labels_of_codes(code_of, m)
        free = np.flatnonzero(~own_found & (label >= c))
        below = leaf_sets(found.constituents)
        sets = [frozenset(int(label[j]) for j in below[k]) for k in free]
        above = leaf_sets(true.constituents)
        chosen = one_to_one(set_similarity([above[i] for i in rest], sets), least)
        code_of[rest[chosen >= 0]] = free[chosen[chosen >= 0]]
    used = np.zeros(m, dtype=bool)
    used[edges_of(found.constituents).ravel()] = True
    return MatchedGraph(true, found, code_of, used | _varies(codes))


def _kind(outcome: Outcome, levels: tuple[int, ...]) -> str:
    kinds = {truth_of(outcome).levels[level].kind for level in levels}
    return "states" if kinds == {"states"} else "numbers"


def _similarity(outcome: Outcome, codes: Codes, levels: tuple[int, ...]) -> NDArray[np.float64]:
    """Of every concept with every code on the first half, shape (c, m)."""
    z = concepts(outcome, levels)
    seen = min(len(codes) // 2, ROWS)
    if _kind(outcome, levels) == "states":
        check_finite(z, "concepts hold NaN or infinity: check the generator's latents before scoring")
        return state_similarity(states_of(z[:seen]), states_of(codes[:seen]))
    return cross_correlation(z[:seen], codes[:seen]).cpu().numpy()


def _confirmed(outcome: Outcome, codes: Codes, levels: tuple[int, ...], code_of: NDArray[np.int64], least: float) -> NDArray[np.int64]:
    """The same pairs without those that are less similar than `least` on the second half."""
    has = np.flatnonzero(code_of >= 0)
    half = len(codes) // 2
    z, a = concepts(outcome, levels)[half : half + ROWS], columns(codes[half : half + ROWS], code_of[has])
    if _kind(outcome, levels) == "states":
        x, y = states_of(z)[:, has], states_of(a)
        same = [state_similarity(x[:, k : k + 1], y[:, k : k + 1])[0, 0] for k in range(len(has))]
    else:
        x, y = _standard(dense(columns(z, has))), _standard(dense(a))
        same = (x * y).mean(dim=0).abs().tolist()
    kept = code_of.copy()
    similar = np.array(same, dtype=float)
    kept[has[(similar < least) | (similar <= 0)]] = -1
    return kept


def _standard(x: torch.Tensor) -> Any:
    x = x.double()
    x = x - x.mean(dim=0)
    scale = x.square().mean(dim=0).sqrt()
    return torch.where(scale > 1e-7 * x.abs().amax(dim=0), x / scale.clamp_min(torch.finfo(x.dtype).tiny), 0.0)


def _varies(codes: Codes) -> NDArray[np.bool_]:
    """Which codes take more than one value."""
    lowest = torch.full((codes.shape[1],), torch.inf, dtype=torch.float64)
    highest = -lowest
    for start in range(0, len(codes), ROWS):
        block = dense(codes[start : start + ROWS])
        lowest = torch.minimum(lowest, block.amin(dim=0).double().cpu())
        highest = torch.maximum(highest, block.amax(dim=0).double().cpu())
    return (highest > lowest).numpy()
