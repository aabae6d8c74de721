"""How much of the concepts nonlinear maps read off the codes, and how much of the codes the concepts explain."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from sklearn.ensemble import HistGradientBoostingRegressor
from threadpoolctl import threadpool_limits
from torch import Tensor

from evaluators.calibration import (
    COMMON_FACTOR,
    ORACLE,
    PERMUTED_CODES,
    RANDOM_ROTATION,
    checked_codes,
    concepts,
    shown_levels,
    truth_of,
)
from evaluators.recovery.r2 import BLOCKS, columns, most_correlated, summary
from testbed.contracts import Codes, Evaluator, InvalidInput, NotApplicable, Outcome, Rows, Scores, SparseRows, seed_of
from testbed.numerics.covariances import compressed, correlation, mean, sparse_array
from testbed.numerics.matching import match
from testbed.numerics.ridge import Joint, Linear, ridge

FEWEST = 40
"""Rows in all: ten or so each to fit the ridge and to grow and to stop the trees, and as many to score as all of these."""


class NonlinearR2(Evaluator):
    r"""Held-out R2 of true concepts from codes by boosted trees on a ridge regression, and of codes from concepts.

    The four numbers of `R2`, by maps that need not be linear: the value, *complete*, :math:`R^2(z_i \mid a)`; ``block``,
    :math:`R^2(z_i \mid a_B)`; ``pure``, :math:`R^2(a_{\pi(i)} \mid z_B)`; ``no_leak``, the mean of
    :math:`1 - [R^2(a_{\pi(i)} \mid z) - R^2(a_{\pi(i)} \mid z_B)]`. ``block`` and ``pure`` both 1 identify a block up to an invertible
    map of it [1]_: a warp of each concept by itself does, a rotation of several does not.

    The regressor is stacked [2]_. A ridge regression on *all* predictors is fitted on the first quarter of the rows. Histogram gradient
    boosting [3]_ of what it leaves is fitted on the second quarter, and stopped by a fifth of that; its predictors are the ridge's
    prediction and the `screened` predictors that go with the target most. The second half is scored. So it can do what linear maps can
    with thousands of predictors, and what trees can with a few, but *not* a nonlinear map of many at once: a low value does not prove
    that the information is gone. Predictors go with a target where they or their distances from their means correlate with it or its
    distance from its mean, on the first quarter; the largest of these correlations also matches codes to concepts, one to one. So a code
    that is even in a concept's sign finds its concept: ``pure`` sees it, while no linear score does.

    Trees are costly. At most `rows` rows of the second quarter and of the second half are used, and about `concepts` concepts, drawn at
    random by the seed, levels in proportion; the value estimates the mean over *all* concepts, and the details give its standard error
    from the draw. Nothing is clipped: a concept may have R2 < 0 and enters the mean as it is. One without a code counts 0 in the parts,
    one that never varies in all. Trees are steps, and see few rows of a rare concept: read the value beside its ceiling.

    Parameters
    ----------
    block : {"concept", "level"}
    rows, concepts, screened : int
    most : int
        Codes used at most, as in `R2`.

    References
    ----------
    .. [1] von Kuegelgen et al. (2021), Self-supervised learning with data augmentations provably isolates content from style,
       definition 4.1 and section 5.
    .. [2] Wolpert (1992), Stacked generalization.
    .. [3] Friedman (2001), Greedy function approximation: a gradient boosting machine.
    """

    equivalence = "permutation, sign, scale and shift of each code"
    invariances = ("permutation", "sign", "scale", "shift")
    kinds = ("sparse", "real")
    chance = PERMUTED_CODES
    ceiling = ORACLE
    floors = (RANDOM_ROTATION, COMMON_FACTOR)

    def __init__(
        self,
        block: Literal["concept", "level"] = "concept",
        rows: int = 8192,
        concepts: int = 16,
        screened: int = 8,
        most: int = 4096,
    ) -> None:
        self.block = block
        self.rows = rows
        self.concepts = concepts
        self.screened = screened
        self.most = most

    @classmethod
    def small(cls) -> Self:
        """Fewer concepts, and trees of few rows."""
        return cls(rows=256, concepts=6, screened=2)

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``level_0``, ``level_1`` ... of the value, and ``block``, ``pure``, ``no_leak``."""
        if self.block not in BLOCKS:
            raise InvalidInput(f"block is {self.block!r}: {' or '.join(BLOCKS)}")
        for name in ("rows", "concepts", "screened", "most"):
            if getattr(self, name) < 1:
                raise InvalidInput(f"{name} is {getattr(self, name)}: give at least 1")
        levels, truth = shown_levels(outcome, self.kinds), truth_of(outcome)
        z, codes = compressed(concepts(outcome, levels)), compressed(checked_codes(outcome))
        n = len(z)
        if n < FEWEST:
            raise NotApplicable(f"fitting a ridge, growing trees and scoring both take at least {FEWEST} rows, not {n}")
        quarter, half = n // 4, n // 2
        similarity = _similarity(z[:quarter], codes[:quarter])
        if codes.shape[1] > self.most:
            kept = most_correlated(similarity, self.most)
            codes, similarity = columns(codes, kept), similarity[:, kept]
        concept, code = match(similarity)
        sizes = [truth.levels[level].size for level in levels]
        level_of = torch.arange(len(sizes)).repeat_interleave(torch.tensor(sizes))
        drawn = _drawn(sizes, self.concepts, seed)
        code_of = torch.full((len(level_of),), -1).index_put_((concept,), code)
        with_code = drawn[code_of[drawn] >= 0]
        its_code = code_of[with_code]

        grown, scored = (_some(start, stop, self.rows, seed) for start, stop in ((quarter, half), (half, n)))
        z_rows, a_rows = (_Halves(_Table.of(values, grown), _Table.of(values, scored)) for values in (z, codes))
        to_concepts = _Regressor(Joint.of(codes[:quarter], columns(z, drawn)[:quarter]), a_rows, z_rows.columns(drawn), seed)
        to_codes = _Regressor(Joint.of(z[:quarter], columns(codes, its_code)[:quarter]), z_rows, a_rows.columns(its_code), seed)
        block, pure, no_leak = torch.zeros(3, len(drawn), dtype=torch.float64)
        with threadpool_limits(1, user_api="openmp"):  # more only wait for each other on so few rows
            complete = to_concepts.r2(None, range(len(drawn)), _closest(similarity[drawn], self.screened))
            everything = to_codes.r2(None, range(len(its_code)), _closest(similarity[:, its_code].T, self.screened))
            at = torch.searchsorted(drawn, with_code)
            for group in _groups(with_code, level_of, self.block):
                own = with_code[group]
                inside = own if self.block == "concept" else (level_of == level_of[own[0]]).nonzero()[:, 0]
                its_codes = code_of[inside][code_of[inside] >= 0]
                near = [its_codes[k] for k in _closest(similarity[own][:, its_codes], self.screened)]
                block[at[group]] = to_concepts.r2(its_codes, at[group].tolist(), near)
                near = [inside[k] for k in _closest(similarity[inside][:, its_code[group]].T, self.screened)]
                pure[at[group]] = to_codes.r2(inside, group, near)
        alive = torch.tensor([to_codes.varies(t) for t in range(len(its_code))], dtype=torch.bool)  # a code that is constant is none
        no_leak[at] = torch.where(alive, 1 - (everything - pure[at]), 0.0)

        level = level_of[drawn]
        weight = (torch.tensor(sizes) / level.bincount() / len(level_of)).double()[level]
        parts = {f"level_{name}": float(complete[level == number].mean()) for number, name in enumerate(levels)}
        parts |= {"block": float(weight @ block), "pure": float(weight @ pure), "no_leak": float(weight @ no_leak)}
        details = summary(complete) | {
            "concepts drawn": len(drawn),
            "concepts": len(level_of),
            "rows of trees": len(grown),
            "rows scored": len(scored),
            "standard error from the draw of concepts": _standard_error(complete, level, sizes),
        }
        return Scores(float(weight @ complete), parts, details=details)


@dataclass(frozen=True, slots=True)
class _Table:
    """Some rows of codes or concepts, whose columns can be written out and which can be multiplied."""

    values: Any  # scipy's sparse array by columns, or an array, (rows, columns)

    @classmethod
    def of(cls, rows: Rows, which: NDArray[np.int64]) -> _Table:
        if isinstance(rows, SparseRows):
            return cls(sparse_array(rows)[which].tocsc())
        return cls(rows[torch.from_numpy(which).to(rows.device)].detach().double().cpu().numpy())

    def columns(self, which: Tensor) -> NDArray[np.float64]:
        found = self.values[:, which.numpy()]
        return np.asarray(found if isinstance(found, np.ndarray) else found.toarray(), dtype=np.float64)

    def predict(self, linear: Linear, which: Tensor | None) -> NDArray[np.float64]:
        """Predictions of all targets from columns `which`, or all, shape (rows, targets)."""
        values = self.values if which is None else self.columns(which)
        return np.asarray(values @ linear.weights.numpy() + linear.intercept.numpy())


@dataclass(frozen=True, slots=True)
class _Halves:
    """The rows on which trees grow, and those that are scored."""

    grown: _Table
    scored: _Table

    def columns(self, which: Tensor) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        return self.grown.columns(which), self.scored.columns(which)


@dataclass(frozen=True, slots=True)
class _Regressor:
    """Ridge and trees from predictors to targets.

    Attributes
    ----------
    moments : Joint
        Of predictors and targets, on the rows of the ridge.
    predictors : _Halves
    targets : pair of arrays
        On the rows of the trees and on those that are scored, shape (rows, targets) each.
    seed : int
    """

    moments: Joint
    predictors: _Halves
    targets: tuple[NDArray[np.float64], NDArray[np.float64]]
    seed: int

    def varies(self, target: int) -> bool:
        """Whether a target is anything but a constant on both kinds of rows."""
        return all(_spread(part[:, target]) > 0 for part in self.targets)

    def r2(self, inputs: Tensor | None, targets: Any, near: list[Tensor]) -> Tensor:
        """R2 of `targets` from the predictors `inputs` (None: all), of which the trees see those of `near`, one list per target."""
        which = torch.arange(len(self.moments.mean_x)) if inputs is None else inputs
        linear = ridge(self.moments if inputs is None else self.moments.take(which))
        base = [table.predict(linear, inputs) for table in (self.predictors.grown, self.predictors.scored)]
        found = []
        for t, close in zip(targets, near, strict=True):
            x = [
                np.column_stack([b[:, t], table.columns(close)])
                for b, table in zip(base, (self.predictors.grown, self.predictors.scored), strict=True)
            ]
            found.append(_boosted(x[0], self.targets[0][:, t], x[1], self.targets[1][:, t], self.seed))
        return torch.tensor(found, dtype=torch.float64)


def _boosted(x: NDArray[Any], y: NDArray[Any], x_scored: NDArray[Any], y_scored: NDArray[Any], seed: int) -> float:
    """Held-out R2 of the first predictor, which is in y's units, plus boosted trees on the residual; 0 if y is constant."""
    spread = _spread(y_scored)
    if spread == 0:
        return 0.0
    residual, prediction = y - x[:, 0], x_scored[:, 0].copy()
    if _spread(residual) > 1e-12 * _spread(y):
        unit, unit_scored = _unit(x, x_scored)
        (target,), scale = _unit(residual[:, None]), np.sqrt(_spread(residual)) * _side(residual[:, None] - residual.mean())
        trees = HistGradientBoostingRegressor(
            learning_rate=RATE,
            max_iter=ROUNDS,
            max_leaf_nodes=LEAVES,
            early_stopping=True,
            validation_fraction=0.2,
            n_iter_no_change=5,
            random_state=seed_of("trees", seed) % 2**32,
        ).fit(unit, target[:, 0])
        # As many trees as were best for the rows set aside, which may be none: the last few are those after which it gave up.
        best = int(np.argmax(trees.validation_score_))
        added = next(islice(trees.staged_predict(unit_scored), best - 1, None)) if best else np.zeros(len(y_scored))
        prediction += residual.mean() + scale[0] * added
    error = float(np.mean((y_scored - prediction) ** 2))
    return 1 - error / spread


RATE, ROUNDS, LEAVES = 0.3, 40, 15
"""Of the trees: few and quick; on 8,192 rows slower learning gains less than .001."""


def _unit(*parts: NDArray[Any]) -> list[NDArray[np.float64]]:
    """Columns standardised, and turned so that their longer tail is up, all as the first part is: trees see no sign, scale or shift."""
    middle = parts[0].mean(axis=0)
    centred = parts[0] - middle
    deviation = np.sqrt((centred**2).mean(axis=0))
    factor = _side(centred) / np.where(deviation > 0, deviation, 1.0)
    return [(part - middle) * factor for part in parts]


def _side(centred: NDArray[Any]) -> NDArray[np.float64]:
    """1 or -1 for each column, by its third central moment."""
    return np.where((centred**3).sum(axis=0) >= 0, 1.0, -1.0)


def _spread(y: NDArray[Any]) -> float:
    """Variance; 0 where it is of the size of rounding errors."""
    found = float(y.var()) if len(y) else 0.0
    return found if found > 1e-14 * (found + float(y.mean()) ** 2) else 0.0


def _similarity(z: Rows, codes: Codes) -> Tensor:
    """Largest absolute correlation of concepts and codes or of their distances from their means, shape (c, m)."""
    pairs = [(x, y) for x in (z, _folded(z)) for y in (codes, _folded(codes))]
    return torch.stack([correlation(x, y).abs() for x, y in pairs]).amax(dim=0)


def _folded(rows: Rows) -> Rows:
    """Distance of each entry from its column's mean, up to a constant of the column that leaves the zeros of sparse rows alone."""
    if not isinstance(rows, SparseRows):
        return (rows.double() - mean(rows).to(rows.device)).abs()
    middle = mean(rows).to(rows.values.device)
    values = (rows.values.double() - middle[rows.indices]).abs() - middle[rows.indices].abs()
    return SparseRows(rows.indptr, rows.indices, values, rows.shape)


def _closest(similarity: Tensor, most: int) -> list[Tensor]:
    """For each row the indices of its `most` largest entries."""
    return list(similarity.argsort(dim=1, descending=True, stable=True)[:, :most])


def _groups(with_code: Tensor, level_of: Tensor, block: str) -> list[list[int]]:
    """Places in `with_code` of concepts of the same block."""
    if block == "concept":
        return [[t] for t in range(len(with_code))]
    found = level_of[with_code]
    return [(found == level).nonzero()[:, 0].tolist() for level in sorted(set(found.tolist()))]


def _drawn(sizes: list[int], most: int, seed: int) -> Tensor:
    """Concepts at random, of each level in proportion to its size but no fewer than two; in their order."""
    generator = torch.Generator().manual_seed(seed_of("concepts", seed))
    found, start = [], 0
    for size in sizes:
        count = min(size, max(2, round(most * size / sum(sizes))))
        found.append(start + torch.randperm(size, generator=generator)[:count].sort().values)
        start += size
    return torch.cat(found)


def _some(start: int, stop: int, most: int, seed: int) -> NDArray[np.int64]:
    """At most `most` of the rows from start to stop, at random, in their order."""
    if stop - start <= most:
        return np.arange(start, stop)
    drawn = np.random.default_rng(seed_of("rows", start, seed)).choice(stop - start, most, replace=False)
    return np.sort(drawn) + start


def _standard_error(r2: Tensor, level_of: Tensor, sizes: list[int]) -> float:
    """Standard error of the mean over all concepts that comes from having drawn some of each level."""
    variance = 0.0
    for level, size in enumerate(sizes):
        drawn = r2[level_of == level]
        if 1 < len(drawn) < size:
            variance += (size / sum(sizes)) ** 2 * float(drawn.var()) / len(drawn) * (1 - len(drawn) / size)
    return float(np.sqrt(variance))
