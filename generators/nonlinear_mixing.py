"""Random mixing f: linear, a perceptron or a flow, with a support and a condition number that are controlled.

Views are scaled so that concepts of variance 1 give coordinates of mean variance about 1.
"""

from __future__ import annotations

import math
from typing import Literal

import torch
from torch import Tensor

from generators.mixing_maps import Activation, Bent, Flow, Linear, Mixing, Perceptron, Warped
from testbed.contracts import InvalidInput, seed_of

Kind = Literal["linear", "mlp", "flow", "warped"]

TRIES = 500
"""Sparse supports drawn before none is thought to meet the conditions."""


def structurally_sparse(support: Tensor) -> bool:
    """Whether for every concept the rows that see it have supports that meet in it alone (Zheng, Ng, Zhang 2022, assumption of theorem 1).

    Parameters
    ----------
    support : Tensor, shape (d, k), bool
    """
    together = support.double().T @ support.double()  # rows that see both
    every = together == together.diagonal()[:, None]  # [i, j]: every row that sees i sees j
    return bool(support.any(dim=0).all()) and int(every.sum()) == len(every)


def draw_mixing(
    kind: Kind,
    concepts: int,
    dimension: int,
    row_support: int,
    condition: float,
    curvature: float,
    activation: Activation,
    seed: int,
    *role: str | int,
) -> Mixing:
    """Draw f.

    Parameters
    ----------
    kind : {"linear", "mlp", "flow", "warped"}
        A sparse ``"mlp"`` stays nearly linear, since that is what keeps it injective; ``"warped"`` is one whose coordinates are squashed.
    concepts, dimension : int
        k and d >= k.
    row_support : int
        Concepts that each coordinate sees; 0, or k and more, for all of them. Supports are structurally sparse. Not for ``"flow"``.
    condition : float
        Condition number of the linear parts together: exact where the support is dense, an upper bound where it is sparse.
    curvature : float
        How far from linear, in [0, 1); ignored by ``"linear"``.
    activation : {"leaky_relu", "tanh"}
        Of a dense ``"mlp"``.
    seed : int
    role : str or int
        What this mixing is for, so that each has a seed of its own.

    Raises
    ------
    InvalidInput
        If a parameter is out of range, or no sparse support meets the conditions.
    """
    if kind not in ("linear", "mlp", "flow", "warped"):
        raise InvalidInput(f"mixing must be 'linear', 'mlp', 'flow' or 'warped', not {kind!r}")
    if dimension < concepts:
        raise InvalidInput(f"dimension must be at least the number of concepts that a view shows, {concepts}, not {dimension}")
    if row_support < 0 or not 1 <= condition < math.inf or not 0 <= curvature < 1:
        raise InvalidInput(
            f"row_support must be at least 0, condition at least 1 and curvature in [0, 1), not {row_support}, {condition}, {curvature}"
        )
    if activation not in ("leaky_relu", "tanh"):
        raise InvalidInput(f"activation must be 'leaky_relu' or 'tanh', not {activation!r}")
    sparse = 0 < row_support < concepts
    if sparse and kind == "flow":
        raise InvalidInput("a flow sees every concept in every coordinate: set row_support to 0, or mixing to 'linear', 'mlp' or 'warped'")
    generator = torch.Generator().manual_seed(seed_of("mixing", seed, *role))
    if sparse:
        matrix = _sparse_matrix(dimension, concepts, row_support, condition, generator)
        return Linear(matrix) if kind == "linear" else _bent(matrix, row_support, curvature, kind == "warped", generator)
    if kind == "linear":
        return Linear(_conditioned(dimension, concepts, condition, generator))
    if kind == "warped":
        return _bent(_conditioned(dimension, concepts, condition, generator), concepts, curvature, True, generator)
    if kind == "mlp":
        each = condition ** (1 / 3)
        first, second, third = (_conditioned(dimension, width, each, generator) for width in (concepts, dimension, dimension))
        return Perceptron(first, second, third, 1 - curvature, activation)
    embedding = _conditioned(dimension, concepts, condition, generator)
    rotations = torch.stack([_conditioned(dimension, dimension, 1.0, generator) for _ in range(LAYERS)])
    half = dimension // 2
    scales, shifts = (
        torch.randn(LAYERS, dimension - half, half, generator=generator, dtype=torch.float64) / math.sqrt(max(half, 1)) for _ in range(2)
    )
    return Flow(embedding, rotations, scales, shifts, curvature)


LAYERS = 4
"""Couplings of a flow."""


def _conditioned(rows: int, columns: int, condition: float, generator: torch.Generator) -> Tensor:
    """A matrix with random singular vectors and singular values evenly spaced in logarithm, of squared norm `rows`."""
    left = torch.linalg.qr(torch.randn(rows, columns, generator=generator, dtype=torch.float64))[0]
    right = torch.linalg.qr(torch.randn(columns, columns, generator=generator, dtype=torch.float64))[0]
    values = torch.logspace(0, -math.log10(condition), columns, dtype=torch.float64)
    matrix: Tensor = left * (values * math.sqrt(rows) / values.norm()) @ right.T
    return matrix


def _sparse_matrix(rows: int, columns: int, row_support: int, condition: float, generator: torch.Generator) -> Tensor:
    for _ in range(TRIES):
        score = torch.rand(rows, columns, generator=generator)
        score[torch.arange(rows), torch.arange(rows) % columns] = -1  # every concept is seen about equally often
        support = score.argsort(dim=1).argsort(dim=1) < row_support
        size = 0.5 + torch.rand(rows, columns, generator=generator, dtype=torch.float64)
        sign = 2.0 * torch.randint(2, (rows, columns), generator=generator) - 1
        matrix: Tensor = torch.where(support, size * sign, 0.0)
        matrix = matrix[torch.randperm(rows, generator=generator)]
        values = torch.linalg.svdvals(matrix)
        if structurally_sparse(matrix != 0) and values[0] <= condition * values[-1]:
            return matrix * (math.sqrt(rows) / float(matrix.norm()))
    raise InvalidInput(
        f"{TRIES} supports of {row_support} in {columns} concepts for each of {rows} coordinates were drawn, none structurally sparse "
        f"with a condition number of at most {condition:g}: raise dimension or condition, or lower row_support"
    )


def _bent(matrix: Tensor, units: int, curvature: float, warped: bool, generator: torch.Generator) -> Bent:
    rows, columns = matrix.shape
    inner = torch.randn(rows, units, columns, generator=generator, dtype=torch.float64) * (matrix != 0)[:, None, :]
    shift = torch.randn(rows, units, generator=generator, dtype=torch.float64)
    outer = torch.randn(rows, units, generator=generator, dtype=torch.float64)
    steepest = (outer.abs()[:, :, None] * inner.abs()).sum(dim=1)  # bounds |dh / dv| entry by entry
    outer = outer / torch.linalg.matrix_norm(steepest, 2)
    gain = curvature * float(torch.linalg.svdvals(matrix)[-1])
    if not warped:
        return Bent(matrix, inner, shift, outer, gain)
    return Warped(matrix, inner, shift, outer, gain, torch.randn(rows, generator=generator, dtype=torch.float64), curvature)
