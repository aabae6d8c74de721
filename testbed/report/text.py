"""Numbers, times and settings as a reader wants them."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any

LONG = 120
"""Characters of a setting's value that are shown; the whole value is in the suite's JSON at the end of the page."""


def number(value: float | None, like: float | None = None) -> str:
    """Three decimals below 10, fewer above; a dash where there is no number. `like` sets the decimals: an interval's are its mean's."""
    if value is None or not math.isfinite(value):
        return "–"
    size = abs(value if like is None or not math.isfinite(like) else like)
    decimals = 3 if size < 10 else 2 if size < 100 else 1 if size < 1000 else 0
    text = f"{value:,.{decimals}f}"
    return "0" + text[2:] if float(text.replace(",", "")) == 0 and text.startswith("-") else text.replace("-", "−")


def percent(share: float) -> str:
    """A share in whole percents."""
    text = f"{100 * share:.0f} %"
    return "0 %" if text == "-0 %" else text.replace("-", "−")


def brief(value: float, digits: int = 5) -> float | None:
    """So many digits: the page shows no more, and stays small."""
    return float(f"{value:.{digits}g}") if math.isfinite(value) else None


def span(values: list[float]) -> str:
    """One number where all are the same to what is shown, else the smallest and the largest."""
    known = [value for value in values if math.isfinite(value)]
    if not known:
        return "–"
    low, high = number(min(known)), number(max(known))
    return low if low == high else f"{low} … {high}"


def seconds(value: float) -> str:
    """A duration, in the units that suit it."""
    if value < 0.1:
        return f"{1000 * value:.0f} ms"
    if value < 60:
        return f"{value:.1f} s"
    minutes = round(value / 60)
    return f"{minutes} min" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02d} min"


def plain(value: Any, most: int = LONG) -> str:
    """A setting's value: text as it is, mappings as ``name value`` pairs, anything else as JSON."""
    if isinstance(value, str):
        text = value
    elif value is None:
        text = "none"
    elif isinstance(value, Mapping):
        text = ", ".join(f"{key} {plain(inner, most)}" for key, inner in value.items() if inner is not None)
    else:
        text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= most else text[: most - 1] + "…"


def counted(n: int, noun: str) -> str:
    """``1 instance``, ``2 instances``."""
    return f"{n:,} {noun}" if n == 1 else f"{n:,} {noun}s"


def script_json(value: Any) -> str:
    """JSON that cannot end, or open, anything in the page that holds it."""
    text = json.dumps(value, separators=(",", ":"), ensure_ascii=False, allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
