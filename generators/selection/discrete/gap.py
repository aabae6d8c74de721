r"""How far apart the states of a composite are by their contexts: the gate against near twins.

States of one concept that have (nearly) one context law cannot be told apart from any amount (that anybody has) of data, and random rules
have such pairs. The gap of concept c, with siblings :math:`t_{-c}` in a tuple, is

.. math:: \min_{u \ne v} \mathrm{TV}\big(p(t_{-c} \mid c = u),\, p(t_{-c} \mid c = v)\big),

in the best of its tuples. Siblings are a part of the context, so that the gap by all of the context is at least that large.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from generators.selection.discrete.graph import Graph
from generators.selection.discrete.law import Law, joint


def least_gap(graph: Graph, law: Law, twins: Sequence[tuple[int, int]] = ()) -> float:
    """The smallest gap of all composites that belong to a tuple; infinite where there is none (a single level of composites).

    Level 0 has no tuple above it, and leaves are seen as they are: neither is gated. The last two states of `twins`, composites by level
    and number, count as one.
    """
    best: dict[tuple[int, int], float] = {}
    for level in range(graph.last - 1):
        for lower in graph.constituents[level]:
            table = joint(law, [(level + 1, j) for j in lower])
            for k, j in enumerate(lower):
                place = level + 1, j
                by_state = table.movedim(k, 0).flatten(1)
                if place in twins:
                    by_state = torch.cat([by_state[:-2], by_state[-2:].sum(dim=0, keepdim=True)])
                best[place] = max(best.get(place, 0.0), _gap(by_state))
    return min(best.values(), default=math.inf)


def least_probability(graph: Graph, law: Law) -> float:
    """The smallest probability of a state, over the same composites; infinite where there is none."""
    return min((float(marginal.min()) for marginal in law.marginals()[1 : graph.last]), default=math.inf)


def _gap(table: Tensor) -> float:
    """Smallest total variation between the rows' conditional laws, shape (states, contexts); infinite for a single state."""
    laws = table / table.sum(dim=1, keepdim=True)
    distance = torch.cdist(laws, laws, p=1) / 2
    return float(distance.fill_diagonal_(math.inf).min())
