"""One trial of a finished run, computed again from nothing and compared with what was recorded."""

from __future__ import annotations

import json
import math
import tempfile
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from difflib import get_close_matches
from pathlib import Path
from typing import Any

from testbed.contracts import InvalidInput
from testbed.plan import Plan, Trial, enumerate_trials
from testbed.runfile import read_run
from testbed.runner import Job, perform
from testbed.store import Record, Store, canonical
from testbed.suite import from_tree

SAME, OTHER, ABSENT = "the same", "differs", "not on record"


@dataclass(frozen=True)
class Replayed:
    """One stage: what came out beside what was recorded.

    Attributes
    ----------
    stage : str
        ``sample``, ``fit``, ``encode``, or ``score LABEL``.
    verdict : {"the same", "differs", "not on record"}
    changed : tuple of str
        What the stage's result depends on and is other than it was: source, parameters, versions.
    note : str
        How large the difference is, or what failed.
    """

    stage: str
    verdict: str
    changed: tuple[str, ...] = ()
    note: str = ""


def replay(folder: str | Path, trial: str, out: str | Path | None = None) -> list[Replayed]:
    """Compute a trial again with the settings that the run's ``run.json`` has, and the code that is here now.

    Parameters
    ----------
    folder : path
        That `testbed run` wrote; it is only read.
    trial : str
        ``generator/instance/estimator/fit seed``.
    out : path, optional
        Where the stages are kept; by default they are deleted.

    Raises
    ------
    InvalidInput
        If there is no such run or trial, or `out` holds stages already, with which nothing would be computed.
    """
    store = Store(folder)
    run = read_run(store)
    if out is not None and (Path(out) / "stages").exists():
        raise InvalidInput(f"--out {out} holds stages already, and what is there is not computed again: give a new folder")
    plan = enumerate_trials(from_tree(_given(run["suite"])), run["device"])
    wanted, recorded = _trial(plan, trial), next((entry for entry in run["trials"] if entry["id"] == trial), None)
    if recorded is None:
        raise InvalidInput(f"{folder} has no trial {trial!r} in its last run")
    if out is not None:
        return list(_compared(store, Store(out), wanted, recorded, _computed(plan, wanted, Path(out))))
    with tempfile.TemporaryDirectory(prefix="testbed-replay-") as place:
        return list(_compared(store, Store(place), wanted, recorded, _computed(plan, wanted, Path(place))))


def _given(suite: Mapping[str, Any]) -> dict[str, Any]:
    """A suite as its TOML would say it: without what is not set."""

    def without_none(value: Any) -> Any:
        if isinstance(value, Mapping):
            return {k: without_none(v) for k, v in value.items() if v is not None}
        return [without_none(v) for v in value] if isinstance(value, list) else value

    return {key: value for key, value in without_none(suite).items() if key not in ("claim", "presets")}


def _trial(plan: Plan, name: str) -> Trial:
    by_id = {trial.id: trial for trial in plan.trials}
    if name not in by_id:
        near = get_close_matches(name, by_id, 1)
        raise InvalidInput(f"there is no trial {name!r}" + (f"; did you mean {near[0]!r}?" if near else ": `testbed show DIR` lists them"))
    return by_id[name]


def _computed(plan: Plan, trial: Trial, root: Path) -> dict[str, str]:
    """Run the trial in a store of its own; gives the error of each stage that failed."""
    job = Job(trial.id, trial, (), plan.evaluators, str(root), plan.device, plan.threads)
    return {place: report["error"] for place, report in perform(job).errors.items()}


def _compared(old: Store, new: Store, trial: Trial, recorded: Mapping[str, Any], errors: Mapping[str, str]) -> Iterator[Replayed]:
    pairs = [("sample", trial.sampling.stage, recorded["sample"]), ("fit", trial.fit, recorded["fit"])]
    pairs += [("encode", trial.encode, recorded["encode"])]
    pairs += [(f"score {label}", stage, recorded["scores"].get(label, "")) for label, stage in trial.scores.items()]
    for name, stage, key in pairs:
        before, after = old.record(stage.stage, key), new.record(stage.stage, stage.key)
        if before is None:
            yield Replayed(name, ABSENT, note="the run has no finished stage: nothing to compare with")
        elif after is None:
            yield Replayed(name, OTHER, note=errors.get(f"{stage.stage}:{stage.key}", "it was not reached"))
        else:
            changed = tuple(sorted(_changed(before.material, after.material)))
            note = _difference(before, after)
            yield Replayed(name, SAME if not note else OTHER, changed, note)


def _changed(before: Mapping[str, Any], after: Mapping[str, Any], place: str = "") -> Iterator[str]:
    """What two materials do not share, keys of inputs apart, since those follow from the stages before."""
    for key in sorted({*before, *after} - ({"inputs"} if not place else set())):
        a, b = before.get(key), after.get(key)
        if isinstance(a, Mapping) and isinstance(b, Mapping):
            yield from _changed(a, b, f"{place}{key}.")
        elif a != b:
            yield f"{place}{key}"


def _difference(before: Record, after: Record) -> str:
    """What of the result is not as it was; "" if nothing."""
    if before.stage == "score" and {before.result["status"], after.result["status"]} == {"scored"}:
        a, b = ({"": r.result["value"], **r.result["parts"]} for r in (before, after))
        gaps = [abs(a[part] - b[part]) for part in set(a) & set(b)] + [math.inf] * (set(a) != set(b))
        if max(gaps) > 0:
            return f"{before.result['value']:g} became {after.result['value']:g}; at most {max(gaps):.2g} apart in any part"
    if canonical(_plain(before.result)) != canonical(_plain(after.result)):
        keys = sorted(key for key in {*before.result, *after.result} if before.result.get(key) != after.result.get(key))
        return f"{', '.join(keys)} came out otherwise"
    files = sorted(name for name in {*before.files, *after.files} if before.files.get(name) != after.files.get(name))
    manifests = [name for name in files if not name.endswith("manifest.json")]  # which name the sample's own key
    return f"files {', '.join(manifests)} came out otherwise" if manifests else ""


def _plain(result: Mapping[str, Any]) -> Any:
    return json.loads(json.dumps(result))
