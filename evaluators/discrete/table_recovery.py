"""Whether codes compose as concepts do."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from evaluators.calibration import PERMUTED_CODES, truth_of
from evaluators.discrete.matching import MatchedStates, match_states
from evaluators.discrete.references import STATES_ORACLE
from testbed.contracts import Evaluator, InvalidInput, NotApplicable, Outcome, Scores
from testbed.numerics.states import States, contingency, relabelling


class TableRecovery(Evaluator):
    r"""Share of tuples, weighted by the observed law, that the found composition table maps to the right state.

    .. math:: \frac1C \sum_i \sum_t p(t)\, \big[\sigma_i(\hat g_i(\hat t)) = g_i(t)\big], \qquad \hat t_j = \sigma_j^{-1}(t_j)

    Columns are matched to concepts and states named (:math:`\sigma`, one to one) on the first half of the rows. The found table
    :math:`\hat g_i` is what the codes themselves do there: the state that the composite's code takes most often with each tuple of its
    constituents' codes. With a structure only those constituents count that the composite's code is composed of in it: a table with a
    constituent missing says at best what most often follows from the rest. Tuples, weights and true states come from the second half; with
    stochastic rules the true state of a tuple is the one that it most often stands for. A tuple that never occurs among the codes of
    the first half is wrong, and so is the whole table of a composite without a code.

    Codes that are wrong in a row do not matter here as long as most rows of a tuple agree, so that this can be 1 where `StateRecovery` is
    not; and a table over a partition that is itself wrong is wrong. Composites of level 0 are scored only where level 0 is shown.
    """

    equivalence = "permutation of codes, relabelling of each code's states"
    invariances = ("permutation", "relabelling")
    kinds = ("states",)
    chance = PERMUTED_CODES
    ceiling = STATES_ORACLE

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``level_0`` ...: the mean over the composites of each level."""
        truth, structure = truth_of(outcome), outcome.structure
        world = match_states(outcome)
        if structure is not None and len(structure.levels) != outcome.codes.shape[1]:
            raise InvalidInput(f"the structure has {len(structure.levels)} codes, not {outcome.codes.shape[1]}: give one entry each")
        number = {(int(level), int(i)): k for k, (level, i) in enumerate(zip(world.level_of, world.index_of, strict=True))}
        named = _named(world)
        found: dict[int, list[float]] = {}
        for (level, i), k in number.items():
            tuple_ = truth.constituents.get(level, ())[i] if i < len(truth.constituents.get(level, ())) else ()
            places = [number[level + 1, j] for j in tuple_ if (level + 1, j) in number]
            if not tuple_ or len(places) < len(tuple_):
                continue
            column = int(world.column[k])
            if structure is not None and column >= 0:
                told = [p for p in places if world.column[p] in structure.constituents[column]]
            else:
                told = [p for p in places if world.column[p] >= 0]
            found.setdefault(level, []).append(_agreement(world, named, k, places, told) if column >= 0 else 0.0)
        if not found:
            raise NotApplicable("no composite has both its own level and its constituents' among those that can be scored")
        every = [share for shares in found.values() for share in shares]
        return Scores(float(np.mean(every)), {f"level_{level}": float(np.mean(shares)) for level, shares in found.items()})


def _named(world: MatchedStates) -> States:
    """Codes under the names of the concepts' states, shape (n, c); -1 where a state has no name."""
    out = np.full_like(world.codes, -1)
    for k in np.flatnonzero(world.column >= 0):
        z, a = world.concepts[: world.half, k], world.codes[: world.half, k]
        name = np.full(int(world.codes[:, k].max()) + 1, -1, dtype=np.int64)
        fitted = relabelling(contingency(z, a))
        name[: len(fitted)] = fitted
        out[:, k] = name[world.codes[:, k]]
    return out


def _agreement(world: MatchedStates, named: States, composite: int, places: list[int], told: list[int]) -> float:
    half = world.half
    z = world.concepts[half:]
    true_tuple, true_state = _key(z, places), z[:, composite]
    states = int(max(world.concepts[:, composite].max(), named[:, composite].max())) + 1
    # Both tables are indexed by what the found one sees: the states of the constituents that it has.
    both = np.concatenate([named[:half][:, told], z[:, told]])
    key = _key(both, list(range(len(told))))
    used = (named[:half][:, told] >= 0).all(axis=1) & (named[:half, composite] >= 0)
    table = _modes(key[:half][used], named[:half, composite][used], states, int(key.max()) + 1)
    g = _modes(true_tuple, true_state, states, int(true_tuple.max()) + 1)
    return float((table[key[half:]] == g[true_tuple]).mean())


def _key(states: States, places: list[int]) -> NDArray[np.int64]:
    """One number for each tuple of states that occurs, shape (n,)."""
    key = np.zeros(len(states), dtype=np.int64)
    for place in places:
        column = states[:, place] + 1  # -1 is a state, too
        key = key * (int(column.max()) + 1) + column
        key = np.unique(key, return_inverse=True)[1].astype(np.int64)
    return key


def _modes(key: NDArray[np.int64], state: NDArray[np.int64], states: int, keys: int) -> NDArray[np.int64]:
    """The state most often seen with each key, -1 for a key never seen, shape (keys,)."""
    pairs, counts = np.unique(key * states + state, return_counts=True)
    order = np.lexsort((counts, pairs // states))  # the last one of each key is its most frequent
    table = np.full(keys, -1, dtype=np.int64)
    table[pairs[order] // states] = pairs[order] % states
    return table
