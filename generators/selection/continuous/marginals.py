r"""The law of every concept after selection, by messages downward.

With :math:`p^*` a law after selection and b a link's message before it, the tuple's law is weighed by
:math:`w(R) = p^*(R) / b(R)`, so that

.. math:: p^*(X) = p_X(X) \int p_Y(Y)\, h_e(Q)\, w(\alpha X + \beta Y)\, dY,

and likewise for Y. Nodes of the integral are those Y at which Y or R passes a node of its own table.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from generators.selection.continuous.couplings import slope, unwarp
from generators.selection.continuous.graph import Node, Nodes, World
from generators.selection.continuous.laws import TINY, Density, Message, Point, ascending
from generators.selection.continuous.links import Link, Rotation, rows_of, warped
from generators.selection.continuous.selection import Selection
from testbed.contracts import Setting


@dataclass(frozen=True)
class Descent:
    """Laws after selection, from the top down.

    Attributes
    ----------
    laws : list of list of Density or Point
        Of each concept, level by level.
    parts, after : list of list of list of Density or Point
        Per level and composite: of its signed constituents, first to last; and of r' after each of its links.
    """

    laws: list[list[Message]]
    parts: list[list[list[Message]]]
    after: list[list[list[Message]]]


def descend(world: World, nodes: Nodes, forced: Setting) -> Descent:
    """The law of each concept after selection, level by level, and of what links pass on.

    Parameters
    ----------
    world : World
    nodes : tuple of tuple of Node
        From `upward`.
    forced : mapping of (level, concept) to float
        Composites cut off from their tuple.
    """
    forest = world.forest
    found = Descent([[node.up for node in row] for row in nodes], [], [])  # true of roots
    for level, constituents in enumerate(forest.constituents):
        found.parts.append([])
        found.after.append([])
        for i, lower in enumerate(constituents.tolist()):
            node, coupling = nodes[level][i], world.couplings[level][i]
            above = node.own if (level, i) in forced else found.laws[level][i]
            parts, after = _tuple_laws(node, above, world.selections[level][i])
            found.parts[level].append(parts)
            found.after[level].append(after)
            for j, part, sign in zip(lower, parts, coupling.signs, strict=True):
                found.laws[level + 1][j] = part if sign > 0 else Point(-part.value) if isinstance(part, Point) else part.reflected()
    return found


def moments(law: Message) -> tuple[float, float]:
    """Mean and standard deviation."""
    return (law.value, 0.0) if isinstance(law, Point) else law.mean_and_deviation()


def _tuple_laws(node: Node, above: Message, phi: Selection) -> tuple[list[Message], list[Message]]:
    """Laws of the signed constituents, first to last, given the composite's law; and of r' after each link, the last being `above`."""
    parts: list[Message] = []
    after: list[Message] = []
    for link in reversed(node.links):
        after.insert(0, above)
        above, part = _parts(link, above, phi)
        parts.insert(0, part)
    return [above, *parts], after


def _parts(link: Link, after: Message, phi: Selection) -> tuple[Message, Message]:
    """Laws of r and t given that of r'."""
    rotation, R, x, y = link.rotation, warped(after, link.rotation.tau), link.x, link.y
    alpha, beta, tau = rotation.alpha, rotation.beta, rotation.tau
    if isinstance(x, Point):
        return _unwarped(x, tau), _unwarped(y if isinstance(y, Point) else _shifted(R, alpha * x.value, beta), tau)
    if isinstance(y, Point):
        return _unwarped(_shifted(R, beta * y.value, alpha), tau), _unwarped(y, tau)
    if isinstance(R, Point):
        line = rows_of(torch.tensor([R.value], dtype=torch.float64), rotation, x, y, phi)
        low, high = (end[0] for end in rotation.ends(line.rows, x, y))
        Q, P = low + line.places[0] * (high - low), line.values[0]
        first, second = Density((alpha * R.value - beta * Q).flip(0), P.flip(0)), Density(beta * R.value + alpha * Q, P)
        return _unwarped(first.normalised(), tau), _unwarped(second.normalised(), tau)
    assert link.table is not None
    base = Density(link.table.rows, link.table.weight).at(R.nodes)
    weight = Density(R.nodes, torch.where(base > 0, R.values / base.clamp_min(TINY), 0.0))
    first = _weighed(x, y, weight, alpha, beta, -beta, alpha, phi, rotation)
    second = _weighed(y, x, weight, beta, alpha, alpha, -beta, phi, rotation)
    return _unwarped(first, tau), _unwarped(second, tau)


def _weighed(
    x: Density, y: Density, weight: Density, a: float, b: float, c: float, d: float, phi: Selection, rotation: Rotation
) -> Density:
    """p_X(X) times the integral of p_Y(Y) h_e(Q) w(R) over Y, with R = aX + bY and Q = cX + dY; a, b > 0."""
    X = x.nodes[:, None]
    low = ((weight.low - a * X) / b).clamp_min(y.low)
    high = ((weight.high - a * X) / b).clamp_max(y.high)
    if math.isfinite(rotation.limit):
        ends = torch.cat([(-rotation.limit - c * X) / d, (rotation.limit - c * X) / d], dim=1).sort(dim=1).values
        low, high = torch.maximum(low, ends[:, :1]), torch.minimum(high, ends[:, 1:])
    high = torch.maximum(low, high)
    Y = torch.cat([y.nodes.expand(len(X), -1), (weight.nodes - a * X) / b], dim=1)
    Y = ascending(torch.maximum(low, torch.minimum(Y, high)))  # an empty line has all its nodes at `low`
    values = y.at(Y) * weight.at(a * X + b * Y) * phi.of_complement(unwarp(c * X + d * Y, rotation.tau))
    return Density(x.nodes, x.values * ((values[:, 1:] + values[:, :-1]) / 2 * Y.diff(dim=1)).sum(dim=1)).normalised()


def _shifted(R: Message, offset: float, factor: float) -> Message:
    """The law of (R - offset) / factor."""
    if isinstance(R, Point):
        return Point((R.value - offset) / factor)
    return Density((R.nodes - offset) / factor, R.values * factor)


def _unwarped(law: Message, tau: float) -> Message:
    """The law of z, for W(z) with this law."""
    if isinstance(law, Point):
        return Point(float(unwarp(torch.tensor(law.value, dtype=torch.float64), tau)))
    nodes = unwarp(law.nodes, tau)
    return Density(nodes, law.values * slope(nodes, tau))
