"""Dictionaries: the directions along which concepts are written into a view."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize


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
