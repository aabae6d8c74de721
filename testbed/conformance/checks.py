"""Find out what a component is, and run its checks."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from testbed.conformance.estimators import check_estimator
from testbed.conformance.evaluators import check_evaluator
from testbed.conformance.generators import check_generator
from testbed.conformance.promises import Check
from testbed.contracts import Estimator, Evaluator, Generator, InvalidInput
from testbed.estimators.adapted import adapted
from testbed.registry import KINDS, load, names, resolve, suggest

__all__ = ["Check", "check_component"]


def check_component(name: str, params: Mapping[str, Any] | None = None) -> list[Check]:
    """Check a component by registered name or ``module:Class``, with its own small setting or with `params`.

    Raises
    ------
    InvalidInput
        If it cannot be found, imported or constructed, or is no component at all.
    """
    kinds = [kind for kind in KINDS if name in names(kind)]
    if not kinds and ":" not in name:
        known = [known for kind in KINDS for known in names(kind)]
        raise InvalidInput(f"there is no component {name!r}{suggest(name, known)}: give a registered name or module:Class")
    cls = load(resolve(kinds[0] if kinds else "estimators", name))
    base = next((base for base in (Generator, Estimator, Evaluator) if issubclass(cls, base)), None)
    if base is None and isinstance(other := _adapted(name, cls, params or {}), Estimator):
        return check_estimator(other)
    if base is None:
        raise InvalidInput(f"{name} is no component: derive it from testbed.Generator, testbed.Estimator or testbed.Evaluator")
    missing = sorted(getattr(cls, "__abstractmethods__", ()))
    if missing:
        raise InvalidInput(f"{name} does not define {', '.join(missing)}, which every {base.__name__.lower()} needs")
    try:
        component = cls(**params) if params else cls.small()  # type: ignore[attr-defined]
    except TypeError as error:
        raise InvalidInput(f"{name} cannot be constructed ({error}): give its parameters by --set, or define small()") from error
    if isinstance(component, Generator):
        return check_generator(component)
    return check_estimator(component) if isinstance(component, Estimator) else check_evaluator(component)


def _adapted(name: str, cls: type, params: Mapping[str, Any]) -> Any:
    """A class with fit and transform, or a module with encode and decode, as an estimator."""
    try:
        return adapted(cls, params)
    except TypeError as error:
        raise InvalidInput(f"{name} is no component, and cannot be constructed ({error}): give its parameters by --set") from error
