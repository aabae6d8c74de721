"""Checkpoints of training: one file of arrays and JSON, whole or not at all, and only ever read by the training that wrote it."""

from __future__ import annotations

import hashlib
import json
import os
import time
import warnings
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from testbed.contracts import InvalidInput, UnusableCheckpoint
from testbed.store import in_a_line

SECONDS = 30.0
"""Seconds between checkpoints, at least."""
SHARE = 0.05
"""Share of the time that writing checkpoints may take, at most."""


class Checkpoint:
    """The file that a training goes on from.

    Parameters
    ----------
    path : path
    spec : str
        What the training is: a checkpoint with another one is refused.

    Raises
    ------
    InvalidInput
        If its folder cannot be made or written to.
    """

    def __init__(self, path: str | Path, spec: str) -> None:
        self.path, self.spec = Path(path), spec
        self._draft = self.path.with_name(f"{self.path.name}.draft")
        self._last = time.monotonic()
        self._pause = SECONDS
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self._draft.touch()
            self._draft.unlink()
        except OSError as error:
            raise InvalidInput(f"no checkpoint can be written to {self.path} ({error.strerror}): give another place") from None

    def due(self) -> bool:
        """Whether it is time to write again."""
        return time.monotonic() - self._last >= self._pause

    def write(self, arrays: Mapping[str, Tensor], plain: Mapping[str, Any]) -> None:
        """Replace the file by a new one, in one rename; if there is no room the old one stays, and training goes on with a warning."""
        began = time.monotonic()
        held, text = {k: v.detach().cpu().contiguous() for k, v in arrays.items()}, json.dumps(plain)
        try:
            save_file(held, self._draft, metadata={"spec": self.spec, "plain": text, "digest": _digest(held, text)})
            with self._draft.open("rb") as file:
                os.fsync(file.fileno())
            self._draft.replace(self.path)
        except (OSError, SafetensorError) as error:
            self._draft.unlink(missing_ok=True)
            warnings.warn(f"no checkpoint could be written to {self.path} ({error}): training goes on without it", stacklevel=2)
        self._last = time.monotonic()
        self._pause = max(SECONDS, (self._last - began) / SHARE)

    def read(self) -> tuple[dict[str, Tensor], dict[str, Any]] | None:
        """Arrays and JSON of the file, or None where there is none.

        Raises
        ------
        UnusableCheckpoint
            If it cannot be read, or is of another training.
        """
        if not self.path.exists():
            return None
        try:
            with safe_open(self.path, framework="pt") as file:
                about = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            if about.get("digest") != _digest(arrays, about.get("plain", "")):
                raise ValueError("it is not what was written")
            plain = json.loads(about["plain"])
            if not isinstance(plain, dict):
                raise ValueError("it holds no table")
        except (SafetensorError, OSError, KeyError, ValueError, RecursionError) as error:
            why = in_a_line(error)
            raise UnusableCheckpoint(f"checkpoint {self.path} cannot be read ({why}): delete it to train from the start") from None
        if about.get("spec") != self.spec:
            raise UnusableCheckpoint(
                f"checkpoint {self.path} is of another training (parameters or seeds differ): give another file, or delete it"
            )
        return arrays, plain

    def remove(self) -> None:
        """Delete the file, and what a killed process left of a new one."""
        self.path.unlink(missing_ok=True)
        self._draft.unlink(missing_ok=True)


def _digest(arrays: Mapping[str, Tensor], plain: str) -> str:
    """SHA-256 of all that a training goes on from: a bit that changed would go on unseen into everything learned after it."""
    digest = hashlib.sha256(plain.encode())
    for name, array in sorted(arrays.items()):
        digest.update(f"{name}\0{array.dtype}\0{tuple(array.shape)}\0".encode())
        digest.update(array.reshape(-1).view(torch.uint8).numpy().tobytes())
    return digest.hexdigest()
