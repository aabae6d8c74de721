"""No hierarchy and no correlation: the same concepts, each firing for itself."""

from __future__ import annotations

import torch

from generators.controls.correlated import without_hierarchy
from generators.selection.sparse import SparseConcepts
from testbed.contracts import Instance


class IndependentConcepts(SparseConcepts):
    """Concepts with the selected firing rates, all independent.

    Same parameters, rates, dictionary and noise as `SparseConcepts` drawn with the same seed; no concept is composed of others, and
    magnitudes are independent, all from the leaves' law. Whatever a method finds between concepts here, it made up.

    Source: the independent sources of sparse coding (Olshausen & Field 1997), as the floor for whatever finds hierarchies.
    """

    def draw(self, seed: int) -> Instance:  # type: ignore[override]
        selected = super().draw(seed)
        concepts = sum(level.size for level in selected.truth.levels)
        return without_hierarchy(selected, torch.zeros(concepts, 0, dtype=torch.float64), seed)
