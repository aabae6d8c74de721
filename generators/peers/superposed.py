"""What the recipes without hierarchy share: concepts drawn independently or k at a time, written along given directions."""

from __future__ import annotations

import math
from typing import Any, Literal, Self

import torch
from torch import Tensor

from generators.selection.sparse_truth import SparseTruth
from testbed.contracts import BLOCK, BlockInstance, InvalidInput, Level, Observed, Sample, Shows, SparseRows, View, seed_of

Magnitude = Literal["uniform", "half_normal"]
MEANS: dict[Magnitude, float] = {"uniform": 0.5, "half_normal": math.sqrt(2 / math.pi)}


class SuperposedInstance(BlockInstance):
    """One level of concepts without edges, in one view.

    Parameters
    ----------
    atoms : Tensor, shape (n, d)
    rates : Tensor, shape (n,), float64
        How often each concept is on; only its sum, which must be k, counts if `exactly` is given.
    exactly : int or None
        Number of concepts on in every row, chosen uniformly; None for independent draws.
    magnitude : {"uniform", "half_normal"}
        Law of magnitudes: uniform on (0, 1], or the absolute value of a standard normal.
    noise : float
        Standard deviation of the noise on each coordinate.
    view : str
    **facts
        More to tell in the truth.
    """

    def __init__(
        self, atoms: Tensor, rates: Tensor, exactly: int | None, magnitude: Magnitude, noise: float, view: str = "mixed", **facts: Any
    ) -> None:
        if not 0 <= noise < math.inf:
            raise InvalidInput(f"noise must be at least 0, not {noise}")
        self._atoms, self._rates, self._exactly, self._magnitude, self._noise, self._view = atoms, rates, exactly, magnitude, noise, view
        n, l0 = len(atoms), float(rates.sum())
        most = exactly or math.ceil(l0 + 8 * math.sqrt(float((rates * (1 - rates)).sum())))
        smallest = 0.05 * MEANS[magnitude] * float(atoms.norm(dim=1).mean())
        told = {"max_active": max(1, min(n, most)), "threshold": max(noise * math.sqrt(2 * math.log(1 + n)), smallest)}
        known = {
            "direction": "none",
            "direction_class": ["none"],
            "magnitude": {"law": magnitude.replace("_", " ")},
            f"noise/{view}": noise,
            f"bias/{view}": torch.zeros(atoms.shape[1]),
            f"pursuit/{view}": told,
        }
        self.truth: SparseTruth = SparseTruth(
            levels=(Level("sparse", n),),
            constituents={0: ((),) * n},
            dictionaries={view: {0: atoms}},
            rates={0: rates},
            settings={"concepts": n, "l0": l0, "l0_level_0": l0},
            facts=known | facts,
        )

    def to(self, device: str) -> Self:
        other = super().to(device)
        other._atoms, other._rates = self._atoms.to(device), self._rates.to(device)
        return other

    def block(self, seed: int) -> Sample:
        on = self._states(self._generator("states", seed))
        row, concept = on.nonzero(as_tuple=True)
        values = torch.zeros(on.shape, device=self.device)
        values[row, concept] = self._magnitudes(len(row), self._generator("magnitudes", seed))
        x = values @ self._atoms
        if self._noise:
            x = x + self._noise * torch.randn(x.shape, generator=self._generator("noise", seed), device=self.device)
        observed = Observed({self._view: View(x, Shows((0,), noise=self._noise))})
        return Sample(observed, {0: SparseRows.from_dense(values)})

    def _states(self, generator: torch.Generator) -> Tensor:
        u = torch.rand(BLOCK, len(self._rates), generator=generator, device=self.device, dtype=torch.float64)
        if self._exactly is None:
            return u < self._rates
        return torch.zeros_like(u, dtype=torch.bool).scatter_(1, u.topk(self._exactly, dim=1).indices, True)

    def _magnitudes(self, count: int, generator: torch.Generator) -> Tensor:
        if self._magnitude == "uniform":
            return 1 - torch.rand(count, generator=generator, device=self.device)  # in (0, 1]: an active concept is never 0
        return torch.randn(count, generator=generator, device=self.device).abs().clamp_min(torch.finfo(torch.float32).tiny)

    def _generator(self, role: str, seed: int) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(seed_of(role, seed))
