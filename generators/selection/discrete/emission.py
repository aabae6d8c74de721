r"""From leaf states to what is observed, and back to likelihoods.

The token o of a leaf in state v is v with probability :math:`1 - \epsilon`, else uniform over the leaf's other states. Tokens are shown as
they are, one-hot, or as :math:`x = E_o + \sigma \xi` with E a random unit vector per token, the same at all positions.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, Self

import torch
from torch import Tensor
from torch.nn.functional import one_hot

from generators.mixing import random_directions
from testbed.contracts import InvalidInput, seed_of

Observe = Literal["tokens", "one_hot", "embedded"]


@dataclass(frozen=True)
class Emission:
    """How leaves are shown.

    Attributes
    ----------
    cardinalities : tuple of int
        Of the leaves.
    observe : {"tokens", "one_hot", "embedded"}
    noise : float
        Probability of another token.
    embedding : Tensor, shape (largest cardinality, dimension), float32
        E; empty unless embedded.
    spread : float
        Standard deviation of the noise on each coordinate of an embedded token.
    """

    cardinalities: tuple[int, ...]
    observe: Observe
    noise: float
    embedding: Tensor
    spread: float

    def __post_init__(self) -> None:
        if self.observe not in ("tokens", "one_hot", "embedded"):
            raise InvalidInput(f"observe must be 'tokens', 'one_hot' or 'embedded', not {self.observe!r}")
        if not (0 <= self.noise < 1 and 0 <= self.spread < float("inf")):
            raise InvalidInput(f"noise must lie in [0, 1) and spread be at least 0 and finite, not {self.noise} and {self.spread}")
        if self.observe == "embedded" and (len(self.embedding) != max(self.cardinalities) or not self.spread > 0):
            raise InvalidInput(f"embedded tokens need spread above 0 and {max(self.cardinalities)} directions, not {len(self.embedding)}")

    def to(self, device: str) -> Self:
        return replace(self, embedding=self.embedding.to(device))

    def tokens(self, leaves: Tensor, generator: torch.Generator) -> Tensor:
        """Tokens of leaf states, shape (n, positions), int64."""
        if not self.noise:
            return leaves
        count = torch.tensor(self.cardinalities, device=leaves.device)
        u = torch.rand(2, *leaves.shape, generator=generator, device=leaves.device, dtype=torch.float64)
        other = (leaves + 1 + (u[1] * (count - 1)).long()) % count
        return torch.where(u[0] < self.noise, other, leaves)

    def show(self, tokens: Tensor, generator: torch.Generator) -> Tensor:
        """The view of tokens: themselves (int64), one-hot (n, sum of cardinalities), or embedded (n, positions x dimension), float32."""
        if self.observe == "tokens":
            return tokens
        if self.observe == "one_hot":
            return torch.cat([one_hot(column, k) for column, k in zip(tokens.T, self.cardinalities, strict=True)], dim=1).float()
        x = self.embedding[tokens].flatten(1)
        return x + self.spread * torch.randn(x.shape, generator=generator, device=x.device)

    def log_likelihood(self, values: Tensor) -> Tensor:
        r"""log p(observed | state), shape (n, sum of cardinalities), float64; embedded values count by their density.

        Raises
        ------
        InvalidInput
            If `values` are not of the kind, shape or range that `show` gives.
        """
        if self.observe == "embedded":
            log = self._log_density(values)  # given the token
        else:
            log = self._indicator(values).log()
        out = []
        for column in torch.split(log, list(self.cardinalities), dim=1):
            k = column.shape[1]
            if not self.noise or k == 1:
                out.append(column)
                continue
            channel = torch.full((k, k), self.noise / (k - 1), dtype=torch.float64, device=log.device)
            channel.fill_diagonal_(1 - self.noise)  # P(token | state)
            peak = column.amax(dim=1, keepdim=True)
            out.append(((column - peak).exp() @ channel).log() + peak)
        return torch.cat(out, dim=1)

    def _indicator(self, values: Tensor) -> Tensor:
        """1 at each observed token, shape (n, sum of cardinalities)."""
        width = len(self.cardinalities) if self.observe == "tokens" else sum(self.cardinalities)
        if values.ndim != 2 or values.shape[1] != width:
            raise InvalidInput(f"observed {self.observe} must have shape (n, {width}), not {tuple(values.shape)}: give its own rows")
        if self.observe == "one_hot":
            hot = values.double()
            sums = torch.stack([part.sum(dim=1) for part in torch.split(hot, list(self.cardinalities), dim=1)])
            if not (bool((hot * (1 - hot) == 0).all()) and bool((sums == 1).all())):
                raise InvalidInput("one-hot rows must hold a single 1 per position and 0 elsewhere: give rows of this instance")
            return hot
        count = torch.tensor(self.cardinalities, device=values.device)
        token = values.long()
        if not bool(((token == values) & (token >= 0) & (token < count)).all()):
            raise InvalidInput(
                f"tokens must be whole numbers from 0 on, below each position's number of states ({max(self.cardinalities)} at most)"
            )
        first = count.cumsum(0) - count
        return torch.zeros(len(values), int(count.sum()), dtype=torch.float64, device=values.device).scatter_(1, token + first, 1.0)

    def _log_density(self, values: Tensor) -> Tensor:
        """log N(x_j; E_o, sigma^2 I) for every token o, shape (n, sum of cardinalities)."""
        positions, d = len(self.cardinalities), self.embedding.shape[1]
        if values.ndim != 2 or values.shape[1] != positions * d or not bool(values.isfinite().all()):
            raise InvalidInput(f"embedded rows must be finite, of shape (n, {positions * d}), not {tuple(values.shape)}")
        x, atoms = values.double().reshape(len(values), positions, d), self.embedding.double()
        square = x.square().sum(-1, keepdim=True) - 2 * x @ atoms.T + atoms.square().sum(-1)  # (n, positions, largest cardinality)
        log = -square / (2 * self.spread**2) - 0.5 * d * torch.log(torch.tensor(2 * torch.pi * self.spread**2, dtype=torch.float64))
        return torch.cat([log[:, j, :k] for j, k in enumerate(self.cardinalities)], dim=1)


def draw_emission(cardinalities: tuple[int, ...], observe: Observe, noise: float, dimension: int, spread: float, seed: int) -> Emission:
    """An emission with random unit embeddings, if any are needed."""
    if observe == "embedded" and dimension < 1:
        raise InvalidInput(f"dimension must be at least 1, not {dimension}")
    generator = torch.Generator().manual_seed(seed_of("embedding", seed))
    embedding = random_directions(max(cardinalities), dimension, generator) if observe == "embedded" else torch.empty(0, 0)
    return Emission(cardinalities, observe, noise, embedding, spread)
