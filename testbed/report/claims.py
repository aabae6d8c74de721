"""Claims as the page shows them: grouped by statement, each verdict with a drawing of its interval against the bar."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from testbed.claims import Verdict
from testbed.report.text import counted, number

MARKS = {"shown": "✓", "not shown": "✕", "undecided": "?"}


@dataclass(frozen=True)
class Drawing:
    """An interval against its bar, in percent of the drawing's width.

    Attributes
    ----------
    holds : tuple of (float, float)
        Start and width of the region where the claim holds.
    bars : tuple of float
        Where the bar stands; two where a claim is about staying within.
    mean, low, high : float or None
    zero : float or None
        Where 0 is, unless a bar stands there.
    label : str
        The same in words.
    """

    holds: tuple[float, float]
    bars: tuple[float, ...]
    mean: float | None
    low: float | None
    high: float | None
    zero: float | None
    label: str


@dataclass(frozen=True)
class Judged:
    """One verdict, formatted."""

    id: str
    generator: str
    verdict: str
    mark: str
    value: str
    interval: str
    bar: str
    n: str
    note: str
    drawing: Drawing | None


@dataclass(frozen=True)
class Claim:
    """A statement, what it says exactly, and its verdict on each generator."""

    id: str
    statement: str
    exact: str
    judged: tuple[Judged, ...]


def claims(verdicts: Sequence[Verdict]) -> list[Claim]:
    """Group verdicts: a claim that was judged on several generators is stated once."""
    grouped: dict[tuple[str, str, str], list[Verdict]] = {}
    for verdict in verdicts:
        grouped.setdefault((verdict.id.removesuffix(f" @ {verdict.generator}"), verdict.statement, _exact(verdict)), []).append(verdict)
    return [Claim(*name, tuple(_judged(v, _scale(found)) for v in found)) for name, found in grouped.items()]


def tally(verdicts: Sequence[Verdict]) -> list[tuple[str, str, int]]:
    """Verdict, mark and how often; only those that occur."""
    counts = {name: sum(verdict.verdict == name for verdict in verdicts) for name in MARKS}
    return [(name, MARKS[name], n) for name, n in counts.items() if n]


def _judged(v: Verdict, scale: tuple[float, float]) -> Judged:
    sign = {"above": "> ", "below": "< ", "within": "within ±"}[v.test]
    interval = "" if v.low is None or v.high is None else f"[{number(v.low, v.value)}, {number(v.high, v.value)}]"
    return Judged(
        v.id,
        v.generator,
        v.verdict,
        MARKS[v.verdict],
        number(v.value),
        interval,
        sign + number(v.bar),
        counted(v.n, v.unit),
        v.note,
        _drawing(v, *scale),
    )


def _exact(v: Verdict) -> str:
    """The comparison as a formula: which score, of whom, against what."""
    try:
        float(v.versus)
        compared = f" − {v.versus}" if v.test == "within" else ""
    except ValueError:
        compared = f" − {v.versus}"
    sign = {"above": ">", "below": "<", "within": "within ±"}[v.test]
    statistic = "" if v.statistic == "mean" else f"{v.statistic}, "
    return f"{statistic}{v.score}: {v.estimator}{compared} {sign}{'' if v.test == 'within' else ' '}{number(v.bar)}"


def _bars(v: Verdict) -> tuple[float, ...]:
    return (-v.bar, v.bar) if v.test == "within" else (v.bar,)


def _scale(verdicts: Sequence[Verdict]) -> tuple[float, float]:
    """Start and width of what the drawings of one claim show: one scale, so that generators can be compared."""
    ends = [end for v in verdicts for end in (v.value, v.low, v.high, *_bars(v)) if end is not None]
    first, last = min(ends), max(ends)
    if first <= 0.35 * (last - first) and last >= -0.35 * (last - first):  # 0 is shown where it is near
        first, last = min(first, 0.0), max(last, 0.0)
    width = (last - first) or max(abs(last), 1.0)
    return first - 0.12 * width, 1.24 * width


def _drawing(v: Verdict, first: float, width: float) -> Drawing | None:
    if v.value is None:
        return None
    low, high = (v.value, v.value) if v.low is None or v.high is None else (v.low, v.high)
    bars = _bars(v)

    def percent(value: float) -> float:
        return round(100 * (value - first) / width, 2)

    ends = {"above": (percent(v.bar), 100.0), "below": (0.0, percent(v.bar)), "within": (percent(-v.bar), percent(v.bar))}[v.test]
    interval = "no interval" if v.low is None else f"95 % interval {number(low, v.value)} to {number(high, v.value)}"
    wanted = {"above": "above", "below": "below", "within": "within plus or minus"}[v.test]
    return Drawing(
        holds=(ends[0], round(ends[1] - ends[0], 2)),
        bars=tuple(percent(bar) for bar in bars),
        mean=percent(v.value),
        low=None if v.low is None else percent(low),
        high=None if v.low is None else percent(high),
        zero=percent(0.0) if 0.0 not in bars and first < 0 < first + width else None,
        label=f"{number(v.value)}, {interval}; the claim holds {wanted} {number(v.bar)}",
    )
