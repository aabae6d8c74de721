"""Laws on the real line: the leaves' base laws, and tabulated densities."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import Literal, TypeAlias

import numpy as np
import torch
from scipy.stats import t as student_t
from torch import Tensor

from testbed.contracts import InvalidInput

Law = Literal["gaussian", "laplace", "uniform", "student"]

LAWS = ("gaussian", "laplace", "uniform", "student")

TAIL = 1e-10
"""Mass of each of a Student law's tails that its table leaves out."""


@dataclass(frozen=True)
class Point:
    """The law of a concept whose value is fixed."""

    value: float


@dataclass(frozen=True)
class Density:
    """A density known at nodes, 0 outside them; it may jump at the ends.

    Between nodes it is sampled as linear and evaluated as log-linear: the two differ in second order, and tails are better followed so.

    Attributes
    ----------
    nodes : Tensor, shape (n,), float64, ascending
    values : Tensor, shape (n,), float64
    """

    nodes: Tensor
    values: Tensor

    @property
    def low(self) -> float:
        return float(self.nodes[0])

    @property
    def high(self) -> float:
        return float(self.nodes[-1])

    def to(self, device: str) -> Density:
        return Density(self.nodes.to(device), self.values.to(device))

    def at(self, x: Tensor) -> Tensor:
        """The density at x, of any shape; x beyond the ends, where rounding puts it, counts as the end."""
        x = x.clamp(self.low, self.high)
        cell = (torch.searchsorted(self.nodes, x.contiguous(), right=True) - 1).clamp(0, len(self.nodes) - 2)
        if self._lines is not None:
            start, rise = self._lines
            return torch.addcmul(start[cell], rise[cell], x).exp_()
        left, right = self.nodes[cell], self.nodes[cell + 1]
        share = (x - left) / (right - left)
        a, b = self.values[cell], self.values[cell + 1]
        return torch.where((a > 0) & (b > 0), a * (b / a.clamp_min(TINY)) ** share, a.lerp(b, share))

    @cached_property
    def _lines(self) -> tuple[Tensor, Tensor] | None:
        """Intercept and slope of the logarithm in each cell; None where the density vanishes at a node or nodes coincide."""
        width = self.nodes.diff()
        if not ((self.values > 0).all() and (width > 0).all()):
            return None
        logs = self.values.log()
        rise = logs.diff() / width
        return logs[:-1] - rise * self.nodes[:-1], rise

    def masses(self) -> Tensor:
        """Mass of each cell, shape (n - 1,)."""
        return (self.values[1:] + self.values[:-1]) / 2 * self.nodes.diff()

    def mass(self) -> float:
        return float(self.masses().sum())

    def mean_and_deviation(self) -> tuple[float, float]:
        """Mean and standard deviation, normalised or not."""
        x, y, a, b = self.nodes[:-1], self.nodes[1:], self.values[:-1], self.values[1:]
        first = ((a * (2 * x + y) + b * (x + 2 * y)) / 6 * (y - x)).sum() / self.mass()
        x, y = x - first, y - first
        second = ((a * (3 * x**2 + 2 * x * y + y**2) + b * (x**2 + 2 * x * y + 3 * y**2)) / 12 * (y - x)).sum() / self.mass()
        return float(first), float(second.sqrt())

    def normalised(self) -> Density:
        return Density(self.nodes, self.values / self.mass())

    def reflected(self) -> Density:
        """The law of -x."""
        return Density(-self.nodes.flip(0), self.values.flip(0))

    def quantile(self, u: Tensor) -> Tensor:
        """The x with F(x) = u, for u in [0, 1] of any shape."""
        below = torch.cat([self.nodes.new_zeros(1), self.masses().cumsum(0)])
        below = below / below[-1]
        cell = (torch.searchsorted(below, u.contiguous(), right=True) - 1).clamp(0, len(below) - 2)
        share = (u - below[cell]) / (below[cell + 1] - below[cell]).clamp_min(TINY)
        within = place_in_cell(share, self.values[cell], self.values[cell + 1])
        return self.nodes[cell].lerp(self.nodes[cell + 1], within)


Message: TypeAlias = Density | Point

TINY = 1e-300
"""Keeps a cell without mass from dividing by 0."""


def ascending(rows: Tensor) -> Tensor:
    """Each row sorted, shape (n, m), on the CPU: numpy's vectorised sort takes a fifth of the time of torch's here."""
    return torch.from_numpy(np.sort(rows.numpy(), axis=1))


def place_in_cell(share: Tensor, left: Tensor, right: Tensor) -> Tensor:
    r"""Where in a cell of unit width a density that runs linearly from a to b has the given share of the cell's mass below it.

    The root in [0, 1] of :math:`a f + (b - a) f^2 / 2 = \rho (a + b) / 2`, written so that it loses no digits when a is near b.
    """
    share = share.clamp(0, 1)
    root = (left**2 + share * (right**2 - left**2)).clamp_min(0).sqrt()
    return (share * (left + right) / (left + root).clamp_min(TINY)).clamp(0, 1)


def spread_nodes(low: float, high: float, center: float, scale: float, cells: int) -> Tensor:
    r"""Nodes :math:`c + s \sinh(z)` with z equally spaced: even within `scale` of `center`, and wider in proportion further out.

    Returns
    -------
    Tensor, shape (even number + 1,), float64
        The first is `low` and the last `high`, exactly. There are `cells` cells, and up to twice as many where z runs over more than 5,
        so that heavy tails do not thin out the middle.
    """
    ends = [math.asinh((edge - center) / scale) for edge in (low, high)]
    count = 2 * math.ceil(cells / 2 * min(2.0, max(1.0, (ends[1] - ends[0]) / 5)))
    nodes = center + scale * torch.linspace(ends[0], ends[1], count + 1, dtype=torch.float64).sinh()
    nodes[0], nodes[-1] = low, high
    return nodes.cummax(0).values


def base_density(law: Law, parameter: float, cells: int) -> Density:
    r"""A leaf's base law, of mean 0 and variance 1.

    Parameters
    ----------
    law : {"gaussian", "laplace", "uniform", "student"}
        :math:`N(0, 1)`, cut at 10; Laplace with scale :math:`1/\sqrt 2`, cut at 26; uniform on :math:`[-\sqrt 3, \sqrt 3]`; Student's t
        with `parameter` degrees of freedom times :math:`\sqrt{1 - 2 / \nu}`, cut where each tail has mass 1e-10.
    parameter : float
        Degrees of freedom, above 2; used by ``"student"`` alone.
    cells : int
        Of the table.

    Raises
    ------
    InvalidInput
        If the law is unknown, or a Student law has no variance.
    """
    if law not in LAWS:
        raise InvalidInput(f"law must be one of {', '.join(map(repr, LAWS))}, not {law!r}")
    if law == "student" and not 2 < parameter < math.inf:
        raise InvalidInput(f"law_parameter, degrees of freedom, must be above 2 (a Student law has no variance else), not {parameter}")
    scale = math.sqrt(1 - 2 / parameter) if law == "student" else 1.0
    edge = {"gaussian": 10.0, "laplace": 26.0, "uniform": math.sqrt(3)}.get(law, 0.0)
    if law == "student":
        edge = scale * float(student_t.isf(TAIL, parameter))
    nodes = spread_nodes(-edge, edge, 0.0, 100 * edge if law == "uniform" else 2.0, cells)
    nodes[len(nodes) // 2] = 0.0  # where the Laplace law has its cusp
    if law == "gaussian":
        values = (-(nodes**2) / 2).exp()
    elif law == "laplace":
        values = (-math.sqrt(2) * nodes.abs()).exp()
    elif law == "student":
        values = (1 + (nodes / scale) ** 2 / parameter) ** (-(parameter + 1) / 2)
    else:
        values = torch.ones_like(nodes)
    return Density(nodes, values).normalised()
