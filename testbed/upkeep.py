"""Looking after a store: is everything what it was written as, and what is no longer needed? Reads JSON and bytes, executes nothing."""

from __future__ import annotations

import fcntl
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.contracts import InvalidInput
from testbed.runfile import fault_in_result, read_run
from testbed.store import Store, digest_of, fault_of, read_json

STAGES = ("sample", "fit", "encode", "score", "reference")


@dataclass(frozen=True)
class Problem:
    """Something on disk that is not what it should be: where, what in a sentence, and the stage's folder that a repair deletes, if any."""

    path: Path
    what: str
    stage: Path | None = None


def verify(folder: str | Path) -> list[Problem]:
    """Everything in a run's folder that is damaged, foreign or half-written; a folder that is in order gives an empty list.

    Every file of every stage is read and held against the hash in its record, and the record against its key. What an interrupted run left
    in ``work`` is no problem: the next run goes on from there.

    Raises
    ------
    InvalidInput
        If the folder is not one that `testbed run` wrote.
    """
    store = _opened(folder)
    found = [problem for stage in _stage_folders(store.root) for problem in _of_stage(store, stage)]
    found += [Problem(path, "is a link out of the store: what it leads to is left alone") for path in _links(store.root)]
    found += [
        Problem(path, "is a failure report that cannot be read")
        for path in sorted((store.root / "failures").glob("*/*.json"))
        if not _is_json(path)
    ]
    for name in ("run.json", "claims.json"):
        path = store.root / name
        if path.exists() and not _is_json(path):
            found.append(Problem(path, "cannot be read: run the suite again, which writes it anew"))
    return found


def repair(problems: list[Problem]) -> list[Path]:
    """Delete the stages that have problems, so that the next run computes them again; gives their folders. Nothing else is touched."""
    folders = list(dict.fromkeys(problem.stage for problem in problems if problem.stage is not None))
    for folder in folders:
        shutil.rmtree(folder)
    return folders


@dataclass(frozen=True)
class Garbage:
    """What the last run of a folder does not need: paths, and bytes in all."""

    paths: tuple[Path, ...]
    size: int


def garbage(folder: str | Path) -> Garbage:
    """Stages that the folder's last run does not use, work that nobody holds, and drafts that a kill left.

    Stages of earlier settings of the suite are garbage by this; a rerun with those settings would compute them again.
    """
    store = _opened(folder)
    used = _used(store)
    paths = [path for path in _stage_folders(store.root) if path.parts[-3] in STAGES and not _is_used(store, path, used)]
    paths += [path for path in _folders_in(store.root, "work") if not _is_held(path)]
    paths += [path for path in _folders_in(store.root, "failures") if tuple(path.name.split("-", 1)) not in used]
    paths += sorted(store.root.glob(".*.draft"))
    return Garbage(tuple(paths), sum(_size(path) for path in paths))


def collect(found: Garbage) -> None:
    """Delete garbage."""
    for path in found.paths:
        if path.is_dir():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


# ------------------------------------------------------------------------------------------------------------ verifying


def _opened(folder: str | Path) -> Store:
    root = Path(folder)
    if not (root / "stages").is_dir() and not (root / "run.json").is_file():
        raise InvalidInput(f"{root} holds no run: give the folder that `testbed run` wrote (it has a run.json)")
    return Store(root)


def _stage_folders(root: Path) -> Iterator[Path]:
    """Folders of stages that really lie in the store: what a link leads to is not ours to delete."""
    home = (root / "stages").resolve()  # which may itself be a link, to a larger disk
    yield from sorted(path for path in (root / "stages").glob("*/??/*") if path.is_dir() and path.resolve().is_relative_to(home))


def _links(root: Path) -> Iterator[Path]:
    """Folders in the place of stages that lie elsewhere."""
    home = (root / "stages").resolve()
    yield from sorted(path for path in (root / "stages").glob("*/??/*") if not path.resolve().is_relative_to(home))


def _folders_in(root: Path, name: str) -> list[Path]:
    """Folders that really lie in ``root / name``."""
    home = root.resolve() / name
    return sorted(path for path in (root / name).glob("*") if path.is_dir() and path.resolve().parent == home)


def _of_stage(store: Store, folder: Path) -> Iterator[Problem]:
    kind, key = folder.parts[-3], folder.parts[-1]
    if kind not in STAGES:
        yield Problem(folder, f"is no stage: stages are {', '.join(STAGES)}")
        return
    record = store.record(kind, key)
    fault = _why(folder / "record.json", kind, key) if record is None else fault_in_result(record)
    if record is None or fault:
        yield Problem(folder / "record.json", fault, folder)
        return
    for name, about in record.files.items():
        path = folder / name
        if not path.is_file():
            yield Problem(path, "is missing", folder)
        elif path.stat().st_size != about["bytes"]:
            yield Problem(path, f"has {path.stat().st_size:,} bytes, not {about['bytes']:,}", folder)
        elif digest_of(path) != about["sha256"]:
            yield Problem(path, "is not what was written: its hash is another one", folder)
    known = {folder / name for name in record.files} | {folder / "record.json"}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path not in known:
            yield Problem(path, "is not in the record: nobody reads it", None)


def _why(path: Path, kind: str, key: str) -> str:
    """Why a record does not count."""
    try:
        return fault_of(read_json(path), kind, key)
    except FileNotFoundError:
        return "is missing: the stage was never finished"
    except (OSError, ValueError) as error:
        return f"cannot be read ({type(error).__name__}: {error})"


def _is_json(path: Path) -> bool:
    try:
        read_json(path)
    except (OSError, ValueError):
        return False
    return True


# -------------------------------------------------------------------------------------------------------------- garbage


def _used(store: Store) -> set[tuple[str, str]]:
    run = read_run(store)
    used = {("sample", sample["sample"]) for sample in run["samples"]}
    for trial in run["trials"]:
        used |= {(stage, trial[stage]) for stage in ("sample", "fit", "encode")}
    return used | {("score", key) for unit in [*run["trials"], *run["groups"]] for key in unit["scores"].values()}


def _is_used(store: Store, folder: Path, used: set[tuple[str, str]]) -> bool:
    """References are not named in a plan: they are used where their sample is."""
    kind, key = folder.parts[-3], folder.parts[-1]
    if kind != "reference":
        return (kind, key) in used
    record = store.record(kind, key)
    inputs = None if record is None else record.material.get("inputs")
    return isinstance(inputs, list) and all(("sample", sample) in used for sample in inputs if isinstance(sample, str))


def _is_held(work: Path) -> bool:
    """Whether a process is at work in a work folder right now."""
    try:
        with (work / "record.json").open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except FileNotFoundError:
        return False
    return False


def _size(path: Path) -> int:
    files: list[Any] = [path] if path.is_file() else [p for p in path.rglob("*") if p.is_file()]
    return sum(os.stat(file).st_size for file in files)
