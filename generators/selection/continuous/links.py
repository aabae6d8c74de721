r"""One link of a coupling: the message that two independent laws send through a rotation, and the way back down.

In warped coordinates X = W(r), Y = W(t), R = W(r'), Q = W(e) the link is the rotation :math:`R = \alpha X + \beta Y`,
:math:`Q = \alpha Y - \beta X`, so that (R, Q) has the density

.. math:: P(R, Q) = p_X(\alpha R - \beta Q)\, p_Y(\beta R + \alpha Q)\, h_e(W^{-1}(Q)).

*Upward*, :math:`b(R) = \int P(R, Q)\, dQ`. The nodes of the integral are those Q at which X or Y passes a node of its own table, so that
jumps at the ends of a support, cusps, and the two far-apart modes of heavy-tailed sums are all resolved. *Downward*, given R between two
rows of the table, one of the two is taken with probability in proportion to its distance from the other times b, then Q by the inverse of
that row's distribution function, at its place relative to the ends of the line's support, which are known exactly. This draws from
the bilinear interpolation of P: the error, of second order in the cells' width, is the only one there is.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import torch
from torch import Tensor

from generators.selection.continuous.couplings import slope, unwarp, warp
from generators.selection.continuous.laws import TINY, Density, Message, Point, ascending, place_in_cell, spread_nodes
from generators.selection.continuous.selection import Selection

LEAST = 1e-12
"""Probability below which a selection counts as impossible: the tables do not resolve it."""

NEGLIGIBLE = 1e-13
"""Share of a message's mass that may be cut from either tail."""


class Impossible(Exception):
    """A selection that (almost) nothing passes."""


@dataclass(frozen=True)
class Rotation:
    """A link's geometry: the angle in (0, pi / 2), tau, and the largest |e| that a hard potential on tuples lets pass."""

    angle: float
    tau: float
    reach: float = math.inf

    @property
    def alpha(self) -> float:
        return math.cos(self.angle)

    @property
    def beta(self) -> float:
        return math.sin(self.angle)

    @property
    def limit(self) -> float:
        """The largest size of Q."""
        return math.asinh(self.tau * self.reach) / self.tau if self.tau else self.reach

    def ends(self, R: Tensor, x: Density, y: Density) -> tuple[Tensor, Tensor]:
        """Smallest and largest Q on the line of each R for which X and Y lie in their supports."""
        low = torch.maximum((self.alpha * R - x.high) / self.beta, (y.low - self.beta * R) / self.alpha)
        high = torch.minimum((self.alpha * R - x.low) / self.beta, (y.high - self.beta * R) / self.alpha)
        low, high = low.clamp(-self.limit, self.limit), high.clamp(-self.limit, self.limit)
        return low, torch.maximum(low, high)


@dataclass(frozen=True)
class Table:
    """The conditional laws of Q, one row per tabulated R.

    Attributes
    ----------
    rows : Tensor, shape (n,)
        R.
    weight : Tensor, shape (n,)
        b(R).
    places : Tensor, shape (n, m)
        Nodes, as places in [0, 1] between the two ends of the line.
    values : Tensor, shape (n, m)
        P at the nodes.
    below : Tensor, shape (n, m)
        Distribution function at the nodes.
    """

    rows: Tensor
    weight: Tensor
    places: Tensor
    values: Tensor
    below: Tensor

    def to(self, device: str) -> Table:
        return Table(*(t.to(device) for t in vars(self).values()))

    def draw(self, R: Tensor, u: Tensor) -> Tensor:
        """Places in [0, 1] given R, shape (n,), from uniforms of shape (2, n)."""
        row = (torch.searchsorted(self.rows, R, right=True) - 1).clamp(0, len(self.rows) - 2)
        share = ((R - self.rows[row]) / (self.rows[row + 1] - self.rows[row]).clamp_min(TINY)).clamp(0, 1)
        upper = share * self.weight[row + 1]
        row = row + (u[0] * ((1 - share) * self.weight[row] + upper) < upper)
        width = self.below.shape[1]
        flat = self.below.flatten()
        first, cell = row * width, torch.zeros_like(row)
        for power in reversed(range((width - 2).bit_length())):  # binary search, each sample in a row of its own
            further = cell + (1 << power)
            fits = further <= width - 2
            cell = torch.where(fits & (flat[first + further.clamp_max(width - 2)] <= u[1]), further, cell)
        at = first + cell
        share = (u[1] - flat[at]) / (flat[at + 1] - flat[at]).clamp_min(TINY)
        values, places = self.values.flatten(), self.places.flatten()
        return places[at].lerp(places[at + 1], place_in_cell(share, values[at], values[at + 1]))


@dataclass(frozen=True)
class Link:
    """What drawing (r, t) given r' takes: a table, or nothing more where r or t is fixed."""

    rotation: Rotation
    x: Message
    y: Message
    table: Table | None

    def to(self, device: str) -> Link:
        x, y = (m if isinstance(m, Point) else m.to(device) for m in (self.x, self.y))
        return Link(self.rotation, x, y, None if self.table is None else self.table.to(device))

    def split(self, r: Tensor, u: Tensor) -> tuple[Tensor, Tensor]:
        """Draw (r, t) given r', shape (n,) each, from uniforms of shape (2, n)."""
        alpha, beta, tau = self.rotation.alpha, self.rotation.beta, self.rotation.tau
        R = warp(r, tau)
        if isinstance(self.x, Point):
            X = torch.full_like(R, self.x.value)
            Y = torch.full_like(R, self.y.value) if isinstance(self.y, Point) else (R - alpha * X) / beta
        elif isinstance(self.y, Point):
            Y = torch.full_like(R, self.y.value)
            X = (R - beta * Y) / alpha
        else:
            assert self.table is not None
            low, high = self.rotation.ends(R, self.x, self.y)
            Q = low + self.table.draw(R, u) * (high - low)
            X, Y = alpha * R - beta * Q, beta * R + alpha * Q
        return unwarp(X, tau), unwarp(Y, tau)


def warped(message: Message, tau: float) -> Message:
    """The law of W(z), for z with this law."""
    if isinstance(message, Point):
        return Point(float(warp(torch.tensor(message.value, dtype=torch.float64), tau)))
    return Density(warp(message.nodes, tau), message.values / slope(message.nodes, tau))


def rows_of(R: Tensor, rotation: Rotation, x: Density, y: Density, phi: Selection) -> Table:
    """Tabulate P along the lines of given R, shape (n,), on the CPU."""
    low, high = rotation.ends(R, x, y)
    at_x = (rotation.alpha * R[:, None] - x.nodes) / rotation.beta
    at_y = (y.nodes - rotation.beta * R[:, None]) / rotation.alpha
    Q = ascending(torch.cat([at_x, at_y], dim=1).clamp(low[:, None], high[:, None]))
    values = x.at(rotation.alpha * R[:, None] - rotation.beta * Q) * y.at(rotation.beta * R[:, None] + rotation.alpha * Q)
    values = values * phi.of_complement(unwarp(Q, rotation.tau))
    masses = (values[:, 1:] + values[:, :-1]) / 2 * Q.diff(dim=1)
    below = torch.cat([torch.zeros_like(R)[:, None], masses.cumsum(dim=1)], dim=1)
    places = (Q - low[:, None]) / (high - low)[:, None].clamp_min(TINY)
    return Table(R, below[:, -1].clone(), places, values, below / below[:, -1:].clamp_min(TINY))


def join(r: Message, t: Message, rotation: Rotation, inner: Selection, outer: Selection, cells: int) -> tuple[Message, float, Link]:
    """Send two independent laws through a link.

    Parameters
    ----------
    r, t : Density or Point
        Normalised.
    rotation : Rotation
    inner : Selection
        Its factor on the complement applies.
    outer : Selection
        Its factor on the value r' applies.
    cells : int

    Returns
    -------
    message : Density or Point
        The normalised law of r' after selection.
    acceptance : float
        The mean of phi: how much of r' is selected.
    link : Link

    Raises
    ------
    Impossible
        If less than 1e-12 passes.
    """
    rotation = replace(rotation, reach=inner.reach())
    x, y = warped(r, rotation.tau), warped(t, rotation.tau)
    link = Link(rotation, x, y, None)
    if isinstance(x, Point) and isinstance(y, Point):
        at, weight = _both_fixed(x, y, rotation, inner, outer)
        return at, weight, link
    ends = [_end(x, y, rotation, side) for side in ("low", "high")]
    low, high = (float(unwarp(torch.tensor(e, dtype=torch.float64), rotation.tau)) for e in ends)
    low, high = max(low, outer.support()[0]), min(high, outer.support()[1])
    if not low < high:
        raise Impossible
    base = _base(x, y, rotation, inner)
    table = None
    center = min(max(0.0 if outer.void else outer.center, low), high)
    scale = 1.0 if outer.void else min(1.0, outer.width / outer.strength)
    for count in (cells // 2, cells // 2, cells):  # where the mass lies is found first, then tabulated
        nodes = spread_nodes(low, high, center, scale, count)
        R = warp(nodes, rotation.tau)
        if isinstance(x, Density) and isinstance(y, Density):
            table = rows_of(R, rotation, x, y, inner)
        density = base(R) if table is None else table.weight
        found = Density(nodes, density * slope(nodes, rotation.tau) * outer.of_value(nodes.clamp(*outer.support())))
        mass = found.mass()
        if not mass >= LEAST:
            raise Impossible
        below = torch.cat([nodes.new_zeros(1), found.masses().cumsum(0)]) / mass
        low = float(nodes[(below < NEGLIGIBLE).sum() - 1])
        high = float(nodes[len(nodes) - (below > 1 - NEGLIGIBLE).sum()])
        first, center, third = found.normalised().quantile(torch.tensor([0.25, 0.5, 0.75], dtype=torch.float64)).tolist()
        scale = 2 * (third - first)
    link = replace(link, table=table)
    # Rotations preserve mass: without selection the integral differs from 1 by the tables' error alone.
    return found.normalised(), 1.0 if outer.void and inner.keeps_complement else mass, link


def weighed(law: Message, phi: Selection, cells: int) -> tuple[Message, float]:
    """The law under one more potential on its value, and the mean of that potential.

    Raises
    ------
    Impossible
        If less than 1e-12 passes.
    """
    if phi.void:
        return law, 1.0
    if isinstance(law, Point):
        weight = float(phi.of_value(torch.tensor(law.value, dtype=torch.float64)))
    else:
        low, high = max(law.low, phi.support()[0]), min(law.high, phi.support()[1])
        if not low < high:
            raise Impossible
        center = min(max(phi.center, low), high)
        fine = spread_nodes(low, high, center, phi.width / phi.strength, cells)
        nodes = torch.cat([law.nodes[(law.nodes > low) & (law.nodes < high)], fine]).sort().values
        law = Density(nodes, law.at(nodes) * phi.of_value(nodes))
        weight = law.mass()
    if not weight >= LEAST:
        raise Impossible
    return (law if isinstance(law, Point) else law.normalised()), weight


def _both_fixed(x: Point, y: Point, rotation: Rotation, inner: Selection, outer: Selection) -> tuple[Point, float]:
    R, Q = (
        torch.tensor(z, dtype=torch.float64)
        for z in (rotation.alpha * x.value + rotation.beta * y.value, rotation.alpha * y.value - rotation.beta * x.value)
    )
    value = unwarp(R, rotation.tau)
    weight = float(outer.of_value(value) * inner.of_complement(unwarp(Q, rotation.tau)))
    if not weight >= LEAST:
        raise Impossible
    return Point(float(value)), weight


def _end(x: Message, y: Message, rotation: Rotation, side: str) -> float:
    """Smallest or largest R: with |Q| at most q, X = alpha R - beta Q and Y = beta R + alpha Q bound it, too."""
    a, b = (m.value if isinstance(m, Point) else m.low if side == "low" else m.high for m in (x, y))
    alpha, beta, free = rotation.alpha, rotation.beta, rotation.alpha * a + rotation.beta * b
    if side == "low":
        return max(free, (a - beta * rotation.limit) / alpha, (b - alpha * rotation.limit) / beta)
    return min(free, (a + beta * rotation.limit) / alpha, (b + alpha * rotation.limit) / beta)


def _base(x: Message, y: Message, rotation: Rotation, phi: Selection) -> Callable[[Tensor], Tensor]:
    """The density of R before selection of r', one of X and Y being fixed."""
    alpha, beta = rotation.alpha, rotation.beta

    def shifted(R: Tensor) -> Tensor:
        if isinstance(x, Point):
            assert isinstance(y, Density)
            X, Y = torch.full_like(R, x.value), (R - alpha * x.value) / beta
            return y.at(Y) / beta * phi.of_complement(unwarp(alpha * Y - beta * X, rotation.tau))
        assert isinstance(y, Point)
        X, Y = (R - beta * y.value) / alpha, torch.full_like(R, y.value)
        return x.at(X) / alpha * phi.of_complement(unwarp(alpha * Y - beta * X, rotation.tau))

    return shifted
