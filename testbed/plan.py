"""A suite crossed out: every sample, trial and group of trials, with the key of each of its stages. Imports no component."""

from __future__ import annotations

import hashlib
import platform
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from testbed.contracts import InvalidInput, seed_of
from testbed.device import threads as threads_of
from testbed.registry import resolve
from testbed.source import fingerprint, read_class
from testbed.store import SCHEMA, key_of
from testbed.suite import (
    EvaluatorEntry,
    GeneratorEntry,
    Sizes,
    Suite,
    component_kind,
    components_in,
    is_nested,
    is_truth_setting,
    runs_on,
)

LARGE = 64 << 20
"""Bytes above which a parameter's file counts by name, size and time instead of by content."""


@dataclass(frozen=True)
class Use:
    """A component as a suite uses it: enough to construct it, and to know when it has changed."""

    label: str
    path: str
    params: Mapping[str, Any]
    source: str
    inputs: Mapping[str, str] = field(default_factory=dict)
    constants: Mapping[str, Any] = field(default_factory=dict)

    def material(self) -> dict[str, Any]:
        """What a stage's key holds of it: everything but the label."""
        return {"class": self.path, "params": dict(self.params), "source": self.source, "inputs": dict(self.inputs)}

    @property
    def from_truth(self) -> tuple[str, ...]:
        """Parameters whose value, or that of a component in them, is read off the truth."""
        return tuple(name for name, value in self.params.items() if _reads_truth(value))


def _reads_truth(value: Any) -> bool:
    if isinstance(value, list):
        return any(map(_reads_truth, value))
    return is_truth_setting(value) or (is_nested(value) and any(_reads_truth(inner) for inner in value.values()))


@dataclass(frozen=True)
class Stage:
    """One unit of work that is stored: its name, its key, and the material that the key is the hash of."""

    stage: str
    key: str
    material: Mapping[str, Any]


@dataclass(frozen=True)
class Sampling:
    """One instance of one generator setting, and how many rows of each part are wanted."""

    generator: Use
    instance: int
    instance_seed: int
    rows_seed: int
    sizes: Mapping[str, int]
    dtype: str
    stage: Stage


@dataclass(frozen=True)
class Trial:
    """Generator setting x instance x estimator x fit seed."""

    id: str
    sampling: Sampling
    estimator: Use
    fit_index: int
    fit_seed: int
    fit: Stage
    encode: Stage
    scores: Mapping[str, Stage]


@dataclass(frozen=True)
class Group:
    """All fit seeds of one estimator on one instance, for evaluators that compare them."""

    id: str
    trials: tuple[Trial, ...]
    scores: Mapping[str, Stage]


@dataclass(frozen=True)
class Plan:
    """Everything that a run of a suite consists of."""

    suite: Suite
    device: str
    threads: int
    generators: Mapping[str, Use]
    estimators: Mapping[str, Use]
    evaluators: Mapping[str, Use]
    samplings: tuple[Sampling, ...]
    trials: tuple[Trial, ...]
    groups: tuple[Group, ...]

    def as_json(self) -> dict[str, Any]:
        """The plan as plain JSON: what `testbed report`, `claims` and `show` read, without importing anything."""
        return {
            "schema": SCHEMA,
            "suite": self.suite.model_dump(mode="json"),
            "device": self.device,
            "threads": self.threads,
            **{
                kind: [{**asdict(use), "from_truth": list(use.from_truth)} for use in getattr(self, kind).values()]
                for kind in ("generators", "estimators", "evaluators")
            },
            "samples": [
                {"generator": s.generator.label, "instance": s.instance, "sizes": dict(s.sizes), "sample": s.stage.key}
                for s in self.samplings
            ],
            "trials": [
                {
                    "id": t.id,
                    "generator": t.sampling.generator.label,
                    "instance": t.sampling.instance,
                    "estimator": t.estimator.label,
                    "fit_seed": t.fit_index,
                    "sample": t.sampling.stage.key,
                    "fit": t.fit.key,
                    "encode": t.encode.key,
                    "scores": {label: stage.key for label, stage in t.scores.items()},
                }
                for t in self.trials
            ],
            "groups": [
                {
                    "id": g.id,
                    "generator": g.trials[0].sampling.generator.label,
                    "instance": g.trials[0].sampling.instance,
                    "estimator": g.trials[0].estimator.label,
                    "scores": {label: stage.key for label, stage in g.scores.items()},
                }
                for g in self.groups
            ],
        }


def enumerate_trials(suite: Suite, device: str = "cpu") -> Plan:
    """Cross out a suite that `testbed.suite.read` has checked."""
    generators = {e.label: use_of("generator", e.name, e.label, e.params) for e in suite.generator}
    estimators = {e.label: use_of("estimator", e.name, e.label, e.params) for e in suite.estimator}
    evaluators = {e.label: use_of("evaluator", e.name, e.label, e.params) for e in suite.evaluator}
    threads = threads_of(suite.threads)
    machine = {"device": device, "dtype": suite.dtype, "threads": threads}
    samplings: list[Sampling] = []
    trials: list[Trial] = []
    groups: list[Group] = []
    for generator in suite.generator:
        scored = [(e, evaluators[e.label]) for e in suite.evaluator if runs_on(e, generator)]
        for instance in range(generator.instances or suite.instances):
            sampling = _sampling(suite, generator, generators[generator.label], instance, machine)
            samplings.append(sampling)
            for entry in suite.estimator:
                if not runs_on(entry, generator):
                    continue
                seeds = entry.fit_seeds or suite.fit_seeds
                made = [_trial(suite, sampling, estimators[entry.label], i, scored, machine) for i in range(seeds)]
                trials += made
                together = {e.label: use for e, use in scored if use.constants.get("scope") == "seeds"}
                if together and seeds > 1:
                    inputs = [t.encode.key for t in made]
                    scores = {k: _stage("score", machine, component=u.material(), inputs=inputs) for k, u in together.items()}
                    groups.append(Group(made[0].id.rpartition("/")[0], tuple(made), scores))
    return Plan(suite, device, threads, generators, estimators, evaluators, tuple(samplings), tuple(trials), tuple(groups))


def use_of(kind: str, name: str, label: str, params: Mapping[str, Any]) -> Use:
    """Everything about a component that its results depend on, from its text and the files that its parameters name."""
    path = resolve(f"{kind}s", name)
    text = read_class(path)
    annotations = {p.name: p.annotation for p in text.parameters or ()} if text is not None else {}
    inputs: dict[str, str] = {}
    for key, value in params.items():
        for place, one in enumerate(components_in(value)):
            inner = component_kind(one["use"], key)
            nested = use_of(inner, one["use"], key, {k: v for k, v in one.items() if k != "use"})
            inputs[key if is_nested(value) else f"{key}[{place}]"] = key_of(nested.material())
        if "Path" in annotations.get(key, ""):
            for file in value if isinstance(value, list) else [value]:
                if isinstance(file, str) and Path(file).exists():
                    inputs[f"{key}:{file}"] = content_of(Path(file))
    constants = dict(text.constants) if text is not None else {}
    named = constants.get("environment", ())
    for package in named if isinstance(named, list | tuple) else [named]:
        inputs[f"version of {package}"] = _version_of(package, name)
    return Use(label, path, dict(params), fingerprint(path), inputs, constants)


def _version_of(package: Any, component: str) -> str:
    if package == "python":
        return platform.python_version()
    try:
        return version(package)
    except PackageNotFoundError:
        raise InvalidInput(f"{component} needs the package {package!r}, which is not installed: pip install {package}") from None
    except (TypeError, ValueError):
        raise InvalidInput(f"{component}: environment is a tuple of names of packages, which {package!r} is not: mend the class") from None


def content_of(path: Path) -> str:
    """Fingerprint of a file or a folder: content, but of a file of more than `LARGE` bytes only its size and time."""
    digest = hashlib.sha256()
    for file in sorted(p for p in path.rglob("*") if p.is_file()) if path.is_dir() else [path]:
        about = file.stat()
        digest.update(f"{file.relative_to(path.parent)}\0{about.st_size}\0".encode())
        digest.update(str(about.st_mtime_ns).encode() if about.st_size > LARGE else hashlib.sha256(file.read_bytes()).digest())
    return digest.hexdigest()


def _stage(stage: str, machine: Mapping[str, Any], **material: Any) -> Stage:
    material = {"stage": stage, **machine, **material}
    return Stage(stage, key_of(material), material)


def seed_of_instance(suite_seed: int, instance: int) -> int:
    """What an instance is drawn from: the same for every generator setting, so that settings are compared on paired instances."""
    return seed_of("instance", suite_seed, instance)


def seed_of_fit(suite_seed: int, instance: int, index: int) -> int:
    """What an estimator is fitted with: the same for every estimator and generator setting."""
    return seed_of("fit", suite_seed, instance, index)


def _sampling(suite: Suite, entry: GeneratorEntry, use: Use, instance: int, machine: Mapping[str, Any]) -> Sampling:
    sizes = {**suite.data.model_dump(), **{k: v for k, v in entry.data.model_dump().items() if v is not None}}
    sizes = Sizes(**sizes).model_dump()
    instance_seed = seed_of_instance(suite.seed, instance)
    rows_seed = seed_of("rows", suite.seed, instance)
    stage = _stage("sample", machine, component=use.material(), instance=instance_seed, rows=rows_seed, sizes=sizes)
    return Sampling(use, instance, instance_seed, rows_seed, sizes, suite.dtype, stage)


def _trial(
    suite: Suite,
    sampling: Sampling,
    estimator: Use,
    index: int,
    scored: list[tuple[EvaluatorEntry, Use]],
    machine: Mapping[str, Any],
) -> Trial:
    seed = seed_of_fit(suite.seed, sampling.instance, index)
    fit = _stage("fit", machine, component=estimator.material(), seed=seed, inputs=[sampling.stage.key])
    encode = _stage("encode", machine, inputs=[fit.key, sampling.stage.key])
    scores = {
        entry.label: _stage("score", machine, component=use.material(), inputs=[encode.key])
        for entry, use in scored
        if use.constants.get("scope", "trial") == "trial"
    }
    trial = f"{sampling.generator.label}/{sampling.instance}/{estimator.label}/{index}"
    return Trial(trial, sampling, estimator, index, seed, fit, encode, scores)
