"""What a worker is told, is fed, and says when it cannot go on."""

from __future__ import annotations

import struct
import sys
import time
import types
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from typing import IO, Any, TypeAlias

import numpy as np
import torch
from torch import Tensor

LOG_EVERY = 50
"""Steps between two entries of the learning curve."""


class Unusable(Exception):
    """What was asked for cannot be done; the message is a sentence."""


class Missing(Unusable):
    """The library is not installed here."""


class Batches:
    """The batches that come on standard input, each once."""

    def __init__(self, source: IO[bytes], width: int, device: str) -> None:
        self.source, self.width, self.device = source, width, device
        self.started: tuple[float, float] | None = None  # wall and CPU clock when the first was asked for: imports are over

    def __iter__(self) -> Iterator[Tensor]:
        return self

    def __next__(self) -> Tensor:
        self.started = self.started or (time.perf_counter(), time.process_time())
        header = self.source.read(8)
        if len(header) < 8:
            raise StopIteration
        size = struct.unpack("<q", header)[0] * self.width * 4
        payload = self.source.read(size)
        if len(payload) < size:
            raise StopIteration
        return torch.from_numpy(np.frombuffer(payload, dtype="<f4").reshape(-1, self.width).copy()).to(self.device)


class History:
    """Losses now and then."""

    def __init__(self) -> None:
        self.step = self.seen = 0
        self.samples: list[int] = []
        self.loss: list[float] = []

    def add(self, rows: int, loss: Callable[[], float | None]) -> None:
        self.step += 1
        self.seen += rows
        if self.step % LOG_EVERY == 0:
            value = loss()
            if value is not None:
                self.samples.append(self.seen)
                self.loss.append(float(value))

    def json(self) -> dict[str, list[Any]]:
        return {"samples": self.samples, "loss": self.loss}


Spec: TypeAlias = Mapping[str, Any]
Probe: TypeAlias = Callable[[Tensor], tuple[Tensor, Tensor]]
"""The library's own codes and reconstruction of rows, by what it has written."""


def settings_for(known: set[str], options: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The options, if `what` takes them all."""
    if unknown := sorted(set(options) - known):
        raise Unusable(f"{what} takes no option {', '.join(unknown)}: it takes {', '.join(sorted(known))}")
    return dict(options)


def stand_in(module: str, *names: str) -> None:
    """An empty module in place of one that is not installed, for imports of what training does not use."""
    if find_spec(module) is None:
        sys.modules[module] = empty = types.ModuleType(module)
        for name in names:
            setattr(empty, name, object)


def shell(package: str) -> None:
    """A package without its ``__init__``, which would import vision models that training does not use."""
    spec = find_spec(package)
    assert spec is not None
    sys.modules[package] = module = types.ModuleType(package)
    module.__path__ = list(spec.submodule_search_locations or ())
