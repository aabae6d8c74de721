r"""Couplings T: tuple <-> (v, e), a chain of rotations of pairs in warped coordinates.

With the warp :math:`W_\tau(z) = \operatorname{asinh}(\tau z) / \tau` (the identity for :math:`\tau = 0`), one link takes a pair to

.. math:: W(r') = \cos\theta\, W(r) + \sin\theta\, W(t), \qquad W(e) = -\sin\theta\, W(r) + \cos\theta\, W(t),

smooth and invertible on the whole plane, with :math:`|\det J| = W'(r) W'(t) / (W'(r') W'(e))`. The chain starts at :math:`r_1 = \pm t_1`,
takes in one constituent per link and ends at :math:`v = r_s`; the s - 1 values :math:`e_k` are the tuple's complement. For
:math:`\tau = 0` it is orthogonal, :math:`v = \sum_j a_j t_j` with :math:`\|a\| = 1`. For :math:`\tau > 0` magnitudes act more and more like
factors: v is large only where constituents are large together; and since each link has a :math:`\tau` of its own, a chain of two or more
is not a warped sum.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from testbed.contracts import InvalidInput, seed_of

Weights = Literal["equal", "random"]


def warp(z: Tensor, strength: float) -> Tensor:
    r""":math:`W_\tau(z) = \operatorname{asinh}(\tau z) / \tau`, z for strength 0."""
    return (strength * z).asinh() / strength if strength else z


def unwarp(z: Tensor, strength: float) -> Tensor:
    r""":math:`W_\tau^{-1}(z) = \sinh(\tau z) / \tau`, z for strength 0."""
    return (strength * z).sinh() / strength if strength else z


def slope(z: Tensor, strength: float) -> Tensor:
    r""":math:`W_\tau'(z) = (1 + \tau^2 z^2)^{-1/2}`."""
    return (1 + (strength * z) ** 2).rsqrt()


@dataclass(frozen=True)
class Coupling:
    """T of one composite of s constituents.

    Attributes
    ----------
    signs : tuple of float, s of them
        +1 or -1: whether v rises or falls with each constituent.
    angles : tuple of float, s - 1 of them
        theta of each link, in (0, pi / 2).
    strengths : tuple of float, s - 1 of them
        tau of each link.
    """

    signs: tuple[float, ...]
    angles: tuple[float, ...]
    strengths: tuple[float, ...]

    def compose(self, constituents: Tensor) -> tuple[Tensor, Tensor]:
        """(v, e) of tuples, shapes (..., s) -> (...,) and (..., s - 1)."""
        signed = constituents * torch.tensor(self.signs, dtype=constituents.dtype, device=constituents.device)
        r, complement = signed[..., 0], []
        for k, (angle, tau) in enumerate(zip(self.angles, self.strengths, strict=True)):
            a, b = warp(r, tau), warp(signed[..., k + 1], tau)
            r = unwarp(math.cos(angle) * a + math.sin(angle) * b, tau)
            complement.append(unwarp(math.cos(angle) * b - math.sin(angle) * a, tau))
        return r, torch.stack(complement, dim=-1) if complement else signed[..., 1:]

    def decompose(self, v: Tensor, complement: Tensor) -> Tensor:
        """The tuples of (v, e), shapes (...,) and (..., s - 1) -> (..., s)."""
        r, signed = v, []
        for k in reversed(range(len(self.angles))):
            angle, tau = self.angles[k], self.strengths[k]
            a, b = warp(r, tau), warp(complement[..., k], tau)
            signed.append(unwarp(math.sin(angle) * a + math.cos(angle) * b, tau))
            r = unwarp(math.cos(angle) * a - math.sin(angle) * b, tau)
        return torch.stack([r, *reversed(signed)], dim=-1) * torch.tensor(self.signs, dtype=v.dtype, device=v.device)

    def log_det(self, constituents: Tensor) -> Tensor:
        r""":math:`\log |\det \partial (v, e) / \partial t|`, shape (..., s) -> (...,)."""
        signed = constituents * torch.tensor(self.signs, dtype=constituents.dtype, device=constituents.device)
        r, total = signed[..., 0], torch.zeros_like(signed[..., 0])
        for k, (angle, tau) in enumerate(zip(self.angles, self.strengths, strict=True)):
            link = Coupling((1.0, 1.0), (angle,), (tau,))
            after, e = link.compose(torch.stack([r, signed[..., k + 1]], dim=-1))
            total = total + (slope(r, tau) * slope(signed[..., k + 1], tau) / (slope(after, tau) * slope(e[..., 0], tau))).log()
            r = after
        return total

    def weights(self) -> Tensor:
        r"""a, the gradient of g at 0 (for strength 0, everywhere), shape (s,), of norm 1."""
        a = [1.0]
        for angle in self.angles:
            a = [math.cos(angle) * w for w in a] + [math.sin(angle)]
        return torch.tensor(a, dtype=torch.float64) * torch.tensor(self.signs, dtype=torch.float64)


def coupling_of(weights: Tensor, strengths: tuple[float, ...]) -> Coupling:
    """The coupling whose g has the gradient `weights` (normalised) at 0: a chain of rotations reaches every direction."""
    size = weights.abs()
    angles = tuple(math.atan2(float(size[k]), float(size[:k].norm())) for k in range(1, len(size)))
    return Coupling(tuple(1.0 if w > 0 else -1.0 for w in weights.tolist()), angles, strengths)


def draw_couplings(composites: int, branching: int, weights: Weights, strength: float, seed: int, level: int) -> tuple[Coupling, ...]:
    """Draw the coupling of each composite of a level.

    Parameters
    ----------
    composites, branching : int
    weights : {"equal", "random"}
        All constituents alike and v rising with each; or sizes drawn from [1/2, 3/2] before normalisation, and signs.
    strength : float
        tau of a link is `strength` times a number drawn from [1/2, 3/2] (random weights) or `strength` itself (equal weights).

    Raises
    ------
    InvalidInput
        If a parameter is out of range.
    """
    if weights not in ("equal", "random"):
        raise InvalidInput(f"weights must be 'equal' or 'random', not {weights!r}")
    if not 0 <= strength <= LARGEST:
        raise InvalidInput(f"nonlinearity must lie between 0 (linear) and {LARGEST:g}, not be {strength}")
    if branching < 2:
        raise InvalidInput(f"branching must be at least 2, not {branching}: a composite of one constituent would be that constituent")
    shape = (composites, branching)
    size, sign, tau = torch.ones(shape, dtype=torch.float64), torch.ones(shape), torch.ones(composites, branching - 1)
    if weights == "random":
        generator = torch.Generator().manual_seed(seed_of("weights", seed, level))
        size = 0.5 + torch.rand(shape, generator=generator, dtype=torch.float64)
        sign = 2.0 * torch.randint(2, shape, generator=generator) - 1
        tau = 0.5 + torch.rand(tau.shape, generator=torch.Generator().manual_seed(seed_of("strengths", seed, level)))
    return tuple(coupling_of(size[i] * sign[i], tuple((strength * tau[i]).tolist())) for i in range(composites))


LARGEST = 3.0
"""Largest nonlinearity: beyond it v's tail outgrows what a table can hold."""
