"""Linear probes: what a linear read-out of each concept reaches when it is told the answers."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from testbed.contracts import Codes, Data, Estimator, InvalidInput, Observed, SparseRows, Truth, View
from testbed.estimators.baselines.oracle_dictionary import view_named
from testbed.numerics.batches import rows
from testbed.numerics.decoding import linear_decode
from testbed.numerics.logistic import best_cut, logistic_readouts
from testbed.numerics.matching import dense

RIDGE = 1e-6
"""Share of the mean variance added to each, so that a direction without variance, or a concept that is never on, does no harm."""


class SupervisedProbe(Estimator):
    r"""The best linear read-out of each concept from the view [1]_: a ceiling of every encoder that is linear up to a threshold.

    ``"linear"``: codes are least-squares estimates of the concepts' values, :math:`\hat z = W^\top x + v`. ``"logistic"`` (sparse
    concepts): a code is that estimate where the log-odds of the concept being on, by logistic regression, exceed the cut of
    highest F1 on the rows of the fit, and 0 elsewhere.

    No estimator sees latents, this one neither: its labels are the codes of `Truth.oracle` on the rows of the fit, the best that
    knowledge of the truth gives. Where that oracle errs, so does its pupil.

    Parameters
    ----------
    read : {"linear", "logistic"}
    samples : int
        Most rows to fit on, the first ones.
    ridge, max_iter : float, int
        Of the logistic regression, see `testbed.numerics.logistic`.
    view : str, optional

    Attributes
    ----------
    dictionary_ : Tensor, shape (c, d)
        Least-squares fit of the rows on the labels: what each concept writes, not what its probe reads [2]_.
    bias_ : Tensor, shape (d,)
    weights_, intercept_ : Tensor, shape (d, c) and (c,)
        The linear estimate.
    odds_weights_, odds_intercept_ : Tensor, shape (d, c) and (c,)
        Log-odds less the cut (``"logistic"`` only).
    converged_ : bool
        False if `max_iter` ended the logistic regression; the result is kept.

    References
    ----------
    .. [1] Alain & Bengio (2017), Understanding intermediate layers using linear classifier probes.
    .. [2] Haufe et al. (2014), On the interpretation of weight vectors of linear models in multivariate neuroimaging.
    """

    needs_truth = True

    def __init__(
        self,
        read: Literal["linear", "logistic"] = "linear",
        samples: int = 10_000,
        ridge: float = 1e-4,
        max_iter: int = 100,
        view: str | None = None,
    ) -> None:
        self.read = read
        self.samples = samples
        self.ridge = ridge
        self.max_iter = max_iter
        self.view = view

    @classmethod
    def small(cls) -> SupervisedProbe:
        return cls(read="logistic", samples=2_000)

    def fit(self, data: Data, *, seed: int, truth: Truth | None = None) -> SupervisedProbe:
        """Least squares, and logistic regression where it is asked for; `seed` changes nothing.

        Raises
        ------
        InvalidInput
            If `truth` is missing or has no sparse or real concepts in the view, or a parameter is out of range.
        """
        if self.read not in ("linear", "logistic") or self.samples < 1 or self.ridge <= 0 or self.max_iter < 1:
            raise InvalidInput(
                "read is linear or logistic, samples and max_iter are at least 1 and ridge is above 0, "
                f"not {self.read!r}, {self.samples}, {self.max_iter} and {self.ridge}"
            )
        if truth is None:
            raise InvalidInput("supervised_probe was given no truth: fit it on an instance whose truth is known")
        view = view_named(self.view, data, truth)
        if view not in truth.dictionaries:
            raise InvalidInput(f"the truth holds no dictionary for view {view!r}: probes are for sparse and real concepts")
        kinds = {truth.levels[level].kind for level in truth.dictionaries[view]}
        if self.read == "logistic" and kinds != {"sparse"}:
            raise InvalidInput("log-odds of being on are for sparse concepts: set read to 'linear'")
        x = rows(data, self.view, limit=self.samples).double()
        labels = dense(truth.oracle(Observed({view: View(x.float())}), view)).to(x)
        middle, centre = x.mean(dim=0), labels.mean(dim=0)
        off, deviation = x - middle, labels - centre
        weights = _least_squares(off, deviation)
        self.weights_, self.intercept_ = weights.float(), (centre - middle @ weights).float()
        atoms = _least_squares(deviation, off)
        self.dictionary_, self.bias_ = atoms.float(), (middle - centre @ atoms).float()
        if self.read == "logistic":
            events = labels > 0
            x = x.float()
            odds, intercept, self.converged_ = logistic_readouts(x, events, ridge=self.ridge, max_iter=self.max_iter)
            cut = best_cut(x @ odds + intercept, events)
            self.odds_weights_, self.odds_intercept_ = odds, intercept - cut
        return self

    def encode(self, observed: Any) -> Codes:
        x = rows(observed, self.view, columns=len(self.bias_)).float()
        value = x @ self.weights_ + self.intercept_
        if self.read == "linear":
            return value
        on = x @ self.odds_weights_ + self.odds_intercept_ > 0
        # On by its odds, but estimated below 0: on all the same, by next to nothing.
        return SparseRows.from_dense(torch.where(on, value.clamp_min(torch.finfo(value.dtype).eps), 0.0))

    def decode(self, codes: Codes) -> Tensor:
        return linear_decode(codes, self.dictionary_, self.bias_)


def _least_squares(given: Tensor, wanted: Tensor) -> Tensor:
    """Coefficients of centred `wanted`, (n, c), on centred `given`, (n, d), with a slight ridge, shape (d, c)."""
    gram = given.T @ given
    floor = RIDGE * gram.diagonal().mean().clamp_min(torch.finfo(gram.dtype).tiny / RIDGE)
    found: Tensor = torch.linalg.solve(gram + floor * torch.eye(len(gram), dtype=gram.dtype, device=gram.device), given.T @ wanted)
    return found
