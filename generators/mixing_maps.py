"""Mixing maps f, from real concepts to a view: every f here is injective, and knows its inverse."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, ClassVar, Literal, Self

import torch
from torch import Tensor

from testbed.contracts import InvalidInput

Activation = Literal["leaky_relu", "tanh"]


@dataclass(frozen=True)
class Mixing(ABC):
    """An injective map from k concepts to d observed coordinates; all its tensors are float64."""

    kind: ClassVar[str]

    @abstractmethod
    def __call__(self, v: Tensor) -> Tensor:
        """f(v), shape (n, k) -> (n, d)."""

    @abstractmethod
    def inverse(self, x: Tensor) -> Tensor:
        """The v with f(v) = x where there is one, a v near it elsewhere, shape (n, d) -> (n, k)."""

    @property
    @abstractmethod
    def support(self) -> Tensor:
        """Which concepts each coordinate depends on: the Jacobian's support, shape (d, k), bool."""

    @abstractmethod
    def condition(self) -> float:
        """A bound on the condition number of the Jacobian anywhere; NaN where none is known."""

    def jacobian(self, v: Tensor) -> Tensor:
        """The Jacobian at each row, shape (n, k) -> (n, d, k)."""
        one = torch.func.jacrev(lambda row: self(row[None])[0])
        jacobians: Tensor = torch.func.vmap(one)(v)
        return jacobians

    def measured_condition(self, v: Tensor) -> float:
        """Largest condition number of the Jacobian over rows v, shape (n, k)."""
        values = torch.linalg.svdvals(self.jacobian(v))
        return float((values[:, 0] / values[:, -1]).max())

    def to(self, device: str) -> Self:
        return type(self)(**{name: t.to(device) if isinstance(t, Tensor) else t for name, t in vars(self).items()})

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """Tensors, and the rest as JSON."""
        arrays = {name: t for name, t in vars(self).items() if isinstance(t, Tensor)}
        return arrays, {"kind": self.kind, **{name: t for name, t in vars(self).items() if not isinstance(t, Tensor)}}


@dataclass(frozen=True)
class Linear(Mixing):
    """f(v) = A v, with A of shape (d, k)."""

    kind = "linear"
    matrix: Tensor

    def __call__(self, v: Tensor) -> Tensor:
        return v @ self.matrix.T

    def inverse(self, x: Tensor) -> Tensor:
        return x @ pseudo_inverse(self.matrix).T

    @property
    def support(self) -> Tensor:
        return self.matrix != 0

    def condition(self) -> float:
        values = torch.linalg.svdvals(self.matrix)
        return float(values[0] / values[-1])


@dataclass(frozen=True)
class Bent(Mixing):
    r"""A perceptron with a sparse support: :math:`f(v) = A v + \kappa h(v)`, :math:`h_i(v) = \sum_u o_{iu} \tanh(w_{iu} \cdot v + b_{iu})`.

    Each w_iu lives on row i's support, and has as many units as that has concepts, so that the Jacobian's rows span it. h is scaled to
    be 1-Lipschitz and :math:`\kappa < \sigma_{\min}(A)`: hence f is injective, and :math:`v \leftarrow A^+ (x - \kappa h(v))` contracts.

    Attributes
    ----------
    matrix : Tensor, shape (d, k)
    inner : Tensor, shape (d, u, k)
    shift, outer : Tensor, shape (d, u)
    gain : float
        kappa.
    """

    kind = "bent"
    matrix: Tensor
    inner: Tensor
    shift: Tensor
    outer: Tensor
    gain: float

    def _h(self, v: Tensor) -> Tensor:
        hidden: Tensor = (torch.einsum("duk,nk->ndu", self.inner, v) + self.shift).tanh()
        return (hidden * self.outer).sum(dim=-1)

    def __call__(self, v: Tensor) -> Tensor:
        return v @ self.matrix.T + self.gain * self._h(v)

    def inverse(self, x: Tensor) -> Tensor:
        back = pseudo_inverse(self.matrix).T
        v = x @ back
        for _ in range(200):
            last, v = v, (x - self.gain * self._h(v)) @ back
            if (v - last).abs().max() < 1e-12:
                break
        return v

    @property
    def support(self) -> Tensor:
        return self.matrix != 0

    def condition(self) -> float:
        values = torch.linalg.svdvals(self.matrix)
        return float((values[0] + self.gain) / (values[-1] - self.gain))


@dataclass(frozen=True)
class Warped(Bent):
    r"""A bent map y, each coordinate of which is squashed around a place of its own: far from linear, with a sparse support.

    .. math:: f_i(v) = (1 - \kappa)\, y_i + \kappa \tanh(2 (y_i - c_i))

    Slopes of the squashing lie in :math:`[1 - \kappa, 1 + \kappa]`: it is increasing, so f is injective as y is, with the same support.

    Attributes
    ----------
    centre : Tensor, shape (d,)
        c.
    squash : float
        kappa, in [0, 1).
    """

    kind = "warped"
    centre: Tensor
    squash: float

    def __call__(self, v: Tensor) -> Tensor:
        return self._squashed(super().__call__(v))

    def _squashed(self, y: Tensor) -> Tensor:
        return (1 - self.squash) * y + self.squash * (2 * (y - self.centre)).tanh()

    def inverse(self, x: Tensor) -> Tensor:
        low, high = ((x + side * self.squash) / (1 - self.squash) for side in (-1, 1))
        for _ in range(60):
            middle = (low + high) / 2
            above = self._squashed(middle) > x
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        return super().inverse((low + high) / 2)

    def condition(self) -> float:
        return super().condition() * (1 + self.squash) / (1 - self.squash)


@dataclass(frozen=True)
class Perceptron(Mixing):
    r""":math:`f(v) = W_2\, a(W_1\, a(W_0 v))`: W_0 widens from k to d, the others are square, and a is monotone.

    a is the leaky rectifier with slope s below 0, or :math:`s z + (1 - s) \tanh z`: slopes in [s, 1], so the condition number is at most
    the product of those of the W, over s².

    Attributes
    ----------
    first, second, third : Tensor, shapes (d, k), (d, d), (d, d)
    slope : float
    activation : {"leaky_relu", "tanh"}
    """

    kind = "mlp"
    first: Tensor
    second: Tensor
    third: Tensor
    slope: float
    activation: Activation

    def _bend(self, z: Tensor) -> Tensor:
        if self.activation == "leaky_relu":
            return torch.nn.functional.leaky_relu(z, self.slope)
        return self.slope * z + (1 - self.slope) * z.tanh()

    def _unbend(self, y: Tensor) -> Tensor:
        if self.activation == "leaky_relu":
            return torch.where(y < 0, y / self.slope, y)
        low, high = ((y + side * (1 - self.slope)) / self.slope for side in (-1, 1))
        for _ in range(60):
            middle = (low + high) / 2
            above = self._bend(middle) > y
            low, high = torch.where(above, low, middle), torch.where(above, middle, high)
        return (low + high) / 2

    def __call__(self, v: Tensor) -> Tensor:
        return self._bend(self._bend(v @ self.first.T) @ self.second.T) @ self.third.T

    def inverse(self, x: Tensor) -> Tensor:
        hidden = self._unbend(torch.linalg.solve(self.third, x.T).T)
        hidden = self._unbend(torch.linalg.solve(self.second, hidden.T).T)
        return hidden @ pseudo_inverse(self.first).T

    @property
    def support(self) -> Tensor:
        return torch.ones_like(self.first, dtype=torch.bool)

    def condition(self) -> float:
        values = [torch.linalg.svdvals(w) for w in (self.first, self.second, self.third)]
        return math.prod(float(s[0] / s[-1]) for s in values) / self.slope**2


@dataclass(frozen=True)
class Flow(Mixing):
    r"""A random flow: v is embedded by a linear map, then d coordinates go through affine couplings, each after a rotation.

    One coupling keeps the first half a and takes the second to :math:`b \exp(\kappa \tanh(S a)) + \kappa \tanh(M a)`.

    Attributes
    ----------
    embedding : Tensor, shape (d, k)
    rotations : Tensor, shape (layers, d, d)
    scales, shifts : Tensor, shape (layers, d - d // 2, d // 2)
    gain : float
        kappa; 0 is linear.
    """

    kind = "flow"
    embedding: Tensor
    rotations: Tensor
    scales: Tensor
    shifts: Tensor
    gain: float

    def __call__(self, v: Tensor) -> Tensor:
        x = v @ self.embedding.T
        half = self.scales.shape[2]
        for rotation, scale, shift in zip(self.rotations, self.scales, self.shifts, strict=True):
            x = x @ rotation.T
            a, b = x[:, :half], x[:, half:]
            x = torch.cat([a, b * (self.gain * (a @ scale.T).tanh()).exp() + self.gain * (a @ shift.T).tanh()], dim=1)
        return x

    def inverse(self, x: Tensor) -> Tensor:
        half = self.scales.shape[2]
        for rotation, scale, shift in zip(self.rotations.flip(0), self.scales.flip(0), self.shifts.flip(0), strict=True):
            a, b = x[:, :half], x[:, half:]
            b = (b - self.gain * (a @ shift.T).tanh()) * (-self.gain * (a @ scale.T).tanh()).exp()
            x = torch.cat([a, b], dim=1) @ rotation
        return x @ pseudo_inverse(self.embedding).T

    @property
    def support(self) -> Tensor:
        return torch.ones_like(self.embedding, dtype=torch.bool)

    def condition(self) -> float:
        return Linear(self.embedding).condition() if self.gain == 0 else math.nan


def pseudo_inverse(matrix: Tensor) -> Tensor:
    """A^+, shape (d, k) -> (k, d)."""
    inverse: Tensor = torch.linalg.pinv(matrix)
    return inverse


KINDS: dict[str, type[Mixing]] = {cls.kind: cls for cls in (Linear, Bent, Warped, Perceptron, Flow)}


def mixing_from(arrays: Mapping[str, Tensor], plain: Mapping[str, Any]) -> Mixing:
    """The mixing with this state; InvalidInput if it is not one."""
    plain = dict(plain)
    cls = KINDS.get(plain.pop("kind", ""))
    if cls is None or {*arrays, *plain} != {field.name for field in fields(cls)}:
        raise InvalidInput(f"{sorted(arrays)} and {sorted(plain)} are not the state of a mixing: save the instance again")
    return cls(**arrays, **plain)
