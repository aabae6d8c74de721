"""The synthetic dictionary on which sparse autoencoders were shown to agree between seeds."""

from __future__ import annotations

from typing import Self

import torch

from generators.mixing import random_directions
from generators.peers.superposed import SuperposedInstance
from testbed.contracts import Generator, InvalidInput, seed_of


class ConsistencyDictionary(Generator):
    """Exactly k of m concepts, chosen uniformly, with magnitudes |N(0, 1)|, written along random unit directions in d dimensions.

    The defaults, d = 16, m = 32 and k = 3, are those of the model organism of the feature-consistency paper [1]_ (50,000 rows there).
    Supports of fixed size make concepts slightly exclusive: any two have correlation -1 / (m - 1).

    Parameters
    ----------
    concepts, dimension : int
        m, and d of the view ``mixed``.
    k : int
        Concepts on in every row.
    noise : float
        Standard deviation of the noise on each coordinate (none in the original).

    References
    ----------
    .. [1] Song et al. (2025), Position: mechanistic interpretability should prioritize feature consistency in SAEs, arXiv 2505.20254.
    """

    def __init__(self, concepts: int = 32, dimension: int = 16, k: int = 3, noise: float = 0.0) -> None:
        self.concepts = concepts
        self.dimension = dimension
        self.k = k
        self.noise = noise

    @classmethod
    def small(cls) -> Self:
        return cls()

    def draw(self, seed: int) -> SuperposedInstance:
        """Draw the directions.

        Raises
        ------
        InvalidInput
            If a parameter is out of range.
        """
        if self.dimension < 1 or not 1 <= self.k <= self.concepts:
            raise InvalidInput(
                f"dimension must be at least 1 and k between 1 and concepts = {self.concepts}, not {self.dimension} and {self.k}"
            )
        atoms = random_directions(self.concepts, self.dimension, torch.Generator().manual_seed(seed_of("dictionary", seed)))
        rates = torch.full((self.concepts,), self.k / self.concepts, dtype=torch.float64)
        return SuperposedInstance(atoms, rates, self.k, "half_normal", self.noise)
