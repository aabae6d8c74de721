r"""Conditions on selection: is there any, can its direction be seen, and does it leave something to see.

They speak of a tuple's law, a table with one axis per constituent, and of g, the composite's state for each tuple, of the same shape.
"""

from __future__ import annotations

import torch
from torch import Tensor

from generators.assumptions.finding import TOLERANCE, Finding
from generators.assumptions.information import checked_law, entropy, total_correlation
from testbed.contracts import InvalidInput, NotApplicable


def not_void(table: Tensor) -> Finding:
    r"""Selection makes constituents depend on each other: total correlation of the tuple above 0.

    That some proposals are rejected is not enough: a potential that is a product of functions of one constituent each rejects as many as
    it likes and leaves all of them independent.

    Parameters
    ----------
    table : Tensor, shape (a_1, ..., a_s)
        Law of the tuple after selection.

    Returns
    -------
    Finding
        Margin: total correlation, in nats.

    References
    ----------
    .. [1] Kong et al. (2025), arXiv 2512.10720: hierarchical selection model; Hernan, Hernandez-Diaz & Robins (2004) for collider bias.
    """
    law = _checked_tuple(table)
    return Finding.of(total_correlation(law), most_frequent=_where(law), share=float(law.max()))


def not_degenerate(table: Tensor, states: Tensor) -> Finding:
    r"""Not all mass lies on one tuple, and every state of the composite occurs.

    Returns
    -------
    Finding
        Margin: the smaller of :math:`1 - \max_t p(t)` and the smallest probability of a state that g names.
    """
    law, g = _checked_tuple(table), _checked_states(table, states)
    names = torch.unique(g)
    rates = torch.stack([law[g == name].sum() for name in names])
    rare = int(rates.argmin())
    margin = min(1 - float(law.max()), float(rates[rare]))
    return Finding.of(margin, rarest_state=int(names[rare]), rate=float(rates[rare]), most_frequent=_where(law), share=float(law.max()))


def faithful_tuple(table: Tensor, states: Tensor) -> Finding:
    r"""Every constituent is seen in its composite when the others are known: :math:`\min_j I(v; t_j \mid t_{-j}) > 0`.

    With v = g(t) this is :math:`H(v \mid t_{-j})`. It vanishes on an edge that is there: with AND and no lone firing each constituent
    follows from any other, so that no test of conditional independence given all of them finds an edge.

    Returns
    -------
    Finding
        Margin: that minimum, in nats. Witness: the constituent, and what it tells about the composite by itself, :math:`I(v; t_j)`.

    References
    ----------
    .. [1] Zhang & Spirtes (2003), Strong faithfulness and uniform consistency in causal inference, UAI; Uhler et al. (2013), Geometry of
       the faithfulness assumption, Annals of Statistics.
    """
    law, g = _checked_tuple(table), _checked_states(table, states)
    onehot = torch.stack([torch.where(g == name, law, 0.0) for name in torch.unique(g)])  # (v, a_1, ..., a_s): joint of state and tuple
    h_state = entropy(onehot.flatten(1).sum(dim=1))
    given_others, alone = [], []
    for j in range(law.dim()):
        others = onehot.sum(dim=j + 1)
        given_others.append(max(0.0, entropy(others) - entropy(law.sum(dim=j))))
        pair = onehot.sum(dim=[k + 1 for k in range(law.dim()) if k != j]) if law.dim() > 1 else onehot
        alone.append(max(0.0, h_state + entropy(pair.sum(dim=0)) - entropy(pair)))
    j = min(range(law.dim()), key=lambda k: given_others[k])
    return Finding.of(given_others[j], constituent=j, by_itself=alone[j], weakest_by_itself=min(alone))


def faithful_covariance(covariance: Tensor, edges: list[tuple[int, int]]) -> Finding:
    r"""For Gaussian concepts: every edge carries a partial correlation given all others, :math:`|\rho_{ab \cdot \mathrm{rest}}| > 0`.

    .. math:: \rho_{ab \cdot \mathrm{rest}} = -\Omega_{ab} / \sqrt{\Omega_{aa} \Omega_{bb}}, \quad \Omega = \Sigma^{-1}

    Returns
    -------
    Finding
        Margin: the smallest absolute partial correlation along an edge.
    """
    if not edges:
        raise NotApplicable("there is no edge")
    sigma = covariance.double()
    if float(torch.linalg.eigvalsh(sigma)[0]) <= 0:
        raise InvalidInput("partial correlations need a covariance of full rank: leave out concepts that follow from others")
    precision = torch.linalg.inv(sigma)
    scale = precision.diagonal().sqrt()
    partial = (precision / scale[:, None] / scale).abs()
    a, b = min(edges, key=lambda e: float(partial[e]))
    return Finding.of(float(partial[a, b]), edge=[a, b])


def dependent_given_composite(table: Tensor, states: Tensor) -> Finding:
    r"""Constituents depend on each other given their composite: :math:`\sum_v p(v) \, TC(t \mid v) > 0`.

    What tells selection (and joint emission, its twin) from a classic hierarchy, where children are independent given their parent. A
    common effect is a collider, so that this can hold with no selection at all.

    Returns
    -------
    Finding
        Margin: conditional total correlation, in nats. Witness: the state that gives most of it.

    References
    ----------
    .. [1] Pearl (1988), Probabilistic reasoning in intelligent systems, chapter 3 (explaining away); the testbed's design, section 2.
    """
    law, g = _checked_tuple(table), _checked_states(table, states)
    parts: dict[int, float] = {}
    for name in torch.unique(g).tolist():
        given = torch.where(g == name, law, 0.0)
        rate = float(given.sum())
        parts[name] = rate * total_correlation(given / rate) if rate > 0 else 0.0
    return Finding.of(sum(parts.values()), state=max(parts, key=lambda name: parts[name]))


def independent(total: float) -> Finding:
    """Concepts are independent, as classic independent component analysis wants: the contrary of `not_void`, met without selection only.

    Parameters
    ----------
    total : float
        A dependence that is 0 iff they are independent.

    Returns
    -------
    Finding
        Margin: `TOLERANCE` minus it (an equation has no inside).

    References
    ----------
    .. [1] Comon (1994), Independent component analysis, a new concept?
    """
    return Finding.of(TOLERANCE - total, tolerance=0.0, dependence=total)


def mostly_off(rates: Tensor) -> Finding:
    r"""Codes are sparse: every concept is off in most rows, :math:`\theta_i < 1/2`.

    The theorem [1]_ has a constant that it does not spell out; 1/2 is the loosest reading. A concept that is never off has rate 1.

    Parameters
    ----------
    rates : Tensor, shape (c,)

    Returns
    -------
    Finding
        Margin: 1/2 minus the largest rate.

    References
    ----------
    .. [1] Spielman, Wang & Wright (2012), Exact recovery of sparsely-used dictionaries, COLT, theorem 3.
    """
    i = int(rates.argmax())
    return Finding.of(0.5 - float(rates[i]), concept=i, rate=float(rates[i]))


def sufficient_variability(parameters: Tensor) -> Finding:
    r"""Auxiliary values u move the concepts' laws in every direction [1]_: differences of natural parameters have full rank.

    Theorem 1 of [1]_ wants m + 1 values u with :math:`(\lambda(u_1) - \lambda(u_0), \dots, \lambda(u_m) - \lambda(u_0))` invertible. The
    differences span the same space as the rows about their mean, which name no u_0.

    Parameters
    ----------
    parameters : Tensor, shape (values of u, m)
        Natural parameters of all concepts side by side.

    Returns
    -------
    Finding
        Margin: the smallest singular value of the rows about their mean, over the root of their number: the least spread of any
        combination of parameters.

    References
    ----------
    .. [1] Khemakhem, Kingma, Monti & Hyvarinen (2020), Variational autoencoders and nonlinear ICA: a unifying framework, AISTATS.
    """
    if parameters.dim() != 2 or 0 in parameters.shape or not parameters.isfinite().all():
        raise InvalidInput(f"natural parameters are finite, of shape (values, m), not {tuple(parameters.shape)}")
    rows = parameters.double()
    u, m = rows.shape
    _, s, directions = torch.linalg.svd(rows - rows.mean(dim=0), full_matrices=True)
    rank = int((s > TOLERANCE * max(float(s[0]), 1e-300)).sum())
    margin = float(s[m - 1]) / u**0.5 if rank == m else 0.0
    return Finding(rank == m, margin, {"rank": rank, "parameters": m, "values": u, "least_moved": directions[-1].tolist()[:20]})


def _checked_tuple(table: Tensor) -> Tensor:
    if table.dim() < 1:
        raise InvalidInput("a tuple's law has one axis per constituent")
    return checked_law(table)


def _checked_states(table: Tensor, states: Tensor) -> Tensor:
    if states.shape != table.shape:
        raise InvalidInput(f"g has shape {tuple(states.shape)} and the tuple's law {tuple(table.shape)}: a state for each tuple is wanted")
    return states.cpu()


def _where(law: Tensor) -> list[int]:
    return [int(i) for i in torch.unravel_index(law.argmax(), law.shape)]
