"""Mixtures of three views that are independent given the class, by decomposing the tensor of third moments (Anandkumar et al. 2014)."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from testbed.contracts import InvalidInput

Float = NDArray[np.float64]

STARTS, ROUNDS = 30, 100
"""Random starts and steps of each power iteration."""
WEAK = 1e-3
"""Smallest singular value, relative to the largest, that second moments may have at the number of classes wanted."""


@dataclass(frozen=True)
class Mixture:
    """Classes as second and third moments show them.

    Attributes
    ----------
    weights : array, shape (k,)
        Probability of each class, the most frequent first.
    means : tuple of three arrays, shape (d_v, k)
        Mean of each view in each class.
    eigenvalues : array, shape (k,)
        Of the whitened tensor: 1 / sqrt(weight) where the model holds.
    """

    weights: Float
    means: tuple[Float, Float, Float]
    eigenvalues: Float


def mixture_of_views(views: tuple[Float, Float, Float], classes: int, generator: np.random.Generator) -> Mixture:
    r"""Weights and means of `classes` classes from three views, shapes (n, d_v), that are independent given the class [1]_.

    Views 1 and 2 are mapped onto the third, :math:`\tilde x_1 = E[x_3 x_2^\top] E[x_1 x_2^\top]^{+} x_1` and alike, so that

    .. math:: M_2 = E[\tilde x_1 \otimes \tilde x_2] = \sum_h w_h \mu_h \otimes \mu_h, \qquad
              M_3 = E[\tilde x_1 \otimes \tilde x_2 \otimes x_3] = \sum_h w_h \mu_h \otimes \mu_h \otimes \mu_h

    (theorem 3.6). M_2 whitens M_3 to a k x k x k tensor with orthogonal components, which the power method finds one after another
    (algorithm 1). The other views' means follow by regression. The classes' means must be linearly independent in every view.

    Raises
    ------
    InvalidInput
        If second moments have fewer than `classes` directions: more classes than the views tell apart.

    References
    ----------
    .. [1] Anandkumar, Ge, Hsu, Kakade & Telgarsky (2014), Tensor decompositions for learning latent variable models, JMLR 15.
    """
    one, two, three = views
    n = len(one)
    low = [_basis(a, b, classes) for a, b in ((one, two), (two, one), (three, one))]
    x, y, z = (view @ basis for view, basis in zip(views, low, strict=True))  # (n, k): moments live in k directions
    p12, p13, p23 = x.T @ y / n, x.T @ z / n, y.T @ z / n
    to_x, to_y = p23.T @ np.linalg.pinv(p12), p13.T @ np.linalg.pinv(p12.T)
    second = to_x @ p12 @ to_y.T
    value, vector = np.linalg.eigh((second + second.T) / 2)
    value, vector = value[::-1][:classes], vector[:, ::-1][:, :classes]
    if value[-1] <= WEAK * value[0]:
        raise InvalidInput(
            f"second moments of the views have fewer than {classes} directions, so that no {classes} classes show: ask for fewer, or "
            "use other views"
        )
    white = vector / np.sqrt(value)  # (k, k)
    whitened = [x @ to_x.T @ white, y @ to_y.T @ white, z @ white]
    tensor = np.einsum("ni,nj,nk->ijk", *whitened, optimize=True) / n
    tensor = sum(tensor.transpose(order) for order in ((0, 1, 2), (0, 2, 1), (1, 0, 2), (1, 2, 0), (2, 0, 1), (2, 1, 0))) / 6
    eigenvalues, vectors = power_method(tensor, generator)
    weights = 1 / np.maximum(eigenvalues, 1.0) ** 2  # a probability: noise may ask for more
    weights /= weights.sum()
    order = np.argsort(-weights)
    means_z = (np.linalg.pinv(white.T) @ vectors) * eigenvalues  # (k, k), column h
    weighted = np.linalg.pinv((means_z * weights).T)
    means = [one.T @ z / n @ weighted, two.T @ z / n @ weighted, low[2] @ means_z]
    return Mixture(weights[order], (means[0][:, order], means[1][:, order], means[2][:, order]), eigenvalues[order])


def _basis(view: Float, other: Float, classes: int) -> Float:
    """The directions of a view that vary most with another, shape (d, k)."""
    u, sigma, _ = np.linalg.svd(view.T @ other / len(view), full_matrices=False)
    if len(sigma) < classes or sigma[classes - 1] <= 1e-12 * max(sigma[0], 1e-300):
        raise InvalidInput(f"two views have fewer than {classes} directions in common, so that no {classes} classes show: ask for fewer")
    return np.asarray(u[:, :classes])


def power_method(tensor: Float, generator: np.random.Generator) -> tuple[Float, Float]:
    """Eigenvalues (k,) and orthonormal eigenvectors (k, k), as columns, of a symmetric tensor that is a sum of orthogonal cubes."""
    k = len(tensor)
    left, values = tensor.copy(), list[float]()
    vectors: list[Float] = []
    for _ in range(k):
        v = generator.standard_normal((k, STARTS))
        for old in vectors:
            v -= np.outer(old, old @ v)
        v /= np.linalg.norm(v, axis=0)
        for _ in range(ROUNDS):
            v = np.einsum("ijk,jt,kt->it", left, v, v, optimize=True)
            v /= np.maximum(np.linalg.norm(v, axis=0), 1e-300)
        size = np.einsum("ijk,it,jt,kt->t", left, v, v, v, optimize=True)
        best = int(np.argmax(size))
        values.append(float(size[best]))
        vectors.append(v[:, best])
        left = left - size[best] * np.einsum("i,j,k->ijk", *[v[:, best]] * 3)
    return np.array(values), np.stack(vectors, axis=1)


# -------------------------------------------------------------------------------------------------------------------- states


def indicators(states: NDArray[np.int64], widths: NDArray[np.int64]) -> Float:
    """Columns of states side by side as 0 and 1, shape (n, sum of widths); a state beyond a width is none of them."""
    return np.concatenate([states[:, [j]] == np.arange(int(width)) for j, width in enumerate(widths)], axis=1).astype(np.float64)


def log_tables(means: Float, widths: NDArray[np.int64], least: float = 1e-4) -> Float:
    """Logarithms of what means of indicators say of each column's states, shape (sum of widths, k): clipped to `least` and normalised."""
    out = np.maximum(means, least)
    start = 0
    for width in widths.tolist():
        out[start : start + width] /= out[start : start + width].sum(axis=0)
        start += width
    return np.asarray(np.log(out))
