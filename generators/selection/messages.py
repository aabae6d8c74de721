r"""Exact sampling of on/off states in a forest, by messages.

Upward, with :math:`e_k` the coefficient of :math:`t^k` in :math:`\prod_j (\mu_j(0) + \mu_j(1) t)` over the constituents j,

.. math:: \mu_i(v) \propto \sum_{k : g(k) = v} \phi(k)\, e_k,

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
from generators.selection.rules import Compositions, weights


@dataclass(frozen=True)
class Evidence:
    """States that are not left to chance; -1 where they are.

    Attributes
    ----------
    clamp : Tensor, shape (N,), int64
        The law is conditioned on these states.
    cut : Tensor, shape (N,), int64
        States forced before selection: what a composite is composed of no longer decides it, but its potential still weighs them.
    """

    clamp: Tensor
    cut: Tensor

    @classmethod
    def none(cls, nodes: int) -> Evidence:
        return cls(torch.full((nodes,), -1), torch.full((nodes,), -1))


def polynomial(pairs: Tensor) -> Tensor:
    r"""Coefficients of :math:`\prod_j (\mu_j(0) + \mu_j(1) t)`, by number of them that are on, (..., s, 2) -> (..., s + 1)."""
    e = pairs.new_ones(*pairs.shape[:-2], 1)
    none = torch.zeros_like(e)
    for j in range(pairs.shape[-2]):
        off, on = pairs[..., j, :1], pairs[..., j, 1:]
        e = torch.cat([e * off, none], -1) + torch.cat([none, e * on], -1)
    return e


def elementary(odds: Tensor) -> Tensor:
    r"""Elementary symmetric polynomials :math:`e_0, \dots, e_s` of the last axis, shape (..., s) -> (..., s + 1)."""
    return polynomial(torch.stack([torch.ones_like(odds), odds], dim=-1))


def upward(forest: Forest, composition: Compositions, tilts: Tensor) -> tuple[list[Tensor], Tensor]:
    r"""Odds :math:`\mu_{l,i}(1) / \mu_{l,i}(0)` of every node given nothing above it, shape (n_l,) per level, and each tree's log Z.

    See `pass_up`.
    """
    messages, log_z = pass_up(forest, composition, tilts)
    return [message[:, 1] / message[:, 0] for message in messages], log_z


def pass_up(
    forest: Forest, composition: Compositions, tilts: Tensor, evidence: Evidence | None = None, potentials: list[Tensor] | None = None
) -> tuple[list[Tensor], Tensor]:
    r"""Message of every node given nothing above it, and each tree's log partition function.

    Parameters
    ----------
    forest : Forest
    composition : Composition, or one per composite
    tilts : Tensor, shape (N,), float64
        Log-odds of the leaves' base law; for composites, the log of a factor of phi on the tuples for which the rule holds.
    evidence : Evidence, optional
    potentials : list of Tensor, shape (n_l, s + 1), optional
        phi per level of composites, where another than the composition's is meant.

    Returns
    -------
    messages : list of Tensor, shape (n_l, 2)
        :math:`\mu_{l,i}(0)` and :math:`\mu_{l,i}(1)`, scaled to sum 1.
    log_partition : Tensor, shape (number of trees,)
        :math:`\log Z`, where every leaf's :math:`\mu(0)` is 1. Its gradient in `tilts` are the marginals after selection. Not finite
        where the evidence is impossible.
    """
    last = len(forest.sizes) - 1
    evidence = Evidence.none(len(tilts)) if evidence is None else evidence
    by_level = list(torch.split(tilts, list(forest.sizes)))
    clamps, cuts = (torch.split(states, list(forest.sizes)) for states in (evidence.clamp, evidence.cut))
    messages: list[Tensor] = []
    terms: list[Tensor] = []
    for level in reversed(range(last + 1)):
        if level == last:
            raw = torch.stack([torch.ones_like(by_level[level]), by_level[level].exp()], dim=1)
        else:
            on, phi = weights(composition, level, forest.sizes[level])
            weight = (phi if potentials is None else potentials[level]) * polynomial(messages[0][forest.constituents[level]])
            raw = torch.stack(
                [torch.where(on, 0.0, weight).sum(dim=1), torch.where(on, weight, 0.0).sum(dim=1) * by_level[level].exp()], dim=1
            )
        raw = raw * _allowed(clamps[level])
        total = raw.sum(dim=1, keepdim=True)
        forced = cuts[level][:, None] >= 0
        messages.insert(0, torch.where(forced, _allowed(cuts[level]), raw / total))
        # A leaf's law is replaced when it is forced; a composite's tuple is weighed as before.
        terms.insert(0, torch.where(forced[:, 0], 0.0, total[:, 0].log()) if level == last else total[:, 0].log())
    root = forest.root_of_node()
    return messages, tilts.new_zeros(int(root.max()) + 1).index_add(0, root, torch.cat(terms))


def _allowed(states: Tensor) -> Tensor:
    """Which of off and on each of `states` (-1: either) lets through, shape (n, 2), float64."""
    return torch.stack([states != 1, states != 0], dim=1).double()


def marginals(forest: Forest, composition: Compositions, tilts: Tensor, evidence: Evidence | None = None) -> Tensor:
    """How often each node is on after selection, shape (N,)."""
    tilts = tilts.detach().requires_grad_()
    log_z = pass_up(forest, composition, tilts, evidence)[1]
    (rates,) = torch.autograd.grad(log_z.sum(), tilts)
    if evidence is None:
        return rates
    return torch.where(evidence.cut >= 0, evidence.cut.double(), rates)


def variance_of_count(forest: Forest, composition: Compositions, tilts: Tensor, nodes: Tensor, evidence: Evidence | None = None) -> float:
    """Variance of the number of active concepts among `nodes` (indices): the second derivative of log Z in a common tilt."""
    common = torch.zeros((), dtype=tilts.dtype, requires_grad=True)
    mask = torch.zeros_like(tilts)
    mask[nodes] = 1
    if evidence is not None:
        mask[evidence.cut >= 0] = 0  # they do not vary
    total = pass_up(forest, composition, tilts + mask * common, evidence)[1].sum()
    (first,) = torch.autograd.grad(total, common, create_graph=True)
    (second,) = torch.autograd.grad(first, common)
    return float(second)


def entropies(forest: Forest, composition: Compositions, tilts: Tensor) -> Tensor:
    r"""Entropy of each tree's states in nats, :math:`\log Z - E[\theta \cdot v] - \sum_i E[\log \phi_i]`, shape (number of trees,).

    The law of a composite's number of active constituents is the gradient of :math:`\log Z` in its :math:`\log \phi`.
    """
    tilts = tilts.detach().requires_grad_()
    logs = [weights(composition, level, n)[1].log().requires_grad_() for level, n in enumerate(forest.sizes[:-1])]
    log_z = pass_up(forest, composition, tilts, None, [log.exp() for log in logs])[1]
    rates, *counts = torch.autograd.grad(log_z.sum(), [tilts, *logs])
    energy = (rates * tilts).detach()
    for level, (count, log) in enumerate(zip(counts, logs, strict=True)):
        expected = torch.where(count > 0, count * log, 0.0).sum(dim=1).detach()
        energy = energy.index_add(0, torch.arange(len(expected)) + forest.start(level), expected)
    root = forest.root_of_node()
    return log_z.detach() - torch.zeros_like(log_z.detach()).index_add(0, root, energy)


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
    forest, composition, tilts
        What they are the tables of.
    """

    roots: tuple[Tensor, ...]
    root_rates: tuple[Tensor, ...]
    constituents: tuple[Tensor, ...]
    count_below: tuple[Tensor, ...]
    include: tuple[Tensor, ...]
    forest: Forest
    composition: Compositions
    tilts: Tensor


def tables(forest: Forest, composition: Compositions, tilts: Tensor) -> Tables:
    """Tables of a forest whose tilts are known."""
    messages, _ = pass_up(forest, composition, tilts)
    roots = tuple(forest.roots(level) for level in range(len(forest.sizes)))
    rates = tuple(m[r, 1] for m, r in zip(messages, roots, strict=True))
    below, include = [], []
    for level, lower in enumerate(forest.constituents):
        pairs = messages[level + 1][lower]  # (n_l, s, 2)
        on, phi = weights(composition, level, forest.sizes[level])
        given = torch.stack([torch.where(on == v, phi * polynomial(pairs), 0.0) for v in (False, True)])  # (2, n_l, s + 1)
        below.append(cumulative(given)[..., :-1])
        include.append(inclusion(pairs))
    return Tables(roots, rates, forest.constituents, tuple(below), tuple(include), forest, composition, tilts)


def cumulative(weight: Tensor) -> Tensor:
    """Cumulative distribution along the last axis, exactly 1 from the last positive weight on, whatever rounding says."""
    exhausted = torch.cat([weight.flip(-1).cumsum(-1).flip(-1)[..., 1:] == 0, torch.ones_like(weight[..., :1], dtype=torch.bool)], -1)
    return torch.where(exhausted, 1.0, weight.cumsum(-1) / weight.sum(-1, keepdim=True))


def inclusion(pairs: Tensor) -> Tensor:
    r"""P(j on | k of j, j + 1, ... on) = :math:`\mu_j(1) e_{k-1}(j + 1, \dots) / e_k(j, \dots)`, shape (n, s, 2) -> (n, s, s + 1)."""
    n, s, _ = pairs.shape
    out = pairs.new_zeros(n, s, s + 1)
    for j in range(s):
        e, rest = polynomial(pairs[:, j:]), polynomial(pairs[:, j + 1 :])
        count = s - j
        out[:, j, 1 : count + 1] = (pairs[:, j, 1:] * rest[:, :count] / e[:, 1:]).nan_to_num(0.0)  # 0 / 0: k of them are never on
        out[:, j, count] = 1.0  # all that are left
    return out


def draw_states(tables: Tables, sizes: tuple[int, ...], n: int, generator: torch.Generator) -> list[Tensor]:
    """Draw n rows of states, shape (n, n_l), bool, for each level from 0 down: the plain sampler, at a cost that grows with all nodes."""
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
