"""What every estimator promises."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import torch

from generators.selection.sparse import SparseConcepts
from testbed.conformance.promises import (
    Broken,
    Check,
    constructor_only_stores,
    dense,
    global_randomness_untouched,
    keep,
    refuses,
    run,
    same,
)
from testbed.contracts import Estimator, Instance, InvalidInput, NotExpressible, Observed, View, joined
from testbed.estimators.adapted import Adapted

ROWS = 2048
DATA = {
    False: "an Observed, an array and a stream will all do",
    True: "an Observed and a stream will both do, and an array is refused with a sentence",
}
"""What is promised of the kinds of data, by whether several views are read."""


class _Stream:
    """Observed rows in pieces, as a cache on disk gives them."""

    def __init__(self, observed: Observed) -> None:
        self.observed = observed

    def __iter__(self) -> Iterator[Observed]:
        for start in range(0, len(self.observed), 500):
            yield self.observed[start : start + 500]


def check_estimator(estimator: Estimator) -> list[Check]:
    """Check an estimator against its contract, on a small instance of sparse concepts.

    One that reads several views at once, which a parameter such as ``views`` or ``output_view`` shows, is given one view per level,
    ``level_0`` and ``level_1``, and must refuse plain arrays in `fit`; `view` names the view that its dictionary and `decode` stand for:
    all of ``views`` side by side where there is no such parameter.

    Parameters
    ----------
    estimator : Estimator
        With a setting that is quick to fit on 2,048 rows.

    Returns
    -------
    list of Check
    """
    several = any(name != "view" and name.endswith(("view", "views")) for name in estimator.parameter_names())
    world = (SparseConcepts(levels=(3, 12), dimension=16, views="per_level") if several else SparseConcepts.small()).draw(7)
    sample = world.sample(ROWS, 8)
    observed = sample.observed
    wanted = getattr(estimator, "view", None)
    name: str = wanted if wanted in observed.views else next(iter(observed.views))  # type: ignore[assignment]
    told = joined(observed.names_of(estimator.views)) if wanted is None and hasattr(estimator, "views") else name
    x = dense(observed.view(told).values)

    def changed(change: Callable[[torch.Tensor], torch.Tensor]) -> Any:
        """The data with every view changed: an array where there is one view."""
        if not several:
            return change(x)
        return Observed({key: View(change(dense(view.values)), view.shows) for key, view in observed.views.items()})

    fitted: list[Estimator] = []

    def fit(data: Any, seed: int = 3) -> Estimator:
        return _fit(estimator.clone(), data, seed, world)

    def model() -> Estimator:
        if not fitted:
            raise Broken("the estimator could not be fitted")
        return fitted[0]

    def fits() -> None:
        fresh = estimator.clone()
        before, known = fresh.get_params(), set(vars(fresh))
        untouched = x.clone()
        with global_randomness_untouched():
            result = _fit(fresh, observed, 3, world)
            fitted.append(fresh)
        keep(result is fresh, "fit does not return the estimator itself")
        keep(fresh.get_params() == before, "fit changes the estimator's own parameters: keep learned values in attributes ending in _")
        wrong = sorted(key for key in vars(fresh) if key not in known and not key.endswith("_"))
        keep(not wrong, f"fit sets {', '.join(wrong)}: names of what is learned end in _")
        keep(torch.equal(untouched, x), "fit changes the data that it was given")

    def codes_fit() -> None:
        codes = model().encode(observed)
        keep(
            len(codes.shape) == 2 and codes.shape[0] == ROWS, f"encode gives shape {tuple(codes.shape)} for {ROWS} rows: it must be (n, m)"
        )
        keep(dense(codes).isfinite().all(), "codes hold NaN or infinity")
        again = model().encode(observed[:10])
        keep(codes.shape[1] == again.shape[1], f"encode gives {again.shape[1]} codes for 10 rows and {codes.shape[1]} for {ROWS}")
        keep(same(dense(codes)[:10], again, 1e-4), "a row's codes depend on the rows encoded with it")
        rows = model().decode(codes)
        keep(tuple(rows.shape) == tuple(x.shape), f"decode gives shape {tuple(rows.shape)}, not {tuple(x.shape)}")
        keep(torch.as_tensor(rows).isfinite().all(), "decoded rows hold NaN or infinity")
        atoms = getattr(model(), "dictionary_", None)
        if atoms is not None:
            wanted = (codes.shape[1], x.shape[1])
            keep(tuple(atoms.shape) == wanted, f"dictionary_ has shape {tuple(atoms.shape)}, not (m, d) = {wanted}")

    def repeats() -> None:
        torch.manual_seed(99)
        np.random.seed(99)  # noqa: NPY002
        keep(
            same(model().encode(observed), fit(observed).encode(observed)), "two fits with the same seed on the same data give other codes"
        )

    def state_returns() -> None:
        try:
            arrays, plain = model().get_state()
        except NotExpressible:
            return
        arrays = {k: v if isinstance(v, np.ndarray) else torch.as_tensor(v).clone() for k, v in arrays.items()}
        other = estimator.clone().set_state(arrays, json.loads(json.dumps(plain)))
        keep(
            same(model().encode(observed), other.encode(observed), 1e-6), "codes change when the state goes through get_state and set_state"
        )

    def any_data() -> None:
        if several:
            keep(dense(fit(_Stream(observed)).encode(observed)).isfinite().all(), "codes hold NaN or infinity after a fit on a stream")
            refuses(lambda: fit(x), "a plain array in place of several views")
            return
        for data, kind in ((x, "a tensor"), (x.numpy(), "a numpy array"), (_Stream(observed), "a stream of Observed")):
            codes = fit(data).encode(observed)
            keep(dense(codes).isfinite().all(), f"codes hold NaN or infinity after a fit on {kind}")
        keep(same(model().encode(observed), model().encode(x), 1e-6), "an array is encoded otherwise than the view that holds it")

    def wrong_data() -> None:
        spoiled = dense(observed.views[name].values).clone()
        spoiled[5, 0] = float("nan")
        views = {**observed.views, name: View(spoiled, observed.views[name].shows)}
        refuses(lambda: fit(Observed(views)), "NaN in the data")
        if "view" in estimator.parameter_names():
            refuses(lambda: _fit(estimator.clone().set_params(view="no such view"), observed, 3, world), "a view that is not there")
        elif "views" in estimator.parameter_names():
            refuses(
                lambda: _fit(estimator.clone().set_params(views=[name, "no such view"]), observed, 3, world), "a view that is not there"
            )

    def hard_data() -> None:
        narrow = changed(lambda x: x[:, :1].contiguous())
        refuses(lambda: dense(fit(narrow).encode(narrow)), "data with d = 1", or_works=True)
        few = changed(lambda x: x[:2].contiguous())
        refuses(lambda: dense(fit(few).encode(few)), "data with 2 rows", or_works=True)
        constant = changed(lambda x: torch.cat([torch.ones_like(x[:, :1]), x[:, 1:]], dim=1))
        refuses(lambda: dense(fit(constant).encode(constant)), "a constant column", or_works=True)

    promises = [
        ("fit returns the estimator, learns into names ending in _, and changes neither data nor parameters nor global randomness", fits),
        ("codes are (n, m), finite, row by row; decode gives (n, d); dictionary_ is (m, d)", codes_fit),
        ("the same seed and data give the same codes, whatever the global random state", repeats),
        ("state survives get_state and set_state", state_returns),
    ]
    if not isinstance(estimator, Adapted):  # whose constructor is somebody else's
        promises.insert(0, ("the constructor only stores its arguments", lambda: constructor_only_stores(estimator)))
    if not estimator.needs_truth:
        promises += [
            (DATA[several], any_data),
            ("NaN and unknown views are refused with a sentence", wrong_data),
            ("d = 1, two rows and constant columns work or are refused with a sentence", hard_data),
        ]
    return run(promises)


def _fit(estimator: Estimator, data: Any, seed: int, world: Instance) -> Estimator:
    if not estimator.needs_truth:
        return estimator.fit(data, seed=seed)
    if world.truth is None:
        raise InvalidInput("the world of the checks has no truth")
    return estimator.fit(data, seed=seed, truth=world.truth)  # type: ignore[call-arg]
