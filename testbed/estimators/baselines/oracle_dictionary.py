"""The true dictionary: what is left to lose once the dictionary is known."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from testbed.contracts import Codes, Data, Estimator, InvalidInput, Observed, Truth
from testbed.numerics.batches import chunks, rows
from testbed.numerics.decoding import linear_decode
from testbed.numerics.inference import Method, Settings, calibrate, check_method, infer


class OracleDictionary(Estimator):
    """The truth's dictionary and bias, read by one of the inference methods: how much is lost between dictionary and codes.

    ``"pursuit"`` is told the truth's stopping rule too, and gives the codes of `Truth.oracle`. ``"regression"`` (thresholded non-negative
    lasso) and ``"encoder"`` (decoder transposed, bias corrected) take their thresholds from data, without the truth, as
    `testbed.numerics.inference.calibrate` finds them.

    Parameters
    ----------
    inference : {"pursuit", "regression", "encoder"}
    samples : int
        Most rows to take thresholds from, the first ones.
    view : str, optional

    Attributes
    ----------
    dictionary_ : Tensor, shape (c, d)
    bias_ : Tensor, shape (d,)
    max_active_ : int
    threshold_ : float
    floor_, rest_ : Tensor, shape (c,)
        See `testbed.numerics.inference.Settings`.
    """

    needs_truth = True

    def __init__(self, inference: Method = "pursuit", samples: int = 8192, view: str | None = None) -> None:
        self.inference = inference
        self.samples = samples
        self.view = view

    def fit(self, data: Data, *, seed: int, truth: Truth | None = None) -> OracleDictionary:
        """Take over dictionary, bias, and what is known of noise and rates, or calibrate on data; `seed` changes nothing.

        Raises
        ------
        InvalidInput
            If `truth` is missing, or holds no dictionary to pursue, or a parameter is out of range.
        """
        check_method(self.inference)
        if self.samples < 1:
            raise InvalidInput(f"samples must be at least 1, not {self.samples}")
        if truth is None:
            raise InvalidInput("oracle_dictionary was given no truth: fit it on an instance whose truth is known")
        view = view_named(self.view, data, truth)
        pursuit = truth.facts.get(f"pursuit/{view}")
        if pursuit is None or view not in truth.dictionaries:
            raise InvalidInput(f"the truth holds no dictionary and pursuit for view {view!r}: this oracle is for sparse concepts")
        told = self.inference == "pursuit"
        x = torch.cat(list(chunks(data, self.view, limit=1 if told else self.samples))).float()
        self.dictionary_ = truth.dictionary(view).to(x.device)
        self.bias_ = truth.facts.get(f"bias/{view}", torch.zeros(self.dictionary_.shape[1])).to(x.device)
        if told:
            self.max_active_, self.threshold_ = int(pursuit["max_active"]), float(pursuit["threshold"])
            self.floor_, self.rest_ = torch.zeros_like(self.dictionary_[:, 0]), torch.zeros_like(self.dictionary_[:, 0])
        else:
            found = calibrate(x - self.bias_, self.dictionary_, self.inference)
            self.max_active_, self.threshold_ = found["max_active"], found["threshold"]
            self.floor_, self.rest_ = found["floor"], found["rest"]
        return self

    def encode(self, observed: Any) -> Codes:
        x = rows(observed, self.view, columns=len(self.bias_)).float() - self.bias_
        told = Settings(threshold=self.threshold_, max_active=self.max_active_, floor=self.floor_, rest=self.rest_)
        return infer(x, self.dictionary_, self.inference, **told)

    def decode(self, codes: Codes) -> Tensor:
        return linear_decode(codes, self.dictionary_, self.bias_)


def view_named(view: str | None, data: Data, truth: Truth) -> str:
    """The name of the view that is meant: `view`, or the only one that data or truth have."""
    if view is not None:
        return view
    if isinstance(data, Observed):
        return data.name_of(None)
    if len(truth.dictionaries) != 1:
        raise InvalidInput(f"no view was named: set view to one of {', '.join(map(repr, truth.dictionaries))}")
    return next(iter(truth.dictionaries))
