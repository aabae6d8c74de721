"""Potentials on a composite's value and on its tuple."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Literal

import torch
from torch import Tensor

from testbed.contracts import InvalidInput

Kind = Literal["none", "interval", "bump", "logistic"]
TupleKind = Literal["bump", "interval"]

KINDS = ("none", "interval", "bump", "logistic")
TUPLE_KINDS = ("bump", "interval")


@dataclass(frozen=True)
class Selection:
    r"""phi of one level's composites, :math:`\phi(t) = h(v) \prod_k h_e(e_k)`, at most 1.

    With center c, width w and strength :math:`\sigma`, h(v) is 1 for ``"none"``; :math:`1[|v - c| \le w / \sigma]` for ``"interval"``;
    :math:`\exp(-\sigma^2 (v - c)^2 / 2 w^2)` for ``"bump"``; :math:`(1 + e^{-(v - c) / w})^{-\sigma}` for ``"logistic"``. The complement's
    factor is the potential on tuples proper: soft, :math:`h_e(e) = \exp(-\sigma^2 e^2 / 2 a^2)`, or hard,
    :math:`1[|e| \le a / \sigma]`; both favour tuples whose constituents agree. Strength 0 selects nothing.

    Attributes
    ----------
    kind : {"none", "interval", "bump", "logistic"}
    center, width : float
    strength : float in [0, 1]
    agreement : float or None
        a; None leaves the complement alone.
    agreement_kind : {"bump", "interval"}
        Whether the factor on the complement is soft or hard.
    """

    kind: Kind
    center: float
    width: float
    strength: float
    agreement: float | None = None
    agreement_kind: TupleKind = "bump"

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InvalidInput(f"selection must be one of {', '.join(map(repr, KINDS))}, not {self.kind!r}")
        if not (math.isfinite(self.center) and 0 < self.width < math.inf):
            raise InvalidInput(f"center must be finite and width a finite number above 0, not {self.center} and {self.width}")
        if not 0 <= self.strength <= 1:
            raise InvalidInput(f"strength must lie between 0 (no selection) and 1, not be {self.strength}")
        if self.agreement is not None and not 0 < self.agreement < math.inf:
            raise InvalidInput(f"agreement must be None or a finite number above 0, not {self.agreement}")
        if self.agreement_kind not in TUPLE_KINDS:
            raise InvalidInput(f"agreement_kind must be one of {', '.join(map(repr, TUPLE_KINDS))}, not {self.agreement_kind!r}")

    @property
    def void(self) -> bool:
        """Whether v is free of selection."""
        return self.kind == "none" or self.strength == 0

    @property
    def keeps_complement(self) -> bool:
        """Whether the complement is free of selection."""
        return self.agreement is None or self.strength == 0

    def rescaled(self, mean: float, deviation: float) -> Selection:
        """The same potential for a value with this mean and standard deviation, if this one is for mean 0 and standard deviation 1."""
        agreement = None if self.agreement is None else deviation * self.agreement
        return replace(self, center=mean + deviation * self.center, width=deviation * self.width, agreement=agreement)

    def support(self) -> tuple[float, float]:
        """Where h(v) is above 0."""
        if self.void or self.kind != "interval":
            return -math.inf, math.inf
        return self.center - self.width / self.strength, self.center + self.width / self.strength

    def reach(self) -> float:
        """Largest size of a part of the complement for which h_e is above 0."""
        if self.keeps_complement or self.agreement_kind != "interval":
            return math.inf
        assert self.agreement is not None
        return self.agreement / self.strength

    def log_of_value(self, v: Tensor) -> Tensor:
        """log h(v) on the support, where it is 0 for an interval; of any shape."""
        if self.void or self.kind == "interval":
            return torch.zeros_like(v)
        if self.kind == "bump":
            return -((self.strength * (v - self.center) / self.width) ** 2) / 2
        return self.strength * torch.nn.functional.logsigmoid((v - self.center) / self.width)

    def of_value(self, v: Tensor) -> Tensor:
        """h(v), of any shape."""
        if self.void:
            return torch.ones_like(v)
        if self.kind == "interval":
            low, high = self.support()
            return ((v >= low) & (v <= high)).to(v.dtype)
        return self.log_of_value(v).exp()

    def of_complement(self, e: Tensor) -> Tensor:
        """h_e(e), of any shape."""
        if self.keeps_complement:
            return torch.ones_like(e)
        assert self.agreement is not None
        if self.agreement_kind == "interval":
            return (e.abs() <= self.reach() * (1 + SLACK)).to(e.dtype)
        return (-((self.strength * e / self.agreement) ** 2) / 2).exp()


SLACK = 1e-9
"""Relative slack of a hard limit on the complement: the ends of lines are computed, and lie on the limit up to rounding."""

FREE = Selection("none", 0.0, 1.0, 0.0)
"""phi = 1."""
