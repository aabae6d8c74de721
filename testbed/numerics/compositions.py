r"""Two explanations of a tuple beside its context, and how much each leaves unexplained, in nats per row.

*Composition*: the state is a function of the tuple, and the tuple says no more of its context than its state does, t independent of x
given g(t). *Latent classes*: a cause whose children are independent given it, see `testbed.numerics.latent_classes`. Each is held
against the table of counts itself,

.. math:: \frac{1}{2n} \Big( 2 \sum_{t,x} n_{tx} \ln \frac{n_{tx}}{e_{tx}} - \mathrm{E}\Big),

with the mean E that the statistic has when the explanation is right: that of Poisson counts in each cell, less one for every parameter
that was fitted. So 0 is a perfect explanation at every n.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from testbed.numerics.latent_classes import LatentClasses, fitted, mean_deviance, started

Array = NDArray[np.float64]
States = NDArray[np.int64]

HALF = 0.5
"""Expected rows from which a parameter counts as fitted."""
SHORT, KEPT = 60, 3
"""Rounds of EM that every start gets, and how many of the best go on."""


@dataclass(frozen=True)
class Misfit:
    """What explanations of a few tables leave unexplained.

    Attributes
    ----------
    nats : array, shape (F,)
        Per table, without the bias; slightly below 0 where nothing is left.
    error : array, shape (F,)
        Standard error of that when the explanation is right.
    likelihood : array, shape (F,)
        Log-likelihood per row.
    parameters : array, shape (F,)
        That were fitted.
    converged : bool
    """

    nats: Array
    error: Array
    likelihood: Array
    parameters: Array
    converged: bool = True

    def better(self, other: Misfit, tables: NDArray[np.int64]) -> Misfit:
        """The same with `other`'s explanations of some tables, where they are likelier."""
        new = other.likelihood > self.likelihood[tables]
        where = tables[new]
        arrays = {}
        for name in ("nats", "error", "likelihood", "parameters"):
            arrays[name] = getattr(self, name).copy()
            arrays[name][where] = getattr(other, name)[new]
        return Misfit(**arrays, converged=self.converged and other.converged)


def misfit(counts: Array, law: Array, parameters: Array, converged: bool = True) -> Misfit:
    """How far tables of counts, shape (F, T, X), are from laws p(t, x) with that many fitted parameters, shape (F,)."""
    n = counts.sum(axis=(1, 2))
    expected = law * n[:, None, None]
    with np.errstate(divide="ignore", invalid="ignore"):
        deviance = 2 * np.where(counts > 0, counts * np.log(counts / expected), 0.0).sum(axis=(1, 2))
    cells = mean_deviance(expected).sum(axis=(1, 2))
    free = np.maximum(cells - parameters, 1.0)
    likelihood = np.where(counts > 0, counts * np.log(np.maximum(law, 1e-300)), 0.0).sum(axis=(1, 2)) / n
    return Misfit((deviance - cells + parameters) / (2 * n), np.sqrt(2 * free) / (2 * n), likelihood, parameters, converged)


def composition_misfit(counts: Array, states: list[States]) -> Misfit:
    """Of the law in which each table's tuples have these states, shape (T,) each; how often each tuple occurs is as it is."""
    law, parameters = np.zeros_like(counts), np.zeros(len(counts))
    for f, (table, state) in enumerate(zip(counts, states, strict=True)):
        beside = np.zeros((int(state.max()) + 1, table.shape[1]))
        np.add.at(beside, state, table)
        given = beside / np.maximum(beside.sum(axis=1, keepdims=True), 1.0)
        law[f] = table.sum(axis=1, keepdims=True) * given[state] / table.sum()
        parameters[f] = (table.sum(axis=1) > 0).sum() + (beside > 0).sum() - (beside.sum(axis=1) > 0).sum()
    return misfit(counts, law, parameters)


def best_classes(counts: Array, shapes: tuple[int, ...], classes: list[int], *, starts: int, rounds: int, seed: int) -> LatentClasses:
    """The best latent-class model of each table that `starts` runs of EM find; see `class_misfit`."""
    f, t, x = counts.shape
    k = max(classes)
    generator = np.random.default_rng(seed)
    share = generator.gamma(0.3, size=(starts, f, t, k)) + 1e-12
    share *= np.arange(k) < np.array(classes)[:, None, None]
    share /= share.sum(axis=-1, keepdims=True)
    table = counts.reshape(f, *shapes, x)
    every = np.tile(table, (starts, *[1] * (table.ndim - 1)))
    runs = fitted(every, started(share.reshape(starts * f, t, 1, k), every), rounds=SHORT)
    rank = np.argsort(-runs.log_likelihood.reshape(starts, f), axis=0)[:KEPT]  # (kept, F)
    chosen = (rank * f + np.arange(f)).ravel()
    runs = fitted(np.tile(table, (len(rank), *[1] * (table.ndim - 1))), runs[chosen], rounds=rounds)
    return runs[runs.log_likelihood.reshape(len(rank), f).argmax(axis=0) * f + np.arange(f)]


def class_misfit(counts: Array, shapes: tuple[int, ...], classes: list[int], *, starts: int, rounds: int, seed: int) -> Misfit:
    """Of the best latent-class model of each table that `starts` runs of EM find.

    Parameters
    ----------
    counts : array, shape (F, T, X)
        T the product of `shapes`; tables are padded with 0 where a constituent or the context has fewer values.
    classes : list of int
        Number of classes, per table.
    """
    return misfit_of(counts, best_classes(counts, shapes, classes, starts=starts, rounds=rounds, seed=seed))


def misfit_of(counts: Array, model: LatentClasses) -> Misfit:
    """Of fitted latent classes, one model per table."""
    return misfit(counts, model.law(), _fitted_parameters(model, counts.sum(axis=(1, 2))), bool(model.converged.all()))


def _fitted_parameters(model: LatentClasses, n: Array) -> Array:
    """Parameters of each model that rows bear on: states and contexts that a class has nearly never take none."""
    mass = n[:, None] * model.classes  # (F, K)
    alive = mass > HALF
    total = alive.sum(axis=1) - 1.0
    for law in model.tuples:
        total += ((law * mass[:, None, :]) > HALF).sum(axis=(1, 2)) - alive.sum(axis=1)
    out: Array = total + ((model.contexts * mass[:, :, None]) > HALF).sum(axis=(1, 2)) - alive.sum(axis=1)
    return out


def fewest_classes(
    counts: Array, shapes: tuple[int, ...], most: list[int], enough: float, *, starts: int, rounds: int, seed: int
) -> list[int]:
    """The smallest number of latent classes, per table and at most `most`, that miss by `enough` nats or less; by bisection."""
    low, high = np.zeros(len(counts), np.int64), np.array(most)
    while (high - low > 1).any():
        middle = np.maximum((low + high) // 2, 1)
        found = class_misfit(counts, shapes, middle.tolist(), starts=starts, rounds=rounds, seed=seed)
        fine = found.nats <= np.maximum(enough, 2 * found.error)
        low, high = np.where(fine, low, np.maximum(low, middle)), np.where(fine, np.minimum(high, middle), high)
    return [int(k) for k in high]


def merged(table: Array, state: States, most: int) -> States:
    """States of tuples, shape (T,), joined until there are `most` of them, those first whose joining loses least; `table` is (T, X)."""
    state = np.unique(state, return_inverse=True)[1]
    while (k := int(state.max()) + 1) > max(most, 1):
        beside = np.zeros((k, table.shape[1]))
        np.add.at(beside, state, table)
        own = _xlogx(beside).sum(axis=1) - _xlogx(beside.sum(axis=1))
        both = beside[:, None] + beside[None, :]
        loss = own[:, None] + own[None, :] - _xlogx(both).sum(axis=2) + _xlogx(both.sum(axis=2))
        loss[np.tril_indices(k)] = np.inf
        a, b = np.unravel_index(int(loss.argmin()), loss.shape)
        state = np.where(state == b, a, state)
        state = state - (state > b)
    return state


def information(table: Array) -> float:
    """Mutual information of the rows and columns of counts, in nats, without its bias to first order (Miller 1955)."""
    table = table[table.sum(axis=1) > 0][:, table.sum(axis=0) > 0]
    n = table.sum()
    found = (_xlogx(table).sum() - _xlogx(table.sum(axis=0)).sum() - _xlogx(table.sum(axis=1)).sum() + _xlogx(n)) / n
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0, keepdims=True) / n
    return float(found - (mean_deviance(expected).sum() - sum(table.shape) + 1) / (2 * n))


def conditional_information(counts: Array, shapes: tuple[int, ...], state: States) -> float:
    """Total correlation of a tuple's constituents given its state, in nats, without its bias; `counts` of tuples, shape (T,)."""
    n, total = counts.sum(), 0.0
    for v in np.unique(state):
        own = np.where(state == v, counts, 0.0).reshape(shapes)
        m = own.sum()
        if m <= 0:
            continue
        law = np.ones(())
        free = -1
        for j in range(len(shapes)):
            one = own.sum(axis=tuple(i for i in range(len(shapes)) if i != j)) / m
            law = law[..., None] * one
            free += int((one > 0).sum()) - 1
        expected = law * m
        with np.errstate(divide="ignore", invalid="ignore"):
            deviance = np.where(own > 0, own * np.log(own / expected), 0.0).sum()
        total += deviance - (mean_deviance(expected).sum() - free - 1) / 2
    return float(total / n) if math.isfinite(total) else 0.0


def _xlogx(x: Array) -> Array:
    out: Array = x * np.log(np.where(x > 0, x, 1.0))
    return out
