"""Mean ranks of estimators over instances, and which of them cannot be told apart."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from html import escape
from typing import Any

from testbed.report.text import brief, number
from testbed.stats import CriticalDifference, critical_difference

FEWEST_ESTIMATORS, FEWEST_INSTANCES = 3, 5
"""With fewer of either, ranks say no more than the means do, or hardly any difference could be shown."""

Drawn = tuple[str, str, int, dict[str, Any]]


def ranking(values: Mapping[str, Mapping[int, float]], evaluator: str, direction: str) -> Drawn | str:
    """A critical-difference diagram: title, note, height and specification; or why there is none.

    Parameters
    ----------
    values : mapping of estimator to mapping of instance to its score, averaged over fit seeds
        Without oracles: how they rank is no finding.
    evaluator : str
    direction : {"higher", "lower"}
    """
    shared = set.intersection(*(set(by) for by in values.values())) if values else set()
    if len(values) < FEWEST_ESTIMATORS:
        return f"it takes {FEWEST_ESTIMATORS} estimators that are no oracles, here {len(values)}"
    if len(shared) < FEWEST_INSTANCES:
        return f"it takes {FEWEST_INSTANCES} instances on which every estimator has a score, here {len(shared)}"
    found = critical_difference({name: {i: by[i] for i in shared} for name, by in values.items()}, direction=_checked(direction))
    lanes = len(found.groups)
    return f"ranks by {evaluator}", _note(found), 120 + 30 * len(found.ranks) + 14 * lanes, _spec(found)


def _checked(direction: str) -> Any:
    return "lower" if direction == "lower" else "higher"


def _note(found: CriticalDifference) -> str:
    p = "below 0.001" if found.p < 0.001 else number(found.p)
    words = f"Mean rank over {found.n} instances, 1 is the best; Friedman's test that all are alike: p {p}. "
    if found.groups and len(found.groups[0]) == len(found.ranks):
        return words + "No two can be told apart."
    gap = "" if found.difference is None else f"; the ruler is its critical difference, {number(found.difference)}"
    return words + f"Bars join what Nemenyi's test cannot tell apart at {100 * found.alpha:.0f}\u00a0%{gap}."


def _spec(found: CriticalDifference) -> dict[str, Any]:
    """One row per estimator with a dot at its mean rank and a line up to the bars; above them the ruler."""
    names = list(found.ranks)
    k = len(names)
    row = {name: k - 1 - i for i, name in enumerate(names)}
    lane = {group: k - 0.3 + 0.45 * i for i, group in enumerate(found.groups)}
    ruler = k - 0.3 + 0.45 * len(lane) + 0.35
    stems: list[float | None] = []
    heights: list[float | None] = []
    for name, rank in found.ranks.items():
        top = max((at for group, at in lane.items() if name in group), default=row[name])
        stems += [brief(rank), brief(rank), None]
        heights += [row[name], top, None]
    data: list[dict[str, Any]] = [_line(stems, heights, "@rule", 1.0)]
    for group, at in lane.items():
        ends = [brief(found.ranks[group[0]]), brief(found.ranks[group[-1]])]
        words = f"{escape(', '.join(group))}<br>cannot be told apart"
        data.append({**_line(ends, [at, at], "@ink", 5.0), "hoverinfo": "text", "text": [words, words]})
    if found.difference is not None and found.difference <= k - 1:
        ends = [1.0, brief(1 + found.difference)]
        data.append(
            {
                **_line(ends, [ruler, ruler], "@muted", 1.5),
                "mode": "lines+markers",
                "marker": {"symbol": "line-ns-open", "size": 10, "color": "@muted"},
            }
        )
    data.append(
        {
            "type": "scatter",
            "mode": "markers",
            "x": [brief(rank) for rank in found.ranks.values()],
            "y": [row[name] for name in names],
            "text": [f"{escape(name)}<br>mean rank {number(rank)}" for name, rank in found.ranks.items()],
            "hovertemplate": "%{text}<extra></extra>",
            "marker": {"color": "@accent", "size": 10},
            "showlegend": False,
        }
    )
    ticks = [escape(name if len(name) <= 26 else name[:25] + "…") for name in names]
    yaxis = {"tickvals": list(row.values()), "ticktext": ticks, "range": [-0.6, ruler + 0.5], "showgrid": False, "zeroline": False}
    xaxis = {"title": {"text": "mean rank"}, "range": [0.7, k + 0.3], "dtick": 1 if k <= 12 else 5, "showgrid": False, "zeroline": False}
    return {"data": data, "layout": {"xaxis": xaxis, "yaxis": yaxis}}


def _line(xs: Sequence[float | None], ys: Sequence[float | None], color: str, width: float) -> dict[str, Any]:
    return {
        "type": "scatter",
        "mode": "lines",
        "x": list(xs),
        "y": list(ys),
        "line": {"color": color, "width": width},
        "hoverinfo": "skip",
        "showlegend": False,
    }
