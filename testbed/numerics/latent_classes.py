r"""Latent-class models of tables: given a hidden class, the constituents of a tuple and its context are independent of each other.

.. math:: p(t, x) = \sum_k \pi_k\, \phi_k(x) \prod_j \theta_{jk}(t_j)

is what a cause with independent children makes (Lazarsfeld & Henry 1968). EM needs no table of tuples, contexts and classes: with
:math:`A_{tk} = \pi_k \prod_j \theta_{jk}(t_j)`, :math:`B_{kx} = \phi_k(x)` and the ratio R of counts to A B, the expected counts are
:math:`A \odot (R B^T)` of tuples and classes, and :math:`B \odot (A^T R)` of classes and contexts.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln

Array = NDArray[np.float64]

TINY = 1e-300
LARGE = 40.0
"""Expected count from which the mean of a cell's deviance follows from its expansion."""


@dataclass(frozen=True)
class LatentClasses:
    """A batch of fitted models.

    Attributes
    ----------
    classes : array, shape (F, K)
        Probability of each class, 0 for classes that a fit does not have.
    tuples : list of array, shape (F, k_j, K)
        Per constituent, its law given each class.
    contexts : array, shape (F, K, X)
    log_likelihood : array, shape (F,)
        Of all counts, in nats.
    converged : array of bool, shape (F,)
    """

    classes: Array
    tuples: list[Array]
    contexts: Array
    log_likelihood: Array
    converged: NDArray[np.bool_]

    def __getitem__(self, which: NDArray[np.int64]) -> LatentClasses:
        return LatentClasses(
            self.classes[which], [t[which] for t in self.tuples], self.contexts[which], self.log_likelihood[which], self.converged[which]
        )

    def law(self) -> Array:
        """p(t, x), shape (F, T, X)."""
        law: Array = _joint(self.classes, self.tuples) @ self.contexts
        return law


def fitted(counts: Array, start: LatentClasses, *, rounds: int, tolerance: float = 1e-6) -> LatentClasses:
    """EM from `start`, for at most `rounds` rounds, or until the mean log-likelihood of every fit grows by less than `tolerance` per round.

    Parameters
    ----------
    counts : array, shape (F, k_1, ..., k_s, X)
        One table for each fit.
    """
    shape = counts.shape[1:-1]
    table = counts.reshape(len(counts), -1, counts.shape[-1])
    n = table.sum(axis=(1, 2))
    pi, theta, phi = start.classes, list(start.tuples), start.contexts
    last = np.full(len(counts), -np.inf)
    likelihood, done = last, np.zeros(len(counts), bool)
    for step in range(rounds + 1):
        a = _joint(pi, theta)
        law = a @ phi
        if step % 10 == 0 or step == rounds:
            likelihood = (table * np.log(np.maximum(law, TINY))).sum(axis=(1, 2))
            done = likelihood - last < tolerance * n * 10
            if step == rounds or done.all():
                break
            last = likelihood
        ratio = table / np.maximum(law, TINY)
        beside = a * (ratio @ phi.transpose(0, 2, 1))  # (F, T, K) expected counts
        phi = phi * (a.transpose(0, 2, 1) @ ratio)
        mass = phi.sum(axis=2)
        phi = phi / np.maximum(mass, TINY)[:, :, None]
        pi = mass / n[:, None]
        inner = beside.reshape(len(counts), *shape, -1)
        theta = []
        for j in range(len(shape)):
            other = tuple(1 + i for i in range(len(shape)) if i != j)
            one = inner.sum(axis=other)
            theta.append(one / np.maximum(one.sum(axis=1, keepdims=True), TINY))
    return LatentClasses(pi, theta, phi, likelihood, done)


def started(responsibilities: Array, counts: Array) -> LatentClasses:
    """The model whose classes take these shares of each cell, shape (F, T, X, K) or broadcast to it."""
    shape = counts.shape[1:-1]
    table = counts.reshape(len(counts), -1, counts.shape[-1])
    beside = np.einsum("ftx,ftxk->ftk", table, np.broadcast_to(responsibilities, (*table.shape, responsibilities.shape[-1])))
    phi = np.einsum("ftx,ftxk->fkx", table, np.broadcast_to(responsibilities, (*table.shape, responsibilities.shape[-1])))
    inner = beside.reshape(len(counts), *shape, -1)
    theta = []
    for j in range(len(shape)):
        one = inner.sum(axis=tuple(1 + i for i in range(len(shape)) if i != j))
        theta.append(one / np.maximum(one.sum(axis=1, keepdims=True), TINY))
    mass = phi.sum(axis=2)
    nothing = np.full(len(counts), -np.inf)
    return LatentClasses(
        mass / mass.sum(axis=1, keepdims=True), theta, phi / np.maximum(mass, TINY)[:, :, None], nothing, np.zeros(len(counts), bool)
    )


def tuple_classes(model: LatentClasses) -> Array:
    """p(class, tuple), shape (F, T, K)."""
    return _joint(model.classes, model.tuples)


def mean_deviance(expected: Array) -> Array:
    r"""Mean of :math:`2 (O \ln (O / e) - (O - e))` for a Poisson count O of mean e, any shape: 1 where e is large, 0 where it is 0."""
    e = np.asarray(expected, dtype=np.float64)
    out = 1 + 1 / (6 * np.maximum(e, LARGE)) + 1 / (6 * np.maximum(e, LARGE) ** 2)
    small = e < LARGE
    if small.any():
        grid = np.concatenate([[0.0], np.geomspace(1e-6, LARGE, 400)])
        o = np.arange(0, 120.0)
        log_p = o * np.log(np.maximum(grid[1:, None], TINY)) - grid[1:, None] - gammaln(o + 1)
        d = 2 * (o * np.log(np.maximum(o, TINY) / grid[1:, None]) - (o - grid[1:, None]))
        table = np.concatenate([[0.0], (np.exp(log_p) * d).sum(axis=1)])
        out[small] = np.interp(e[small], grid, table)
    return out


def _joint(pi: Array, theta: list[Array]) -> Array:
    """pi_k prod_j theta_jk(t_j), shape (F, T, K)."""
    out = pi[:, None, :]
    for one in theta:
        out = (out[:, :, None, :] * one[:, None, :, :]).reshape(len(pi), -1, pi.shape[1])
    return out
