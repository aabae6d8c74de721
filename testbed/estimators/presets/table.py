"""Reading presets: TOML in, parameters out, checked against the class that wants them."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from functools import lru_cache
from importlib.resources import files
from typing import Any, TypeVar

from testbed.contracts import Component, InvalidInput

FOLDER = "testbed.estimators.presets"

T = TypeVar("T", bound=Component)


def presets() -> list[str]:
    """Names of all presets."""
    return sorted(entry.name.removesuffix(".toml") for entry in files(FOLDER).iterdir() if entry.name.endswith(".toml"))


@lru_cache(maxsize=16)
def _read(preset: str) -> dict[str, Any]:
    return tomllib.loads(files(FOLDER).joinpath(f"{preset}.toml").read_text(encoding="utf-8"))


def parameters(kind: type[Component], preset: str) -> dict[str, Any]:
    """What a preset says about a class: tables are named by classes, and a class's table comes before those of its parents.

    Raises
    ------
    InvalidInput
        If there is no such preset, it says nothing about the class, or it names a parameter that the class does not have.
    """
    if preset not in presets():
        raise InvalidInput(f"there is no preset {preset!r}: it is one of {', '.join(map(repr, presets()))}")
    tables = _read(preset)
    found = [parent.__name__ for parent in reversed(kind.__mro__) if parent.__name__ in tables]
    if not found:
        raise InvalidInput(f"preset {preset!r} has no table for {kind.__name__}: add [{kind.__name__}] to {preset}.toml")
    known = kind.parameter_names()
    out: dict[str, Any] = {}
    for name in found:
        for key, value in tables[name].items():
            if key not in known:
                raise InvalidInput(
                    f"preset {preset!r}, table [{name}]: {kind.__name__} has no parameter {key!r} (it has {', '.join(known)}): correct it"
                )
            out[key] = value
    return out


def made(kind: type[T], preset: str, others: Mapping[str, Any]) -> T:
    """One of a class, with a preset's settings and, before them, the user's `others`.

    Raises
    ------
    InvalidInput
        As `parameters`, or if `others` name a parameter that there is not.
    """
    for key in others:
        if key not in kind.parameter_names():
            raise InvalidInput(f"{kind.__name__} has no parameter {key!r}: it has {', '.join(kind.parameter_names())}")
    return kind(**{**parameters(kind, preset), **others})
