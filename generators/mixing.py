"""Dictionaries: the directions along which concepts are written into a view."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from testbed.contracts import InvalidInput


def random_directions(count: int, dimension: int, generator: torch.Generator) -> Tensor:
    """Directions drawn uniformly from the unit sphere, shape (count, dimension)."""
    return normalize(torch.randn(count, dimension, generator=generator, dtype=torch.float64), dim=1).float()


def less_coherent(dictionary: Tensor, steps: int = 100, rate: float = 0.1) -> Tensor:
    r"""The same atoms after a few gradient steps that push them apart.

    Descends the potential :math:`F(D) = \sum_{i \ne j} (d_i \cdot d_j)^4` on the product of unit spheres; the fourth power acts on
    the largest coherences most. With c <= d this ends near orthogonal atoms, with c > d near (but not at) an equiangular frame.

    Parameters
    ----------
    dictionary : Tensor, shape (c, d)
        Rows of norm 1.
    steps : int
    rate : float
        Angle, in radians, by which the atom with the largest gradient moves in the first step; it falls linearly to 0.

    Returns
    -------
    Tensor, shape (c, d)
    """
    atoms = dictionary.double()
    for step in range(steps):
        gram = atoms @ atoms.T
        gram.fill_diagonal_(0)
        gradient = gram**3 @ atoms
        gradient -= (gradient * atoms).sum(dim=1, keepdim=True) * atoms  # tangent
        largest = gradient.norm(dim=1).max()
        if largest == 0:
            break
        atoms = normalize(atoms - rate * (1 - step / steps) * gradient / largest, dim=1)
    return atoms.to(dictionary.dtype)


def coherence(dictionary: Tensor) -> float:
    r"""Mutual coherence :math:`\max_{i \ne j} |d_i \cdot d_j|` of rows of norm 1; 0 for a single atom."""
    gram = (dictionary @ dictionary.T).abs()
    gram.fill_diagonal_(0)
    return float(gram.max())


def equiangular(count: int, dimension: int, generator: torch.Generator) -> Tensor:
    r"""A regular simplex of atoms in a random orientation: every cosine is :math:`-1 / (c - 1)`, shape (count, dimension).

    Raises
    ------
    InvalidInput
        If count > dimension + 1, where there is no simplex.
    """
    if count > dimension + 1:
        raise InvalidInput(
            f"{count} atoms form no regular simplex in {dimension} dimensions: raise dimension to {count - 1} for dictionary 'equiangular'"
        )
    if count == 1:
        return random_directions(1, dimension, generator)
    centred = torch.eye(count, dtype=torch.float64) - 1 / count
    corners = normalize(torch.linalg.eigh(centred)[1][:, 1:], dim=1)  # (c, c - 1): the eigenvector of 0, the constant one, comes first
    frame = torch.linalg.qr(torch.randn(dimension, dimension, generator=generator, dtype=torch.float64))[0]
    atoms: Tensor = corners @ frame[: count - 1]
    return atoms.float()


def clustered(count: int, dimension: int, clusters: int, cosine: float, generator: torch.Generator) -> Tensor:
    r"""Atoms :math:`\sqrt{\rho}\, m + \sqrt{1 - \rho}\, w`, w a random direction at a right angle to the cluster's centre m.

    Every atom has cosine :math:`\sqrt{\rho}` with its centre, and two of a cluster have :math:`\rho` in expectation.

    Parameters
    ----------
    count, dimension : int
    clusters : int
        Centres are random directions; each atom picks one.
    cosine : float
        :math:`\rho`, in [0, 1).
    generator : torch.Generator

    Returns
    -------
    Tensor, shape (count, dimension)
    """
    if clusters < 1 or not 0 <= cosine < 1 or dimension < 2:
        raise InvalidInput(
            f"clusters must be at least 1, cluster_cosine in [0, 1) and dimension at least 2, not {clusters}, {cosine} and {dimension}"
        )
    centre = random_directions(clusters, dimension, generator).double()[torch.randint(clusters, (count,), generator=generator)]
    side = torch.randn(count, dimension, generator=generator, dtype=torch.float64)
    side = normalize(side - (side * centre).sum(dim=1, keepdim=True) * centre, dim=1)
    atoms: Tensor = cosine**0.5 * centre + (1 - cosine) ** 0.5 * side
    return atoms.float()
