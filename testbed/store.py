"""Content-addressed stages on disk: immutable records, written whole or not at all.

A stage (sample, fit, encode, score, reference) is a folder named by its key, the SHA-256 of everything that its result depends on. It
holds ``record.json`` and the files that the record lists. Nothing here is ever executed: records are JSON, arrays are safetensors.
"""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.contracts import InvalidInput

SCHEMA = 1
"""Version of the record format; part of every key, so that a new format never reads old results."""


SYNC_FROM = 0.1
"""Seconds of computation from which on a record is synced to disk at once. Less is computed again as quickly as it is synced: a power cut,
unlike a kill, may take it."""


class Damaged(Exception):
    """Something on disk is not what its record says; the message names it.

    Attributes
    ----------
    stage : Path or None
        Folder of the stage of a store that it belongs to: deleted, the stage is computed again.
    """

    def __init__(self, message: str, stage: Path | None = None) -> None:
        super().__init__(message)
        self.stage = stage


def canonical(value: Any) -> str:
    """JSON with sorted keys, no spaces and no NaN: one text per value."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)


def key_of(material: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of everything that a stage's result depends on."""
    return hashlib.sha256(canonical({"schema": SCHEMA, **material}).encode()).hexdigest()


def digest_of(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_atomic(path: Path, data: bytes, *, sync: bool = True) -> None:
    """Write a file so that a reader, or a kill at any moment, sees all of it or nothing; without `sync` a power cut may take it."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f".{path.name}.{os.getpid()}.draft")
    try:
        with draft.open("wb") as file:
            file.write(data)
            file.flush()
            if sync:
                os.fsync(file.fileno())
        os.replace(draft, path)
    finally:
        draft.unlink(missing_ok=True)
    if sync:
        _sync_folder(path.parent)


def write_json(path: Path, value: Any, *, sync: bool = True) -> None:
    text = json.dumps(value, indent=1, sort_keys=True, allow_nan=False, ensure_ascii=False)
    write_atomic(path, f"{text}\n".encode(), sync=sync)


@dataclass(frozen=True)
class Record:
    """One finished stage: what it was computed from, what came out, and (apart) how it came about."""

    stage: str
    key: str
    material: Mapping[str, Any]
    result: Mapping[str, Any]
    files: Mapping[str, Mapping[str, Any]]
    provenance: Mapping[str, Any]
    folder: Path

    def path(self, name: str) -> Path:
        """A file of this stage, after checking that it still is what was written.

        Raises
        ------
        Damaged
            If the file is missing or its hash is another one.
        """
        path = self.folder / name
        if name not in self.files:
            raise Damaged(f"stage {self.stage} {self.key[:12]} has no file {name!r}: it has {sorted(self.files)}")
        if not path.is_file() or digest_of(path) != self.files[name]["sha256"]:
            raise Damaged(f"{path} is missing or not what was written: delete {self.folder} and run again", self.folder)
        return path


class Store:
    """A folder of stages.

    Parameters
    ----------
    root : path
        Made when the first stage is written.
    """

    def __init__(self, root: str | Path) -> None:
        self.root = Path(root)

    def folder(self, stage: str, key: str) -> Path:
        return self.root / "stages" / stage / key[:2] / key

    def record(self, stage: str, key: str) -> Record | None:
        """The record of a finished stage, or None; a record that cannot be read counts as not there."""
        folder = self.folder(stage, key)
        try:
            data = json.loads((folder / "record.json").read_bytes())
            if data["schema"] != SCHEMA or data["stage"] != stage or data["key"] != key or key_of(data["material"]) != key:
                return None
            return Record(stage, key, data["material"], data["result"], data["files"], data["provenance"], folder)
        except (OSError, ValueError, KeyError, TypeError):
            return None

    @contextmanager
    def writing(self, stage: str, key: str) -> Iterator[Path]:
        """A work folder for one stage, held by one process at a time; what a killed run left in it is still there.

        Callers look for the record once more inside: another process may have finished the stage in the meantime.
        """
        import fcntl

        work = self.root / "work" / f"{stage}-{key}"
        try:
            work.parent.mkdir(parents=True, exist_ok=True)
            with (self.root / "work" / f"{stage}-{key}.lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                work.mkdir(exist_ok=True)
                yield work
        finally:
            if self.record(stage, key) is not None:
                shutil.rmtree(work, ignore_errors=True)
                (self.root / "work" / f"{stage}-{key}.lock").unlink(missing_ok=True)

    def commit(
        self,
        stage: str,
        key: str,
        work: Path,
        material: Mapping[str, Any],
        result: Mapping[str, Any],
        provenance: Mapping[str, Any],
    ) -> Record:
        """Turn a work folder into a finished stage: record last, then one rename."""
        files = {
            str(path.relative_to(work)): {"sha256": digest_of(path), "bytes": path.stat().st_size}
            for path in sorted(work.rglob("*"))
            if path.is_file() and path.name != "record.json"
        }
        data = {
            "schema": SCHEMA,
            "stage": stage,
            "key": key,
            "material": material,
            "result": result,
            "files": files,
            "provenance": provenance,
        }
        if key_of(material) != key:
            raise InvalidInput(f"the material of stage {stage} does not have the key {key[:12]}")
        worth = provenance.get("seconds", SYNC_FROM) >= SYNC_FROM
        write_json(work / "record.json", data, sync=worth)
        target = self.folder(stage, key)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.rmtree(target, ignore_errors=True)  # only ever a stage whose record could not be read
        os.replace(work, target)
        if worth:
            _sync_folder(target.parent)
        self.clear_failures(stage, key)
        return Record(stage, key, material, result, files, provenance, target)

    def fail(self, stage: str, key: str, failure: Mapping[str, Any]) -> None:
        """Keep the traceback of an attempt that failed."""
        folder = self.root / "failures" / f"{stage}-{key}"
        write_json(folder / f"{len(list(folder.glob('*.json'))):03d}.json", failure)

    def failure(self, stage: str, key: str) -> dict[str, Any] | None:
        """The last failed attempt at a stage that has not succeeded since, or None."""
        attempts = sorted((self.root / "failures" / f"{stage}-{key}").glob("*.json"))
        if not attempts:
            return None
        try:
            return {**json.loads(attempts[-1].read_bytes()), "attempts": len(attempts)}
        except (OSError, ValueError):
            return {
                "error": f"the failure report {attempts[-1].name} cannot be read",
                "traceback": "",
                "attempts": len(attempts),
            }

    def clear_failures(self, stage: str, key: str) -> None:
        shutil.rmtree(self.root / "failures" / f"{stage}-{key}", ignore_errors=True)

    def forget(self, stage: str, key: str) -> None:
        """Delete one stage, and whatever an unfinished attempt at it left."""
        shutil.rmtree(self.folder(stage, key), ignore_errors=True)
        shutil.rmtree(self.root / "work" / f"{stage}-{key}", ignore_errors=True)
        self.clear_failures(stage, key)

    def records(self) -> Iterator[Record]:
        """Every readable record, in the order of stage and key."""
        for path in sorted((self.root / "stages").glob("*/??/*/record.json")):
            record = self.record(path.parts[-4], path.parts[-2])
            if record is not None:
                yield record

    def write_run(self, run: Mapping[str, Any]) -> None:
        """Remember what was run last, for `testbed report`, `claims` and `show`."""
        write_json(self.root / "run.json", run)

    def read_run(self) -> dict[str, Any]:
        """What was run last in this folder.

        Raises
        ------
        InvalidInput
            If the folder is not one that `testbed run` wrote.
        """
        path = self.root / "run.json"
        try:
            data = json.loads(path.read_bytes())
        except FileNotFoundError:
            raise InvalidInput(f"{self.root} holds no run: give the folder that `testbed run` wrote (it has a run.json)") from None
        except ValueError as error:
            raise InvalidInput(f"{path} cannot be read ({error}): run the suite again with the same --out") from None
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            raise InvalidInput(f"{path} was written by another version of the testbed: run the suite again with the same --out")
        return data


def _sync_folder(folder: Path) -> None:
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
