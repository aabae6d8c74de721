"""Non-negative profiles, each off in most rows, blended with non-negative amounts."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from testbed import Generator
from testbed.contracts import BLOCK, BlockInstance, Codes, InvalidInput, Level, Observed, Sample, Shows, Truth, View, seed_of


class BlendsTruth(Truth):
    """The profiles are known."""

    def oracle(self, observed: Observed, view: str) -> Codes:
        return (observed.views[view].values @ torch.linalg.pinv(self.dictionary(view))).clamp_min(0)


class BlendsInstance(BlockInstance):
    """Profiles, drawn once; rows are drawn block by block."""

    def __init__(self, profiles: Tensor, rate: float, noise: float) -> None:
        self.profiles = profiles
        self.rate = rate
        self.noise = noise
        n = len(profiles)
        self.truth = BlendsTruth(
            levels=(Level("sparse", n),),
            constituents={0: ((),) * n},
            dictionaries={"x": {0: profiles}},
            rates={0: torch.full((n,), rate)},
            settings={"concepts": n},
        )

    def block(self, seed: int) -> Sample:
        generator = torch.Generator(self.device).manual_seed(seed)
        profiles = self.profiles.to(self.device)
        on = torch.rand(BLOCK, len(profiles), generator=generator, device=self.device) < self.rate
        amounts = torch.empty(BLOCK, len(profiles), device=self.device).exponential_(generator=generator) + 0.5
        noise = torch.randn(BLOCK, profiles.shape[1], generator=generator, device=self.device)
        z = on * amounts
        return Sample(Observed({"x": View(z @ profiles + self.noise * noise, Shows(levels=(0,)))}), {0: z})


class Blends(Generator):
    """Blends of non-negative profiles.

    Parameters
    ----------
    concepts, dimension : int
    rate : float
        How often each profile is on.
    noise : float
        Standard deviation of the noise on each coordinate.
    """

    def __init__(self, concepts: int = 6, dimension: int = 24, rate: float = 0.2, noise: float = 0.01) -> None:
        self.concepts = concepts
        self.dimension = dimension
        self.rate = rate
        self.noise = noise

    def draw(self, seed: int) -> BlendsInstance:
        if not (1 <= self.concepts <= self.dimension and 0 < self.rate <= 1 and self.noise >= 0):
            raise InvalidInput(f"1 to `dimension` concepts, a rate in (0, 1] and noise of at least 0 are wanted, not {self.get_params()}")
        generator = torch.Generator().manual_seed(seed_of("profiles", seed))  # always on the CPU
        profiles = torch.empty(self.concepts, self.dimension).exponential_(generator=generator)
        return BlendsInstance(normalize(profiles, dim=1), self.rate, self.noise)
