r"""One level up: a composite as the minimal sufficient statistic of its tuple for the rest.

The number of a tuple that tells most of the rest is its first canonical function :math:`h_1`; what the rest learns from it is its
held-out gain, :math:`-\tfrac12 \log(1 - \rho^2)` nats. Given :math:`h_1` (its powers, that is) the next number is found in
what is left, and kept as long as its gain on rows that had no part in finding it is worth it. Under selection on v alone one is enough;
where nothing is selected none is.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from testbed.numerics.bottlenecks import Expansion, canonical, expand, inverse_root, powers, without

Method = Literal["bottleneck", "best_constituent", "first_component"]
METHODS = ("bottleneck", "best_constituent", "first_component")


@dataclass(frozen=True)
class Composite:
    """One number of a tuple.

    Attributes
    ----------
    columns : list of int
        The tuple.
    terms : list of tuple of int
        Monomials of the columns of z.
    weights, center : Tensor, shape (len(terms),)
        The value is the sum of `weights` times monomials less `center`; of variance 1.
    gain : float
        Nats, on held-out rows.
    """

    columns: list[int]
    terms: list[tuple[int, ...]]
    weights: Tensor
    center: Tensor
    gain: float

    def value(self, z: Tensor) -> Tensor:
        """Shape (n, p) -> (n,)."""
        found: Tensor = (expand(z, self.terms) - self.center) @ self.weights
        return found


def composites(table: Expansion, chosen: Sequence[int], method: Method, most: int, least_gain: float) -> list[Composite]:
    """The numbers of a tuple that the rest learns from, at most `most`, each with a held-out gain of at least `least_gain`.

    A number found on each half of the rows is tried on the other; its gain is the mean of both. The one that is kept is found on all rows.

    Parameters
    ----------
    table : Expansion
    chosen : sequence of int
    method : {"bottleneck", "best_constituent", "first_component"}
        What a number may be: any of the polynomials; or, for controls, one column, or the first principal component of the columns, both
        kept under the same rule.
    most : int
    least_gain : float
    """
    f, g = table.inside(chosen), table.outside(chosen)
    allowed, count = f, most
    if method != "bottleneck":
        allowed = f[[k for k, term in enumerate(f.tolist()) if len(table.terms[term]) == 1]]
        count = min(most, 1)
    first, second = table.halves
    found: list[Composite] = []
    for _ in range(count):
        fits = [_next(half.moments, half.x, found_on, method, allowed, g) for half, found_on in ((first, found), (second, found))]
        gains = [_gain(fits[0], second.x, second.moments, found, allowed, g), _gain(fits[1], first.x, first.moments, found, allowed, g)]
        gain = sum(gains) / 2
        if gain < least_gain:
            break
        every = (first.moments * len(first.x) + second.moments * len(second.x)) / table.n
        weights, _ = _next(every, torch.cat([first.x, second.x]), found, method, allowed, g)
        terms = [table.terms[k] for k in allowed.tolist()]
        found.append(Composite(sorted(chosen), terms, weights, table.mean[allowed], gain))
    return found


def _others(x: Tensor, found: list[Composite], at: Tensor) -> Tensor:
    """Powers of the numbers that are there already, from centred monomials."""
    return torch.cat([powers(x[:, at] @ one.weights, x.new_ones(())) for one in found], dim=1)


def _next(moments: Tensor, x: Tensor, found: list[Composite], method: Method, at: Tensor, g: Tensor) -> tuple[Tensor, Tensor]:
    """Weights of the next number of the monomials `at`, and of what it tells of the rest."""
    if found:
        others = _others(x, found, at)
        moments = without(moments, others.T @ x / len(x), others.T @ others / len(x))
    if method == "bottleneck":
        best = canonical(moments, at, g)
        return best.weights[:, 0], best.targets[:, 0]
    if method == "first_component":
        weights = torch.linalg.eigh(moments[at][:, at]).eigenvectors[:, -1]
    else:
        told = moments[at][:, g] @ inverse_root(moments[g][:, g])
        weights = torch.zeros(len(at), dtype=moments.dtype, device=moments.device)
        weights[int((told.square().sum(dim=1) / moments.diagonal()[at]).argmax())] = 1.0
    weights = weights / (weights @ moments[at][:, at] @ weights).sqrt().clamp_min(1e-12)
    root = inverse_root(moments[g][:, g])
    return weights, root @ root @ (moments[g][:, at] @ weights)


def _gain(fit: tuple[Tensor, Tensor], x: Tensor, moments: Tensor, found: list[Composite], at: Tensor, g: Tensor) -> float:
    """Nats that the rest learns from a number found on other rows, beyond what those before it tell."""
    if found:
        others = _others(x, found, at)
        moments = without(moments, others.T @ x / len(x), others.T @ others / len(x))
    weights, targets = fit
    spread = (weights @ moments[at][:, at] @ weights) * (targets @ moments[g][:, g] @ targets)
    rho = float((weights @ moments[at][:, g] @ targets) / spread.clamp_min(1e-24).sqrt())
    return -0.5 * math.log(1 - min(max(rho, 0.0) ** 2, 1 - 1e-9))
