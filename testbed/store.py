"""Content-addressed stages on disk: immutable records, written whole or not at all.

A stage (sample, fit, encode, score, reference) is a folder named by its key, the SHA-256 of everything that its result depends on. It
holds ``record.json`` and the files that the record lists. Nothing here is ever executed: records are JSON, arrays are safetensors.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import IO, Any

from testbed.contracts import InvalidInput

SCHEMA = 1
"""Version of the record format; part of every key, so that a new format never reads old results."""


DEEPEST = 100
"""Levels of nesting from which on something that was read is refused: nothing here nests so deep, and programs that walk it would fail."""

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
    return _CANONICAL.encode(value)


_CANONICAL = json.JSONEncoder(sort_keys=True, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
_READABLE = json.JSONEncoder(sort_keys=True, allow_nan=False, ensure_ascii=False)


def key_of(material: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of everything that a stage's result depends on."""
    return hashlib.sha256(canonical({"schema": SCHEMA, **material}).encode()).hexdigest()


def digest_of(path: Path) -> str:
    """SHA-256 of a file, read in pieces."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def read_json(path: Path) -> Any:
    """JSON of a file that may have come from anywhere: what this gives can be written as JSON again, and walked.

    Raises
    ------
    FileNotFoundError
        If there is none, or it is no regular file (reading a pipe or a device would never end).
    ValueError
        If it is not JSON in UTF-8, or holds what JSON has no word for (NaN, infinity, half a character), or nests too deep.
    """
    if not os.path.isfile(path):  # half the time of Path.is_file, and a run reads thousands
        raise FileNotFoundError(errno.ENOENT, "no such file", str(path))
    text = path.read_bytes().decode("utf-8")
    try:
        found = json.loads(text, parse_constant=_no_number, parse_float=_finite)
    except RecursionError:
        raise ValueError(f"it nests more than {DEEPEST} levels deep") from None
    if _brackets(text) > DEEPEST and too_deep(found):
        raise ValueError(f"it nests more than {DEEPEST} levels deep")
    if _HALF.search(text):
        json.dumps(found, ensure_ascii=False).encode()  # of a pair one half is no character, and raises
    return found


def in_a_line(error: Exception) -> str:
    """What a library says of a file, which may quote it, on one line."""
    return " ".join(str(error).split())


_HALF = re.compile(r"\\u[dD][89a-fA-F]")
"""How JSON writes one of a pair of surrogates."""


def _no_number(word: str) -> float:
    raise ValueError(f"{word} is not a number")


def _finite(digits: str) -> float:
    number = float(digits)
    return number if math.isfinite(number) else _no_number(digits)


def _brackets(text: str) -> int:
    """Lists and tables of a JSON text, at most: it nests no deeper."""
    return text.count("[") + text.count("{")


def too_deep(value: Any) -> bool:
    """Whether lists and tables nest more than `DEEPEST` levels deep."""
    level = [value]
    for _ in range(DEEPEST):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
            if isinstance(inner, dict | list)
        ]
        if not level:
            return False
    return True


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
    except BaseException:
        draft.unlink(missing_ok=True)
        raise
    if sync:
        _sync(path.parent)


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
            raise Damaged(f"{self.folder} has no file {name!r}: delete it and run again", self.folder)
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
        return Path(self.root, "stages", stage, key[:2], key)

    def record(self, stage: str, key: str) -> Record | None:
        """The record of a finished stage, or None; a record that cannot be read, or was changed since, counts as not there."""
        folder = self.folder(stage, key)
        try:
            data = read_json(folder / "record.json")
        except (OSError, ValueError):
            return None
        if fault_of(data, stage, key):
            return None
        return Record(stage, key, data["material"], data["result"], data["files"], data["provenance"], folder)

    @contextmanager
    def writing(self, stage: str, key: str) -> Iterator[Path]:
        """A work folder for one stage, held by one process at a time; what a killed run left in it is still there.

        Callers look for the record once more inside: another process may have finished the stage in the meantime.
        """
        work = Path(self.root, "work", f"{stage}-{key}")
        with _locked(work):
            try:
                yield work
            finally:
                if work.exists() and self.record(stage, key) is not None:  # another process was first
                    shutil.rmtree(work, ignore_errors=True)

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
        if key_of(material) != key:
            raise InvalidInput(f"the material of stage {stage} does not have the key {key[:12]}")
        paths = {name: Path(work, name) for name in sorted(_files_in(work)) if name != "record.json"}
        files = {name: {"sha256": digest_of(path), "bytes": path.stat().st_size} for name, path in paths.items()}
        data = {
            "schema": SCHEMA,
            "stage": stage,
            "key": key,
            "material": material,
            "result": result,
            "files": files,
            "provenance": provenance,
        }
        data["digest"] = seal_of(json.loads(json.dumps(data, allow_nan=False)))
        text = _text_of(data)
        if _brackets(text) > DEEPEST and too_deep(data):
            raise InvalidInput(f"what stage {stage} gave nests more than {DEEPEST} levels deep: give flatter lists or tables")
        Path(work, "record.json").write_bytes(text.encode())
        worth = provenance.get("seconds", SYNC_FROM) >= SYNC_FROM
        for path in (*paths.values(), work / "record.json", work) if worth else ():
            _sync(path)
        target = self.folder(stage, key)
        target.parent.mkdir(parents=True, exist_ok=True)
        try:
            os.replace(work, target)
        except OSError:
            if not target.exists():
                raise
            shutil.rmtree(target)  # only ever a stage whose record could not be read
            os.replace(work, target)
        if worth:
            _sync(target.parent)
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
            found = read_json(attempts[-1])
        except (OSError, ValueError):
            found = None
        if not isinstance(found, dict) or not all(isinstance(found.get(word), str) for word in ("error", "traceback")):
            found = {"error": f"the failure report {attempts[-1].name} cannot be read", "traceback": ""}
        return {**found, "attempts": len(attempts)}

    def clear_failures(self, stage: str, key: str) -> None:
        folder = os.path.join(self.root, "failures", f"{stage}-{key}")
        if os.path.isdir(folder):  # there hardly ever is one, and finding out by rmtree takes longer
            shutil.rmtree(folder, ignore_errors=True)

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
            data = read_json(path)
        except (FileNotFoundError, NotADirectoryError):
            raise InvalidInput(f"{self.root} holds no run: give the folder that `testbed run` wrote (it has a run.json)") from None
        except ValueError as error:
            raise InvalidInput(f"{path} cannot be read ({error}): run the suite again with the same --out") from None
        if not isinstance(data, dict) or data.get("schema") != SCHEMA:
            raise InvalidInput(f"{path} was written by another version of the testbed: run the suite again with the same --out")
        return data


def _locked(work: Path) -> IO[bytes]:
    """A work folder, made if it is not there, is this process's alone until the file is closed: the record that it will have.

    Nothing is made only to be deleted: file systems such as ext4 pass over what was deleted a moment ago, one by one.
    """
    import fcntl

    while True:
        work.mkdir(parents=True, exist_ok=True)
        try:
            file = (work / "record.json").open("ab")
        except FileNotFoundError:
            continue
        try:
            fcntl.flock(file, fcntl.LOCK_EX)
            if os.path.samestat(os.fstat(file.fileno()), os.stat(work / "record.json")):
                return file
        except FileNotFoundError:
            pass  # whoever held it has moved the folder to the stages, or deleted it: make another
        except BaseException:
            file.close()
            raise
        file.close()


def fault_of(data: Any, stage: str, key: str) -> str:
    """Why the JSON of a record does not count as that of a stage; "" if it does."""
    if not isinstance(data, dict) or not data.keys() >= _PARTS or not all(isinstance(data[part], dict) for part in _TABLES):
        return "is no record: it lacks what every record has"
    if data["schema"] != SCHEMA:
        return f"was written by another version of the testbed (schema {data['schema']}, not {SCHEMA})"
    if (data["stage"], data["key"]) != (stage, key):
        return f"is the record of {data['stage']} {str(data['key'])[:12]}, which lies elsewhere"
    if key_of(data["material"]) != key:
        return "does not have the key that follows from its own material: it was changed after it was written"
    if "digest" in data and data["digest"] != seal_of(data):  # records from before there were digests have none
        return "is not what was written: its hash is another one"
    for name, about in data["files"].items():
        if not _lies_within(name):
            return f"names a file outside its folder: {name!r}"
        if not isinstance(about, dict) or not isinstance(about.get("sha256"), str) or type(about.get("bytes")) is not int:
            return f"says neither hash nor size of {name!r}"
    return ""


_TABLES = ("material", "result", "files", "provenance")
_PARTS = {"schema", "stage", "key", *_TABLES}


def seal_of(data: Mapping[str, Any]) -> str:
    """SHA-256 of what a record's key does not cover, which is the record's ``digest``."""
    return hashlib.sha256(canonical([data["result"], data["files"], data["provenance"]]).encode()).hexdigest()


def _lies_within(name: str) -> bool:
    """Whether a file's name in a record leads to a place in the stage's own folder."""
    path = PurePosixPath(name)
    return bool(path.parts) and not path.is_absolute() and ".." not in path.parts and "\0" not in name


def _text_of(record: Mapping[str, Any]) -> str:
    """A record as JSON, a line for each part of it."""
    lines = (f'"{part}": {_READABLE.encode(record[part])}' for part in record)
    return "{\n" + ",\n".join(lines) + "\n}\n"


def _files_in(folder: str | Path, above: str = "") -> Iterator[str]:
    """Names of all files in a folder and in those within it, relative to it."""
    with os.scandir(folder) as entries:
        for entry in entries:
            if entry.is_dir():
                yield from _files_in(entry.path, f"{above}{entry.name}/")
            else:
                yield above + entry.name


def _sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
