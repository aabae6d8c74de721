r"""States that hang together by a Gaussian copula of low rank, as they are or given some of them.

Concept i is on iff :math:`z_i = \Lambda_i \cdot f + \sqrt{1 - |\Lambda_i|^2}\, \eta_i > \Phi^{-1}(1 - r_i)`. Given the states of a few
concepts E, :math:`z_E` is a truncated normal vector: it is drawn one by one, each from its own truncated law given those before, and a
row is kept with probability :math:`\prod_{k > 1} P(\text{state}_k \mid z_{<k})`, which makes it exact [1]_; then f given :math:`z_E` is
normal, and all other concepts follow from f.

References
----------
.. [1] Geweke (1991), Efficient simulation from the multivariate normal and Student-t distributions subject to linear constraints; its
   weights are used for rejection here.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import torch
from torch import Tensor

from testbed.contracts import InvalidInput, seed_of

LEAST = 1e-3
"""Share of proposals that must be kept when states are conditioned on."""
TRIALS = 65_536
"""Proposals from which that share is estimated, and draws of f for rates of a copula of rank above 1."""
EDGE, NODES = 9.0, 4001
"""Range and number of nodes of the quadrature over f, at rank 1: exact to rounding for smooth integrands."""


@dataclass(frozen=True)
class Copula:
    """A copula of N states, given some of them.

    Attributes
    ----------
    loadings : Tensor, shape (N, R), float64
    threshold : Tensor, shape (N,), float64
    nodes : Tensor, shape (E,), int64
        Concepts whose states are given, the least probable state first.
    states : Tensor, shape (E,), bool
    """

    loadings: Tensor
    threshold: Tensor
    nodes: Tensor
    states: Tensor

    @classmethod
    def of(cls, loadings: Tensor, rates: Tensor, given: Mapping[int, bool]) -> Self:
        """From rates, shape (N,), and given states by concept.

        Raises
        ------
        InvalidInput
            If the states are impossible, or so improbable together that fewer than 1 in 1,000 proposals would be kept.
        """
        probability = {node: float(rates[node] if on else 1 - rates[node]) for node, on in given.items()}
        order = sorted(given, key=lambda node: (probability[node], node))
        if order and not probability[order[0]] > 0:
            raise InvalidInput("the concepts cannot have these values together: change the setting")
        states = torch.tensor([given[node] for node in order], dtype=torch.bool)
        made = cls(loadings, -torch.special.ndtri(rates), torch.tensor(order, dtype=torch.int64), states)
        if loadings.shape[1] and len(order) > 1:
            _, keep = made._proposals(TRIALS, torch.Generator().manual_seed(seed_of("acceptance")))
            if float(keep.mean()) < LEAST:
                raise InvalidInput(
                    f"of the rows with the least probable of these states only {float(keep.mean()):.1e} have the others, too, less than "
                    f"{LEAST:g}: condition on fewer concepts"
                )
        return made

    def to(self, device: str) -> Copula:
        return Copula(*(t.to(device) for t in (self.loadings, self.threshold, self.nodes, self.states)))

    @property
    def _own(self) -> Tensor:
        """Variance of each concept that is not common, shape (N,)."""
        return 1 - self.loadings.square().sum(dim=1)

    def draw(self, n: int, generator: torch.Generator) -> Tensor:
        """States of n rows on the generator's device, shape (n, N), bool."""
        rank, device = self.loadings.shape[1], generator.device
        common = self._factors(n, generator)
        if common is None:
            common = torch.randn(n, rank, generator=generator, device=device, dtype=torch.float64)
        own = torch.randn(n, len(self.threshold), generator=generator, device=device, dtype=torch.float64)
        on: Tensor = common @ self.loadings.T + self._own.sqrt() * own > self.threshold
        on[:, self.nodes] = self.states
        return on

    def rates(self) -> tuple[Tensor, float]:
        """How often each concept is on, shape (N,), and the largest standard error of those (0: exact)."""
        rank = self.loadings.shape[1]
        plain = torch.special.ndtr(-self.threshold)
        if not len(self.nodes):
            return plain, 0.0
        error = 0.0
        if rank == 1:
            f = torch.linspace(-EDGE, EDGE, NODES, dtype=torch.float64)[:, None]
            on = self._given_factors(f)
            agreeing = torch.where(self.states, on[:, self.nodes], 1 - on[:, self.nodes]).prod(dim=1)
            weight = torch.exp(-(f[:, 0] ** 2) / 2) * agreeing
            plain = weight @ on / weight.sum()
        elif rank:
            f_drawn = self._factors(TRIALS, torch.Generator().manual_seed(seed_of("rates")))
            assert f_drawn is not None
            on = self._given_factors(f_drawn)
            free = torch.ones(len(plain), dtype=torch.bool)
            free[self.nodes] = False
            plain, error = on.mean(dim=0), float(on[:, free].std(dim=0).max() / math.sqrt(TRIALS)) if free.any() else 0.0
        plain[self.nodes] = self.states.double()
        return plain, error

    def _given_factors(self, f: Tensor) -> Tensor:
        """P(on | f), shape (n, R) -> (n, N)."""
        on: Tensor = torch.special.ndtr((f @ self.loadings.T - self.threshold) / self._own.sqrt())
        return on

    def _factors(self, n: int, generator: torch.Generator) -> Tensor | None:
        """f given the states, shape (n, R); None where they tell nothing of it."""
        if not (self.loadings.shape[1] and len(self.nodes)):
            return None
        kept: list[Tensor] = []
        while sum(map(len, kept)) < n:
            z, keep = self._proposals(n, generator)
            kept.append(z[torch.rand(n, generator=generator, device=generator.device, dtype=torch.float64) < keep])
        z = torch.cat(kept)[:n]
        lower = self.loadings[self.nodes]  # (E, R)
        gain = torch.linalg.solve(lower @ lower.T + torch.diag(self._own[self.nodes]), lower)  # (E, R)
        spread = torch.eye(lower.shape[1], dtype=z.dtype, device=z.device) - gain.T @ lower
        root = torch.linalg.cholesky(spread)
        f: Tensor = z @ gain + torch.randn(n, lower.shape[1], generator=generator, device=z.device, dtype=z.dtype) @ root.T
        return f

    def _proposals(self, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
        """Normals behind the given states, shape (n, E), and the probability with which each row is kept, shape (n,)."""
        lower = self.loadings[self.nodes]
        root = torch.linalg.cholesky(lower @ lower.T + torch.diag(self._own[self.nodes]))
        eta = torch.zeros(n, len(self.nodes), dtype=torch.float64, device=generator.device)
        keep = torch.ones(n, dtype=torch.float64, device=generator.device)
        for k, on in enumerate(self.states.tolist()):
            edge = (self.threshold[self.nodes[k]] - eta[:, :k] @ root[k, :k]) / root[k, k]
            sign = -1.0 if on else 1.0  # of the normal's tail below which it must lie, mirrored where it must lie above
            mass = torch.special.ndtr(sign * edge)
            u = 1 - torch.rand(n, generator=generator, device=generator.device, dtype=torch.float64)
            eta[:, k] = sign * torch.special.ndtri((u * mass).clamp_min(1e-300))
            keep = keep * mass if k else keep
        return eta @ root.T, keep
