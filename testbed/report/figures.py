"""Figures as plotly specifications: plain dictionaries, so that no plotting library is loaded to write a page.

Colours are names that begin with ``@``: the page's script puts the theme's colours in their place, and again when the theme changes.
Text in a figure is escaped here, since plotly reads a little HTML in it.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from typing import Any

from testbed.report.critical_difference import ranking
from testbed.report.curves import curves
from testbed.report.dialing import dialing
from testbed.report.tables import Standing, main_score
from testbed.report.text import brief, number, script_json
from testbed.results import Results

BUDGET = 600_000
"""Characters of figure data that a page holds; figures beyond it are left out, and the page says so."""

RECOVERY = ("decoder_mcc", "activation_mcc")
MARKS = {"chance": ("@muted", "4px,3px"), "ceiling": ("@ink", "solid")}
FLOORS = (("dotted", "dot"), ("dash-dotted", "dashdot"), ("long dashes", "longdash"))

Series = Mapping[str, Mapping[int, float]]


@dataclass(frozen=True)
class Figure:
    """One figure: its place in the page, its words, and its data."""

    id: str
    title: str
    note: str
    height: int
    spec: Mapping[str, Any]


@dataclass(frozen=True)
class Gallery:
    """The figures of one generator, the evaluators whose figure would be empty, and how many figures there was no room for.

    `unranked` says why there is no critical-difference diagram, where there is none.
    """

    generator: str
    figures: tuple[Figure, ...]
    flat: tuple[str, ...]
    left_out: int
    unranked: str = ""


def galleries(results: Results, found: Standing) -> list[Gallery]:
    """Figures of every generator that has something to draw, until the budget is spent."""
    out: list[Gallery] = []
    used, count = 0, 0
    for use in results.run["generators"]:
        generator, left_out = use["label"], 0
        kept: list[Figure] = []
        flat: list[str] = []
        unranked: list[str] = []
        for title, note, height, spec in _drawn(results, found, generator, flat, unranked):
            size = len(script_json(spec))
            if used + size > BUDGET:
                left_out += 1
                continue
            used, count = used + size, count + 1
            kept.append(Figure(f"figure-{count}", title, note, height, spec))
        if kept or flat or left_out:
            out.append(Gallery(generator, tuple(kept), tuple(flat), left_out, "".join(unranked)))
    return out


def _drawn(
    results: Results, found: Standing, generator: str, flat: list[str], unranked: list[str]
) -> Iterator[tuple[str, str, int, dict[str, Any]]]:
    """Title, note, height and specification of each figure.

    Names of evaluators with nothing to see go to `flat`, and why there is no critical-difference diagram to `unranked`.
    """
    oracles = {key[2] for (key, _), row in found.rows.items() if row["needs_truth"]}
    for use in results.run["evaluators"]:
        label = use["label"]
        ranked = [key[2] for key, part in found.rows if key[:2] == (generator, label) and part == ""]
        if not ranked or found.rows[(generator, label, ranked[0]), ""]["direction"] == "none":
            continue
        values = [v for estimator in ranked for v in found.values[generator, label, estimator].values()]
        if max(values) - min(values) <= 1e-9 * max(1.0, max(map(abs, values))):
            flat.append(f"{label} (every value is {number(values[0])})")
            continue
        direction = found.rows[(generator, label, ranked[0]), ""]["direction"]
        ranked.sort(key=lambda estimator: estimator in oracles)
        floors = dict.fromkeys(name for e in ranked for name in found.floors.get(((generator, label, e), ""), {}))
        note = f"{direction.capitalize()} is better." + (" Floors: " if floors else "")
        note += ", ".join(f"{name} ({FLOORS[i % 3][0]})" for i, name in enumerate(floors))
        yield label, note, 64 + 38 * len(ranked), _dots(found, generator, label, ranked, oracles)
    uses = {entry["label"]: entry["name"] for entry in results.run["suite"]["evaluator"]}
    explained = [label for label, name in uses.items() if "explained_variance" in (label, name)]
    recovery = [label for label, name in uses.items() if label in RECOVERY or name in RECOVERY]
    for x in explained:
        for y in recovery:
            across, up = _series(found, generator, x), _series(found, generator, y)
            if len(across.keys() & up.keys()) > 2:
                note = "If explained variance told how much is recovered, points would rise from left to right."
                yield f"{y} against {x}", note, 360, _scatter(across, up, x, y, oracles)
    yield from dialing([entry for entry in results.details if entry["generator"] == generator])
    yield from curves([fit for fit in results.fits if fit["generator"] == generator])
    lead = main_score(results, found.rows, generator)
    if lead is not None:
        rivals = {name: values for name, values in _series(found, generator, lead).items() if name not in oracles}
        directions = {row["direction"] for (key, part), row in found.rows.items() if key[:2] == (generator, lead) and part == ""}
        diagram = ranking(rivals, lead, directions.pop())
        if isinstance(diagram, str):
            unranked.append(diagram)
        else:
            yield diagram
    spent = _seconds(results, generator)
    if lead is not None and len(spent.keys() & _series(found, generator, lead).keys()) > 2:
        note = "Seconds of one fit, on the machine named under Provenance."
        against = _scatter(spent, _series(found, generator, lead), "fit seconds", lead, oracles, log=True)
        yield f"{lead} against fitting time", note, 360, against


def _series(found: Standing, generator: str, evaluator: str) -> dict[str, Mapping[int, float]]:
    return {key[2]: values for key, values in found.values.items() if key[:2] == (generator, evaluator)}


def _seconds(results: Results, generator: str) -> dict[str, dict[int, float]]:
    """Mean seconds of a fit by estimator and instance."""
    found: dict[str, dict[int, list[float]]] = {}
    for fit in results.fits:
        if fit["generator"] == generator:
            found.setdefault(fit["estimator"], {}).setdefault(fit["instance"], []).append(fit["seconds"])
    return {e: {i: max(sum(s) / len(s), 1e-4) for i, s in by.items()} for e, by in found.items()}


def _dots(found: Standing, generator: str, evaluator: str, ranked: Sequence[str], oracles: set[str]) -> dict[str, Any]:
    """One row per estimator: each instance a small dot, their mean with its interval, and the levels the score stands between."""
    place = {estimator: len(ranked) - 1 - i for i, estimator in enumerate(ranked)}
    rows = {estimator: found.rows[(generator, evaluator, estimator), ""] for estimator in ranked}
    data = [_level(name, {e: float(row[name]) for e, row in rows.items()}, place, *style) for name, style in MARKS.items()]
    floors = {e: found.floors.get(((generator, evaluator, e), ""), {}) for e in ranked}
    for i, name in enumerate(dict.fromkeys(name for each in floors.values() for name in each)):
        level = {e: each[name] for e, each in floors.items() if name in each}
        data.append(_level(f"floor: {escape(name)}", level, place, "@accent", FLOORS[i % 3][1]))
    points = [(e, i, v) for e in ranked for i, v in sorted(found.values[generator, evaluator, e].items())]
    data.append(
        {
            "type": "scatter",
            "mode": "markers",
            "x": [brief(v) for _, _, v in points],
            "y": [place[e] - 0.24 for e, _, _ in points],
            "text": [f"{escape(e)}, instance {i}" for e, i, _ in points],
            "hovertemplate": "%{text}<br>%{x:.4g}<extra></extra>",
            "marker": {"color": "@muted", "size": 5, "opacity": 0.75},
            "showlegend": False,
        }
    )
    for hollow in (False, True):
        own = [e for e in ranked if (e in oracles) == hollow]
        data.append(_means([rows[e] for e in own], [place[e] for e in own], hollow))
    ticks = [escape(_short(e)) for e in ranked]
    axis = {"tickvals": list(place.values()), "ticktext": ticks, "range": [-0.6, len(ranked) - 0.4], "showgrid": False, "zeroline": False}
    return {"data": [trace for trace in data if trace["x"]], "layout": {"yaxis": axis, "xaxis": {"title": {"text": escape(evaluator)}}}}


def _means(rows: Sequence[Mapping[str, Any]], places: Sequence[float], hollow: bool) -> dict[str, Any]:
    half = [(row["high"] - row["mean"], row["mean"] - row["low"]) for row in rows]
    words = [f"{escape(str(row['estimator']))}<br>mean {number(row['mean'])}, n = {row['n']}" for row in rows]
    for i, row in enumerate(rows):
        if math.isfinite(row["low"]):
            words[i] += f"<br>95 % interval {number(row['low'])} to {number(row['high'])}"
    return {
        "type": "scatter",
        "mode": "markers",
        "x": [brief(row["mean"]) for row in rows],
        "y": list(places),
        "text": words,
        "hovertemplate": "%{text}<extra></extra>",
        "error_x": {
            "type": "data",
            "symmetric": False,
            "array": [brief(up) or 0.0 for up, _ in half],
            "arrayminus": [brief(down) or 0.0 for _, down in half],
            "color": "@accent",
            "thickness": 2,
            "width": 0,
        },
        "marker": {"color": "@paper" if hollow else "@accent", "size": 10, "line": {"color": "@accent", "width": 2}},
        "showlegend": False,
    }


def _level(name: str, values: Mapping[str, float], place: Mapping[str, int], color: str, dash: str) -> dict[str, Any]:
    """A vertical stroke across each estimator's row; strokes at one value join into a line."""
    xs: list[float | None] = []
    ys: list[float | None] = []
    for estimator, value in values.items():
        if math.isfinite(value):
            xs += [brief(value), brief(value), None]
            ys += [place[estimator] + 0.5, place[estimator] - 0.5, None]
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "x": xs,
        "y": ys,
        "line": {"color": color, "width": 1.3, "dash": dash},
        "hovertemplate": f"{name} %{{x:.4g}}<extra></extra>",
        "showlegend": False,
    }


def _scatter(across: Series, up: Series, x: str, y: str, oracles: set[str], log: bool = False) -> dict[str, Any]:
    """Estimators as labelled means, their instances as small dots."""
    both = {e: sorted(across[e].keys() & up[e].keys()) for e in up if e in across}
    both = {e: instances for e, instances in both.items() if instances}
    means = {e: (sum(across[e][i] for i in own) / len(own), sum(up[e][i] for i in own) / len(own)) for e, own in both.items()}
    sides = _sides({e: (math.log10(a), b) if log else (a, b) for e, (a, b) in means.items()})
    small = [(e, i) for e, own in both.items() for i in own if len(own) > 1]
    dots = {
        "type": "scatter",
        "mode": "markers",
        "x": [brief(across[e][i]) for e, i in small],
        "y": [brief(up[e][i]) for e, i in small],
        "text": [f"{escape(e)}, instance {i}" for e, i in small],
        "hovertemplate": f"%{{text}}<br>{escape(x)} %{{x:.4g}}<br>{escape(y)} %{{y:.4g}}<extra></extra>",
        "marker": {"color": "@muted", "size": 5, "opacity": 0.6},
        "showlegend": False,
    }
    big = {
        "type": "scatter",
        "mode": "markers+text",
        "x": [brief(a) for a, _ in means.values()],
        "y": [brief(b) for _, b in means.values()],
        "text": [f"\u2002{escape(_short(e))}\u2002" for e in means],  # spaces off the marker
        "textposition": [sides[e] for e in means],
        "textfont": {"size": 12, "color": "@ink"},
        "cliponaxis": False,
        "hovertemplate": f"%{{text}}<br>{escape(x)} %{{x:.4g}}<br>{escape(y)} %{{y:.4g}}<extra></extra>",
        "marker": {
            "color": ["@paper" if e in oracles else "@accent" for e in means],
            "size": 10,
            "line": {"color": "@accent", "width": 2},
        },
        "showlegend": False,
    }
    horizontal = {"title": {"text": escape(x)}, **(_log_axis([a for a, _ in means.values()]) if log else {})}
    return {"data": [dots, big], "layout": {"xaxis": horizontal, "yaxis": {"title": {"text": escape(y)}}}}


def _log_axis(values: Sequence[float]) -> dict[str, Any]:
    """Ticks at powers of ten, and at 2 and 5 times them where the axis spans few."""
    first, last = math.floor(math.log10(min(values))) - 1, math.ceil(math.log10(max(values))) + 1
    steps = (1, 2, 5) if last - first <= 4 else (1,)
    ticks = [step * 10.0**power for power in range(first, last + 1) for step in steps]
    return {"type": "log", "tickvals": ticks, "ticktext": [f"{tick:g}" for tick in ticks]}


def _sides(points: Mapping[str, tuple[float, float]]) -> dict[str, str]:
    """Where each label goes: towards the middle, and off its neighbour's line where two lie close."""
    xs, ys = [p[0] for p in points.values()], [p[1] for p in points.values()]
    middle, height = (min(xs) + max(xs)) / 2, (max(ys) - min(ys)) or 1.0
    out: dict[str, str] = {}
    last: dict[str, float] = {}
    for name, (x, y) in sorted(points.items(), key=lambda item: item[1][1]):
        side = "left" if x > middle else "right"
        close = side in last and y - last[side] < 0.07 * height
        last[side] = y
        out[name] = f"{'top' if close else 'middle'} {side}"
    return out


def _short(label: str) -> str:
    return label if len(label) <= 26 else label[:25] + "…"
