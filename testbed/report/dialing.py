"""Margins of assumptions against the dial that is turned: what `evaluators.theory.dial_margins` left for the reader."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from testbed.report.text import brief

COLOURS = 6


def dialing(details: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, int, dict[str, Any]]]:
    """One figure of a generator's details, if any holds a dial: title, note, height and specification.

    Every margin is divided by its largest size over amounts and instances, since units differ.
    """
    sweeps = [(entry, entry["details"]["dial"]) for entry in details if isinstance(entry["details"].get("dial"), Mapping)]
    sweeps = [(entry, dial) for entry, dial in sweeps if entry["estimator"] == sweeps[0][0]["estimator"]]
    if not sweeps:
        return
    names = list(dict.fromkeys(name for _, dial in sweeps for name in dial["margins"]))
    broken = [name for name in names if name in sweeps[0][1]["breaks"]]
    outside = [name for name in names if name in sweeps[0][1]["outside"]]
    related = [name for name in names if name not in (*broken, *outside)]
    data: list[dict[str, Any]] = []
    for kind, members, dash, width in (
        ("broken", broken, "solid", 3.0),
        ("related", related, "dot", 1.2),
        ("others", outside, "dash", 1.2),
    ):
        for number, name in enumerate(members):
            colour = f"@series{number % COLOURS}" if kind == "broken" else "@accent" if kind == "related" else "@muted"
            found = [v for _, dial in sweeps for v in dial["margins"].get(name, []) if v is not None]
            largest = max(map(abs, found)) or 1.0
            for first, (entry, dial) in enumerate(sweeps):
                if name not in dial["margins"]:
                    continue
                data.append(
                    {
                        "type": "scatter",
                        "mode": "lines+markers" if kind == "broken" else "lines",
                        "name": escape(name if kind == "broken" else kind),
                        "legendgroup": escape(name if kind == "broken" else kind),
                        "showlegend": first == 0 and (kind == "broken" or number == 0),
                        "x": dial["amounts"],
                        "y": [None if v is None else brief(v / largest) for v in dial["margins"][name]],
                        "customdata": dial["margins"][name],
                        "line": {"color": colour, "width": width, "dash": dash},
                        "opacity": 0.8,
                        "hovertemplate": f"{escape(name)}, instance {entry['instance']}<br>at %{{x}}: %{{customdata:.4g}}<extra></extra>",
                    }
                )
    layout = {"xaxis": {"title": {"text": "amount of the dial"}}, "yaxis": {"title": {"text": "margin / largest"}}, "showlegend": True}
    note = (
        "One line per assumption and instance; above 0 it holds. Solid: what the dial breaks. Dotted: what speaks of the same arrays. "
        "Dashed: all others, which must lie flat."
    )
    yield "margins against the dial", note, 340, {"data": data, "layout": layout}
