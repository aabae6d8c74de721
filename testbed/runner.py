"""Runs a plan: finds what is missing, hands it to an executor in the right order, stores what fails, and says what was done.

Importing this module, planning, and a run with nothing left to do load neither torch nor scikit-learn.
"""

from __future__ import annotations

import heapq
import os
import shlex
import sys
import tempfile
import time
import traceback
import warnings
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed import __version__, device
from testbed.contracts import InvalidInput
from testbed.executors import Executor, Processes, Serial
from testbed.plan import Group, Plan, Sampling, Trial, Use, enumerate_trials
from testbed.store import Store
from testbed.suite import find, names_in, read

if TYPE_CHECKING:
    from testbed.results import Results


@dataclass(frozen=True)
class Job:
    """One sampling, trial or group, and all that a worker needs to run it."""

    id: str
    work: Sampling | Trial | Group
    needs: tuple[str, ...]
    evaluators: Mapping[str, Use]
    root: str
    device: str
    threads: int


@dataclass(frozen=True)
class Done:
    """What came of a job: its stages (key -> computed or found), and the errors of those that failed (``stage:key`` -> report)."""

    stages: Mapping[tuple[str, str], bool]
    errors: Mapping[str, Mapping[str, str]]
    seconds: float


@dataclass
class Summary:
    """What a run did."""

    folder: Path
    plan: Plan
    computed: dict[str, int] = field(default_factory=dict)
    found: int = 0
    failed: list[str] = field(default_factory=list)
    seconds: float = 0.0

    @property
    def total_computed(self) -> int:
        return sum(self.computed.values())

    def sentence(self) -> str:
        """One line: what was computed, what was there already, what failed."""
        kinds = ", ".join(f"{n} {stage}" for stage, n in self.computed.items())
        none = "no stage computed" if self.failed else "nothing to do: no stage computed"
        made = f"{self.total_computed} stages computed ({kinds})" if self.total_computed else none
        return f"{made}, {self.found} found in {self.folder}, {len(self.failed)} failed, {self.seconds:.1f} s"


class Watcher:
    """Told of a run's progress; this one says nothing. The command line shows bars."""

    def begin(self, waiting: int, ready: int) -> None:
        """Before the first job: how many jobs wait, and how many trials are finished already."""

    def start(self, job: Job) -> None:
        """A job was handed to the executor."""

    def finish(self, job: Job, done: Done) -> None:
        """A job ended."""


def plan_suite(
    suite: str | Path, *, preset: str | None = None, settings: Sequence[str] = (), only: Sequence[str] = (), on: str = "cpu"
) -> list[Plan]:
    """Read a suite (or each suite of a folder), check it, and cross it out.

    Suites of a folder that have nothing which `only` names are left out, unless none has.
    """
    paths = find(suite)
    wanted = {path: list(only) for path in paths}
    if only and len(paths) > 1:
        known = {path: names_in(read(path, preset=preset, settings=settings)) for path in paths}
        if all(any(name in names for names in known.values()) for name in only):
            wanted = {path: kept for path, names in known.items() if (kept := [name for name in only if name in names])}
    return [enumerate_trials(read(path, preset=preset, settings=settings, only=names), device.choose(on)) for path, names in wanted.items()]


def run(
    suite: str | Path,
    out: str | Path | None = None,
    *,
    preset: str | None = None,
    jobs: int = 1,
    on: str = "cpu",
    settings: Sequence[str] = (),
    only: Sequence[str] = (),
) -> Results:
    """Run one suite and read its results.

    Parameters
    ----------
    suite : str or path
        A shipped name, or a file.
    out : path, optional
        The folder that holds the store; ``runs/NAME`` by default.
    preset, settings, only
        See `testbed.suite.read`.
    jobs : int
        Worker processes.
    on : {"cpu", "cuda", "auto"}

    Raises
    ------
    InvalidInput
        If the suite cannot be run. Trials that fail do not raise: they are in ``failures`` of the results.
    """
    from testbed.results import gather

    plans = plan_suite(suite, preset=preset, settings=settings, only=only, on=on)
    if len(plans) != 1:
        raise InvalidInput(f"{suite} holds {len(plans)} suites: run one at a time, or the folder by `testbed run`")
    folder = Path(out) if out is not None else Path("runs") / plans[0].suite.name
    return gather(execute(plans[0], folder, jobs=jobs).folder)


# ------------------------------------------------------------------------------------------------------------- execution


def execute(plan: Plan, folder: str | Path, *, jobs: int = 1, fresh: bool = False, watcher: Watcher | None = None) -> Summary:
    """Compute every stage of a plan that its folder does not hold yet.

    Parameters
    ----------
    plan : Plan
    folder : path
        Holds the store; made if it is not there.
    jobs : int
        Worker processes; 1 runs everything in this process (unless the suite limits the seconds of a trial). Trials of several threads
        run on as many processes as have cores for them, which may be fewer.
    fresh : bool
        Forget this plan's stages first.
    watcher : Watcher, optional
    """
    if jobs < 1:
        raise InvalidInput(f"--jobs {jobs}: at least one job must run at a time")
    watcher = watcher or Watcher()
    clock = time.perf_counter()
    store = Store(folder)
    _writable(store.root)
    if fresh:
        for stage in _stages(plan):
            store.forget(*stage)
    waiting, found = missing(plan, store)
    summary = Summary(store.root, plan, found=len(found))
    store.write_run({**plan.as_json(), **_circumstances()})
    watcher.begin(len(waiting), len(plan.trials) - sum(isinstance(job.work, Trial) for job in waiting))
    if waiting:
        executor = _executor(plan, jobs)
        try:
            _loop(waiting, executor, store, summary, watcher)
        finally:
            executor.close()
    summary.seconds = time.perf_counter() - clock
    return summary


def _writable(folder: Path) -> None:
    try:
        folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=folder):
            pass
    except OSError as error:
        raise InvalidInput(f"{folder} cannot be written to ({error.strerror}): choose another --out") from None


def _executor(plan: Plan, jobs: int) -> Executor:
    if plan.threads < plan.suite.threads:
        why = f"this machine lends {device.cores()} cores, and OMP_NUM_THREADS may say fewer"
        warnings.warn(f"the suite wants {plan.suite.threads} threads a trial and gets {plan.threads} ({why}): keys say so", stacklevel=3)
    if plan.threads > 1 and jobs > (most := device.cores() // plan.threads):
        warnings.warn(f"--jobs {jobs}: trials of {plan.threads} threads run {most} at a time on {device.cores()} cores", stacklevel=3)
        jobs = most
    if jobs == 1 and plan.suite.seconds is None:
        return Serial()
    return Processes(jobs, plan.threads, plan.suite.seconds)


def _stages(plan: Plan) -> set[tuple[str, str]]:
    """Every stage of a plan, as (stage, key)."""
    stages = {("sample", s.stage.key) for s in plan.samplings}
    for trial in plan.trials:
        stages |= {("fit", trial.fit.key), ("encode", trial.encode.key)}
        stages |= {("score", stage.key) for stage in trial.scores.values()}
    return stages | {("score", stage.key) for group in plan.groups for stage in group.scores.values()}


def missing(plan: Plan, store: Store) -> tuple[list[Job], set[tuple[str, str]]]:
    """Jobs that have something left to do, in order, and the stages that are there already."""
    stages = _stages(plan)
    found = {stage for stage in stages if store.record(*stage) is not None}

    def lacks(unit: Trial | Group) -> bool:
        keys = {("score", stage.key) for stage in unit.scores.values()}
        if isinstance(unit, Trial):
            keys |= {("fit", unit.fit.key), ("encode", unit.encode.key)}
        return not keys <= found

    common: dict[str, Any] = {"evaluators": plan.evaluators, "root": str(store.root), "device": plan.device, "threads": plan.threads}
    trials = [trial for trial in plan.trials if lacks(trial)]
    groups = [group for group in plan.groups if lacks(group)]
    wanted = {t.sampling.stage.key for t in trials} | {t.sampling.stage.key for g in groups for t in g.trials}
    jobs: list[Job] = []
    sampled: dict[str, str] = {}
    for sampling in plan.samplings:
        key = sampling.stage.key
        if key in wanted and ("sample", key) not in found and key not in sampled:
            sampled[key] = f"{sampling.generator.label}/{sampling.instance}"
            jobs.append(Job(sampled[key], sampling, (), **common))
    for trial in trials:
        needs = (sampled[trial.sampling.stage.key],) if trial.sampling.stage.key in sampled else ()
        jobs.append(Job(trial.id, trial, needs, **common))
    unfinished = {trial.id for trial in trials}
    for group in groups:
        jobs.append(Job(group.id, group, tuple(t.id for t in group.trials if t.id in unfinished), **common))
    return jobs, found


class _Waiting:
    """Jobs in the order of the plan, each given out when all that it needs has ended; what one costs does not grow with their number."""

    def __init__(self, jobs: Sequence[Job]) -> None:
        self._jobs = jobs
        self._lacks = [len(set(job.needs)) for job in jobs]
        self._needed_by: dict[str, list[int]] = {}
        for place, job in enumerate(jobs):
            for name in set(job.needs):
                self._needed_by.setdefault(name, []).append(place)
        self._ready = [place for place, lacks in enumerate(self._lacks) if not lacks]  # sorted, so a heap

    def next(self) -> Job | None:
        """The first job that can run now."""
        return self._jobs[heapq.heappop(self._ready)] if self._ready else None

    def ended(self, job: Job) -> None:
        """A job ended well enough for those that need it."""
        for place in self._needed_by.pop(job.id, ()):
            self._lacks[place] -= 1
            if not self._lacks[place]:
                heapq.heappush(self._ready, place)

    def broken(self, job: Job) -> Iterator[Job]:
        """A job failed: those that need it, directly or not, will not be given out, and come back here."""
        for place in self._needed_by.pop(job.id, ()):
            if self._lacks[place] > 0:
                self._lacks[place] = -1
                yield self._jobs[place]
                yield from self.broken(self._jobs[place])


def _loop(jobs: Sequence[Job], executor: Executor, store: Store, summary: Summary, watcher: Watcher) -> None:
    """Hand out jobs whose needs are met, until none is left; a job that needs a failed one fails with it."""
    waiting = _Waiting(jobs)
    running: dict[str, Job] = {}
    seen: dict[tuple[str, str], bool] = {}
    while True:
        while len(running) < executor.slots and (job := waiting.next()) is not None:
            running[job.id] = job
            watcher.start(job)
            executor.submit(job.id, perform, job)
        if not running:
            break
        name, result = executor.wait()
        job = running.pop(name)
        done = result if isinstance(result, Done) else _died(job, result, store)
        for address, computed in done.stages.items():
            seen[address] = seen.get(address, False) or computed
        for place, report in done.errors.items():
            stage, _, key = place.partition(":")
            store.fail(stage, key, {"trial": job.id, **report})
        if done.errors:
            summary.failed.append(job.id)
        watcher.finish(job, done)
        if any(not place.startswith("score:") for place in done.errors):
            for other in waiting.broken(job):
                summary.failed.append(other.id)
                watcher.finish(other, Done({}, {"": {"error": "not run: what it needs failed", "traceback": ""}}, 0.0))
        else:
            waiting.ended(job)
    for (stage, _), computed in seen.items():
        if computed:
            summary.computed[stage] = summary.computed.get(stage, 0) + 1


def _died(job: Job, error: Any, store: Store) -> Done:
    """The report on a job whose worker died or could not start: charged to the first of its stages that is not there."""
    work = job.work
    stages = [work.stage] if isinstance(work, Sampling) else list(work.scores.values())
    if isinstance(work, Trial):
        stages = [work.sampling.stage, work.fit, work.encode, *stages]
    first = next((stage for stage in stages if store.record(stage.stage, stage.key) is None), stages[-1])
    trace = "".join(traceback.format_exception(error)) if isinstance(error, BaseException) else ""
    return Done({}, {f"{first.stage}:{first.key}": {"error": str(error), "traceback": trace}}, 0.0)


def perform(job: Job) -> Done:
    """Run one job in this process; errors come back as reports."""
    from testbed import stages

    store = Store(job.root)
    clock = time.perf_counter()
    counted: dict[tuple[str, str], bool] = {}

    def count(stage: str, key: str, computed: bool) -> None:
        counted[stage, key] = counted.get((stage, key), False) or computed

    errors: dict[str, BaseException] = {}
    with stages.machine(job.device, job.threads):
        match job.work:
            case Sampling() as sampling:
                try:
                    stages.sample(store, sampling, job.device, count)
                except (Exception, SystemExit) as error:
                    errors[f"sample:{sampling.stage.key}"] = error
            case Trial() as trial:
                errors = stages.run_trial(store, trial, job.evaluators, job.device, count)
            case Group() as group:
                errors = stages.run_group(store, group, job.evaluators, job.device, count)
    return Done(counted, {place: _report(error) for place, error in errors.items()}, time.perf_counter() - clock)


def _report(error: BaseException) -> dict[str, str]:
    text = str(error) or type(error).__name__
    expected = isinstance(error, InvalidInput)
    return {
        "error": text if expected else f"{type(error).__name__}: {text}",
        "traceback": "".join(traceback.format_exception(error)),
    }


def _circumstances() -> dict[str, Any]:
    command = " ".join(["testbed", *map(shlex.quote, sys.argv[1:])]) if Path(sys.argv[0]).name == "testbed" else ""
    return {
        "version": __version__,
        "command": command,
        "finished": time.strftime("%Y-%m-%dT%H:%M:%S%z"),
        "cores": os.cpu_count(),
    }
