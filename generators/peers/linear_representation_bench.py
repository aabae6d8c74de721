"""Linear Representation Bench: many independent concepts, each along a direction of its own."""

from __future__ import annotations

from typing import Self

import torch

from generators.mixing import random_directions
from generators.peers.superposed import SuperposedInstance
from testbed.contracts import Generator, InvalidInput, seed_of


class LinearRepresentationBench(Generator):
    """Independent concepts that are 0 with probability S, and uniform on (0, 1] otherwise, written along random unit directions.

    The linear representation hypothesis and nothing else: no hierarchy, no correlation, all concepts equally frequent. The defaults,
    n = 1000, d = 768 and S = 0.99, are those of the benchmark of that name.

    Parameters
    ----------
    concepts, dimension : int
        n, and d of the view ``mixed``.
    sparsity : float
        S, the probability that a concept is 0.
    noise : float
        Standard deviation of the noise on each coordinate (none in the original).

    References
    ----------
    .. [1] Elhage et al. (2022), Toy models of superposition: the law of the concepts.
    .. [2] Park, Choe & Veitch (2024), The linear representation hypothesis and the geometry of large language models.
    """

    def __init__(self, concepts: int = 1000, dimension: int = 768, sparsity: float = 0.99, noise: float = 0.0) -> None:
        self.concepts = concepts
        self.dimension = dimension
        self.sparsity = sparsity
        self.noise = noise

    @classmethod
    def small(cls) -> Self:
        return cls(concepts=40, dimension=32, sparsity=0.9)

    def draw(self, seed: int) -> SuperposedInstance:
        """Draw the directions.

        Raises
        ------
        InvalidInput
            If a parameter is out of range.
        """
        if self.concepts < 1 or self.dimension < 1 or not 0 <= self.sparsity < 1:
            raise InvalidInput(
                "concepts and dimension must be at least 1 and sparsity in [0, 1), not "
                f"{self.concepts}, {self.dimension} and {self.sparsity}"
            )
        atoms = random_directions(self.concepts, self.dimension, torch.Generator().manual_seed(seed_of("dictionary", seed)))
        rates = torch.full((self.concepts,), 1 - self.sparsity, dtype=torch.float64)
        return SuperposedInstance(atoms, rates, None, "uniform", self.noise)
