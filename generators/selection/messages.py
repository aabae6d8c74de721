r"""Exact sampling of on/off states in a forest, by messages.

Upward, with :math:`o_j = \mu_j(1) / \mu_j(0)` the odds of a constituent and :math:`e_k` the elementary symmetric polynomials,

.. math:: \mu_i(v) \propto \sum_{k : g(k) = v} \phi(k)\, e_k(o_1, \dots, o_s),

since rules and potentials depend on the number k of active constituents alone. Downward, k given v is drawn with weights
:math:`\phi(k) e_k` on :math:`g(k) = v`, then the k constituents by the sequential scheme of conditional Bernoulli sampling [1]_.

References
----------
.. [1] Chen & Liu (1997), Statistical applications of the Poisson-binomial and conditional Bernoulli distributions, procedure 2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from generators.selection.forest import Forest
from generators.selection.rules import Composition


def elementary(odds: Tensor) -> Tensor:
    r"""Elementary symmetric polynomials :math:`e_0, \dots, e_s` of the last axis, shape (..., s) -> (..., s + 1)."""
    e = odds.new_ones(*odds.shape[:-1], 1)
    for j in range(odds.shape[-1]):
        e = torch.cat([e, torch.zeros_like(e[..., :1])], -1) + torch.cat([torch.zeros_like(e[..., :1]), e * odds[..., j : j + 1]], -1)
    return e


def upward(forest: Forest, composition: Composition, tilts: Tensor) -> tuple[list[Tensor], Tensor]:
    r"""Odds of every node given nothing above it, and each tree's log partition function.

    Parameters
    ----------
    forest : Forest
    composition : Composition
    tilts : Tensor, shape (N,), float64
        Log-odds of the leaves' base law; for composites, the log of a factor of phi on the tuples for which the rule holds.

    Returns
    -------
    odds : list of Tensor, shape (n_l,)
        :math:`\mu_{l,i}(1) / \mu_{l,i}(0)`.
    log_partition : Tensor, shape (number of trees,)
        :math:`\log Z`, where every leaf's :math:`\mu(0)` is 1. Its gradient in `tilts` are the marginals after selection.
    """
    on, phi = composition.holds().to(tilts.device), composition.potential().to(tilts.device)
    last = len(forest.sizes) - 1
    by_level = list(torch.split(tilts, list(forest.sizes)))
    odds = [by_level[last].exp()]
    terms = [torch.zeros_like(by_level[last])]
    for level in reversed(range(last)):
        weight = phi * elementary(odds[0][forest.constituents[level].to(tilts.device)])  # (n_l, s + 1)
        off = weight[:, ~on].sum(dim=1)
        odds.insert(0, weight[:, on].sum(dim=1) / off * by_level[level].exp())
        terms.insert(0, off.log())  # mu(0) = off x the product of the constituents' mu(0)
    for level, values in enumerate(odds):
        at_root = torch.zeros_like(values, dtype=torch.bool)
        at_root[forest.roots(level).to(values.device)] = True
        terms[level] = terms[level] + torch.where(at_root, values.log1p(), 0.0)
    root = forest.root_of_node().to(tilts.device)
    return odds, tilts.new_zeros(int(root.max()) + 1).index_add(0, root, torch.cat(terms))


def marginals(forest: Forest, composition: Composition, tilts: Tensor) -> Tensor:
    """How often each node is on after selection, shape (N,)."""
    tilts = tilts.detach().requires_grad_()
    (rates,) = torch.autograd.grad(upward(forest, composition, tilts)[1].sum(), tilts)
    return rates


def variance_of_count(forest: Forest, composition: Composition, tilts: Tensor, nodes: Tensor) -> float:
    """Variance of the number of active concepts among `nodes` (indices): the second derivative of log Z in a common tilt."""
    common = torch.zeros((), dtype=tilts.dtype, requires_grad=True)
    mask = torch.zeros_like(tilts)
    mask[nodes] = 1
    total = upward(forest, composition, tilts + mask * common)[1].sum()
    (first,) = torch.autograd.grad(total, common, create_graph=True)
    (second,) = torch.autograd.grad(first, common)
    return float(second)


@dataclass(frozen=True)
class Tables:
    """What downward sampling looks up, per level.

    Attributes
    ----------
    roots : tuple of Tensor, shape (r_l,)
    root_rates : tuple of Tensor, shape (r_l,)
    constituents : tuple of Tensor, shape (n_l, s)
    count_below : tuple of Tensor, shape (2, n_l, s)
        P(number of active constituents <= k | state of the composite), k = 0 ... s - 1.
    include : tuple of Tensor, shape (n_l, s, s + 1)
        P(constituent j is on | k of the constituents j ... s - 1 are on).
    """

    roots: tuple[Tensor, ...]
    root_rates: tuple[Tensor, ...]
    constituents: tuple[Tensor, ...]
    count_below: tuple[Tensor, ...]
    include: tuple[Tensor, ...]

    def to(self, device: str) -> Tables:
        return Tables(*(tuple(t.to(device) for t in group) for group in vars(self).values()))


def tables(forest: Forest, composition: Composition, tilts: Tensor) -> Tables:
    """Tables of a forest whose tilts are known."""
    odds, _ = upward(forest, composition, tilts)
    roots = tuple(forest.roots(level) for level in range(len(forest.sizes)))
    rates = tuple(o[r] / (1 + o[r]) for o, r in zip(odds, roots, strict=True))
    below, include = [], []
    for level, lower in enumerate(forest.constituents):
        o = odds[level + 1][lower]  # (n_l, s)
        weight = composition.potential() * elementary(o)  # (n_l, s + 1)
        on = composition.holds()
        given = torch.stack([torch.where(on == v, weight, 0.0) for v in (False, True)])  # (2, n_l, s + 1)
        cumulative = given.cumsum(-1) / given.sum(-1, keepdim=True)
        exhausted = given.flip(-1).cumsum(-1).flip(-1)[..., 1:] == 0  # nothing above k: exactly 1, whatever rounding says
        below.append(torch.where(exhausted, 1.0, cumulative[..., :-1]))
        include.append(_inclusion(o))
    return Tables(roots, rates, forest.constituents, tuple(below), tuple(include))


def _inclusion(odds: Tensor) -> Tensor:
    r""":math:`o_j e_{k-1}(o_{j+1} \dots) / e_k(o_j \dots)`, shape (n, s) -> (n, s, s + 1) for j and k."""
    n, s = odds.shape
    out = odds.new_zeros(n, s, s + 1)
    for j in range(s):
        e, rest = elementary(odds[:, j:]), elementary(odds[:, j + 1 :])
        count = s - j
        out[:, j, 1 : count + 1] = odds[:, j : j + 1] * rest[:, :count] / e[:, 1:]
        out[:, j, count] = 1.0  # all that are left
    return out


def draw_states(tables: Tables, sizes: tuple[int, ...], n: int, generator: torch.Generator) -> list[Tensor]:
    """Draw n rows of states, shape (n, n_l), bool, for each level from 0 down."""
    device = generator.device
    states: list[Tensor] = []
    for level, size in enumerate(sizes):
        state = torch.zeros(n, size, dtype=torch.bool, device=device)
        rates = tables.root_rates[level]
        state[:, tables.roots[level]] = torch.rand(n, len(rates), generator=generator, device=device, dtype=torch.float64) < rates
        if level:
            _draw_constituents(tables, level - 1, states[-1], state, generator)
        states.append(state)
    return states


def _draw_constituents(tables: Tables, level: int, above: Tensor, state: Tensor, generator: torch.Generator) -> None:
    """Fill in the states of the constituents of the composites of `level`."""
    below, include, lower = tables.count_below[level], tables.include[level], tables.constituents[level]
    u = torch.rand(above.shape, generator=generator, device=above.device, dtype=torch.float64)
    left = torch.zeros_like(above, dtype=torch.int64)
    for k in range(below.shape[-1]):
        left += u >= torch.where(above, below[1, :, k], below[0, :, k])
    row, composite = left.nonzero(as_tuple=True)  # most tuples are all off: only the others are worked on
    remaining = left[row, composite]
    for j in range(include.shape[1]):
        u = torch.rand(len(row), generator=generator, device=above.device, dtype=torch.float64)
        on = u < include[composite, j, remaining]
        state[row[on], lower[composite[on], j]] = True
        remaining = remaining - on.long()
