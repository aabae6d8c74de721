"""Speed bars as claims: measured side by side, repeat by repeat, and merged by id into ``claims.json``, which ``testbed claims`` reads."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

from testbed.stats import mean_interval
from testbed.store import write_json


def interleaved(calls: Mapping[str, Callable[[], Any]], repeats: int) -> dict[str, list[float]]:
    """CPU seconds of this process that each call takes, `repeats` times in turn (A, B, A, B, ...) after one round to warm up.

    What slows the machine down for a while then slows both sides of a ratio.
    """
    seconds: dict[str, list[float]] = {name: [] for name in calls}
    for repeat in range(repeats + 1):
        for name, call in calls.items():
            clock = time.process_time()
            call()
            if repeat:
                seconds[name].append(time.process_time() - clock)
    return seconds


def claim(
    id: str,
    statement: str,
    values: Sequence[float],
    bar: float,
    aim: float | None = None,
    test: Literal["above", "below"] = "above",
    note: str = "",
) -> dict[str, Any]:
    """A claim that the mean of repeated measurements lies above (or below) a bar, judged by its 95 % Student-t interval.

    Returns
    -------
    dict
        Its fields are those of `testbed.claims.Verdict`, and ``aim``: a goal beyond the bar that is printed and not asserted.
    """
    found = mean_interval(list(values))
    better, worse = (found.low > bar, found.high <= bar) if test == "above" else (found.high < bar, found.low >= bar)
    if aim is not None:
        reached = found.mean >= aim if test == "above" else found.mean <= aim
        note = "; ".join(part for part in (note, f"aim {aim:g}: {'reached' if reached else 'not reached'}") if part)
    return {
        "id": id,
        "statement": statement,
        "verdict": "undecided" if math.isnan(found.low) else "shown" if better else "not shown" if worse else "undecided",
        "value": found.mean,
        "low": None if math.isnan(found.low) else found.low,
        "high": None if math.isnan(found.high) else found.high,
        "bar": bar,
        "aim": aim,
        "n": found.n,
        "unit": "repeat",
        "test": test,
        "score": "",
        "estimator": "",
        "generator": "",
        "versus": f"{bar:g}",
        "note": note,
    }


def merge(folder: Path, claims: Sequence[Mapping[str, Any]]) -> None:
    """Put claims into ``claims.json`` of a folder: in the place of those with the same id, else at the end."""
    path = folder / "claims.json"
    held = {entry["id"]: entry for entry in json.loads(path.read_text())} if path.exists() else {}
    held |= {entry["id"]: dict(entry) for entry in claims}
    write_json(path, list(held.values()))
