"""How likely held-out rows are under the hierarchy that codes and their graph describe."""

from __future__ import annotations

import numpy as np

from evaluators.calibration import PERMUTED_CODES, checked_codes, half_of, truth_of
from testbed.contracts import Evaluator, InvalidInput, NotApplicable, Outcome, Scores
from testbed.numerics.joint_emission import conditional, log_likelihood
from testbed.numerics.states import compact, states_of


class HeldOutLikelihood(Evaluator):
    r"""Mean log-likelihood per row, in nats, when every composite's state emits its tuple jointly.

    .. math:: \frac1n \sum_x \Big[ \sum_{r\ \text{in no tuple}} \log p(z_r) + \sum_i \log p(t_i \mid z_i)
              + \sum_j \log p(x_j \mid z_j) \Big]

    with z the codes of row x, :math:`t_i` the codes that composite i is composed of, and :math:`x_j` column j of the view, said by the
    j-th code without constituents. Laws are fitted on the first half of the rows, smoothed by one row spread over all that could be, and
    scored on the second. A hierarchy under selection has exactly this law (joint emission is its twin), so that the value is
    largest, in the limit, at the fewest states that tell contexts apart: merged states lose what they told, split ones have laws from fewer
    rows. The truth is not looked at, and this is what forced numbers of states are to be compared by.

    At most 0, and at most minus the entropy of the data in the limit; no codes attain that by construction, so that there is no ceiling.
    Where codes are functions of the leaves it is the log-likelihood of a law of rows; where they are guessed (noise), the likelihood of
    rows and codes together, which is smaller. It says how well the graph and its states explain rows, not whether they are the true ones.
    """

    equivalence = "relabelling of each code's states"
    invariances = ("state relabelling",)
    kinds = ("states",)
    chance = PERMUTED_CODES

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``tuples``, ``roots`` and ``leaves``: the three sums.

        Raises
        ------
        NotApplicable
            If no level is known to be of states, there is no graph, codes or columns are no states, or columns and codes without
            constituents differ in number.
        """
        truth_of(outcome)
        structure = outcome.structure
        if structure is None or not any(structure.constituents):
            raise NotApplicable("the estimator finds no graph among its codes")
        codes = checked_codes(outcome)
        if len(structure.levels) != codes.shape[1]:
            raise InvalidInput(f"the structure has {len(structure.levels)} codes, not {codes.shape[1]}: give one entry each")
        x = states_of(outcome.sample.observed.view(outcome.view).values)
        leaves = [j for j, one in enumerate(structure.constituents) if not one and structure.levels[j] == max(structure.levels)]
        if len(leaves) != x.shape[1]:
            raise NotApplicable(f"{x.shape[1]} columns are not told by {len(leaves)} codes without constituents: one each is wanted")
        z, x, half = compact(states_of(codes))[0], compact(x)[0], half_of(len(codes))
        fitted, held = z[:half], z[half:]
        inside = {j for one in structure.constituents for j in one}
        everything = float(log_likelihood(fitted, held, structure.constituents).mean())
        sizes = z.max(axis=0) + 1
        roots = [i for i in range(z.shape[1]) if i not in inside]
        of_roots = float(sum(conditional(fitted[:, i], held[:, i], None, None, int(sizes[i]), 1).mean() for i in roots))
        told = [
            conditional(x[:half, j], x[half:, j], fitted[:, k], held[:, k], int(x[:, j].max()) + 1, int(sizes[k]))
            for j, k in enumerate(leaves)
        ]
        of_leaves = float(np.sum(told, axis=0).mean())
        return Scores(everything + of_leaves, {"tuples": everything - of_roots, "roots": of_roots, "leaves": of_leaves})
