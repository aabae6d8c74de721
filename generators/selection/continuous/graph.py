"""Forests of continuous concepts: their potentials, and the messages that composites receive from below."""

from __future__ import annotations

from collections.abc import Callable, Hashable, Mapping
from dataclasses import dataclass, replace
from typing import TypeAlias

import torch

from generators.selection.continuous.couplings import Coupling
from generators.selection.continuous.laws import Density, Message, Point
from generators.selection.continuous.links import LEAST, Impossible, Link, Rotation, join, weighed
from generators.selection.continuous.selection import FREE, Selection
from generators.selection.forest import Forest
from testbed.contracts import InvalidInput, Setting


@dataclass(frozen=True)
class World:
    """What a drawn hierarchy is before any data: graph, couplings, base law and potentials.

    Attributes
    ----------
    forest : Forest
    couplings : tuple of tuple of Coupling
        Per level of composites, one each.
    base : Density
        Of every leaf.
    selections : tuple of tuple of Selection
        Per level of composites, one each, in units of v.
    cells : int
        Resolution of tables.
    root_selections : tuple of Selection
        phi_S, one factor per concept of level 0, in units of v; empty for phi_S = 1.
    """

    forest: Forest
    couplings: tuple[tuple[Coupling, ...], ...]
    base: Density
    selections: tuple[tuple[Selection, ...], ...]
    cells: int
    root_selections: tuple[Selection, ...] = ()


@dataclass(frozen=True)
class Node:
    """What is known of a concept from below.

    Attributes
    ----------
    own : Density or Point
        Its law given everything below it: what its tuple is drawn from.
    up : Density or Point
        The same as its composite sees it: a Point where the value is forced or conditioned on.
    links : tuple of Link
        Empty for a leaf.
    acceptance : float
        Mean of its potential, given that everything below is selected.
    root_acceptance : float
        Of a concept of level 0, mean of its factor of phi_S, given that everything else is selected.
    """

    own: Message
    up: Message
    links: tuple[Link, ...] = ()
    acceptance: float = 1.0
    root_acceptance: float = 1.0


Nodes: TypeAlias = tuple[tuple[Node, ...], ...]

Potential: TypeAlias = Callable[[int, int, list[Message]], Selection]
"""phi of concept i of a level, whose constituents have these laws."""


RootPotential: TypeAlias = Callable[[int, Message], Selection]
"""phi_S of concept i of level 0, which has this law given all else that is selected."""


def establish(
    forest: Forest,
    couplings: tuple[tuple[Coupling, ...], ...],
    base: Density,
    relative: tuple[Selection, ...],
    cells: int,
    root: Selection = FREE,
) -> tuple[World, Nodes]:
    """Fix potentials in units of v, given in standard deviations from the mean that v has when all below it is selected and it is not.

    Parameters
    ----------
    forest : Forest
    couplings : tuple of tuple of Coupling
    base : Density
    relative : tuple of Selection
        One per level of composites; `center`, `width` and `agreement` in standard deviations of v.
    cells : int
    root : Selection
        phi_S of every concept of level 0, in standard deviations from the mean that it has when all else is selected.

    Returns
    -------
    World
    tuple of tuple of Node

    Raises
    ------
    InvalidInput
        If less than 1e-12 passes a selection.
    """
    selections: list[list[Selection]] = [[] for _ in relative]
    memo: dict[Hashable, tuple[float, float]] = {}

    def potential(level: int, i: int, children: list[Message]) -> Selection:
        key = (couplings[level][i], *map(id, children))
        if key not in memo:
            free = _composite(couplings[level][i], children, FREE, FREE, cells).own
            assert isinstance(free, Density)
            memo[key] = free.mean_and_deviation()
        selections[level].append(relative[level].rescaled(*memo[key]))
        return selections[level][i]

    roots: list[Selection] = []

    def root_potential(i: int, law: Message) -> Selection:
        assert isinstance(law, Density)
        roots.append(root.rescaled(*law.mean_and_deviation()))
        return roots[i]

    world = World(forest, couplings, base, (), cells)
    nodes = upward(world, {}, {}, potential, None if root.void else root_potential)
    return replace(world, selections=tuple(map(tuple, selections)), root_selections=tuple(roots)), nodes


def upward(
    world: World, forced: Setting, given: Setting, potential: Potential | None = None, root_potential: RootPotential | None = None
) -> Nodes:
    """Messages of every concept, level by level.

    Parameters
    ----------
    world : World
    forced : mapping of (level, concept) to float
        Set in the base law, before selection: a composite is cut off from its tuple.
    given : mapping of (level, concept) to float
        Conditioned on.
    potential, root_potential : callable or None
        The world's own selections, if None.

    Raises
    ------
    InvalidInput
        If constituents are shared, less than 1e-12 passes a selection, or a given value is impossible.
    """
    if world.forest.shared:
        raise InvalidInput(
            "constituents of real concepts cannot be shared, since messages are exact in forests only: give every concept one composite, "
            "or take the discrete or the sparse family"
        )
    last = len(world.forest.sizes) - 1
    memo: dict[Hashable, Node] = {}

    def settled(node: Node, level: int, i: int) -> Node:
        if (level, i) in forced:
            node = replace(node, up=Point(float(forced[level, i])))
        if level == 0 and (root_potential or world.root_selections):
            node = _of_root(node, root_potential(i, node.up) if root_potential else world.root_selections[i], i, world.cells)
        return _given(node, (level, i), given)

    nodes: list[tuple[Node, ...]] = [tuple(settled(Node(world.base, world.base), last, j) for j in range(world.forest.sizes[last]))]
    for level in reversed(range(last)):
        row = []
        for i, lower in enumerate(world.forest.constituents[level].tolist()):
            place = (level, i)
            children = [nodes[0][j].up for j in lower]
            coupling = world.couplings[level][i]
            phi = potential(level, i, children) if potential else world.selections[level][i]
            outer = FREE if place in forced else phi  # a forced value is weighed itself, not the value that the tuple would give
            key = (coupling, phi, outer, *(m if isinstance(m, Point) else id(m) for m in children))
            if key not in memo:
                try:
                    memo[key] = _composite(coupling, children, phi, outer, world.cells)
                except Impossible:
                    raise InvalidInput(
                        f"the selection of concept {i} of level {level} is impossible, or passes less than {LEAST:g} of its base law: move "
                        "center towards it, widen width or agreement, or lower strength"
                    ) from None
            node = memo[key]
            if place in forced:
                node = replace(node, acceptance=node.acceptance * _weight(phi, forced[place], place))
            row.append(settled(node, level, i))
        nodes.insert(0, tuple(row))
    return tuple(nodes)


def _composite(coupling: Coupling, children: list[Message], phi: Selection, outer: Selection, cells: int) -> Node:
    signed = [_signed(m, sign) for m, sign in zip(children, coupling.signs, strict=True)]
    message, total, links = signed[0], 1.0, []
    for k, (angle, tau) in enumerate(zip(coupling.angles, coupling.strengths, strict=True)):
        at_end = k == len(coupling.angles) - 1
        message, mass, link = join(message, signed[k + 1], Rotation(angle, tau), phi, outer if at_end else FREE, cells)
        total *= mass
        links.append(link)
    return Node(message, message, tuple(links), total)


def _signed(message: Message, sign: float) -> Message:
    if sign > 0:
        return message
    return Point(-message.value) if isinstance(message, Point) else message.reflected()


def _weight(phi: Selection, value: float, place: tuple[int, int]) -> float:
    weight = float(phi.of_value(torch.tensor(value, dtype=torch.float64)))
    if not weight >= LEAST:
        raise InvalidInput(
            f"concept {place[1]} of level {place[0]} is set to {value}, which its selection excludes: set a value that it allows"
        )
    return weight


def _of_root(node: Node, phi: Selection, i: int, cells: int) -> Node:
    """A node of level 0 under its factor of phi_S, which does not touch the law of its tuple given its value."""
    try:
        up, weight = weighed(node.up, phi, cells)
    except Impossible:
        raise InvalidInput(
            f"phi_S of concept {i} of level 0 is impossible, or passes less than {LEAST:g} of what is left: move root_center towards it, "
            "widen root_width, or force another value"
        ) from None
    return replace(node, up=up, root_acceptance=weight)


def _given(node: Node, place: tuple[int, int], given: Setting) -> Node:
    """The node as it is seen from above once given values are known."""
    if place not in given:
        return node
    value, seen = float(given[place]), node.up
    if isinstance(seen, Point):
        possible = abs(seen.value - value) <= 1e-6 * (1 + abs(value))
    else:
        possible = seen.low <= value <= seen.high and float(seen.at(torch.tensor([value], dtype=torch.float64))) > 0
    if not possible:
        wanted = f"is {seen.value:g} for certain" if isinstance(seen, Point) else f"lies in [{seen.low:.4g}, {seen.high:.4g}]"
        raise InvalidInput(f"concept {place[1]} of level {place[0]} cannot be {value}: it {wanted}; condition on a value that can occur")
    return replace(node, up=Point(value))


def on_device(nodes: Nodes, device: str) -> Nodes:
    """The same messages on a device; nodes that share tables go on sharing them."""
    links: dict[int, tuple[Link, ...]] = {}
    laws: dict[int, Message] = {}

    def moved(message: Message) -> Message:
        return laws.setdefault(id(message), message if isinstance(message, Point) else message.to(device))

    def move(node: Node) -> Node:
        if id(node.links) not in links:
            links[id(node.links)] = tuple(link.to(device) for link in node.links)
        return replace(node, own=moved(node.own), up=moved(node.up), links=links[id(node.links)])

    return tuple(tuple(move(node) for node in level) for level in nodes)


def checked(setting: Mapping[tuple[int, int], float], sizes: tuple[int, ...]) -> dict[tuple[int, int], float]:
    """The setting with plain numbers.

    Raises
    ------
    InvalidInput
        If it names a concept that there is not, or a value that is not a finite number.
    """
    out = {}
    for place, value in setting.items():
        level, i = place
        if not (0 <= level < len(sizes) and 0 <= i < sizes[level]):
            raise InvalidInput(f"there is no concept {i} of level {level}: levels have {list(sizes)} concepts, counted from 0")
        if not float("-inf") < float(value) < float("inf"):
            raise InvalidInput(f"concept {i} of level {level} can be set to a finite number, not {value}")
        out[int(level), int(i)] = float(value)
    return out
