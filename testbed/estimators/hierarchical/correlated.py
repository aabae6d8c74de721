"""Plain correlation: what a learner of edges has to beat."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Self

import numpy as np
import torch
from numpy.typing import NDArray

from testbed.estimators.hierarchical.edge_learner import Bools, EdgeLearner, small_levels
from testbed.numerics.edges import by_correlation


@dataclass(kw_only=True, eq=False, repr=False)
class CorrelationEdges(EdgeLearner):
    """Each lower code becomes a constituent of the one upper code that it correlates with most, if that could not be luck.

    See `testbed.numerics.edges.by_correlation`: no number of constituents and no threshold is tuned, and a constituent that two composites
    share keeps one of them.
    """

    @classmethod
    def small(cls) -> Self:
        return cls(levels=small_levels())

    def edges(self, upper: Bools, lower: Bools, seed: int) -> NDArray[np.float64]:
        owner = by_correlation(torch.from_numpy(upper).double(), torch.from_numpy(lower).double())
        return np.asarray(owner[None] == np.arange(upper.shape[1])[:, None], dtype=np.float64)
