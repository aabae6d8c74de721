"""Independent real concepts whose variances depend on a known environment: what an auxiliary variable identifies."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor

from testbed.contracts import BLOCK, BlockInstance, Codes, Generator, InvalidInput, Level, Observed, Sample, Shows, Truth, View, seed_of

MIXED = "mixed"


@dataclass(frozen=True)
class NonstationaryTruth(Truth):
    """Knows the mixing; its fact ``natural_parameters``, shape (environments, concepts), is -1/(2 variance) of each Gaussian."""

    def oracle(self, observed: Observed, view: str) -> Codes:
        """Least squares on the true atoms, from which noise is all that is lost."""
        x = torch.as_tensor(observed.views[view].values)
        codes: Tensor = x @ torch.linalg.pinv(self.dictionary(view).to(x))
        return codes


class NonstationaryConcepts(Generator):
    r"""Gaussian concepts, independent in every environment, with variances of its own: :math:`z_i \mid u \sim N(0, \sigma_i^2(u))`.

    Rows come from environments u with equal probability; the row table names them (``environment``). Concepts are written along random
    directions, :math:`x = D^\top z + \varepsilon`. Given u the law of z is an exponential family with one statistic :math:`z_i^2` per
    concept and natural parameters :math:`\lambda_i(u) = -1/(2 \sigma_i^2(u))`; with enough environments they vary in every direction,
    which is what identifiability from an auxiliary variable wants [1]_ (facts ``natural_parameters``).

    Parameters
    ----------
    concepts : int
    environments : int
        Values of u; `concepts` + 1 or more are needed for sufficient variability.
    variation : float
        Log variances are normal with this standard deviation; 0 makes all environments alike.
    dimension : int
        d, at least `concepts`.
    noise : float
        Standard deviation of the noise on each coordinate.

    References
    ----------
    .. [1] Khemakhem, Kingma, Monti & Hyvarinen (2020), Variational autoencoders and nonlinear ICA: a unifying framework, AISTATS;
       Hyvarinen & Morioka (2016), Unsupervised feature extraction by time-contrastive learning and nonlinear ICA, NeurIPS.
    """

    def __init__(self, concepts: int = 6, environments: int = 20, variation: float = 1.0, dimension: int = 16, noise: float = 0.05) -> None:
        self.concepts = concepts
        self.environments = environments
        self.variation = variation
        self.dimension = dimension
        self.noise = noise

    def draw(self, seed: int) -> NonstationaryInstance:
        """Draw variances and directions.

        Raises
        ------
        InvalidInput
            If a size is less than 1, `dimension` less than `concepts`, or `variation` or `noise` not a number from 0 on.
        """
        if min(self.concepts, self.environments) < 1:
            raise InvalidInput(f"concepts and environments are 1 or more, not {self.concepts} and {self.environments}")
        if self.dimension < self.concepts:
            raise InvalidInput(f"{self.concepts} real concepts cannot be read from {self.dimension} coordinates: raise dimension")
        for name in ("variation", "noise"):
            if not (math.isfinite(getattr(self, name)) and getattr(self, name) >= 0):
                raise InvalidInput(f"{name} is a finite number from 0 on, not {getattr(self, name)}")
        generator = torch.Generator().manual_seed(seed_of("nonstationary", seed))
        log_variance = self.variation * torch.randn(self.environments, self.concepts, generator=generator, dtype=torch.float64)
        atoms = torch.nn.functional.normalize(torch.randn(self.concepts, self.dimension, generator=generator), dim=1)
        return NonstationaryInstance(log_variance.exp(), atoms, self.noise)


class NonstationaryInstance(BlockInstance):
    """Samples environment, concepts and rows.

    Parameters
    ----------
    variances : Tensor, shape (environments, concepts), float64
    atoms : Tensor, shape (concepts, dimension)
    noise : float
    """

    truth: NonstationaryTruth

    def __init__(self, variances: Tensor, atoms: Tensor, noise: float) -> None:
        self.noise = noise
        self._deviations, self._atoms = variances.sqrt().float(), atoms
        facts = {
            "variances": variances,
            "natural_parameters": -0.5 / variances,
            "deviation/0": variances.mean(dim=0).sqrt(),
            "direction": "none",
            "noise/mixed": noise,
        }
        self.truth = NonstationaryTruth((Level("real", len(atoms)),), {}, {MIXED: {0: atoms}}, facts=facts)

    def to(self, device: str) -> Self:
        other = super().to(device)
        other._deviations, other._atoms = self._deviations.to(device), self._atoms.to(device)
        return other

    def block(self, seed: int) -> Sample:
        generator = torch.Generator(self.device).manual_seed(seed_of("nonstationary rows", seed))
        d = self._atoms.shape[1]
        environment = torch.randint(len(self._deviations), (BLOCK,), generator=generator, device=self.device)
        z = torch.randn(BLOCK, len(self._atoms), generator=generator, device=self.device) * self._deviations[environment]
        x = z @ self._atoms + self.noise * torch.randn(BLOCK, d, generator=generator, device=self.device)
        return Sample(Observed({MIXED: View(x, Shows((0,), noise=self.noise))}, {"environment": environment}), {0: z})

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        return {"variances": self.truth.facts["variances"], "atoms": self.truth.dictionary(MIXED)}, {"noise": self.noise}

    @classmethod
    def from_state(cls, arrays: Mapping[str, Tensor], plain: Mapping[str, Any]) -> NonstationaryInstance:
        try:
            variances, atoms, noise = arrays["variances"], arrays["atoms"], float(plain["noise"])
        except (KeyError, TypeError, ValueError) as error:
            raise InvalidInput(f"the saved instance lacks a part or has one of a wrong kind ({error}): save it again") from None
        fits = variances.dim() == 2 and atoms.dim() == 2 and variances.shape[1] == len(atoms) and 0 not in variances.shape
        if not (fits and bool((variances > 0).all()) and bool(variances.isfinite().all() & atoms.isfinite().all()) and noise >= 0):
            raise InvalidInput("the saved variances, atoms or noise do not fit together: save the instance again")
        return cls(variances, atoms, noise)
