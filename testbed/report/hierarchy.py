"""A hierarchy as a picture: levels as rows, abstract above, an edge from each constituent to what is composed of it."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from html import escape

from testbed.contracts import Truth

WIDTH, ROW, MARGIN, LABEL = 880.0, 92.0, 26.0, 86.0
SMALLEST, LARGEST = 3.0, 11.0


def hierarchy_svg(truth: Truth, title: str = "") -> str:
    """Draw the true graph of an instance.

    Parameters
    ----------
    truth : Truth
    title : str
        For readers who do not see the picture.

    Returns
    -------
    str
        An SVG element in the colour of the text around it. A node's area grows with how often its concept is on, where that is known.
    """
    order = placed(truth.constituents, [level.size for level in truth.levels])
    height = 2 * MARGIN + ROW * (len(order) - 1)
    place = {
        (level, concept): (LABEL + (WIDTH - LABEL - MARGIN) * (i + 0.5) / len(row), MARGIN + ROW * level)
        for level, row in enumerate(order)
        for i, concept in enumerate(row)
    }
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH:g} {height:g}" role="img" fill="currentColor" font-size="13" '
        f'font-family="system-ui, sans-serif"><title>{escape(title or "hierarchy")}</title>'
    ]
    for level, composites in truth.constituents.items():
        for concept, below in enumerate(composites):
            x, y = place[level, concept]
            for constituent in below:
                u, v = place[level + 1, constituent]
                parts.append(f'<line x1="{u:.1f}" y1="{v:.1f}" x2="{x:.1f}" y2="{y:.1f}" stroke="currentColor" stroke-opacity="0.35"/>')
    for (level, concept), (x, y) in place.items():
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="{_radius(truth, level, concept):.1f}"/>')
    for level in range(len(order)):
        parts.append(f'<text x="0" y="{MARGIN + ROW * level + 4:.1f}">level {level}</text>')
    return "".join([*parts, "</svg>"])


def placed(constituents: Mapping[int, Sequence[Sequence[int]]], sizes: Sequence[int]) -> list[list[int]]:
    """Order of the concepts of each level in which those of one composite stand together, free ones last."""
    order = [list(range(sizes[0]))]
    for level in range(len(sizes) - 1):
        above = constituents.get(level, ())
        first = [c for concept in order[level] if concept < len(above) for c in above[concept]]
        seen = dict.fromkeys([*first, *range(sizes[level + 1])])
        order.append(list(seen))
    return order


def _radius(truth: Truth, level: int, concept: int) -> float:
    rates = truth.rates.get(level)
    if rates is None:
        return (SMALLEST + LARGEST) / 2
    largest = max(float(r.max()) for r in truth.rates.values())
    return SMALLEST + (LARGEST - SMALLEST) * math.sqrt(float(rates[concept]) / largest)
