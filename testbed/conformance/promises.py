"""What all checks share: a promise, a way to run it, and the promises that every component makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch

from testbed.contracts import Codes, Component, SparseRows


class Broken(Exception):
    """A promise was not kept; the message says how."""


@dataclass(frozen=True)
class Check:
    """A promise of a contract, and what is wrong with it ("" if it is kept)."""

    promise: str
    problem: str = ""


def keep(condition: Any, problem: str) -> None:
    """Raise `Broken` unless the condition holds."""
    if not bool(condition):
        raise Broken(problem)


def run(promises: list[tuple[str, Callable[[], None]]]) -> list[Check]:
    """Run promises in order; one that fails does not stop the others."""
    outcomes = []
    for promise, function in promises:
        try:
            function()
            outcomes.append(Check(promise))
        except Broken as broken:
            outcomes.append(Check(promise, f"{promise}: {broken}"))
        except (Exception, SystemExit) as error:
            outcomes.append(Check(promise, f"{promise}: {type(error).__name__}: {error}"))
    return outcomes


def constructor_only_stores(component: Component) -> None:
    """scikit-learn's rule: what `__init__` was given is there under its own name, unchanged, and nothing else is."""
    cls = type(component)
    params = component.get_params()
    fresh = cls(**params)
    for name, value in params.items():
        keep(hasattr(fresh, name), f"__init__ takes {name!r} but stores no attribute of that name")
        stored = getattr(fresh, name)
        keep(stored is value or stored == value, f"__init__ stores {name}={stored!r} where it was given {value!r}")
    extra = sorted(set(vars(fresh)) - set(params))
    keep(not extra, f"__init__ also sets {', '.join(extra)}: compute that in fit or draw")
    copy = component.clone()
    keep(copy is not component and _alike(copy.get_params(), params), "clone does not give a new component with the same parameters")


def _alike(a: Any, b: Any) -> bool:
    """Equal, nested components being equal if their parameters are."""
    if isinstance(a, Component):
        return type(a) is type(b) and _alike(a.get_params(), b.get_params())
    if isinstance(a, dict):
        return isinstance(b, dict) and a.keys() == b.keys() and all(_alike(value, b[key]) for key, value in a.items())
    return bool(a == b)


@contextmanager
def global_randomness_untouched() -> Iterator[None]:
    """Neither torch's nor numpy's global generator may move: randomness comes from seeds that are passed."""
    before_torch, before_numpy = torch.get_rng_state(), np.random.get_state(legacy=False)  # noqa: NPY002
    yield
    moved = not torch.equal(before_torch, torch.get_rng_state())
    moved_numpy = repr(before_numpy) != repr(np.random.get_state(legacy=False))  # noqa: NPY002
    keep(not moved, "it draws from torch's global generator: make a torch.Generator from the seed")
    keep(not moved_numpy, "it draws from numpy's global generator: make one by numpy.random.default_rng(seed)")


def refuses(action: Callable[[], Any], what: str, *, or_works: bool = False) -> None:
    """Bad input must end in a ValueError with a sentence (InvalidInput is one); with `or_works`, a finite result is as good."""
    try:
        result = action()
    except ValueError as error:
        keep(len(str(error).split()) >= 4, f"{what} is refused by {str(error)!r}: say in a sentence what was given and what to do")
        return
    except Exception as error:
        raise Broken(f"{what} ends in {type(error).__name__}: {error}; raise testbed.contracts.InvalidInput with one sentence") from error
    keep(or_works, f"{what} is accepted in silence")
    if isinstance(result, torch.Tensor):
        keep(result.isfinite().all(), f"{what} gives NaN or infinity")


def dense(codes: Codes | Any) -> torch.Tensor:
    """Codes as a dense tensor."""
    return codes.dense() if isinstance(codes, SparseRows) else torch.as_tensor(codes)


def same(a: Any, b: Any, tolerance: float = 0.0) -> bool:
    """Whether two arrays (or sparse rows) agree in shape and, up to a relative tolerance, in value."""
    a, b = dense(a).double(), dense(b).double()
    if a.shape != b.shape:
        return False
    scale = float(a.abs().max()) if a.numel() else 1.0
    return bool(((a - b).abs() <= tolerance * max(scale, 1e-12)).all())
