"""Where and when the stages of a run were computed, and how long they took, from the provenance of their records."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.results import Results
from testbed.store import Store

MOST = 2000
"""Records that are read for their provenance; a longer run says that it was not read in full."""


@dataclass(frozen=True)
class Circumstances:
    """Machines (in words, with the number of stages each computed), package versions, and seconds per stage."""

    machines: tuple[tuple[str, int], ...]
    packages: tuple[tuple[str, str], ...]
    seconds: tuple[tuple[str, int, float], ...]
    complete: bool


def circumstances(folder: Path, results: Results) -> Circumstances:
    """Read the provenance of the run's records; what Results already has is enough where the store is not there."""
    store, complete = Store(folder), True
    machines: dict[str, int] = {}
    packages: dict[str, set[str]] = {}
    seconds: dict[str, list[float]] = {}
    for i, (stage, key) in enumerate(_stages(results.run)):
        if i == MOST:
            complete = False
            break
        record = store.record(stage, key)
        if record is None:
            continue
        about = record.provenance
        seconds.setdefault(stage, []).append(about["seconds"])
        machine = f"{about['device']}, {about['cores']} cores, {about['system']}, Python {about['python']}"
        machines[machine] = machines.get(machine, 0) + 1
        for name, version in about["packages"].items():
            if version is not None:
                packages.setdefault(name, set()).add(version)
    if not seconds:
        seconds = {"sample": [s["seconds"] for s in results.samples], "fit": [f["seconds"] for f in results.fits]}
    return Circumstances(
        tuple(machines.items()),
        tuple((name, ", ".join(sorted(versions))) for name, versions in packages.items()),
        tuple((stage, len(each), sum(each)) for stage, each in seconds.items() if each),
        complete,
    )


def _stages(run: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Each stage once, fits and samples first."""
    units = [*run["trials"], *run["groups"]]
    named = [
        *(("sample", sample["sample"]) for sample in run["samples"]),
        *(("fit", trial["fit"]) for trial in run["trials"]),
        *(("encode", trial["encode"]) for trial in run["trials"]),
        *(("score", key) for unit in units for key in unit["scores"].values()),
    ]
    yield from dict.fromkeys(named)
