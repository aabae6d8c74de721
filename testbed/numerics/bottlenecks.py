r"""Nonlinear canonical correlation by polynomials, and what a bottleneck between a set of columns and the rest leaves unexplained.

The dependence of a set S on the rest is read off second moments of polynomials: products of up to two columns of S and their cubes,
f, and the rest's columns and their squares, g. The first canonical function of f is the one number that tells most of the rest. If S is a
tuple whose composite v carries all that the rest knows of it, that function is (close to) an increasing map of v, and given it
f and g are uncorrelated: the *residual dependence* is 0. A set that mixes tuples needs two numbers or more.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import combinations_with_replacement

import torch
from torch import Tensor

from testbed.contracts import BLOCK

CUBES, POWERS = 3, 5
"""Degree of single columns in f; and of the polynomial of a canonical function that is taken out."""
REACH = 4.0
"""Canonical functions are cut off so many standard deviations from their mean before powers are taken."""
RIDGE = 1e-5
"""Least eigenvalue of a covariance, as a share of the largest, that is inverted."""


def terms_of(columns: Sequence[int]) -> list[tuple[int, ...]]:
    """Monomials of `columns`: each, products of two, squares and cubes; as the columns that are multiplied."""
    chosen = sorted(columns)
    singles: list[tuple[int, ...]] = [(j,) for j in chosen]
    return [*singles, *combinations_with_replacement(chosen, 2), *((j,) * CUBES for j in chosen)]


def expand(z: Tensor, terms: Sequence[tuple[int, ...]]) -> Tensor:
    """Monomials of the columns of z, shape (n, p) -> (n, len(terms))."""
    out = z.new_empty(len(z), len(terms))
    for k, term in enumerate(terms):
        out[:, k] = z[:, term[0]]
        for j in term[1:]:
            out[:, k] *= z[:, j]
    return out


def inverse_root(covariance: Tensor) -> Tensor:
    """The symmetric inverse square root; directions of (almost) no variance are left out."""
    values, vectors = torch.linalg.eigh(covariance)
    least = RIDGE * values[-1].clamp_min(torch.finfo(values.dtype).tiny)
    root = torch.where(values > least, values.clamp_min(least).rsqrt(), 0.0)
    found: Tensor = (vectors * root) @ vectors.T
    return found


@dataclass(frozen=True)
class Half:
    """Rows of one half, and their polynomials' moments.

    Attributes
    ----------
    x : Tensor, shape (n, P)
        Centred monomials.
    moments : Tensor, shape (P, P)
        Their covariance.
    """

    x: Tensor
    moments: Tensor


class Expansion:
    """Monomials of standardised columns, and their second moments on two halves of the rows, of which each set takes its part.

    Parameters
    ----------
    z : Tensor, shape (n, p)
        Standardised columns, best normal scores.
    """

    def __init__(self, z: Tensor) -> None:
        self.z = z.double()
        self.n, self.p = z.shape
        self.terms = terms_of(range(self.p)) if self.p <= PRODUCTS else [(j,) * k for k in range(1, CUBES + 1) for j in range(self.p)]
        self.members = [set(term) for term in self.terms]

    @cached_property
    def mean(self) -> Tensor:
        """Of the monomials, shape (P,)."""
        total = self.z.new_zeros(len(self.terms))
        for part in torch.split(self.z, BLOCK):
            total += expand(part, self.terms).sum(dim=0)
        return total / self.n

    @cached_property
    def halves(self) -> tuple[Half, Half]:
        """Even and odd rows: whatever drifts is in both."""
        made = []
        for start in (0, 1):
            x = expand(self.z[start::2], self.terms)
            x -= x.mean(dim=0)
            made.append(Half(x, x.T @ x / len(x)))
        return made[0], made[1]

    def inside(self, chosen: Sequence[int]) -> Tensor:
        """Numbers of the monomials of these columns alone: f."""
        own = set(chosen)
        return torch.tensor([k for k, members in enumerate(self.members) if members <= own], dtype=torch.long, device=self.z.device)

    def outside(self, chosen: Sequence[int]) -> Tensor:
        """Numbers of columns and squares of all other columns: g."""
        own = set(chosen)
        found = [k for k, term in enumerate(self.terms) if len(term) <= 2 and len(self.members[k]) == 1 and term[0] not in own]
        return torch.tensor(found, dtype=torch.long, device=self.z.device)


PRODUCTS = 32
"""Columns up to which products of two are taken in."""


@dataclass(frozen=True)
class Canonical:
    """Canonical functions of a set for the rest.

    Attributes
    ----------
    weights, targets : Tensor, shapes (len(f), r) and (len(g), r)
        Of centred monomials; functions have variance 1.
    correlations : Tensor, shape (r,)
        In falling order.
    """

    weights: Tensor
    targets: Tensor
    correlations: Tensor


def canonical(moments: Tensor, f: Tensor, g: Tensor) -> Canonical:
    r"""Canonical correlation analysis [1]_ of monomials f and g: singular values of :math:`C_{ff}^{-1/2} C_{fg} C_{gg}^{-1/2}`.

    References
    ----------
    .. [1] Hotelling (1936), Relations between two sets of variates, Biometrika 28.
    """
    left, right = inverse_root(moments[f][:, f]), inverse_root(moments[g][:, g])
    u, s, v = torch.linalg.svd(left @ moments[f][:, g] @ right, full_matrices=False)
    return Canonical(left @ u, right @ v.T, s.clamp(0.0, 1 - 1e-9))


def powers(h: Tensor, scale: Tensor) -> Tensor:
    """1, h, h^2, ... of a canonical function, cut off at its tails, shape (n,) -> (n, POWERS + 1)."""
    cut = (h / scale.clamp_min(1e-12)).clamp(-REACH, REACH)
    return torch.stack([cut**k for k in range(POWERS + 1)], dim=1)


def without(moments: Tensor, cross: Tensor, own: Tensor) -> Tensor:
    """Covariance of what is left of monomials once the best linear prediction from others is taken out.

    Parameters
    ----------
    moments : Tensor, shape (P, P)
    cross : Tensor, shape (b, P)
        Second moments of the others with the monomials.
    own : Tensor, shape (b, b)
        Second moments of the others.
    """
    root = inverse_root(own)
    known = root @ cross
    return moments - known.T @ known


def dependence(moments: Tensor, f: Tensor, g: Tensor, rows: int) -> float:
    r"""Dependence of f and g, :math:`\tfrac12 \sum_k \rho_k^2` less what chance adds, in nats where it is weak.

    On independent columns :math:`n \sum_k \rho_k^2` is chi-square with |f| |g| degrees of freedom [1]_, so that their number over n is
    taken off.

    References
    ----------
    .. [1] Bartlett (1941), The statistical significance of canonical correlations, Biometrika 32.
    """
    if not len(f) or not len(g):
        return 0.0
    left, right = inverse_root(moments[f][:, f]), inverse_root(moments[g][:, g])
    total = float((left @ moments[f][:, g] @ right).square().sum())
    return (total - len(f) * len(g) / rows) / 2


def residual_dependence(table: Expansion, chosen: Sequence[int]) -> float:
    """Dependence of a set on the rest that one number of it does not carry, 0 on average for a tuple; in nats where it is weak.

    The number is the first canonical function, found on one half of the rows; what it leaves is measured on the other; then the
    halves change places.

    Parameters
    ----------
    table : Expansion
    chosen : sequence of int
        Columns of the set.
    """
    f, g = table.inside(chosen), table.outside(chosen)
    if not len(f) or not len(g):
        return 0.0
    total = 0.0
    for fit, score in (table.halves, table.halves[::-1]):
        found = canonical(fit.moments, f, g)
        weights = found.weights[:, 0]
        scale = (weights @ fit.moments[f][:, f] @ weights).sqrt()
        both = torch.cat([f, g])
        x = score.x[:, both]
        others = powers(x[:, : len(f)] @ weights, scale)
        left = without(score.moments[both][:, both], others.T @ x / len(x), others.T @ others / len(x))
        at = torch.arange(len(both), device=f.device)
        total += dependence(left, at[: len(f)], at[len(f) :], len(x)) / 2
    return total


def whole_dependence(table: Expansion, chosen: Sequence[int]) -> float:
    """Dependence of a set on the rest, 0 on average where there is none; in nats where it is weak."""
    f, g = table.inside(chosen), table.outside(chosen)
    return sum(dependence(half.moments, f, g, len(half.x)) for half in table.halves) / 2
