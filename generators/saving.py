"""Instances on disk: JSON and safetensors, checked when they are loaded; nothing that a file says is imported or executed."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from importlib import import_module
from pathlib import Path
from typing import Any

from safetensors import SafetensorError
from safetensors.torch import load, save

from testbed.contracts import Instance, InvalidInput, Savable
from testbed.store import SCHEMA, Damaged, canonical, digest_of, in_a_line, read_json, write_atomic, write_json

FAMILIES = {
    "sparse_concepts": "generators.selection.sparse:SparseInstance",
    "discrete": "generators.selection.discrete.instance:DiscreteInstance",
    "continuous": "generators.selection.continuous.family:ContinuousInstance",
    "classic_hierarchy": "generators.controls.classic_hierarchy:ClassicInstance",
    "joint_emission": "generators.controls.joint_emission:JointEmissionInstance",
    "classic_states": "generators.controls.classic_states:ClassicStatesInstance",
    "joint_emission_states": "generators.controls.joint_emission_states:JointEmissionStatesInstance",
    "copula": "generators.controls.correlated:CopulaInstance",
    "shuffled_levels": "generators.controls.shuffled_levels:ShuffledInstance",
    "twin_concepts": "generators.controls.twins:TwinInstance",
    "pure_noise": "generators.controls.pure_noise:NoiseInstance",
}
"""Families that can be saved: a fixed table, since what to import must not come from a file."""


def save_instance(instance: Instance, folder: str | Path) -> Path:
    """Write an instance to a folder, as ``instance.json`` and ``instance.safetensors``.

    Raises
    ------
    InvalidInput
        If instances of its class cannot be saved.
    """
    home = f"{type(instance).__module__}:{type(instance).__qualname__}"
    family = next((name for name, path in FAMILIES.items() if path == home), None)
    if family is None or not isinstance(instance, Savable):
        raise InvalidInput(f"a {type(instance).__name__} cannot be saved: these families can: {', '.join(FAMILIES)}")
    arrays, plain = instance.state()
    folder = Path(folder)
    path = folder / "instance.safetensors"
    write_atomic(path, save({name: array.cpu().contiguous() for name, array in arrays.items()}))
    about = {"schema": SCHEMA, "family": family, "state": plain, "arrays": digest_of(path)}
    write_json(folder / "instance.json", {**about, "digest": _digest(about)})
    return folder


def load_instance(folder: str | Path) -> Instance:
    """Read an instance back; it gives the same samples as the one that was saved.

    Raises
    ------
    InvalidInput
        If the folder holds no instance of a family that is known, or its state is not one.
    Damaged
        If a file is not what was written.
    """
    folder = Path(folder)
    try:
        about = read_json(folder / "instance.json")
    except (FileNotFoundError, NotADirectoryError):
        raise InvalidInput(f"{folder} holds no instance.json: it is not a saved instance") from None
    except ValueError as error:
        raise Damaged(f"{folder / 'instance.json'} cannot be read ({error}): save the instance again") from None
    family = about.get("family") if isinstance(about, dict) and about.get("schema") == SCHEMA else None
    if not isinstance(family, str) or family not in FAMILIES:
        raise InvalidInput(f"{folder} holds no instance that this version of the testbed knows: save it again")
    if about.get("digest") != _digest({key: value for key, value in about.items() if key != "digest"}):
        raise Damaged(f"{folder / 'instance.json'} is not what was written: save the instance again")
    path = folder / "instance.safetensors"
    if not path.is_file() or digest_of(path) != about.get("arrays"):
        raise Damaged(f"{path} is missing or not what was written: save the instance again")
    module, _, name = FAMILIES[family].partition(":")
    cls: type[Savable] = getattr(import_module(module), name)
    try:
        arrays = load(path.read_bytes())
    except SafetensorError as error:
        raise Damaged(f"{path} cannot be read ({in_a_line(error)}): save the instance again") from None
    if not isinstance(about.get("state"), dict):
        raise InvalidInput(f"{folder / 'instance.json'} says no state: save the instance again")
    return cls.from_state(arrays, about["state"])


def same_state(a: Instance, b: Instance) -> bool:
    """Whether two instances of a savable class are the same world."""
    if type(a) is not type(b) or not isinstance(a, Savable) or not isinstance(b, Savable):
        return False
    (arrays, plain), (others, other) = a.state(), b.state()
    same = arrays.keys() == others.keys() and all(arrays[k].equal(others[k]) for k in arrays)
    return same and canonical(plain) == canonical(other)


def _digest(about: Mapping[str, Any]) -> str:
    """SHA-256 of what an instance's JSON says."""
    return hashlib.sha256(canonical(json.loads(json.dumps(dict(about)))).encode()).hexdigest()
