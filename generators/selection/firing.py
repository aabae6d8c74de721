"""How often leaves fire: laws of rates over ranks."""

from __future__ import annotations

from typing import Literal

import torch
from torch import Tensor

from testbed.contracts import InvalidInput

RateLaw = Literal["zipf", "uniform", "geometric"]


def ranked_rates(law: RateLaw, count: int, rate: float, floor: float, exponent: float) -> Tensor:
    r"""Rate of the r-th most frequent of `count` leaves, shape (count,), float64.

    - ``zipf``: :math:`\max(\mathrm{floor}, \mathrm{rate}\, r^{-\mathrm{exponent}})`;
    - ``uniform``: evenly spaced from rate down to floor;
    - ``geometric``: from rate down to floor by equal factors.

    Raises
    ------
    InvalidInput
        If the law is unknown, or ``geometric`` is asked to reach 0.
    """
    rank = torch.arange(1, count + 1, dtype=torch.float64)
    if law == "zipf":
        return (rate * rank**-exponent).clamp_min(floor)
    share = (rank - 1) / max(1, count - 1)
    if law == "uniform":
        return rate + (floor - rate) * share
    if law == "geometric":
        if not (rate > 0 and floor > 0):
            raise InvalidInput(f"rates 'geometric' need rate and rate_floor above 0, not {rate} and {floor}: raise them")
        return rate * (floor / rate) ** share
    raise InvalidInput(f"rates must be 'zipf', 'uniform' or 'geometric', not {law!r}")
