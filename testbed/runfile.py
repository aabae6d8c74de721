"""What ``run.json`` and the results of stages say, checked before anyone relies on it: a folder may come from anywhere.

Hashes tell of accidents. Checked here is that the parts which the testbed itself reads are there, and of the kind that they must be.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

from testbed.contracts import InvalidInput
from testbed.store import Damaged, Record, Store
from testbed.suite import Sizes, Suite, first_fault, problem_of_claim

Key = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
"""Of a stage; part of its folder's name, so that it must be nothing else."""


class _Said(BaseModel):
    """What is read; whatever else is there is kept and not looked at."""

    model_config = ConfigDict(extra="allow", strict=True, allow_inf_nan=False)


class _Use(_Said):
    label: str
    path: str
    params: dict[str, Any]
    constants: dict[str, Any] = {}
    from_truth: list[str] = []


class _Sampled(_Said):
    generator: str
    instance: int
    sizes: Sizes
    sample: Key


class _Unit(_Said):
    id: str
    generator: str
    instance: int
    estimator: str
    scores: dict[str, Key]


class _Tried(_Unit):
    fit_seed: int
    sample: Key
    fit: Key
    encode: Key


class _Run(_Said):
    suite: Suite
    device: Literal["cpu", "cuda"]
    generators: list[_Use]
    estimators: list[_Use]
    evaluators: list[_Use]
    samples: list[_Sampled]
    trials: list[_Tried]
    groups: list[_Unit]


def read_run(store: Store) -> dict[str, Any]:
    """What was run last in a folder, with the parts that everyone relies on checked.

    Raises
    ------
    InvalidInput
        If the folder holds no run, or its ``run.json`` is not what a run writes; the place in it is named.
    """
    path = store.root / "run.json"
    run = store.read_run()
    try:
        read = _Run.model_validate(run)
    except ValidationError as error:
        raise InvalidInput(f"{path} is not what a run writes ({first_fault(error)}): run the suite again with the same --out") from None
    fault = _dangling(read) or next((f"claim {c.id!r}: {what}" for c in read.suite.claim if (what := problem_of_claim(read.suite, c))), "")
    if fault:
        raise InvalidInput(f"{path} is not what a run writes ({fault}): run the suite again with the same --out")
    return run | read.model_dump(mode="json", exclude_unset=False)


def _dangling(run: _Run) -> str:
    """What is named and not there; "" if nothing."""
    labels = {kind: {use.label for use in getattr(run, f"{kind}s")} for kind in ("generator", "estimator", "evaluator")}
    units = [*run.samples, *run.trials, *run.groups]
    for kind in ("generator", "estimator"):
        for unit in units:
            name = getattr(unit, kind, None)
            if name is not None and name not in labels[kind]:
                return f"there is no {kind} {name!r}"
    for unit in [*run.trials, *run.groups]:
        for name in unit.scores:
            if name not in labels["evaluator"]:
                return f"there is no evaluator {name!r}"
    for kind, known in labels.items():
        if odd := known ^ {entry.label for entry in getattr(run.suite, kind)}:
            return f"{kind} {min(odd)!r} is in the suite or among the {kind}s, not in both"
    return ""


# -------------------------------------------------------------------------------------------------------- results of stages


class _Level(_Said):
    value: float
    parts: dict[str, float]


class _View(_Said):
    columns: int


class _Truth(_Said):
    settings: dict[str, Any]
    levels: list[Annotated[list[Any], Field(min_length=2)]]
    identified: dict[str, list[str]]


class _SampleResult(_Said):
    views: dict[str, _View]
    rows: dict[str, int]
    truth: _Truth | None
    about: dict[str, Any] = {}


class _FitResult(_Said):
    needs_truth: bool
    params: dict[str, Any]
    state: Literal["stored"] | None


class _EncodeResult(_Said):
    view: str
    rows: int
    codes: int
    dictionary: bool


class _Scored(_Said):
    status: Literal["scored"]
    direction: str
    value: float
    parts: dict[str, float]
    groups: dict[str, float]
    details: dict[str, Any]
    chance: _Level | None
    ceiling: _Level | None
    floors: dict[str, _Level | None]


class _NotScored(_Said):
    status: Literal["not applicable"]
    reason: str


_RESULTS: Mapping[str, type[_Said]] = {"sample": _SampleResult, "fit": _FitResult, "encode": _EncodeResult, "reference": _Level}


class _Provenance(_Said):
    seconds: float
    device: str
    cores: int | None
    system: str
    python: str
    packages: dict[str, str | None]


def sound(record: Record) -> Record:
    """The record, if its result is what its stage gives.

    Raises
    ------
    Damaged
        If it is not.
    """
    if fault := fault_in_result(record):
        raise Damaged(f"{record.folder / 'record.json'} {fault}: delete {record.folder} and run again", record.folder)
    return record


def fault_in_result(record: Record) -> str:
    """What of a stage's result, or of its provenance, is not what that stage gives; "" if it is."""
    stage, result = record.stage, record.result
    if stage == "score":
        model: type[_Said] = _NotScored if result.get("status") == "not applicable" else _Scored
    elif stage in _RESULTS:
        model = _RESULTS[stage]
    else:
        return ""
    for part, of, said in (("result", model, result), ("provenance", _Provenance, record.provenance)):
        try:
            of.model_validate(said)
        except ValidationError as error:
            return f"is not what a stage {stage} leaves ({part}.{first_fault(error)})"
    return ""
