"""Named tensors read from a file: safely, and with what is wrong said in a sentence."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import Tensor

from testbed.contracts import InvalidInput


class Tensors:
    """The tensors of one file.

    Parameters
    ----------
    source : Path
        Named in messages.
    values : mapping of str to Tensor
    metadata : mapping of str to str
        What the file says beside its tensors.
    """

    def __init__(self, source: Path, values: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
        self.source = source
        self.values = values
        self.metadata = metadata or {}

    def __contains__(self, name: str) -> bool:
        return name in self.values

    def take(self, name: str) -> Tensor:
        """The tensor of that name, as float32.

        Raises
        ------
        InvalidInput
            If the file has none.
        """
        if name not in self.values:
            held = ", ".join(sorted(self.values)) or "nothing"
            raise InvalidInput(f"{self.source} holds no tensor {name!r} but {held}: it is of another architecture or format")
        return self.values[name].float().contiguous()

    def number(self, name: str) -> int:
        """A tensor of one whole number."""
        return int(self.take(name).reshape(-1)[0])


def read_tensors(path: Path) -> Tensors:
    """Everything in a safetensors file.

    Raises
    ------
    InvalidInput
        If the file is not there, or not whole.
    """
    if not path.is_file():
        raise InvalidInput(f"there is no file {path}: check the path")
    try:
        with safe_open(path, framework="pt") as file:
            return Tensors(path, {name: file.get_tensor(name) for name in file.keys()}, file.metadata())  # noqa: SIM118
    except (SafetensorError, OSError, ValueError) as error:
        raise InvalidInput(f"{path} is not a whole safetensors file ({_line(error)}): copy it again") from error


def write_tensors(path: Path, values: Mapping[str, Tensor], metadata: Mapping[str, str] | None = None) -> None:
    """Write a safetensors file, in one step for whoever reads it."""
    draft = path.with_name(f".{path.name}.draft")
    save_file({name: value.detach().cpu().contiguous().clone() for name, value in values.items()}, draft, metadata=dict(metadata or {}))
    draft.replace(path)


def read_checkpoint(path: Path) -> Tensors:
    """A state dict that ``torch.save`` wrote; only tensors and plain containers are read, nothing in the file is run.

    Raises
    ------
    InvalidInput
        If the file is not there, not whole, or holds something else.
    """
    if not path.is_file():
        raise InvalidInput(f"there is no file {path}: check the path")
    try:
        values = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # a damaged file ends in any of a dozen exceptions
        raise InvalidInput(f"{path} is not a whole checkpoint of plain tensors ({_line(error)}): copy it again") from error
    if not isinstance(values, Mapping) or not all(isinstance(value, Tensor) for value in values.values()):
        raise InvalidInput(f"{path} holds no state dict of tensors: save model.state_dict()")
    return Tensors(path, values)


def read_json(path: Path) -> dict[str, Any]:
    """A JSON object.

    Raises
    ------
    InvalidInput
        If the file is not there, or is none.
    """
    if not path.is_file():
        raise InvalidInput(f"there is no file {path}: check the path")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"{path} is not JSON ({_line(error)}): copy it again") from error
    if not isinstance(found, dict):
        raise InvalidInput(f"{path} holds no JSON object: it is of another format")
    return found


def write_json(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")


def _line(error: BaseException) -> str:
    """The first line of an error, short enough for a sentence."""
    text = str(error).strip().split("\n", 1)[0] or type(error).__name__
    return text if len(text) <= 160 else f"{text[:157]}..."
