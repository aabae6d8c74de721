"""Whether single codes tell labels."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray
from sklearn.exceptions import ConvergenceWarning
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.metrics import roc_auc_score

from evaluators.calibration import PERMUTED_CODES, checked_codes, half_of
from evaluators.labels.tasks import columns, frequent, one_hot
from testbed.contracts import Codes, Evaluator, InvalidInput, NotApplicable, Outcome, Scores, SparseRows

RIDGE = 0.01
"""Ridge of the probe on all codes, which have variance 1, per row."""


class SparseProbing(Evaluator):
    """Mean area under the ROC curve of probes on the k codes that tell a class best [1]_ [2]_, k being the first of `ks`.

    Each class of each label is a task, this class or another. On the first half of the rows, k codes are chosen by the difference of their
    means in and out of the class, in standard deviations (so that a code's scale does not matter), and a logistic regression on them is
    fitted. The second half scores it. One code and its sign give the same ranking with and without a probe.

    Codes with permuted rows have .5, whatever the classes' sizes. Part ``auc_all`` is a linear probe on all codes (ridge), so the gap
    between both is what is told, but not by few codes; ``majority`` is the accuracy of always guessing the larger class, with which to
    compare ``accuracy_1``. A label that is not one of the model's concepts, or a mixture of some, needs many codes however right they are:
    a low score does not mean wrong codes, and a high one speaks for the labelled concepts alone.

    Parameters
    ----------
    labels : sequence of str
        Columns of the row table.
    ks : sequence of int
    fewest : int
        Rows of a class in either half, at least.
    classes : int
        Classes per label, at most: the most frequent ones.
    rows : int
        Rows, at most; others are left out at random.

    References
    ----------
    .. [1] Gurnee et al. (2023), Finding neurons in a haystack: case studies with sparse probing, arXiv 2305.01610.
    .. [2] Karvonen et al. (2025), SAEBench, arXiv 2503.09532 ("sparse probing").
    """

    equivalence = "permutation, sign and scale of each code"
    invariances = ("permutation", "sign", "scale", "shift")
    chance = PERMUTED_CODES

    def __init__(
        self, labels: Sequence[str] = (), ks: Sequence[int] = (1, 5), fewest: int = 20, classes: int = 10, rows: int = 10_000
    ) -> None:
        self.labels = labels
        self.ks = ks
        self.fewest = fewest
        self.classes = classes
        self.rows = rows

    @classmethod
    def small(cls) -> Self:
        return cls(labels=("token",), fewest=2)

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``auc_1``, ``accuracy_1``, ... for all of `ks`, ``auc_all``, ``accuracy_all``, ``majority``, ``tasks`` (their number), and
        per label its ``NAME/auc_1``. Details: the first k codes of every task."""
        if not self.ks or min(self.ks) < 1:
            raise InvalidInput(f"ks are numbers of codes, 1 or more, not {self.ks!r}")
        codes = checked_codes(outcome)
        table = columns(outcome, self.labels)
        fit, score = self._rows(len(codes), seed)
        tasks = [(name, value) for name, column in table.items() for value in self._classes(column[fit], column[score])]
        if not tasks:
            raise NotApplicable(f"no class of {', '.join(self.labels)} has {self.fewest} rows in either half of the sample")
        told = {name: one_hot(column, np.array([v for n, v in tasks if n == name], dtype=np.int64)) for name, column in table.items()}
        y = np.concatenate([one.toarray() for one in told.values()], axis=1) > 0  # (n, tasks)
        x_fit, x_score = _standardised(_take(codes, fit), _take(codes, score))
        chosen = _chosen(x_fit, y[fit], max(self.ks))
        found: dict[str, list[float]] = {}
        for task in range(len(tasks)):
            for k in self.ks:
                best = chosen[:k, task]
                auc, accuracy = _probe(x_fit[:, best], y[fit, task], x_score[:, best], y[score, task])
                found.setdefault(f"auc_{k}", []).append(auc)
                found.setdefault(f"accuracy_{k}", []).append(accuracy)
        found["auc_all"], found["accuracy_all"] = _all(x_fit, y[fit], x_score, y[score])
        found["majority"] = np.maximum(y[score].mean(axis=0), 1 - y[score].mean(axis=0)).tolist()
        parts = {name: float(np.mean(values)) for name, values in found.items()} | {"tasks": len(tasks)}
        first = f"auc_{self.ks[0]}"
        for label in table:
            own = [value for (name, _), value in zip(tasks, found[first], strict=True) if name == label]
            parts |= {f"{label}/{first}": float(np.mean(own))} if own else {}
        details = {"codes": {f"{name}/{value}": chosen[: max(self.ks), i].tolist() for i, (name, value) in enumerate(tasks)}}
        return Scores(parts[first], parts, details=details)

    def _rows(self, n: int, seed: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
        """Rows to fit on, from the first half, and to score on, from the second."""
        generator = np.random.default_rng(seed)
        half = half_of(n)
        keep = max(1, self.rows // 2)
        fit, score = (generator.permutation(size)[:keep] for size in (half, n - half))
        return np.sort(fit), half + np.sort(score)

    def _classes(self, fit: NDArray[np.int64], score: NDArray[np.int64]) -> list[int]:
        """Classes that are tasks; of two classes that are each other's complement, one."""
        found = frequent(fit, score, self.fewest, self.classes)
        return [int(value) for value in (found[:1] if len(np.union1d(fit, score)) == 2 else found)]


def _take(codes: Codes, rows: NDArray[np.int64]) -> NDArray[np.float32]:
    """Some rows of the codes, dense, shape (rows, m)."""
    if not isinstance(codes, SparseRows):
        return np.asarray(codes[rows].float().cpu().numpy())
    out = np.zeros((len(rows), codes.shape[1]), dtype=np.float32)
    indptr = codes.indptr.cpu().numpy()
    count = indptr[rows + 1] - indptr[rows]
    row = np.repeat(np.arange(len(rows)), count)
    entry = np.arange(len(row)) + np.repeat(indptr[rows] - np.concatenate([[0], count.cumsum()[:-1]]), count)
    out[row, codes.indices.cpu().numpy()[entry]] = codes.values.float().cpu().numpy()[entry]
    return out


def _standardised(fit: NDArray[np.float32], score: NDArray[np.float32]) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Both with the mean and deviation of the first taken off; what is constant there is 0."""
    mean, deviation = fit.mean(axis=0, dtype=np.float64), fit.std(axis=0, dtype=np.float64)
    alive = deviation > 1e-7 * np.hypot(mean, deviation)
    scale = np.where(alive, 1 / np.where(alive, deviation, 1), 0)
    return ((fit - mean) * scale).astype(np.float32), ((score - mean) * scale).astype(np.float32)


def _chosen(x: NDArray[np.float32], y: NDArray[np.bool_], k: int) -> NDArray[np.int64]:
    """The k codes whose means in and out of each class differ most, best first, shape (min(k, m), tasks)."""
    inside = y.sum(axis=0)
    total = x.T @ y.astype(np.float32)  # (m, tasks); means over all rows are 0
    difference = np.abs(total / np.maximum(1, inside) + total / np.maximum(1, len(y) - inside))
    return np.argsort(-difference, axis=0, kind="stable")[:k]


def _probe(x_fit: NDArray[np.float32], y_fit: NDArray[np.bool_], x: NDArray[np.float32], y: NDArray[np.bool_]) -> tuple[float, float]:
    """Area under the ROC curve, and accuracy, of a logistic regression on other rows."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)  # separable classes have no finite optimum, and rank alike before it
        probe = LogisticRegression(max_iter=200).fit(x_fit, y_fit)
    return float(roc_auc_score(y, probe.decision_function(x))), float((probe.predict(x) == y).mean())


def _all(x_fit: NDArray[np.float32], y_fit: NDArray[np.bool_], x: NDArray[np.float32], y: NDArray[np.bool_]) -> Any:
    """The same of a ridge regression on all codes, for each task."""
    probe = Ridge(alpha=RIDGE * len(x_fit)).fit(x_fit, y_fit.astype(np.float32))
    said = np.asarray(probe.predict(x)).reshape(len(x), -1)
    auc = [float(roc_auc_score(y[:, i], said[:, i])) for i in range(y.shape[1])]
    return auc, ((said > 0.5) == y).mean(axis=0).tolist()
