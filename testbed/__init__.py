"""Identifiability testbed: does a method that claims to read concepts out of a generative model read the true ones?"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

__version__ = "0.1.0"

if TYPE_CHECKING:
    from testbed.comparison import compare
    from testbed.contracts import Estimator, Evaluator, Generator
    from testbed.runner import run

_HOMES = {
    "Estimator": "testbed.contracts",
    "Evaluator": "testbed.contracts",
    "Generator": "testbed.contracts",
    "compare": "testbed.comparison",
    "run": "testbed.runner",
}
__all__ = ["Estimator", "Evaluator", "Generator", "__version__", "compare", "run"]


def __getattr__(name: str) -> Any:
    """Load a public name when it is first used, so that ``import testbed`` loads neither torch nor scikit-learn."""
    if name not in _HOMES:
        raise AttributeError(f"module 'testbed' has no attribute {name!r}")
    from importlib import import_module

    return getattr(import_module(_HOMES[name]), name)
