"""Learning curves: what estimators wrote down while they were fitted."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from html import escape
from typing import Any

from testbed.report.text import brief

WANTED = ("explained_variance", "loss")
"""Quantities that are drawn where there are any of them; else the first two that a history holds."""

POINTS = 100
LINES = 12
"""Points of a line, and lines of an estimator, that are drawn at most."""

COLOURS = 6


def curves(fits: Sequence[Mapping[str, Any]]) -> Iterator[tuple[str, str, int, dict[str, Any]]]:
    """One figure per quantity over all fits of a generator: title, note, height and specification."""
    kept = [fit for fit in fits if _lists(fit)]
    present = list(dict.fromkeys(name for fit in kept for name in _lists(fit)))
    estimators = list(dict.fromkeys(fit["estimator"] for fit in kept))
    for quantity in [name for name in WANTED if name in present] or [name for name in present if name != "samples"][:2]:
        data: list[dict[str, Any]] = []
        for number, estimator in enumerate(estimators):
            own = [fit for fit in kept if fit["estimator"] == estimator and quantity in _lists(fit)]
            data += [_line(fit, quantity, number, first=i == 0) for i, fit in enumerate(own[:LINES])]
        layout = {
            "xaxis": {"title": {"text": "samples seen" if "samples" in present else "step"}},
            "yaxis": {"title": {"text": escape(quantity)}},
            "showlegend": len(estimators) > 1,
        }
        who = f"Of {estimators[0]}; one line per fit." if len(estimators) == 1 else "One line per fit."
        yield f"{quantity} while fitting", who, 320, {"data": data, "layout": layout}


def _lists(fit: Mapping[str, Any]) -> dict[str, list[Any]]:
    history = fit.get("history") or {}
    return {k: v for k, v in history.items() if isinstance(v, list) and len(v) > 1 and all(isinstance(x, int | float) for x in v)}


def _line(fit: Mapping[str, Any], quantity: str, number: int, first: bool) -> dict[str, Any]:
    lists = _lists(fit)
    ys = lists[quantity]
    xs = lists.get("samples", list(range(len(ys))))[: len(ys)]
    step = max(1, math.ceil(len(xs) / POINTS))
    keep = [*range(0, len(xs) - 1, step), len(xs) - 1]
    name = escape(fit["estimator"])
    return {
        "type": "scatter",
        "mode": "lines",
        "name": name,
        "legendgroup": name,
        "showlegend": first,
        "x": [brief(xs[i]) for i in keep],
        "y": [brief(ys[i]) for i in keep],
        "line": {"color": f"@series{number % COLOURS}", "width": 1.5},
        "opacity": 0.8,
        "hovertemplate": f"{name}, instance {fit['instance']}, fit seed {fit['fit_seed']}<br>%{{x:,}}: %{{y:.4g}}<extra></extra>",
    }
