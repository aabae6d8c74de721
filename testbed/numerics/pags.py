"""Marks at the ends of edges: graphs of ancestors with hidden causes and selection (PAGs), and FCI's rules, which find them.

``marks[i, j]`` is the mark at j of the edge between i and j, 0 where there is none. A tail at j says that j is an ancestor of i or of the
selection, an arrowhead that it is neither, a circle that some graphs of the same law say this and some say that.
"""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

Marks = NDArray[np.int8]
Matrix = NDArray[np.bool_]

CIRCLE, ARROW, TAIL = 1, 2, 3


def arrows_of(marks: Marks, levels: NDArray[np.int64] | None = None) -> Matrix:
    """Arrows from constituents to composites, shape (p, p): both ways where no end, or each end, has an arrowhead.

    One arrowhead is enough for a direction: what it points to is no constituent of the other. Edges between levels run from the concrete
    (larger number) to the abstract.
    """
    arrows = (marks > 0) & ((marks == ARROW) | (marks.T != ARROW))
    if levels is not None:
        between = (marks > 0) & (levels[:, None] != levels[None, :])
        arrows = np.where(between, levels[:, None] > levels[None, :], arrows)
    return np.asarray(arrows, dtype=bool)
