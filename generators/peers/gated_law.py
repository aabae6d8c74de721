r"""The law of parent-gated concepts: who may fire, how often, and how often they then do.

Concepts are numbered as SAELens numbers them: roots first, then their children, breadth first, then free ones; the r-th is the r-th
most frequent. Every concept draws for itself whether it fires; a child that fires while its parent is off is silenced; of exclusive
siblings that remain, one chosen uniformly stays. Given independent draws of probability q, child j of an active parent stays with

.. math:: w_j = q_j \int_0^1 \prod_{l \ne j} (1 - q_l + q_l x)\, dx = q_j \sum_k \frac{e_k(-j)}{k + 1},

where :math:`e_k(-j)` is the probability that k of its siblings fire: it wins against them with probability 1 / (k + 1).

This is *not* a selection model: a parent is the cause of its children, is on or off before they are, and is on without any of them
with positive probability, so that it is no function of its tuple.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy.stats import qmc
from torch import Tensor

from testbed.contracts import InvalidInput

POINTS, REPLICATES = 1024, 8
"""Points of each scrambled Sobol sequence over which realised rates are averaged, and number of sequences, whose spread gives the error."""


@dataclass(frozen=True)
class GatedLaw:
    """Who may fire, and when.

    Attributes
    ----------
    roots, branching, depth, concepts : int
        Numbers of roots, of children per parent, of generations below the roots, and of all concepts.
    exclusive : Tensor, shape (parents,), bool
        Whether at most one child of each parent may be on.
    fire : Tensor, shape (n,), float64
        Probability with which each concept fires by itself, before gating.
    keep : Tensor, shape (n,), float64
        Probability that its magnitude is positive: one that is not counts as off.
    loadings : Tensor, shape (n, r), float64
        Of the Gaussian copula behind the firing; r = 0 for independent draws.
    """

    roots: int
    branching: int
    depth: int
    concepts: int
    exclusive: Tensor
    fire: Tensor
    keep: Tensor
    loadings: Tensor

    @property
    def starts(self) -> tuple[int, ...]:
        """First concept of every generation, and the first free concept."""
        sizes = [self.roots * self.branching**g for g in range(self.depth + 1)]
        return tuple(sum(sizes[:g]) for g in range(len(sizes) + 1))

    @property
    def levels(self) -> tuple[int, ...]:
        """First concept of every level; free concepts belong to the last one, which is the most concrete."""
        return self.starts[:-1] if self.roots else (0,)

    @property
    def sizes(self) -> tuple[int, ...]:
        """Concepts per level."""
        ends = (*self.levels[1:], self.concepts)
        return tuple(end - start for start, end in zip(self.levels, ends, strict=True))

    @property
    def parents(self) -> int:
        """Number of concepts that have children: concepts 0 ... parents - 1."""
        return self.starts[-2] if self.roots else 0

    def children(self) -> Tensor:
        """Children of each parent, shape (parents, branching)."""
        return self.roots + torch.arange(self.parents * self.branching).reshape(-1, self.branching)


def check_shape(concepts: int, roots: int, branching: int, depth: int) -> None:
    """Raise InvalidInput unless that many concepts can make such a hierarchy."""
    if concepts < 1 or roots < 0 or (roots and (branching < 2 or depth < 1)):
        raise InvalidInput(
            f"a gated hierarchy has at least 1 concept, and roots with at least 2 children and depth 1, not concepts = {concepts}, "
            f"roots = {roots}, branching = {branching}, depth = {depth}"
        )
    needed = roots * sum(branching**g for g in range(depth + 1)) if roots else 0
    if needed > concepts:
        raise InvalidInput(
            f"{roots} roots of branching {branching} and depth {depth} need {needed} concepts, but there are {concepts}: "
            "raise concepts, or lower roots, branching or depth"
        )


def zipf_rates(concepts: int, exponent: float, rate: float, floor: float) -> Tensor:
    """``r ** -exponent`` for r = 1 ... n, moved and scaled to run from `rate` to `floor`, shape (n,), float64."""
    if not (exponent > 0 and 0 < floor < rate <= 1):
        raise InvalidInput(f"rates need zipf > 0 and 0 < rate_floor < rate <= 1, not zipf = {exponent}, rate = {rate}, floor = {floor}")
    if concepts == 1:
        return torch.tensor([rate], dtype=torch.float64)
    p = torch.arange(1, concepts + 1, dtype=torch.float64) ** -exponent
    return floor + (rate - floor) * (p - p[-1]) / (p[0] - p[-1])


def compensation(rates: Tensor, children: Tensor, exclusive: Tensor) -> Tensor:
    r"""SAELens's factors on firing probabilities, by which gated concepts are meant to fire as often as `rates` say.

    A child's is :math:`1 / p`, p the rate of its parent, times :math:`1 + \sum_{l \ne j} p_l / p` where siblings exclude each other. The
    second factor is a first-order one, and probabilities stop at 1: realised rates differ from the nominal ones.

    Returns
    -------
    Tensor, shape (n,), float64
    """
    factor = torch.ones_like(rates)
    if len(children):
        parent, child = rates[: len(children), None], rates[children]  # (parents, 1), (parents, s)
        others = child.sum(dim=1, keepdim=True) - child
        factor[children] = (1 + torch.where(exclusive[:, None], others / parent, 0.0)) / parent
    return factor


def stays(q: Tensor, exclusive: Tensor) -> Tensor:
    r"""Probability :math:`w_j` that each child of an active parent stays on.

    Parameters
    ----------
    q : Tensor, shape (..., parents, s), float64
        Probability that each fires by itself.
    exclusive : Tensor, shape (parents,), bool

    Returns
    -------
    Tensor, shape (..., parents, s)
    """
    s = q.shape[-1]
    share = 1 / torch.arange(1, s + 1, dtype=q.dtype)
    out = torch.empty_like(q)
    for j in range(s):
        rest = torch.cat([q[..., :j], q[..., j + 1 :]], dim=-1)
        # e_k of the odds times the chance that none fires is the law of the number that fire; odds may be infinite, so build it up.
        count = _law_of_count(rest)
        out[..., j] = torch.where(exclusive, q[..., j] * (count * share).sum(-1), q[..., j])
    return out


def _law_of_count(q: Tensor) -> Tensor:
    """P(k of them fire), k = 0 ... s, of independent draws, shape (..., s) -> (..., s + 1)."""
    law = q.new_ones(*q.shape[:-1], 1)
    for j in range(q.shape[-1]):
        none, one = law * (1 - q[..., j : j + 1]), law * q[..., j : j + 1]
        zero = torch.zeros_like(law[..., :1])
        law = torch.cat([none, zero], -1) + torch.cat([zero, one], -1)
    return law


def cell_probabilities(law: GatedLaw, factors: Tensor) -> Tensor:
    r"""P(fires with a positive magnitude | common factors), shape (m, r) -> (m, n).

    .. math:: q_i(f) = \text{keep}_i\, \Phi\left(\frac{\Lambda_i \cdot f + \Phi^{-1}(\text{fire}_i)}{\sqrt{1 - |\Lambda_i|^2}}\right)
    """
    slope, offset = arguments(law)
    q: Tensor = law.keep * torch.special.ndtr(factors @ slope.T + offset)
    return q


def arguments(law: GatedLaw) -> tuple[Tensor, Tensor]:
    r"""Slope (n, r) and offset (n,) of the argument of :math:`\Phi` above; offsets are infinite where a concept always or never fires."""
    scale = (1 - law.loadings.square().sum(dim=1)).sqrt()
    return law.loadings / scale[:, None], torch.special.ndtri(law.fire) / scale


def realised_rates(law: GatedLaw, seed: int) -> tuple[Tensor, Tensor]:
    """How often each concept is on, and the standard error of that number, shape (n,), float64 each.

    Exact, with error 0, for independent draws. Under the copula exact for roots and free concepts; children's are averages of the exact
    conditional rates over scrambled Sobol points of the common factors.
    """
    marginal = law.fire * law.keep
    if not law.loadings.shape[1]:
        return _down(law, marginal[None])[0], torch.zeros_like(marginal)
    means = []
    for replicate in range(REPLICATES):
        points = qmc.Sobol(law.loadings.shape[1], rng=[seed, replicate]).random(POINTS)
        factors = torch.special.ndtri(torch.from_numpy(points).clamp(1e-12, 1 - 1e-12))
        total = torch.zeros_like(marginal)
        for piece in torch.split(factors, 64):
            total += _down(law, cell_probabilities(law, piece)).sum(dim=0)
        means.append(total / POINTS)
    found = torch.stack(means)
    rates, error = found.mean(dim=0), found.std(dim=0) / REPLICATES**0.5
    gated = torch.zeros_like(marginal, dtype=torch.bool)
    gated[law.roots : law.starts[-1] if law.roots else 0] = True
    return torch.where(gated, rates, marginal), torch.where(gated, error, 0.0)


def _down(law: GatedLaw, q: Tensor) -> Tensor:
    """Rates given the firing probabilities q of independent draws, shape (m, n) each."""
    out = q.clone()
    if law.roots:
        children = law.children()
        w = stays(q[:, children], law.exclusive)  # (m, parents, s)
        first = 0
        for start, end in zip(law.starts[:-2], law.starts[1:-1], strict=True):  # parents' rates are final when their children's are made
            block = out[:, start:end, None] * w[:, start:end]
            out[:, children[start:end].flatten()] = block.flatten(1)
            first = end
        assert first == law.parents
    return out
