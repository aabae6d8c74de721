r"""Tilts that give requested marginals after selection.

Among all laws with the requested marginals r, the one closest (in relative entropy) to base x potentials tilts it by
:math:`\exp(\theta \cdot v)`; :math:`\theta` minimises the convex dual :math:`\log Z(\theta) - \theta \cdot r` [1]_, whose gradient is the
difference of realised and requested marginals and whose Hessian is their covariance, both exact by messages.

References
----------
.. [1] Wainwright & Jordan (2008), Graphical models, exponential families, and variational inference, section 3.6.
"""

from __future__ import annotations

import torch
from torch import Tensor

from generators.selection.achievable import check_achievable
from generators.selection.forest import Forest
from generators.selection.messages import upward
from generators.selection.rules import Compositions
from testbed.contracts import InvalidInput

TOLERANCE = 1e-8
"""Largest deviation of a realised marginal from the requested one."""


def solve_tilts(forest: Forest, composition: Compositions, requested: Tensor) -> Tensor:
    """Tilts under which the requested marginals hold.

    Newton's method with step halving, for every tree at once: trees are independent, and those with roots on one level are alike.

    Parameters
    ----------
    forest : Forest
    composition : Composition, or one per composite
    requested : Tensor, shape (N,), float64
        Rates after selection; NaN where none is requested (composites only, and then for a whole level).

    Returns
    -------
    Tensor, shape (N,), float64
        0 where no rate is requested.

    Raises
    ------
    InvalidInput
        If the rates cannot be had; the message names the violated inequality.
    """
    check_achievable(forest, composition, requested)
    groups = [nodes for level in range(len(forest.sizes)) if len(nodes := _requested_nodes(forest, level, requested))]
    root = forest.root_of_node()
    wanted = requested.nan_to_num(0.0)
    tilts = torch.where(requested.isnan(), 0.0, wanted.logit())
    tilts[: forest.start(len(forest.sizes) - 1)] = 0.0  # composites start from their potential as it is
    gap = torch.tensor(torch.inf)
    for _ in range(200):
        value, gradient, step = _newton(forest, composition, tilts, wanted, groups)
        gap = torch.where(requested.isnan(), 0.0, gradient).abs().max()
        if gap < 1e-3 * TOLERANCE:
            break
        tilts = _line_search(forest, composition, tilts, wanted, step, value, gradient, root)
    if not gap < TOLERANCE:
        raise InvalidInput(
            f"the requested rates lie on the boundary of what the rules of composition allow (off by {float(gap):.1g} after 200 steps): "
            "move rate or composite_rate inwards, or raise lone_firing"
        )
    return tilts


def _requested_nodes(forest: Forest, level: int, requested: Tensor) -> Tensor:
    """Node numbers with a request in each tree rooted at `level`, shape (trees, p)."""
    nodes = torch.cat([layer + forest.start(level + j) for j, layer in enumerate(forest.trees(level))], dim=1)
    return nodes[:, ~requested[nodes[0]].isnan()] if len(nodes) else nodes


def _newton(
    forest: Forest, composition: Compositions, tilts: Tensor, wanted: Tensor, groups: list[Tensor]
) -> tuple[Tensor, Tensor, Tensor]:
    """Each tree's dual value, the gradient and the Newton step, shapes (trees,), (N,), (N,)."""
    tilts = tilts.detach().requires_grad_()
    log_z = upward(forest, composition, tilts)[1]
    (rates,) = torch.autograd.grad(log_z.sum(), tilts, create_graph=True)
    gradient = (rates - wanted).detach()
    step = torch.zeros_like(gradient)
    for nodes in groups:
        columns = []
        for j in range(nodes.shape[1]):
            (second,) = torch.autograd.grad(rates[nodes[:, j]].sum(), tilts, retain_graph=True)
            columns.append(second[nodes])
        hessian = torch.stack(columns, dim=2)  # (trees, p, p), the covariance of the requested states
        # Potentials can force states to be equal; the ridge picks the smallest of the equivalent tilts then.
        ridge = 1e-9 * hessian.diagonal(dim1=1, dim2=2).amax(dim=1)[:, None, None] * torch.eye(nodes.shape[1], dtype=tilts.dtype)
        step[nodes] = -torch.linalg.solve(hessian + ridge, gradient[nodes])
    root = forest.root_of_node()
    value = log_z.detach().index_add(0, root, -tilts.detach() * wanted)
    return value, gradient, step


def _line_search(
    forest: Forest,
    composition: Compositions,
    tilts: Tensor,
    wanted: Tensor,
    step: Tensor,
    value: Tensor,
    gradient: Tensor,
    root: Tensor,
) -> Tensor:
    """Halve each tree's step until its dual value falls (Armijo's condition)."""
    slope = torch.zeros_like(value).index_add(0, root, step * gradient)
    size = torch.ones_like(value)
    for _ in range(40):
        moved = tilts + size[root] * step
        new = upward(forest, composition, moved)[1].index_add(0, root, -moved * wanted)
        # Near the minimum values differ by less than they are rounded by: allow for that.
        fails = ~(new <= value + 1e-4 * size * slope + 1e-13 * (1 + value.abs()))
        if not fails.any():
            break
        size = torch.where(fails, size / 2, size)
    return (tilts + size[root] * step).detach()
