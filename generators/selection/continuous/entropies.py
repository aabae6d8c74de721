"""Differential entropies of continuous concepts after selection, by quadrature."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from generators.selection.continuous.covariances import weights
from generators.selection.continuous.graph import Nodes, World
from generators.selection.continuous.laws import TINY, Density, Message, Point
from generators.selection.continuous.selection import Selection


def entropy(law: Message) -> float:
    r"""Differential entropy in nats, :math:`-\int p \log p`; that of a point is minus infinity."""
    if isinstance(law, Point):
        return -math.inf
    x, a, b = law.nodes.diff(), law.values[:-1], law.values[1:]
    # Exact for a density that is linear in each cell: the integral of y log y is y^2 (log y - 1/2) / 2.
    upper, lower = torch.maximum(a, b), torch.minimum(a, b)
    flat = upper - lower <= 1e-6 * upper
    whole = (_antiderivative(upper) - _antiderivative(lower)) / torch.where(flat, 1.0, upper - lower)
    middle = (a + b) / 2
    return -float((x * torch.where(flat, torch.xlogy(middle, middle), whole)).sum())


def _antiderivative(y: Tensor) -> Tensor:
    return torch.xlogy(y * y, y) / 2 - y * y / 4


def leaf_entropy(world: World, nodes: Nodes, laws: list[list[Message]], complements: list[Tensor]) -> float:
    r"""Differential entropy of all leaves together, after selection, in nats.

    .. math:: \log Z - \sum_j E[\log \mu_j] - \sum_{l,i} E[\log \phi_{l,i}] - \sum_i E[\log \phi_{S,i}]

    Leaves that are forced have none of their own and are left out.
    """
    total = 0.0
    for row in nodes:
        total += sum(math.log(node.acceptance) + math.log(node.root_acceptance) for node in row)
    for law in laws[-1]:
        if isinstance(law, Density):
            density = world.base.at(law.nodes)
            total -= float(weights(law) @ density.clamp_min(TINY).log())
    for level, row_of in enumerate(world.selections):
        for i, phi in enumerate(row_of):
            total -= _expected_log(laws[level][i], phi)
            if phi.agreement_kind == "bump" and not phi.keeps_complement:
                assert phi.agreement is not None
                total += float((phi.strength / phi.agreement) ** 2 / 2 * complements[level][i].sum())
    for i, phi in enumerate(world.root_selections):
        total -= _expected_log(laws[0][i], phi)
    return total


def _expected_log(law: Message, phi: Selection) -> float:
    if isinstance(law, Point):
        return float(phi.log_of_value(torch.tensor(law.value, dtype=torch.float64)))
    return float(weights(law) @ phi.log_of_value(law.nodes))
