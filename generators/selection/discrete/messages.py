r"""Messages in a forest, over all composites of a level and a batch of rows at once.

Upward, :math:`\mu_{l,i}(v) = \psi(v) \sum_{t : g(t) = v} \phi(t) \prod_j \mu_{l+1,j}(t_j)`, with :math:`\psi` the state's own factor: base
law and evidence on leaves, :math:`\phi_S` on roots. Downward, t given v has probability proportional to
:math:`\phi(t) \prod_j \mu_{l+1,j}(t_j)` on g(t) = v. Arrays are (states, n): a state's rows lie side by side.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from generators.selection.discrete.model import Network


@dataclass(frozen=True)
class Messages:
    """What the upward pass leaves behind.

    Attributes
    ----------
    normalised : list of Tensor, shape (S_l, n)
        Messages, each concept's scaled to sum 1; 0 where evidence is impossible.
    tuples : list of Tensor, shape (S_l, M_l, n)
        phi(t) times the product of the constituents' messages, for every tuple of every state.
    log_partition : Tensor, shape (n,)
        log Z; -inf where evidence is impossible.
    """

    normalised: list[Tensor]
    tuples: list[Tensor]
    log_partition: Tensor


def upward(net: Network, evidence: Mapping[int, Tensor], n: int) -> Messages:
    """Messages from the leaves to the roots; `evidence` maps levels to factors of their states, shape (S_l, n)."""
    last = len(net.unary) - 1
    log_partition = torch.zeros(n, dtype=torch.float64, device=net.unary[0].device)
    normalised: list[Tensor] = []
    tuples: list[Tensor] = []
    for level in reversed(range(last + 1)):
        own = net.unary[level][:, None]
        if level in evidence:
            own = own * evidence[level]
        if level == last:
            message = own.expand(-1, n)
        else:
            below = torch.cat([normalised[0], normalised[0].new_ones(1, n)])
            tuples.insert(0, _products(net.slots[level], net.weights[level], below))
            message = own * tuples[0].sum(dim=1)
        total = _by_concept(message, net, level)
        log_partition = log_partition + total.log().sum(dim=0)
        normalised.insert(0, _divided(message, total, net, level))
    return Messages(normalised, tuples, log_partition)


def downward(net: Network, messages: Messages) -> list[Tensor]:
    """Probability of every state given all evidence, shape (S_l, n) per level; 0 where evidence is impossible."""
    n = messages.normalised[0].shape[1]
    beliefs: list[Tensor] = []
    for level, message in enumerate(messages.normalised):
        belief = message.new_zeros(len(message) + 1, n)  # the last row gathers what missing constituents would get
        if level:
            products, slots = messages.tuples[level - 1], net.slots[level - 1]
            total = products.sum(dim=1)
            ratio = torch.where(total > 0, beliefs[-1] / total, 0.0)
            shares = (products * ratio[:, None]).flatten(0, 1)
            for j in range(slots.shape[2]):
                belief.index_add_(0, slots[:, :, j].flatten(), shares)
        belief = belief[:-1]
        roots = torch.zeros(len(net.first[level]), dtype=torch.bool, device=belief.device)
        roots[net.roots[level]] = True
        at_root = roots[net.concept[level]]
        if bool(at_root.any()):
            belief[at_root] = message[at_root]
        beliefs.append(belief)
    return beliefs


def tuple_laws(net: Network) -> tuple[list[Tensor], list[Tensor]]:
    """Laws of sampling: of every concept before what is above it is known, shape (S_l,), and of every state's tuples, shape (S_l, M_l)."""
    messages = upward(net, {}, 1)
    return [m[:, 0] for m in messages.normalised], [t[:, :, 0] for t in messages.tuples]


def _products(slots: Tensor, weights: Tensor, below: Tensor) -> Tensor:
    states, most, arity = slots.shape
    out = below.index_select(0, slots[:, :, 0].flatten())
    for j in range(1, arity):
        out *= below.index_select(0, slots[:, :, j].flatten())
    out *= weights.flatten()[:, None]
    return out.view(states, most, -1)


def _by_concept(message: Tensor, net: Network, level: int) -> Tensor:
    """Sums over the states of each concept, shape (n_l, n)."""
    concepts = len(net.first[level])
    if net.width[level]:
        return message.reshape(concepts, -1, message.shape[1]).sum(dim=1)
    return message.new_zeros(concepts, message.shape[1]).index_add_(0, net.concept[level], message)


def _divided(message: Tensor, total: Tensor, net: Network, level: int) -> Tensor:
    """Messages over their concept's sums, 0 / 0 being 0."""
    inverse = torch.where(total > 0, 1 / total, 0.0)
    if net.width[level]:
        return (message.reshape(len(inverse), -1, message.shape[1]) * inverse[:, None]).flatten(0, 1)
    return message * inverse[net.concept[level]]
