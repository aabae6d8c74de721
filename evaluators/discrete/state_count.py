"""Whether codes have as many states as concepts."""

from __future__ import annotations

import numpy as np

from evaluators.calibration import PERMUTED_CODES, truth_of
from evaluators.discrete.distinguishable import distinguishable_counts
from evaluators.discrete.matching import match_states
from evaluators.discrete.references import STATES_ORACLE
from testbed.contracts import Evaluator, InvalidInput, Outcome, Scores
from testbed.numerics.matching import dense


class StateCount(Evaluator):
    """Mean absolute error of the number of states, over concepts and the columns of codes they are matched to, one to one.

    The number found is what the estimator says (``structure.n_states``), else how many values the column takes. The true number is that of
    states which occur with positive probability. A concept without a code has 0 states found. Levels and the mean are those of
    `StateRecovery`.

    Says nothing of *which* states: three states cut at random are as good as the right three. A code that merges twins (two states with one
    context law, which no data tell apart) is right by the data and counted wrong here.
    """

    direction = "lower"
    equivalence = "permutation of codes, relabelling of each code's states"
    invariances = ("permutation", "relabelling")
    kinds = ("states",)
    chance = PERMUTED_CODES
    ceiling = STATES_ORACLE

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``exact`` (share of concepts with the right number), ``bias`` (found less true), and the error per level.

        ``exact distinguishable``, where the truth tells: share of concepts with as many states as have context laws of their own; ``exact
        twins``: the same among concepts that have fewer of them than states.
        """
        world = match_states(outcome)
        structure = outcome.structure
        if structure is not None and len(structure.levels) != outcome.codes.shape[1]:
            raise InvalidInput(f"the structure has {len(structure.levels)} codes, not {outcome.codes.shape[1]}: give one entry each")
        occurring = world.codes.max(axis=0) + 1  # compact: numbered from 0 without gaps
        said = np.array(structure.n_states)[world.column] if structure is not None and structure.n_states else occurring
        found = np.where(world.column >= 0, said, 0)
        true = _true_counts(outcome, world.levels)
        error = np.abs(found - true).astype(float)
        parts = {"exact": world.mean((error == 0).astype(float)), "bias": world.mean((found - true).astype(float))}
        apart = distinguishable_counts(outcome)
        if apart is not None:
            wanted = np.array([k for level in world.levels for k in apart[level]])
            parts["exact distinguishable"] = world.mean((found == wanted).astype(float))
            if (fewer := world.hidden & (wanted < true)).any():
                parts["exact twins"] = float((found == wanted)[fewer].mean())
        return Scores(world.mean(error), parts | world.by_level(error))


def _true_counts(outcome: Outcome, levels: tuple[int, ...]) -> np.ndarray[tuple[int], np.dtype[np.int64]]:
    truth = truth_of(outcome)
    counts = []
    for level in levels:
        marginals = truth.facts.get(f"marginals/{level}")
        if marginals is not None and bool(marginals.isfinite().all()):
            counts += (dense(marginals) > 0).sum(dim=1).tolist()
        else:
            counts += list(truth.levels[level].cardinalities)
    return np.array(counts, dtype=np.int64)
