"""Toy models of superposition: the hidden layer of a tiny autoencoder that has more concepts than dimensions."""

from __future__ import annotations

from typing import Self

import torch
from torch import Tensor

from generators.peers.superposed import SuperposedInstance
from testbed.contracts import Generator, InvalidInput, seed_of

BATCH, RATE = 1024, 3e-3


class ToySuperposition(Generator):
    r"""The hidden layer h = W x of the toy model :math:`\hat x = \mathrm{ReLU}(W^\top W x + b)`, trained on sparse concepts x.

    Concepts are 0 with probability S and uniform on (0, 1] otherwise; training minimises :math:`\sum_i I_i (x_i - \hat x_i)^2` with
    importance :math:`I_i = \mathrm{importance}^i`. The truth's atoms are the columns of W as learned: their geometry is what superposition
    makes of it, they are not of norm 1, and a concept that the model gave up has an atom near 0 (``facts["represented"]``: squared norms).

    Parameters
    ----------
    concepts, dimension : int
        n, and the width of the hidden layer (the view ``hidden``).
    sparsity : float
        S, the probability that a concept is 0.
    importance : float
    steps : int
        Adam's steps with batches of 1,024 rows.
    noise : float
        Standard deviation of the noise on each coordinate (none in the original).

    References
    ----------
    .. [1] Elhage et al. (2022), Toy models of superposition, Transformer Circuits Thread.
    """

    def __init__(
        self,
        concepts: int = 20,
        dimension: int = 5,
        sparsity: float = 0.9,
        importance: float = 0.9,
        steps: int = 3000,
        noise: float = 0.0,
    ) -> None:
        self.concepts = concepts
        self.dimension = dimension
        self.sparsity = sparsity
        self.importance = importance
        self.steps = steps
        self.noise = noise

    @classmethod
    def small(cls) -> Self:
        return cls(concepts=6, dimension=3, steps=200)

    def draw(self, seed: int) -> SuperposedInstance:
        """Train the toy model.

        Raises
        ------
        InvalidInput
            If a parameter is out of range.
        """
        if self.concepts < 1 or self.dimension < 1 or not 0 <= self.sparsity < 1 or not 0 < self.importance <= 1 or self.steps < 0:
            raise InvalidInput(
                "concepts and dimension must be at least 1, sparsity in [0, 1), importance in (0, 1] and steps at least 0, not "
                f"{self.concepts}, {self.dimension}, {self.sparsity}, {self.importance} and {self.steps}"
            )
        atoms, b = self._train(seed)
        rates = torch.full((self.concepts,), 1 - self.sparsity, dtype=torch.float64)
        represented = atoms.square().sum(dim=1)
        return SuperposedInstance(atoms, rates, None, "uniform", self.noise, "hidden", represented=represented, output_bias=b)

    def _train(self, seed: int) -> tuple[Tensor, Tensor]:
        """Columns of W, shape (n, d), and b, shape (n,)."""
        generator = torch.Generator().manual_seed(seed_of("toy_model", seed))
        importance = self.importance ** torch.arange(self.concepts)
        w = torch.randn(self.concepts, self.dimension, generator=generator) * (2 / (self.concepts + self.dimension)) ** 0.5
        parameters = [w.requires_grad_(), torch.zeros(self.concepts, requires_grad=True)]
        adam = torch.optim.Adam(parameters, lr=RATE)
        for _ in range(self.steps):
            on = torch.rand(BATCH, self.concepts, generator=generator) >= self.sparsity
            x = torch.rand(BATCH, self.concepts, generator=generator) * on
            loss = (importance * (x - torch.relu(x @ w @ w.T + parameters[1])).square()).mean()
            adam.zero_grad()
            loss.backward()  # type: ignore[no-untyped-call]
            adam.step()
        return w.detach(), parameters[1].detach()
