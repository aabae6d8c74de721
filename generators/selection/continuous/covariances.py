r"""Covariances of all concepts after selection, by quadrature.

In a forest a value shields what is below it from everything else. So with :math:`m_u(r) = E[u \mid r]` for every concept u below r, a link
that splits r' into (r, t) needs two things only, both integrals against its law after selection, :math:`p^*(r') P(Q \mid r')`:

.. math:: m_u(r') = E[m_u(r) \mid r'], \qquad \mathrm{cov}(u, w) = \mathrm{cov}(m_u(r), m_w(t))

for u below r and w below t.

Means of a side are interpolated linearly between the nodes of its table, so that each integral is a matrix, built once per link, whatever
the number of concepts below. The error is of second order in the width of the tables' cells, as that of the sampler.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from generators.selection.continuous.couplings import unwarp
from generators.selection.continuous.graph import Nodes, World
from generators.selection.continuous.laws import TINY, Density, Message, Point
from generators.selection.continuous.links import Link, rows_of, warped
from generators.selection.continuous.marginals import Descent
from generators.selection.continuous.selection import Selection
from testbed.contracts import Setting

ERROR = 1e-3
"""Bound on the error of a covariance, in units of the two standard deviations, at 256 cells; it falls with the square of their number."""


@dataclass(frozen=True)
class Below:
    """What a value tells of the concepts below it, itself included.

    Attributes
    ----------
    means : Tensor, shape (n, c)
        E[u | value] at the nodes of the value's law.
    concepts : list of int
        Numbers of the c concepts, counted level by level.
    """

    means: Tensor
    concepts: list[int]


NOTHING = Below(torch.zeros(0, 0, dtype=torch.float64), [])
"""Below a value that is fixed."""


@dataclass(frozen=True)
class Second:
    """Second moments of a world.

    Attributes
    ----------
    covariance : Tensor, shape (c, c)
        Of all concepts, counted level by level.
    complements : list of Tensor, shape (n_l, s - 1)
        E[e_k^2] of every composite, per level.
    """

    covariance: Tensor
    complements: list[Tensor]


def second_moments(world: World, nodes: Nodes, descent: Descent, forced: Setting) -> Second:
    """Covariances of all concepts after selection.

    Parameters
    ----------
    world : World
    nodes : tuple of tuple of Node
        From `upward`, on the CPU.
    descent : Descent
        From `descend`.
    forced : mapping of (level, concept) to float
        Composites cut off from their tuple.
    """
    sizes, laws = world.forest.sizes, descent.laws
    total = sum(sizes)
    start = [sum(sizes[:level]) for level in range(len(sizes))]
    covariance = torch.zeros(total, total, dtype=torch.float64)
    complements = [torch.zeros(n, len(nodes[level][0].links), dtype=torch.float64) for level, n in enumerate(sizes[:-1])]
    known = [_own(law, start[-1] + j) for j, law in enumerate(laws[-1])]
    for level in reversed(range(len(sizes) - 1)):
        row = []
        for i, lower in enumerate(world.forest.constituents[level].tolist()):
            node = nodes[level][i]
            above = node.own if (level, i) in forced else laws[level][i]
            sides = [_signed(known[j], sign) for j, sign in zip(lower, world.couplings[level][i].signs, strict=True)]
            below, law = sides[0], descent.parts[level][i][0]
            for k, link in enumerate(node.links):
                part, after = descent.parts[level][i][k + 1], descent.after[level][i][k]
                split = _split(link, law, part, after, world.selections[level][i])
                complements[level][i, k] = split.square
                _across(split, below, sides[k + 1], covariance)
                below, law = _onward(split, below, sides[k + 1]), after
            row.append(NOTHING if isinstance(laws[level][i], Point) else _with_itself(below, above, start[level] + i, covariance))
        known = row
    everything = [law for row in laws for law in row]
    variances = [0.0 if isinstance(law, Point) else law.mean_and_deviation()[1] ** 2 for law in everything]
    covariance.diagonal().copy_(torch.tensor(variances, dtype=torch.float64))
    return Second(covariance, complements)


def _own(law: Message, number: int) -> Below:
    return NOTHING if isinstance(law, Point) else Below(law.nodes[:, None], [number])


def _signed(below: Below, sign: float) -> Below:
    return below if sign > 0 or not below.concepts else Below(below.means.flip(0), below.concepts)


def _with_itself(below: Below, law: Message, number: int, covariance: Tensor) -> Below:
    """Add the composite itself to what is below it, and its covariances."""
    assert isinstance(law, Density)
    weight = weights(law)
    value = law.nodes - weight @ law.nodes
    if below.concepts:
        found = (weight * value) @ below.means
        covariance[number, below.concepts] = found
        covariance[below.concepts, number] = found
    return Below(torch.cat([law.nodes[:, None], below.means], dim=1), [number, *below.concepts])


def weights(law: Density) -> Tensor:
    """Probabilities of the nodes that integrate by the trapezoidal rule, shape (n,)."""
    width = law.nodes.diff()
    none = width.new_zeros(1)
    weight = law.values * (torch.cat([width, none]) + torch.cat([none, width])) / 2
    return weight / weight.sum()


@dataclass(frozen=True)
class Split:
    """The law of (r, t) given r' at the nodes of a link's integrals.

    Attributes
    ----------
    weight : Tensor, shape (n,)
        Of the nodes of r'.
    mass : Tensor, shape (n, m)
        Of nodes of Q given r'.
    at_r, at_t : tuple of Tensor, shape (n, m) each, or None
        Cell of the side's table, and place in it; None where the side is fixed.
    square : float
        E[e^2].
    """

    weight: Tensor
    mass: Tensor
    at_r: tuple[Tensor, Tensor] | None
    at_t: tuple[Tensor, Tensor] | None
    square: float


def _split(link: Link, first: Message, second: Message, after: Message, phi: Selection) -> Split:
    tau, alpha, beta = link.rotation.tau, link.rotation.alpha, link.rotation.beta
    R, x, y = warped(after, tau), link.x, link.y
    rows = torch.tensor([R.value], dtype=torch.float64) if isinstance(R, Point) else R.nodes
    weight = torch.ones(1, dtype=torch.float64) if isinstance(after, Point) else weights(after)
    if isinstance(x, Density) and isinstance(y, Density):
        table = link.table
        if table is None or len(table.rows) != len(rows) or not torch.allclose(table.rows, rows, rtol=1e-9, atol=1e-9):
            table = rows_of(rows, link.rotation, x, y, phi)
        low, high = link.rotation.ends(rows, x, y)
        Q = low[:, None] + table.places * (high - low)[:, None]  # (n, m)
        width = torch.nn.functional.pad(Q.diff(dim=1), (1, 1))
        mass = table.values * (width[:, 1:] + width[:, :-1]) / 2
        mass = mass / mass.sum(dim=1, keepdim=True).clamp_min(TINY)
    else:
        if isinstance(x, Point):
            Q = ((rows - alpha * x.value) / beta * alpha - beta * x.value)[:, None]
        else:
            assert isinstance(y, Point)
            Q = (alpha * y.value - beta * (rows - beta * y.value) / alpha)[:, None]
        mass = torch.ones_like(Q)
    X, Y = alpha * rows[:, None] - beta * Q, beta * rows[:, None] + alpha * Q
    square = float(weight @ (mass * unwarp(Q, tau).square()).sum(dim=1))
    return Split(weight, mass, _between(_nodes(first, tau), X), _between(_nodes(second, tau), Y), square)


def _across(split: Split, r: Below, t: Below, covariance: Tensor) -> None:
    """Fill in covariances of concepts below r and concepts below t."""
    if not (r.concepts and t.concepts):
        return
    assert split.at_r is not None
    assert split.at_t is not None
    together = _together(split.at_r, split.at_t, split.weight[:, None] * split.mass, len(r.means), len(t.means))
    mean_r, mean_t = together.sum(dim=1) @ r.means, together.sum(dim=0) @ t.means
    found = (r.means - mean_r).T @ together @ (t.means - mean_t)
    covariance[torch.tensor(r.concepts)[:, None], torch.tensor(t.concepts)] = found
    covariance[torch.tensor(t.concepts)[:, None], torch.tensor(r.concepts)] = found.T


def _onward(split: Split, r: Below, t: Below) -> Below:
    """What r' tells of the concepts below r and t."""
    means = []
    for side, at in ((r, split.at_r), (t, split.at_t)):
        if side.concepts:
            assert at is not None
            means.append(_matrix(at, split.mass, len(side.means)) @ side.means)
    return Below(torch.cat(means, dim=1), [*r.concepts, *t.concepts]) if means else NOTHING


def _nodes(law: Message, tau: float) -> Tensor | None:
    law = warped(law, tau)
    return None if isinstance(law, Point) else law.nodes


def _between(nodes: Tensor | None, values: Tensor) -> tuple[Tensor, Tensor] | None:
    """Cell of each value and its place in it, shapes of `values`."""
    if nodes is None:
        return None
    cell = (torch.searchsorted(nodes, values.contiguous(), right=True) - 1).clamp(0, len(nodes) - 2)
    left, right = nodes[cell], nodes[cell + 1]
    return cell, ((values - left) / (right - left).clamp_min(TINY)).clamp(0, 1)


def _matrix(at: tuple[Tensor, Tensor], mass: Tensor, width: int) -> Tensor:
    """From means at the nodes of a side to means at the rows, shape (n, width)."""
    cell, share = at
    out = torch.zeros(len(mass), width, dtype=torch.float64)
    return out.scatter_add_(1, cell, mass * (1 - share)).scatter_add_(1, cell + 1, mass * share)


def _together(at_x: tuple[Tensor, Tensor], at_y: tuple[Tensor, Tensor], joint: Tensor, n: int, m: int) -> Tensor:
    """The joint law of both sides on the grid of their nodes, shape (n, m)."""
    out = torch.zeros(n * m, dtype=torch.float64)
    (i, a), (j, b) = at_x, at_y
    for up in (0, 1):
        for right in (0, 1):
            part = joint * (a if up else 1 - a) * (b if right else 1 - b)
            out.index_add_(0, ((i + up) * m + j + right).flatten(), part.flatten())
    return out.reshape(n, m)
