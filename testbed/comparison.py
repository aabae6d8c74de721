"""Compare estimators of one's own with the built-in ones, from Python."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from testbed.contracts import Component, InvalidInput
from testbed.plan import enumerate_trials
from testbed.registry import LOCAL
from testbed.results import gather, leaderboard
from testbed.runner import execute
from testbed.suite import from_tree

if TYPE_CHECKING:
    import pandas as pd


def compare(
    estimators: Iterable[Any],
    generator: str = "sparse_concepts",
    *,
    evaluators: Sequence[str] = ("decoder_mcc", "activation_mcc", "explained_variance"),
    instances: int = 3,
    fit_seeds: int = 1,
    train: int = 50_000,
    test: int = 8_192,
    seed: int = 0,
    threads: int = 1,
    folder: str | Path | None = None,
    **params: Any,
) -> pd.DataFrame:
    """Compare estimators on fresh instances of one generator.

    Parameters
    ----------
    estimators : iterable of str or Estimator
        Registered names, ``module:Class`` paths, or estimators of your own (their parameters are kept, their class may be defined
        anywhere, a notebook too).
    generator : str
        A registered name or a ``module:Class`` path; `params` are its parameters.
    evaluators : sequence of str
    instances, fit_seeds, seed : int
    train, test : int
        Rows to fit on and to score on.
    threads : int
    folder : path, optional
        Keep the store here; a temporary folder otherwise.

    Returns
    -------
    DataFrame
        One row per estimator and evaluator: mean over instances with its 95 % interval, chance level, ceiling, number of instances.

    Raises
    ------
    InvalidInput
        If something cannot be run, or a trial failed.
    """
    entries = [_entry(estimator) for estimator in estimators]
    tree = {
        "name": "compare",
        "seed": seed,
        "instances": instances,
        "fit_seeds": fit_seeds,
        "threads": threads,
        "data": {"train": train, "test": test, "reference": test},
        "generator": [{"name": generator, "params": params}],
        "estimator": entries,
        "evaluator": [{"name": name} for name in evaluators],
    }
    with tempfile.TemporaryDirectory() as temporary:
        home = Path(folder) if folder is not None else Path(temporary)
        execute(enumerate_trials(from_tree(tree)), home)
        results = gather(home)
        if results.failures:
            first = results.failures[0]
            raise InvalidInput(f"{first['trial']} failed in stage {first['stage']}: {first['error']}")
        return leaderboard(results)


def _entry(estimator: Any) -> dict[str, Any]:
    if isinstance(estimator, str):
        return {"name": estimator}
    if not isinstance(estimator, Component):
        raise InvalidInput(f"{estimator!r} is neither a name nor an estimator: derive its class from testbed.Estimator")
    cls = type(estimator)
    path = f"{cls.__module__}:{cls.__qualname__.replace('<locals>.', '')}"
    if cls.__module__ == "__main__" or "<locals>" in cls.__qualname__:
        LOCAL[path] = cls
    return {"name": path, "label": cls.__name__, "params": estimator.get_params()}
