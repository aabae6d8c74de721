"""Whether codes take the states of concepts, whatever they are called."""

from __future__ import annotations

import numpy as np

from evaluators.calibration import PERMUTED_CODES
from evaluators.discrete.matching import match_states
from evaluators.discrete.references import STATES_ORACLE
from testbed.contracts import Evaluator, Outcome, Scores
from testbed.numerics.states import adjusted_mutual_information, adjusted_rand, contingency, relabelling


class StateRecovery(Evaluator):
    r"""Adjusted Rand index of discrete concepts and the columns of codes they are matched to, one to one.

    .. math:: \mathrm{ARI} = \frac{\sum_{uv} \binom{n_{uv}}{2} - E}{\frac12 \big(\sum_u \binom{n_u}{2} + \sum_v \binom{n_v}{2}\big) - E},
        \qquad E = \frac{\sum_u \binom{n_u}{2} \sum_v \binom{n_v}{2}}{\binom n2}

    with :math:`n_{uv}` the rows in state u of the concept and v of its code [1]_. Beside it stand adjusted mutual information [2]_ and the
    accuracy up to relabelling: the names of a code's states are assigned one to one on the first half of the rows, as columns are matched
    to concepts, and rows of the second half that then agree are counted. All three come from the second half.

    The mean is over the concepts of levels that the view does not show: they have to be inferred, whereas tokens tell level L by themselves
    (where everything is shown, over all of it). A concept without a code counts 0. Level 0 is scored only where it is shown, as a view
    or a label, since its partition is invisible from below. Two states with one context law (twins) are one state for anybody who looks at
    data: to merge them is no mistake, but is counted as one here, so that the instance's gap has to be read beside this score.

    References
    ----------
    .. [1] Hubert & Arabie (1985), Comparing partitions, Journal of Classification 2, eq. 5.
    .. [2] Vinh, Epps & Bailey (2010), Information theoretic measures for clusterings comparison, JMLR 11.
    """

    equivalence = "permutation of codes, relabelling of each code's states"
    invariances = ("permutation", "relabelling")
    kinds = ("states",)
    chance = PERMUTED_CODES
    ceiling = STATES_ORACLE

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``ami``, ``accuracy``, ``matched`` (share of concepts with a code), and each by level (``level_1`` is the ARI)."""
        world = match_states(outcome)
        c, half = len(world.column), world.half
        ari, ami, accuracy = np.zeros((3, c))
        for i in np.flatnonzero(world.column >= 0):
            z, a = world.concepts[:, i], world.codes[:, i]
            held_out = contingency(z[half:], a[half:])
            ari[i], ami[i] = adjusted_rand(held_out), adjusted_mutual_information(held_out)
            name = relabelling(contingency(z[:half], a[:half]))
            known = a[half:] < len(name)
            accuracy[i] = (name[np.where(known, a[half:], 0)] == z[half:])[known].sum() / len(known)
        has = (world.column >= 0).astype(float)
        parts = {"ami": world.mean(ami), "accuracy": world.mean(accuracy), "matched": world.mean(has)}
        parts |= world.by_level(ari) | world.by_level(ami, "ami ") | world.by_level(accuracy, "accuracy ")
        return Scores(world.mean(ari), parts)
