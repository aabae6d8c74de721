"""Concepts that lie bare: the view is the concepts themselves, so that codes made by hand from it have a known worth."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from testbed.contracts import BLOCK, BlockInstance, Codes, Generator, InvalidInput, Level, Observed, Sample, Shows, Truth, View, seed_of

VIEW = "concepts"


class BareConcepts(Generator):
    r"""Concepts selected together, seen as they are: x = z. No estimator has anything to learn here; metrics have.

    The base law of the c concepts (times scales, plus shifts, both of the instance) is a standard Gaussian, and selection is a potential
    on what is left of a tuple when its composite :math:`v = \sum_i z_i / \sqrt s` is known: its s - 1 Helmert coordinates e, which
    with v are the tuple in another orthonormal basis. All are independent, so rows are drawn exactly, and the sample of the same instance
    without potentials, `BareInstance.unselected`, is as cheap.

    - `branching` 0: one composite of all concepts, with soft potential :math:`\exp(-\tfrac\kappa2 |e|^2)`. Each pair then has the same
      correlation rho, for :math:`1 / (1 + \kappa) = (1 - \rho) / (1 + (c - 1) \rho)`. At rho 0 nothing is selected.
    - `branching` b: tuples of b concepts, whose composites are again the tuple of one root. Hard potentials, 1 where every coordinate of e
      is within `agreement` of 0 (at the root within twice as much) and the root within `reach`. Symmetric, so that a concept's sign cannot
      be told from its size.

    Parameters
    ----------
    concepts : int
        c, at least 2.
    correlation : float
        rho, in [0, 1). Only without `branching`.
    branching : int
        0, or b with c / b at least 2.
    agreement, reach : float
        Half-widths of the hard potentials.
    rate : float or None
        With a rate concepts are sparse: on, with magnitude z - t, in this share of the rows, and off elsewhere. Only without `branching`.
    """

    def __init__(
        self,
        concepts: int = 12,
        correlation: float = 0.0,
        branching: int = 0,
        agreement: float = 0.35,
        reach: float = 2.0,
        rate: float | None = None,
    ) -> None:
        self.concepts = concepts
        self.correlation = correlation
        self.branching = branching
        self.agreement = agreement
        self.reach = reach
        self.rate = rate

    def draw(self, seed: int) -> BareInstance:
        """Draw the concepts' scales, between a half and two, and their shifts.

        Raises
        ------
        InvalidInput
            If a parameter is out of range, or two exclude each other.
        """
        c, b = self.concepts, self.branching
        if c < 2 or not 0 <= self.correlation < 1 or min(self.agreement, self.reach) <= 0 or not 0 < (self.rate or 0.5) < 1:
            raise InvalidInput(
                "concepts is at least 2, correlation in [0, 1), agreement and reach above 0, rate in (0, 1), "
                f"not {c}, {self.correlation}, {self.agreement}, {self.reach} and {self.rate}"
            )
        if b and (b < 2 or c % b or c // b < 2 or self.correlation or self.rate):
            raise InvalidInput(
                f"branching {b} of {c} concepts: it divides their number into 2 tuples of 2 or more, and excludes correlation and rate"
            )
        generator = torch.Generator().manual_seed(seed_of("bare concepts", seed))
        scale = 2 ** (2 * torch.rand(c, generator=generator, dtype=torch.float64) - 1)
        shift = torch.randn(c, generator=generator, dtype=torch.float64)
        spread = math.sqrt((1 - self.correlation) / (1 + (c - 1) * self.correlation))
        threshold = None
        if self.rate is not None:
            deviation = math.sqrt((1 + (c - 1) * spread**2) / c)
            threshold = deviation * float(torch.special.ndtri(torch.tensor(1 - self.rate, dtype=torch.float64)))
            shift = torch.zeros_like(shift)  # a sparse concept is off at 0
        law = Law(c, b, spread, (self.agreement, self.reach) if b else None, threshold)
        return BareInstance(law, scale, shift)


@dataclass(frozen=True)
class Law:
    """Selected law of the standardised concepts: e has deviation `spread`, or is a standard Gaussian cut off at `bounds`."""

    concepts: int
    branching: int
    spread: float = 1.0
    bounds: tuple[float, float] | None = None
    threshold: float | None = None

    def draw(self, n: int, generator: torch.Generator) -> list[Tensor]:
        """Values per level, shape (n, n_l), float64."""
        device = generator.device
        if not self.branching:
            own = torch.randn(n, self.concepts, generator=generator, dtype=torch.float64, device=device)
            mean = own.mean(dim=1, keepdim=True)
            z = mean + self.spread * (own - mean)  # coordinates e shrink, v stays
            return [z.sum(dim=1, keepdim=True) / math.sqrt(self.concepts), z]
        inner, reach = self.bounds or (math.inf, math.inf)
        root = _truncated((n, 1), reach, generator)
        tuples = self.concepts // self.branching
        above = _composed(root, _truncated((n, 1, tuples - 1), 2 * inner, generator))  # (n, tuples)
        leaves = _composed(above, _truncated((n, tuples, self.branching - 1), inner, generator))
        return [root, above, leaves]


class BareInstance(BlockInstance):
    """A drawn world of bare concepts."""

    def __init__(self, law: Law, scale: Tensor, shift: Tensor) -> None:
        self.law = law
        self.scale = scale
        self.shift = shift
        c, b = law.concepts, law.branching
        kind = "real" if law.threshold is None else "sparse"
        sizes = (1, c // b, c) if b else (1, c)
        branchings = (c // b, b) if b else (c,)
        levels = (*(Level("real", size) for size in sizes[:-1]), Level(kind, c))  # type: ignore[arg-type]
        below = {level: tuple(tuple(range(i * s, (i + 1) * s)) for i in range(sizes[level])) for level, s in enumerate(branchings)}
        self.leaves = len(sizes) - 1
        facts = {"selected": law.bounds is not None or law.spread != 1.0, "scale": scale, "shift": shift}
        self.truth = BareTruth(levels, below, {VIEW: {self.leaves: torch.eye(c)}}, facts=facts)

    def block(self, seed: int) -> Sample:
        # Instances differ in their scales: rows of two must differ in more than that.
        own = seed_of("rows", seed, str(float(self.scale[0])))
        values = self.law.draw(BLOCK, torch.Generator(self.device).manual_seed(own))
        z = values[-1]
        if self.law.threshold is not None:
            z = (z - self.law.threshold).clamp_min(0)
        values[-1] = z * self.scale.to(z.device) + self.shift.to(z.device)
        latents = {level: v.float() for level, v in enumerate(values)}
        view = View(latents[self.leaves], Shows(levels=(self.leaves,), noise=0.0))
        return Sample(Observed({VIEW: view}), latents)

    def unselected(self) -> BareInstance:
        """The same concepts without potentials: independent, with their base law."""
        made = BareInstance(replace(self.law, spread=1.0, bounds=None), self.scale, self.shift)
        made.device = self.device
        return made


class BareTruth(Truth):
    """Truth of bare concepts: what is seen is the best code."""

    def oracle(self, observed: Observed, view: str) -> Codes:
        return observed.views[view].values


def helmert(size: int) -> Tensor:
    """Orthonormal rows that each sum to 0, shape (size - 1, size)."""
    rows = torch.tril(torch.ones(size, size, dtype=torch.float64))[:-1]
    k = torch.arange(1, size, dtype=torch.float64)
    rows[torch.arange(size - 1), torch.arange(1, size)] = -k
    return rows / (k * (k + 1)).sqrt()[:, None]


def _composed(above: Tensor, complement: Tensor) -> Tensor:
    """Tuples of composites `above`, shape (n, t), with complements (n, t, s - 1), side by side, shape (n, t s)."""
    size = complement.shape[2] + 1
    tuples = above[:, :, None] / math.sqrt(size) + complement @ helmert(size).to(complement.device)
    return tuples.flatten(1)


def _truncated(shape: tuple[int, ...], bound: float, generator: torch.Generator) -> Tensor:
    """Standard Gaussian values given that they are within `bound` of 0, by the inverse of their distribution function."""
    u = torch.rand(shape, generator=generator, dtype=torch.float64, device=generator.device)
    low = float(torch.special.ndtr(torch.tensor(-bound, dtype=torch.float64)))
    drawn: Tensor = torch.special.ndtri((low + (1 - 2 * low) * u).clamp(1e-300, 1 - 1e-16))
    return drawn
