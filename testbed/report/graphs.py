"""True and found graphs side by side: levels as rows, wrong edges marked."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from markupsafe import Markup

from testbed.report.hierarchy import placed
from testbed.report.text import number
from testbed.results import Results

WIDTH, ROW, MARGIN, RADIUS = 460.0, 84.0, 22.0, 4.0
BUDGET = 6000
"""Edges that the page draws in all, about 0.8 MB; graphs beyond it are named instead of shown."""

Edge = tuple[int, int]


@dataclass(frozen=True)
class Drawn:
    """One found graph beside the true one.

    Attributes
    ----------
    name : str
        Estimator, and instance where it is not the first.
    score : str
    counts : tuple of (str, str, int)
        Class in the drawing, what it means, how many edges.
    true, found : Markup
        SVG elements.
    """

    name: str
    score: str
    counts: tuple[tuple[str, str, int], ...]
    true: Markup
    found: Markup


@dataclass(frozen=True)
class Graphs:
    """The graphs of one generator, and those that there was no room for."""

    generator: str
    drawn: tuple[Drawn, ...]
    left_out: tuple[str, ...]


MEANINGS = {
    "hit": "found",
    "loose": "found, direction left open",
    "turned": "found the wrong way round",
    "missing": "missing",
    "false": "false",
}


def graphs(results: Results) -> list[Graphs]:
    """For each generator and estimator the graph of the first instance (and fit seed) that has one in `results.details`."""
    first: dict[tuple[str, str, str], dict[str, Any]] = {}
    for entry in results.details:
        if isinstance(entry["details"].get("graph"), Mapping):
            key = (entry["generator"], entry["estimator"], entry["evaluator"])
            if key not in first or _order(entry) < _order(first[key]):
                first[key] = entry
    several = len({key[2] for key in first}) > 1
    heads = results.scores[results.scores["part"] == ""]
    names = zip(*(heads[column] for column in ("generator", "estimator", "evaluator", "instance")), strict=True)
    scores = dict(zip(names, heads["value"].astype(float), strict=True))
    shown: dict[str, list[Drawn]] = {}
    left_out: dict[str, list[str]] = {}
    used = 0
    for (generator, estimator, evaluator), entry in first.items():
        graph = entry["details"]["graph"]
        name = estimator + (f" · instance {entry['instance']}" if entry["instance"] else "") + (f" · {evaluator}" if several else "")
        size = 2 * len(graph["edges"]) + len(graph["found"])
        if used and used + size > BUDGET:
            left_out.setdefault(generator, []).append(name)
            continue
        used += size
        score = number(scores.get((generator, estimator, evaluator, entry["instance"])))
        shown.setdefault(generator, []).append(draw(graph, name, score))
    return [Graphs(g, tuple(shown.get(g, ())), tuple(left_out.get(g, ()))) for g in dict.fromkeys([*shown, *left_out])]


def _order(entry: Mapping[str, Any]) -> tuple[int, int]:
    return int(entry["instance"]), int(entry["fit_seed"] or 0)


def draw(graph: Mapping[str, Any], name: str = "", score: str = "") -> Drawn:
    """Draw a pair.

    Parameters
    ----------
    graph : mapping
        ``levels`` of each concept, ``edges`` from constituent to composite, whether each concept is ``matched`` to a code; ``found`` edges
        between concepts, and between codes that are none, whose levels are ``strangers``.
    """
    levels = {i: int(level) for i, level in enumerate(graph["levels"])}
    strangers = {int(node): int(level) for node, level in graph["strangers"].items()}
    true = {(int(i), int(j)) for i, j in graph["edges"]}
    kinds = classified(true, {(int(i), int(j)) for i, j in graph["found"]})
    place = _places(levels, strangers, true)
    rows = 1 + max([*levels.values(), *strangers.values()])
    counts = {kind: sum(1 for found in kinds.values() if found == kind) for kind in MEANINGS}
    right = sum(counts[kind] for kind in ("hit", "loose"))
    label = f"{name}: {right} of {len(true)} edges found, {counts['false']} false"
    found_nodes = {**{i: "" if has else "absent" for i, has in enumerate(graph["matched"])}, **dict.fromkeys(strangers, "stranger")}
    return Drawn(
        name,
        score,
        tuple((kind, meaning, counts[kind]) for kind, meaning in MEANINGS.items() if counts[kind]),
        _svg(rows, place, dict.fromkeys(levels, ""), [(edge, "hit") for edge in sorted(true)], "The true graph"),
        _svg(rows, place, found_nodes, sorted(kinds.items(), key=lambda item: list(MEANINGS).index(item[1])), label),
    )


def classified(true: set[Edge], found: set[Edge]) -> dict[Edge, str]:
    """What each edge that is there or should be is: a key of `MEANINGS`. Edges without direction are found both ways and counted once."""
    kinds: dict[Edge, str] = {}
    for i, j in sorted(found):
        both = (j, i) in found
        if (i, j) in true:
            kinds[i, j] = "loose" if both and (j, i) not in true else "hit"
        elif (j, i) in true:
            if not both:
                kinds[j, i] = "turned"
        elif not both or i < j:
            kinds[i, j] = "false"
    return kinds | {edge: "missing" for edge in true if edge not in kinds}


def _places(levels: Mapping[int, int], strangers: Mapping[int, int], true: set[Edge]) -> dict[int, tuple[float, float]]:
    """Where each node stands: those of one composite together, strangers at the end of their row."""
    sizes = [sum(1 for level in levels.values() if level == row) for row in range(1 + max(levels.values()))]
    nodes = [[i for i, level in levels.items() if level == row] for row in range(len(sizes))]
    number_of = {node: k for row in nodes for k, node in enumerate(row)}
    below: dict[int, list[list[int]]] = {row: [[] for _ in nodes[row]] for row in range(len(nodes))}
    for i, j in sorted(true):
        if levels[i] == levels[j] + 1:
            below[levels[j]][number_of[j]].append(number_of[i])
    rows: dict[int, list[int]] = {row: [nodes[row][k] for k in order] for row, order in enumerate(placed(below, sizes))}
    for node, level in strangers.items():
        rows.setdefault(level, []).append(node)
    return {
        node: (MARGIN + (WIDTH - 2 * MARGIN) * (k + 0.5) / len(row), MARGIN + ROW * level)
        for level, row in rows.items()
        for k, node in enumerate(row)
    }


def _svg(
    rows: int, place: Mapping[int, tuple[float, float]], nodes: Mapping[int, str], edges: Iterable[tuple[Edge, str]], label: str
) -> Markup:
    height = 2 * MARGIN + ROW * (rows - 1)
    parts = [f'<svg class="graph" viewBox="0 0 {WIDTH:g} {height:g}" role="img" aria-label="{escape(label)}">']
    parts += [f'<path class="{kind}" d="{_path(place[i], place[j])}"/>' for (i, j), kind in edges]
    parts += [
        f'<circle class="{kind or "node"}" cx="{place[node][0]:.1f}" cy="{place[node][1]:.1f}" r="{RADIUS:g}"/>'
        for node, kind in nodes.items()
    ]
    return Markup("".join([*parts, "</svg>"]))  # numbers, and a label that is escaped


def _path(a: Sequence[float], b: Sequence[float]) -> str:
    """A straight line; an arc where both ends are in one row."""
    if a[1] != b[1]:
        return f"M{a[0]:.1f} {a[1]:.1f}L{b[0]:.1f} {b[1]:.1f}"
    lift = min(0.35 * ROW, 8 + 0.2 * abs(a[0] - b[0]))
    return f"M{a[0]:.1f} {a[1]:.1f}Q{(a[0] + b[0]) / 2:.1f} {a[1] + lift:.1f} {b[0]:.1f} {b[1]:.1f}"
