r"""The exact law of on/off concepts, as the arrays that assumptions speak of: tuples' tables, pairs, counts.

By messages in forests; where composites share constituents, see `generators.assumptions.enumerated_law`.

Computed from the truth alone and apart from the sampler's own messages, so that each tests the other.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from torch import Tensor

from generators.assumptions.enumerated_law import enumerated_count, enumerated_rates, enumerated_tables
from generators.selection.forest import Forest
from generators.selection.rules import Composition
from testbed.contracts import Instance, NotApplicable

LARGEST_TUPLE = 16
"""Constituents of a composite up to which its table of 2^s tuples is written out."""


@dataclass(frozen=True)
class ForestLaw:
    r"""Law :math:`p(v) \propto \exp(\theta \cdot v) \prod_i \phi_i(k_i)` on states that the rules allow, k counting active constituents.

    Attributes
    ----------
    forest : Forest
    holds : tuple of Tensor, shape (n_l, s + 1), bool
        Whether each composite is on, by number of active constituents.
    phi : tuple of Tensor, shape (n_l, s + 1), float64
    tilts : Tensor, shape (N,), float64
        :math:`\theta`.
    trees_independent : bool
        Whether trees are independent of each other; what is said within a tree holds in either case.
    """

    forest: Forest
    holds: tuple[Tensor, ...]
    phi: tuple[Tensor, ...]
    tilts: Tensor
    trees_independent: bool = True

    @property
    def shared(self) -> bool:
        """Whether composites share constituents; then each component is enumerated."""
        return any(len(set(lower.flatten().tolist())) < lower.numel() for lower in self.forest.constituents)


def forest_law(instance: Instance) -> ForestLaw:
    """The law that the truth of an instance states.

    Raises
    ------
    NotApplicable
        If the truth is not that of sparse concepts, or does not state rules, potentials and tilts.
    """
    truth = instance.truth
    if truth is None or any(level.kind != "sparse" for level in truth.levels):
        raise NotApplicable("the truth is not one of sparse concepts")
    tilts = truth.facts.get("tilts", truth.facts.get("tree_tilts"))
    if tilts is None or "rule" not in truth.facts or "intervention" in truth.facts:
        raise NotApplicable("the truth states no law of states by rules and tilts (or somebody has steered the instance)")
    sizes = tuple(level.size for level in truth.levels)
    lower, holds, phi = [], [], []
    for level in range(len(sizes) - 1):
        tuples = truth.constituents[level]
        if len({len(t) for t in tuples}) != 1 or not tuples[0]:
            raise NotApplicable(f"composites of level {level} have different numbers of constituents")
        lower.append(torch.tensor(tuples))
        rules, weights = _compositions(truth.facts, level, sizes[level], len(tuples[0]))
        holds.append(rules)
        phi.append(weights)
    return ForestLaw(Forest(sizes, tuple(lower)), tuple(holds), tuple(phi), tilts.double().cpu(), "tilts" in truth.facts)


def _compositions(facts: Mapping[str, Any], level: int, count: int, size: int) -> tuple[Tensor, Tensor]:
    """Rule and potential of the composites of a level, by number of active constituents, shape (n_l, s + 1) each."""
    rules, ks = facts["rule"], facts.get("k", 1)
    if isinstance(rules, str):
        one = Composition(rules, size, int(ks), 1.0, 1.0)  # type: ignore[arg-type]  # checked by Composition itself
        return one.holds().expand(count, -1), facts["potential"].double().cpu().expand(count, -1)
    holds = torch.stack([Composition(rule, size, int(k), 1.0, 1.0).holds() for rule, k in zip(rules[level], ks[level], strict=True)])
    return holds, facts["potentials"][level].double().cpu()


# -------------------------------------------------------------------------------------------------------------- messages


def upward(law: ForestLaw, tilts: Tensor, factors: Tensor | None = None) -> tuple[list[Tensor], Tensor]:
    r"""Messages :math:`(\mu(0), \mu(1))` of every node, shape (..., n_l, 2) scaled to sum 1 at factor 1, and each tree's log Z.

    Parameters
    ----------
    law : ForestLaw
    tilts : Tensor, shape (N,)
    factors : Tensor, shape (..., N), optional
        Complex factor of the on-state of each node. log Z is that without factors; where they are given, a root's message sums to the
        ratio of the partition functions with and without.
    """
    sizes, last = list(law.forest.sizes), len(law.forest.sizes) - 1
    by_level = torch.split(tilts, sizes)
    split = None if factors is None else torch.split(factors, sizes, dim=-1)
    plain: list[Tensor] = []
    twisted: list[Tensor] = []
    logs: list[Tensor] = []
    for level in reversed(range(last + 1)):
        raw = [_raw(law, level, by_level[level], plain[0] if plain else None)]
        total = raw[0].sum(dim=-1, keepdim=True)
        plain.insert(0, raw[0] / total)
        logs.insert(0, total[:, 0].log())
        if split is not None:
            message = _raw(law, level, by_level[level], twisted[0] if twisted else None) / total
            twisted.insert(0, torch.stack([message[..., 0].expand_as(split[level]), message[..., 1] * split[level]], dim=-1))
    root = law.forest.root_of_node()
    log_z = torch.zeros(int(root.max()) + 1, dtype=tilts.dtype).index_add(0, root, torch.cat(logs))
    return (plain if split is None else twisted), log_z


def _raw(law: ForestLaw, level: int, tilts: Tensor, below: Tensor | None) -> Tensor:
    """Unscaled messages of a level from those of the next, shape (..., n_l, 2)."""
    if below is None:
        return torch.stack([torch.ones_like(tilts), tilts.exp()], dim=-1)
    pairs = below[..., law.forest.constituents[level], :]  # (..., n_l, s, 2)
    e = pairs.new_ones(*pairs.shape[:-2], 1)
    for j in range(pairs.shape[-2]):
        none = torch.zeros_like(e[..., :1])
        e = torch.cat([e * pairs[..., j, :1], none], -1) + torch.cat([none, e * pairs[..., j, 1:]], -1)
    weight = law.phi[level] * e
    off = torch.where(law.holds[level], 0.0, weight).sum(dim=-1)
    on = torch.where(law.holds[level], weight, 0.0).sum(dim=-1) * tilts.exp()
    return torch.stack([off, on], dim=-1)


def rates_of(law: ForestLaw) -> Tensor:
    """How often each node is on, shape (N,)."""
    if law.shared:
        return enumerated_rates(law)
    tilts = law.tilts.clone().requires_grad_()
    (rates,) = torch.autograd.grad(upward(law, tilts)[1].sum(), tilts)
    return rates


def tuple_tables(law: ForestLaw, level: int) -> tuple[Tensor, Tensor]:
    """Law of every composite's tuple, shape (n_l, 2, ..., 2), and its state by tuple, shape (n_l, 2, ..., 2), int64.

    Raises
    ------
    NotApplicable
        If a tuple has more than 16 constituents.
    """
    constituents = law.forest.constituents[level]
    n, s = constituents.shape
    if s > LARGEST_TUPLE:
        raise NotApplicable(f"composites of {s} constituents have too large tables: at most {LARGEST_TUPLE} are written out")
    states = torch.tensor(list(product((0, 1), repeat=s)))  # (2^s, s)
    count = states.sum(dim=1)
    if law.shared:
        shape = (n, *(2,) * s)
        return enumerated_tables(law, level).reshape(shape), law.holds[level][:, count].long().reshape(shape)
    each = upward(law, law.tilts)[0][level + 1][constituents]  # (n, s, 2)
    weight = law.phi[level][:, count]
    for j in range(s):
        weight = weight * each[:, j, states[:, j]]
    on = law.holds[level][:, count]
    start = law.forest.start(level)
    rates = rates_of(law)[start : start + n, None]
    table = torch.zeros_like(weight)
    for state, rate in ((on, rates), (~on, 1 - rates)):
        part = torch.where(state, weight, 0.0)
        table = table + rate * part / part.sum(dim=1, keepdim=True).clamp_min(torch.finfo(part.dtype).tiny)
    shape = (n, *(2,) * s)
    return table.reshape(shape), on.long().reshape(shape)


def pairs(law: ForestLaw, level: int) -> tuple[Tensor, Tensor]:
    """Nodes of every tree rooted at `level`, shape (r, p), and P(both on) of every pair of them, shape (r, p, p)."""
    layers = law.forest.trees(level)
    nodes = torch.cat([layer + law.forest.start(level + j) for j, layer in enumerate(layers)], dim=1)
    tilts = law.tilts.clone().requires_grad_()
    (rates,) = torch.autograd.grad(upward(law, tilts)[1].sum(), tilts, create_graph=True)
    columns = []
    for j in range(nodes.shape[1]):
        (second,) = torch.autograd.grad(rates[nodes[:, j]].sum(), tilts, retain_graph=True)
        columns.append(second[nodes])
    r = rates.detach()[nodes]
    both = torch.stack(columns, dim=2) + r[:, :, None] * r[:, None, :]
    # A tilt's second derivative is var = r (1 - r) on the diagonal, so that P(on and on) is r there, as it should be.
    return nodes, both.clamp(0.0, 1.0)


def count_law(law: ForestLaw, nodes: Tensor, chunk: int = 64) -> Tensor:
    r"""Law of the number of active concepts among `nodes`, shape (m + 1,): exact, by the Fourier transform of its generating function.

    :math:`P(K = k) = \frac1M \sum_j G(\omega^j) \omega^{-jk}` with :math:`\omega = e^{2 \pi i / M}` and G the product of the trees' ratios
    of partition functions. M is the number of nodes + 1, at most 1,024: mass beyond that (none in practice) would be folded back.
    """
    m = min(len(nodes), 1023)
    shown = torch.zeros(len(law.tilts), dtype=torch.bool)
    shown[nodes] = True
    if law.shared:
        return enumerated_count(law, shown)
    values = []
    for first in range(0, m + 1, chunk):
        angle = 2 * math.pi * torch.arange(first, min(first + chunk, m + 1), dtype=torch.float64) / (m + 1)
        z = torch.polar(torch.ones_like(angle), angle)[:, None]
        messages, _ = upward(law, law.tilts, torch.where(shown, z, torch.ones_like(z)))
        roots = [messages[level][:, law.forest.roots(level)].sum(dim=-1) for level in range(len(law.forest.sizes))]
        values.append(torch.cat(roots, dim=1).prod(dim=1))
    # torch's forward transform has the minus sign that this wants
    transform: Tensor = torch.fft.fft(torch.cat(values))
    return (transform.real / (m + 1)).clamp_min(0.0)
