"""Folders in the user's cache that are made once, whoever asks first: converted weights, the tiny model of the checks."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path


def cache_folder() -> Path:
    """Where things are kept that can be made again: ``$TESTBED_CACHE``, else ``testbed`` in the user's cache folder."""
    if chosen := os.environ.get("TESTBED_CACHE"):
        return Path(chosen).expanduser()
    if cache := os.environ.get("XDG_CACHE_HOME"):
        return Path(cache).expanduser() / "testbed"
    return Path.home() / ".cache" / "testbed"


def made_once(folder: Path, make: Callable[[Path], None]) -> Path:
    """`folder`, after letting ``make(draft)`` fill it if it is not there yet.

    Of several processes that ask at the same time one makes it and the others wait. The folder appears by one rename, so that a kill
    leaves a draft, which the next process throws away, and never half a folder.
    """
    import fcntl

    if folder.is_dir():
        return folder
    folder.parent.mkdir(parents=True, exist_ok=True)
    with (folder.parent / f".{folder.name}.lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # the lock file stays: deleting it would let two processes hold two locks of one name
        if folder.is_dir():
            return folder
        draft = folder.parent / f".{folder.name}.draft"
        shutil.rmtree(draft, ignore_errors=True)
        draft.mkdir()
        make(draft)
        for path in [*draft.rglob("*"), draft]:
            _sync(path)
        os.replace(draft, folder)
        _sync(folder.parent)
    return folder


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
