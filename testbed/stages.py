"""What each stage does: sample, fit, encode, score. The only part of the engine that touches tensors.

Every function takes a store and a piece of a plan, computes what is missing under the stage's lock, and returns its record.
"""

from __future__ import annotations

import json
import math
import os
import platform
import shutil
import sys
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import asdict
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors import SafetensorError
from safetensors.torch import load_file, save_file
from threadpoolctl import ThreadpoolController
from torch import Tensor

from testbed.contracts import (
    BLOCK,
    PARTS,
    Codes,
    Estimator,
    Evaluator,
    Instance,
    InvalidInput,
    NotApplicable,
    NotExpressible,
    Observed,
    Outcome,
    Reference,
    Scores,
    SparseRows,
    Structure,
    Truth,
    UnusableCheckpoint,
    is_resumable,
    joined,
    seed_of,
    stacked,
)
from testbed.device import CONFINED
from testbed.estimators.adapted import adapted
from testbed.plan import Group, Sampling, Stage, Trial, Use
from testbed.registry import load, resolve
from testbed.runfile import sound
from testbed.shards import ShardReader, ShardWriter, sparse_rows
from testbed.store import Damaged, Record, Store, canonical, in_a_line, key_of, read_json
from testbed.suite import component_kind, is_nested, is_truth_setting

Count = Callable[[str, str, bool], None]
"""Told of every stage: its kind, its key, and whether it was computed (or found)."""


# ------------------------------------------------------------------------------------------------------------- machinery


@contextmanager
def machine(device: str, threads: int) -> Iterator[None]:
    """Hold the number of threads to what the suite says, so that neither `--jobs` nor the machine can change a score.

    Raises
    ------
    InvalidInput
        If CUDA is asked for and not there.
    """
    if device == "cuda" and not torch.cuda.is_available():
        raise InvalidInput("--device cuda: torch sees no CUDA device here: use --device cpu, or install a CUDA build of torch")
    if torch.get_num_interop_threads() > threads:
        with suppress(RuntimeError):  # torch takes it once, before its pool for such work has started
            torch.set_num_interop_threads(threads)
    before = torch.get_num_threads()
    with _environment_of(threads), _pools(len(sys.modules)).limit(limits=threads):
        torch.set_num_threads(threads)
        try:
            yield
        finally:
            torch.set_num_threads(before)


@contextmanager
def _environment_of(threads: int) -> Iterator[None]:
    """Variables that libraries read when they are loaded: a job may be the first to import one."""
    before = {name: os.environ.get(name) for name in CONFINED}
    os.environ.update(dict.fromkeys(CONFINED, str(threads)))
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value


@lru_cache(maxsize=1)
def _pools(modules: int) -> ThreadpoolController:
    """Thread pools of the libraries that are loaded; looked for again, which takes milliseconds, when more `modules` are."""
    return ThreadpoolController()


@lru_cache(maxsize=4)
def environment(device: str) -> dict[str, Any]:
    """Where something was computed; never part of a key. Looked up once per process: reading what is installed takes milliseconds."""

    def version_of(package: str) -> str | None:
        try:
            return version(package)
        except PackageNotFoundError:
            return None

    packages = ("identifiability-testbed", "torch", "numpy", "scipy", "scikit-learn", "transformers")
    return {
        "packages": {name: version_of(name) for name in packages},
        "python": platform.python_version(),
        "system": f"{platform.system()} {platform.machine()}",
        "device": torch.cuda.get_device_name() if device == "cuda" else "CPU",
        "cores": os.cpu_count(),
        "pid": os.getpid(),
    }


def _stored(store: Store, stage: Stage, device: str, count: Count, compute: Callable[[Path], Mapping[str, Any]]) -> Record:
    """The record of a stage, computed once by whoever comes first."""
    record = store.record(stage.stage, stage.key)
    if record is None:
        with store.writing(stage.stage, stage.key) as work:
            record = store.record(stage.stage, stage.key)
            if record is None:
                started, clock = time.time(), time.perf_counter()
                result = compute(work)
                provenance = {"started": started, "seconds": time.perf_counter() - clock, **environment(device)}
                record = store.commit(stage.stage, stage.key, work, stage.material, result, provenance)
                count(stage.stage, stage.key, True)
                return record
    sound(record)
    count(stage.stage, stage.key, False)
    return record


def construct(kind: str, path: str, params: Mapping[str, Any], truth: Truth | None = None) -> Any:
    """Construct a component; nested components arrive constructed, settings off the truth as numbers.

    Raises
    ------
    InvalidInput
        If the constructor refuses its arguments, or a setting is asked of a truth that does not have it.
    """
    arguments = {name: _argument(path, name, value, truth) for name, value in params.items()}
    try:
        return adapted(load(path), arguments) if kind == "estimator" else load(path)(**arguments)
    except TypeError as error:
        raise InvalidInput(f"{kind} {path} cannot be constructed: {error}") from error


def _argument(path: str, name: str, value: Any, truth: Truth | None) -> Any:
    """What a constructor is given for a parameter of a suite."""
    if isinstance(value, list):
        return [_argument(path, name, item, truth) for item in value]
    if is_truth_setting(value):
        settings = truth.settings if truth is not None else {}
        if value["truth"] not in settings:
            raise InvalidInput(f"{path}: {name} asks the truth for {value['truth']!r}, which it does not have ({sorted(settings)})")
        number = settings[value["truth"]] * value.get("times", 1)
        return number if value.get("float") else max(1, round(number))
    if is_nested(value):
        inner = component_kind(value["use"], name)
        return construct(inner, resolve(f"{inner}s", value["use"]), {k: v for k, v in value.items() if k != "use"}, truth)
    return value


@lru_cache(maxsize=2)
def _instance(path: str, params: str, seed: int, device: str) -> Instance:
    instance = construct("generator", path, json.loads(params)).draw(seed)
    if not isinstance(instance, Instance):
        raise InvalidInput(f"{path}.draw gave a {type(instance).__name__}, not an Instance: see testbed.contracts.Instance")
    return instance.to(device) if device != "cpu" else instance


def instance_of(sampling: Sampling, device: str) -> Instance:
    """Draw (or remember) the instance of a sampling."""
    return _instance(sampling.generator.path, json.dumps(dict(sampling.generator.params), sort_keys=True), sampling.instance_seed, device)


@lru_cache(maxsize=2)
def _sample(folder: Path) -> Any:
    return ShardReader(folder).sample()


# ---------------------------------------------------------------------------------------------------------------- stages


def sample(store: Store, sampling: Sampling, device: str, count: Count) -> Record:
    """Write the three parts of an instance's data as shards; an interrupted part goes on after its last shard."""

    def compute(work: Path) -> dict[str, Any]:
        instance = instance_of(sampling, device)
        for part in PARTS:
            wanted = sampling.sizes[part]
            with _writer(work / part, {"sample": sampling.stage.key, "part": part, "rows": wanted}, sampling.dtype) as writer:
                if writer.complete:
                    continue
                rows = writer.rows
                for chunk in instance.chunks(sampling.rows_seed, part, rows) if rows < wanted else ():
                    piece = chunk[: wanted - rows]
                    _check_sample(piece, instance, sampling.generator)
                    writer.append(piece)
                    rows += len(piece)
                    if rows == wanted:
                        break
                if rows < wanted:
                    raise InvalidInput(
                        f"{sampling.generator.label}: {wanted} rows for {part}, but the data have only {rows}: ask for fewer"
                    )
        truth, views = instance.truth, ShardReader(work / "test").manifest["views"]
        return {
            "views": views,
            "rows": dict(sampling.sizes),
            "truth": None if truth is None else _about(truth, views),
            "about": getattr(instance, "about", {}),
        }

    return _stored(store, sampling.stage, device, count, compute)


def _writer(folder: Path, source: Mapping[str, Any], dtype: str) -> ShardWriter:
    """Goes on where an interrupted part was; one whose manifest a power cut spoiled is written anew."""
    try:
        return ShardWriter(folder, source, dtype=dtype)
    except Damaged as error:
        warnings.warn(f"{error}; this run deletes it and samples it again", stacklevel=2)
        shutil.rmtree(folder)
        return ShardWriter(folder, source, dtype=dtype)


def _about(truth: Truth, views: Iterable[str]) -> dict[str, Any]:
    """What the report says of a truth without drawing its instance again."""
    return {
        "settings": dict(truth.settings),
        "levels": [[level.kind, level.size] for level in truth.levels],
        "identified": {view: list(truth.identified(view)) for view in views},
    }


def _check_sample(piece: Any, instance: Instance, use: Use) -> None:
    for name, view in piece.observed.views.items():
        values = view.values.values if isinstance(view.values, SparseRows) else view.values
        if not bool(values.isfinite().all()):
            raise InvalidInput(f"generator {use.label}: view {name!r} holds NaN or infinity")
    if instance.truth is not None and set(piece.latents) != set(range(len(instance.truth.levels))):
        raise InvalidInput(
            f"generator {use.label}: latents of levels {sorted(piece.latents)}, but its truth has {len(instance.truth.levels)} levels"
        )


def fit(store: Store, trial: Trial, sampled: Record, device: str, count: Count) -> tuple[Record, Callable[[], Estimator]]:
    """Fit an estimator on the part `train`; gives its record and a way to get the fitted estimator."""
    live: list[Estimator] = []

    def fitted(checkpoint: Path | None = None) -> Estimator:
        instance = instance_of(trial.sampling, device)
        estimator = construct("estimator", trial.estimator.path, trial.estimator.params, instance.truth)
        _check_estimator(estimator, trial.estimator)
        data = ShardReader(sampled.folder / "train", device)
        known: dict[str, Any] = {"truth": instance.truth} if estimator.needs_truth else {}
        if estimator.needs_truth and instance.truth is None:
            raise InvalidInput(
                f"{trial.estimator.label} needs the truth, and {trial.sampling.generator.label} has none: restrict it with `on`"
            )
        if checkpoint is not None and is_resumable(estimator):
            known["checkpoint"] = checkpoint
        return estimator.fit(data, seed=trial.fit_seed, **known)  # type: ignore[no-any-return]

    def compute(work: Path) -> dict[str, Any]:
        estimator = _resumed(fitted, work / CHECKPOINTS)
        live.append(estimator)
        params = {k: v for k, v in estimator.get_params().items() if isinstance(v, int | float | str | bool | None)}
        about = {"needs_truth": estimator.needs_truth, "params": params, "history": getattr(estimator, "history_", {})}
        try:
            arrays, plain = estimator.get_state()
        except NotExpressible as error:
            return {**about, "state": None, "reason": str(error)}
        save_file({k: _tensor(v) for k, v in arrays.items()}, work / "state.safetensors")
        told = {"plain": plain, "numpy": [k for k, v in arrays.items() if isinstance(v, np.ndarray)]}
        (work / "state.json").write_bytes(canonical(told).encode())
        return {**about, "state": "stored"}

    record = _stored(store, trial.fit, device, count, compute)

    def estimator() -> Estimator:
        if not live and record.result["state"] is None:
            live.append(fitted())
        if not live:
            instance = instance_of(trial.sampling, device)
            fresh = construct("estimator", trial.estimator.path, trial.estimator.params, instance.truth)
            arrays, plain = _state_in(record, device)
            live.append(fresh.set_state(arrays, plain))
        return live[0]

    return record, estimator


def _state_in(record: Record, device: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Arrays and JSON of a fitted state."""
    path = record.path("state.json")
    try:
        state = read_json(path)
    except ValueError as error:
        raise Damaged(f"{path} cannot be read ({error}): delete {record.folder} and run again", record.folder) from None
    plain, numpy = (state.get("plain"), state.get("numpy")) if isinstance(state, dict) else (None, None)
    if not isinstance(plain, dict) or not isinstance(numpy, list):
        raise Damaged(f"{path} is no fitted state: delete {record.folder} and run again", record.folder)
    tensors = _tensors_in(record, "state.safetensors", device)
    return {k: v.cpu().numpy() if k in numpy else v for k, v in tensors.items()}, plain


def _tensors_in(record: Record, name: str, device: str = "cpu") -> dict[str, Tensor]:
    path = record.path(name)
    try:
        return load_file(path, device=device)
    except SafetensorError as error:
        raise Damaged(f"{path} cannot be read ({in_a_line(error)}): delete {record.folder} and run again", record.folder) from None


CHECKPOINTS = "checkpoint"
"""The folder in a stage's work folder that holds checkpoints: it outlives a killed run, and goes when the fit is done."""


def _resumed(fitted: Callable[[Path], Estimator], folder: Path) -> Estimator:
    """Fit, going on from where a killed run was; a checkpoint that cannot be used costs what it would have saved, and no more."""
    for left in folder.parent.iterdir():  # half a state of a run that was killed while writing it
        if left != folder and left.name != "record.json":  # which holds the folder
            left.unlink()
    try:
        estimator = fitted(folder / "training")
    except UnusableCheckpoint as error:
        warnings.warn(f"{error}; this run deletes it and trains from the start", stacklevel=2)
        shutil.rmtree(folder)
        estimator = fitted(folder / "training")
    shutil.rmtree(folder, ignore_errors=True)
    return estimator


def _check_estimator(estimator: Any, use: Use) -> None:
    missing = [name for name in ("fit", "encode", "decode", "get_params", "get_state", "set_state") if not hasattr(estimator, name)]
    if missing:
        raise InvalidInput(f"estimator {use.label} ({use.path}) has no {', '.join(missing)}: derive it from testbed.Estimator")


def _tensor(value: Any) -> Tensor:
    tensor = value if isinstance(value, Tensor) else torch.from_numpy(np.ascontiguousarray(value))
    return tensor.detach().cpu().contiguous()


def encode(store: Store, trial: Trial, sampled: Record, estimator: Callable[[], Estimator], device: str, count: Count) -> Record:
    """Codes of the part `test`, and the dictionary where there is one."""

    def compute(work: Path) -> dict[str, Any]:
        model = estimator()
        pieces = []
        view = ""
        for observed in ShardReader(sampled.folder / "test", device):
            view = _view_of(model, observed)
            for start in range(0, len(observed), BLOCK):
                rows = observed[start : start + BLOCK]
                pieces.append(_checked_codes(model.encode(rows), len(rows), trial.estimator))
        tensors = _pack_codes(stacked(pieces))
        dictionary = getattr(model, "dictionary_", None)
        if dictionary is not None:
            tensors["dictionary"] = _tensor(dictionary)
        save_file({k: v.cpu().contiguous() for k, v in tensors.items()}, work / "codes.safetensors")
        found = Structure.of(model)
        return {
            "view": view,
            "rows": sum(map(len, pieces)),
            "codes": pieces[0].shape[1],
            "dictionary": dictionary is not None,
            "structure": None if found is None else asdict(found),
        }

    return _stored(store, trial.encode, device, count, compute)


def _view_of(model: Estimator, observed: Observed) -> str:
    """The view whose codes an estimator gives: the one it names, or all that it reads, side by side."""
    view = getattr(model, "view", None)
    if view is None and hasattr(model, "views"):
        return joined(observed.names_of(model.views))
    return observed.name_of(view)


def _checked_codes(given: Any, n: int, use: Use) -> Codes:
    codes: Codes = given
    if not isinstance(codes, SparseRows):
        codes = codes if isinstance(codes, Tensor) else torch.as_tensor(np.asarray(codes))
    if len(codes.shape) != 2 or codes.shape[0] != n:
        raise InvalidInput(f"estimator {use.label}: encode gave codes of shape {tuple(codes.shape)} for {n} rows: they must be ({n}, m)")
    values = codes.values if isinstance(codes, SparseRows) else codes
    if not bool(values.isfinite().all()):
        raise InvalidInput(f"estimator {use.label}: encode gave NaN or infinity: check its training")
    return codes


def _pack_codes(codes: Codes) -> dict[str, Tensor]:
    if isinstance(codes, SparseRows):
        return {"indptr": codes.indptr, "indices": codes.indices, "values": codes.values, "shape": torch.tensor(codes.shape)}
    return {"codes": codes.detach()}


def _codes_in(encoded: Record) -> tuple[Codes, Tensor | None]:
    """Codes, and the dictionary if there is one."""
    tensors = _tensors_in(encoded, "codes.safetensors")
    shape = (encoded.result["rows"], encoded.result["codes"])
    dictionary = tensors.get("dictionary")
    try:
        codes = tensors["codes"] if "codes" in tensors else sparse_rows(tensors)
        if tuple(codes.shape) != shape:
            raise ValueError(f"codes have shape {tuple(codes.shape)}, not {shape}")
    except ValueError as error:
        place = encoded.folder / "codes.safetensors"
        raise Damaged(f"{place} is not what was written ({error}): delete {encoded.folder} and run again", encoded.folder) from None
    return codes, dictionary


def outcome_of(trial: Trial, sampled: Record, encoded: Record, estimator: Callable[[], Estimator], device: str) -> Outcome:
    """What evaluators are given of a trial, on the CPU; the fitted estimator is loaded only if one decodes, and works on its device."""
    codes, dictionary = _codes_in(encoded)
    instance = instance_of(trial.sampling, device)
    return Outcome(
        codes=codes,
        sample=_sample(sampled.folder / "test"),
        view=encoded.result["view"],
        dictionary=dictionary,
        decode=lambda codes: _beside(estimator().decode(codes.to(device)), codes),
        truth=instance.truth,
        instance=instance,
        encode=lambda observed: _beside(estimator().encode(observed.to(device)), observed),
        part="test",
        seed=trial.sampling.rows_seed,
        structure=_structure(encoded.result.get("structure")),
    )


def _structure(plain: Mapping[str, Any] | None) -> Structure | None:
    """A structure from its JSON."""
    if plain is None:
        return None
    return Structure(
        levels=tuple(plain["levels"]),
        constituents=tuple(map(tuple, plain["constituents"])),
        n_states=tuple(plain["n_states"]),
        direction=plain["direction"],
    )


def _beside(result: Any, given: Any) -> Any:
    """Put an estimator's result where the caller's own data are."""
    if isinstance(given, Observed):
        given = next(iter(given.views.values())).values
    home = given.values.device if isinstance(given, SparseRows) else given.device
    return result.to(home) if hasattr(result, "to") else torch.as_tensor(result, device=home)


# ---------------------------------------------------------------------------------------------------------------- scores


def score(store: Store, stage: Stage, evaluator: Use, trials: list[Trial], outcomes: Any, device: str, count: Count) -> Record:
    """Score a trial's outcome (or a group's list of them), with chance level, ceiling and floors on the same instance."""

    def compute(work: Path) -> dict[str, Any]:
        judge: Evaluator = construct("evaluator", evaluator.path, evaluator.params)
        about = {
            **{name: getattr(judge, name) for name in ("direction", "equivalence", "scope")},
            **{name: list(getattr(judge, name)) for name in ("kinds", "invariances")},
        }
        given = outcomes()
        seed = seed_of("score", trials[0].sampling.rows_seed)
        try:
            scores = _finite(judge.score(given, seed=seed), evaluator)
        except NotApplicable as reason:
            return {**about, "status": "not applicable", "reason": str(reason)}
        level = _levels(store, judge, evaluator, trials[0], given, device, count)
        return {
            **about,
            "status": "scored",
            "value": scores.value,
            "parts": dict(scores.parts),
            "groups": dict(scores.groups),
            "details": dict(scores.details),
            "chance": level(judge.chance),
            "ceiling": level(judge.ceiling),
            "floors": {floor.name: level(floor) for floor in judge.floors},
        }

    return _stored(store, stage, device, count, compute)


def _finite(scores: Any, use: Use) -> Scores:
    if not isinstance(scores, Scores):
        raise InvalidInput(
            f"evaluator {use.label}: score gave a {type(scores).__name__}, not Scores: return testbed.contracts.Scores(value)"
        )
    for name, value in {"value": scores.value, **scores.parts, **scores.groups}.items():
        if not math.isfinite(value):
            raise InvalidInput(f"evaluator {use.label}: {name} is {value}: raise NotApplicable where a score is not defined")
    return scores


def _levels(
    store: Store, judge: Evaluator, use: Use, trial: Trial, given: Any, device: str, count: Count
) -> Callable[[Reference | float | None], dict[str, Any] | None]:
    """How an evaluator's references are scored: by number, on this trial, or once for the whole instance."""

    def level(reference: Reference | float | None) -> dict[str, Any] | None:
        if reference is None:
            return None
        if isinstance(reference, int | float):
            return {"value": float(reference), "parts": {}, "by": "construction"}
        try:
            if reference.scope == "instance":
                first = given[0] if isinstance(given, list) else given
                return dict(_instance_level(store, judge, use, trial, reference, first, device, count).result)
            seed = seed_of("reference", reference.name, trial.sampling.rows_seed)
            if isinstance(given, list):
                made: Any = [reference.make(outcome, seed_of("each", seed, i)) for i, outcome in enumerate(given)]
            else:
                made = reference.make(given, seed)
            scores = _finite(judge.score(made, seed=seed), use)
        except NotApplicable:
            return None
        return {"value": scores.value, "parts": dict(scores.parts), "by": reference.name}

    return level


def _instance_level(
    store: Store, judge: Evaluator, use: Use, trial: Trial, reference: Reference, outcome: Outcome, device: str, count: Count
) -> Record:
    if judge.scope == "seeds":
        raise InvalidInput(f"evaluator {use.label}: a reference of scope 'instance' has no fit seeds to compare: use scope 'trial'")
    material = {
        "stage": "reference",
        "name": reference.name,
        "view": outcome.view,
        "component": use.material(),
        "inputs": [trial.sampling.stage.key],
        **{k: trial.fit.material[k] for k in ("device", "dtype", "threads")},
    }
    stage = Stage("reference", key_of(material), material)

    def compute(work: Path) -> dict[str, Any]:
        folder = store.folder("sample", trial.sampling.stage.key) / "reference"
        made = _reference_outcome(reference, folder, outcome.view, trial.sampling.generator.path, outcome)
        scores = _finite(judge.score(made, seed=seed_of("reference", reference.name, trial.sampling.rows_seed)), use)
        return {"value": scores.value, "parts": dict(scores.parts), "by": reference.name}

    return _stored(store, stage, device, count, compute)


_made: dict[tuple[Any, ...], Outcome] = {}


def _reference_outcome(reference: Reference, folder: Path, view: str, generator: str, outcome: Outcome) -> Outcome:
    """Reference codes on the part `reference`: made once per instance, and kept while its evaluators score them."""
    key = (reference, folder, view)
    if key not in _made:
        if any(other[1] != folder for other in _made):
            _made.clear()
        sample = _sample(folder)
        rows = len(sample)
        blank = Outcome(
            torch.zeros(rows, 0),
            sample,
            view,
            truth=outcome.truth,
            instance=outcome.instance,
            part="reference",
            seed=outcome.seed,
        )
        _made[key] = reference.make(blank, seed_of("reference", reference.name, outcome.seed))
    return _made[key]


# ------------------------------------------------------------------------------------------------------------------ jobs


def run_trial(store: Store, trial: Trial, evaluators: Mapping[str, Use], device: str, count: Count) -> dict[str, BaseException]:
    """All stages of a trial; gives the error of each stage that failed, and goes on past a failed evaluator.

    A stage that is found damaged on the way is deleted and computed again, once.
    """
    return _mended(store, lambda: _run_trial(store, trial, evaluators, device, count))


def _mended(store: Store, attempt: Callable[[], dict[str, BaseException]]) -> dict[str, BaseException]:
    errors = attempt()
    damaged = [error for error in errors.values() if isinstance(error, Damaged)]
    folders = {folder for error in damaged if (folder := _stage_of(store, error)) is not None}
    if not folders:
        return errors
    for folder in folders:
        warnings.warn(f"{folder} is damaged: it is deleted and computed again", stacklevel=2)
        shutil.rmtree(folder, ignore_errors=True)
    return attempt()


def _stage_of(store: Store, error: Damaged) -> Path | None:
    """The stage of this store that holds what is damaged."""
    place = error.stage
    while place is not None and place.parent.parent.parent != store.root / "stages":
        place = place.parent if place != place.parent else None
    return place


def _run_trial(store: Store, trial: Trial, evaluators: Mapping[str, Use], device: str, count: Count) -> dict[str, BaseException]:
    stage = trial.sampling.stage
    errors: dict[str, BaseException] = {}
    try:
        sampled = sample(store, trial.sampling, device, count)
        stage = trial.fit
        _, estimator = fit(store, trial, sampled, device, count)
        stage = trial.encode
        encoded = encode(store, trial, sampled, estimator, device, count)
    except (Exception, SystemExit) as error:  # a component that leaves the program has failed
        return {f"{stage.stage}:{stage.key}": error}
    made: list[Outcome] = []

    def outcome() -> Outcome:
        if not made:
            made.append(outcome_of(trial, sampled, encoded, estimator, device))
        return made[0]

    for label, stage in trial.scores.items():
        try:
            score(store, stage, evaluators[label], [trial], outcome, device, count)
        except (Exception, SystemExit) as error:  # a component that leaves the program has failed
            errors[f"{stage.stage}:{stage.key}"] = error
    return errors


def run_group(store: Store, group: Group, evaluators: Mapping[str, Use], device: str, count: Count) -> dict[str, BaseException]:
    """Evaluators that compare the fit seeds of one estimator on one instance; what is damaged is computed again as for a trial."""
    return _mended(store, lambda: _run_group(store, group, evaluators, device, count))


def _run_group(store: Store, group: Group, evaluators: Mapping[str, Use], device: str, count: Count) -> dict[str, BaseException]:
    errors: dict[str, BaseException] = {}
    made: list[Outcome] = []

    def outcomes() -> list[Outcome]:
        if not made:
            for trial in group.trials:
                sampled = sample(store, trial.sampling, device, lambda *_: None)
                _, estimator = fit(store, trial, sampled, device, lambda *_: None)
                encoded = encode(store, trial, sampled, estimator, device, lambda *_: None)
                made.append(outcome_of(trial, sampled, encoded, estimator, device))
        return made

    for label, stage in group.scores.items():
        try:
            score(store, stage, evaluators[label], list(group.trials), outcomes, device, count)
        except (Exception, SystemExit) as error:  # a component that leaves the program has failed
            errors[f"{stage.stage}:{stage.key}"] = error
    return errors
