"""No hierarchy and no correlation: the same concepts, each firing for itself."""

from __future__ import annotations

from generators.controls.correlated import CopulaInstance
from generators.selection.sparse import SparseConcepts


class IndependentConcepts(SparseConcepts):
    """Concepts with the selected firing rates, all independent.

    Same parameters, rates, dictionary and noise as `SparseConcepts` drawn with the same seed; no concept is composed of others, and
    magnitudes are independent, all from the leaves' law. Whatever a method finds between concepts here, it made up. Setting a concept by
    force, or conditioning on it, changes it alone.

    Source: the independent sources of sparse coding (Olshausen & Field 1997), as the floor for whatever finds hierarchies.
    """

    def draw(self, seed: int) -> CopulaInstance:  # type: ignore[override]
        return CopulaInstance.of(super().draw(seed).world, {}, {})
