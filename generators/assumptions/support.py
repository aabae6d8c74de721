r"""Conditions on which concepts reach which observed coordinates: the support of f's Jacobian.

A support S is a boolean matrix, shape (d, c): S[i, k] iff coordinate i depends on concept k. Its column k is the *effect set* of k.
"""

from __future__ import annotations

import torch
from torch import Tensor

from generators.assumptions.finding import Finding
from testbed.contracts import InvalidInput, NotApplicable


def support_of(jacobian: Tensor, tolerance: float = 1e-9) -> Tensor:
    """Where a Jacobian is not 0 anywhere: shape (d, c), or (points, d, c) -> (d, c), bool.

    Entries count as 0 below `tolerance` times the largest.
    """
    size = jacobian.abs()
    if jacobian.dim() == 3:
        size = size.amax(dim=0)
    return size > tolerance * size.max()


def structural_sparsity(support: Tensor) -> Finding:
    r"""For every concept k some coordinates' supports meet in k alone [1]_, assumption of theorem 1.

    .. math:: \forall k \; \exists\, \mathcal C_k : \bigcap_{i \in \mathcal C_k} \mathrm{supp}(D_z f)_{i,\cdot} = \{k\}

    More rows only shrink the intersection, so all rows that hold k decide: it fails iff some j stands wherever k stands, which is to say
    iff k's effect set is empty or lies within that of another concept (`no_nested_effects`: for f's support the two are one condition).

    Parameters
    ----------
    support : Tensor, shape (d, c), bool

    Returns
    -------
    Finding
        Margin: the smallest number of coordinates that tell a concept from another one, which would all have to be joined to break it.

    References
    ----------
    .. [1] Zheng, Ng & Zhang (2022), On the identifiability of nonlinear ICA: sparsity and beyond, NeurIPS.
    """
    alone = _told_apart(support)
    k, j = _smallest(alone)
    meet = support[support[:, k]].all(dim=0).nonzero()[:, 0].tolist() if support[:, k].any() else []
    return Finding.of(float(alone[k, j]) if k != j else float(support[:, k].sum()), concept=k, stands_with=j, intersection=meet[:20])


def no_nested_effects(support: Tensor) -> Finding:
    r"""No concept's effect set lies within another's, and none is empty.

    Concepts whose effect set is nested in another's are those that sparsity of the decoder cannot tell from their mixtures with it [1]_.

    Returns
    -------
    Finding
        Margin: the smallest share :math:`|S_k \setminus S_j| / |S_k|` over ordered pairs, 0 for an empty effect set.

    References
    ----------
    .. [1] Moran, Sridhar, Wang & Blei (2022), Identifiable deep generative models via sparse decoding, TMLR (anchor features are the strong
       form); Lachapelle et al. (2022), Disentanglement via mechanism sparsity regularization, CLeaR, assumption 7.
    """
    alone = _told_apart(support)
    share = alone / support.sum(dim=0).clamp_min(1)[:, None]
    k, j = _smallest(share)
    return Finding.of(float(share[k, j]) if k != j else float(support[:, k].any()), concept=k, nested_in=j)


def anchors(support: Tensor, at_least: int = 2) -> Finding:
    """Every concept has `at_least` coordinates that depend on it alone [1]_: enough even where concepts depend on each other.

    Returns
    -------
    Finding
        Margin: how many anchors the poorest concept would have to lose before it fails.

    References
    ----------
    .. [1] Moran, Sridhar, Wang & Blei (2022), Identifiable deep generative models via sparse decoding, TMLR.
    """
    _checked(support)
    count = support[support.sum(dim=1) == 1].sum(dim=0)
    k = int(count.argmin())
    return Finding.of(float(int(count[k]) - at_least + 1), concept=k, anchors=int(count[k]))


def rows_span_support(jacobians: Tensor) -> Finding:
    r"""Each coordinate's Jacobian row, over points z, spans its support [1]_: :math:`\mathrm{span}\{D_z f(z)_i\} = \mathbb R^{S_i}`.

    Separate from structural sparsity, and one that a linear f fails for every row that depends on two concepts or more: its row is the
    same at all points.

    Parameters
    ----------
    jacobians : Tensor, shape (points, d, c)
        At several points z; a linear f has one.

    Returns
    -------
    Finding
        Margin: over rows, the smallest ratio of the last and the first of the :math:`|S_i|` singular values of row i over all points.

    References
    ----------
    .. [1] Zheng, Ng & Zhang (2022), as above, assumption i of theorem 1.
    """
    if jacobians.dim() != 3:
        raise InvalidInput(f"Jacobians must have shape (points, d, c), not {tuple(jacobians.shape)}: give a linear f one point")
    support = support_of(jacobians)
    ratios = torch.full((support.shape[0],), torch.inf, dtype=torch.float64)
    for i, columns in enumerate(support):
        needed = int(columns.sum())
        if needed:
            s = torch.linalg.svdvals(jacobians[:, i, columns].double())
            ratios[i] = s[needed - 1] / s[0] if len(s) >= needed else 0.0
    i = int(ratios.argmin())
    if ratios[i].isinf():
        raise NotApplicable("no coordinate depends on any concept")
    return Finding.of(float(ratios[i]), coordinate=i, support_size=int(support[i].sum()), points=len(jacobians))


def pure_constituents(constituents: tuple[tuple[int, ...], ...], at_least: int = 2) -> Finding:
    """Every composite has at least `at_least` constituents that belong to it alone [1]_.

    Parameters
    ----------
    constituents : tuple of tuple of int
        Of each composite of one level; free concepts (no constituents) are left out.

    Returns
    -------
    Finding
        Margin: how many of its own constituents the poorest composite would have to share before it fails.

    References
    ----------
    .. [1] Silva, Scheines, Glymour & Spirtes (2006), Learning the structure of linear latent variable models, JMLR; Xie et al. (2020),
       Generalized independent noise condition, NeurIPS, theorem 2 (two pure children each).
    """
    owners: dict[int, int] = {}
    for tuple_ in constituents:
        for j in set(tuple_):
            owners[j] = owners.get(j, 0) + 1
    pure = {i: sum(owners[j] == 1 for j in set(tuple_)) for i, tuple_ in enumerate(constituents) if tuple_}
    if not pure:
        raise NotApplicable("no concept of this level is composed of others")
    poorest = min(pure, key=lambda i: pure[i])
    shared = [j for j in constituents[poorest] if owners[j] > 1]
    return Finding.of(float(pure[poorest] - at_least + 1), composite=poorest, own=pure[poorest], shared=shared)


def separated_supports(both: Tensor) -> Finding:
    r"""Every concept is sometimes on while any given other one is off: the supports of codes that hold k meet in k alone [1]_.

    The singleton intersection property of dictionary learning: :math:`\bigcap_{S \ni k} S = \{k\}` over supports S that occur. Where j
    is on whenever k is, the subspaces that the data fill stay the same if :math:`d_k` becomes :math:`d_k + \alpha d_j`: sparsity alone
    cannot place :math:`d_k`. A composite of rule AND and its constituents in one view are always such a case.

    Parameters
    ----------
    both : Tensor, shape (p, p)
        P(k and j are on); rates on the diagonal.

    Returns
    -------
    Finding
        Margin: the smallest P(j off | k on).

    References
    ----------
    .. [1] Garfinkle & Hillar (2019), On the uniqueness and stability of dictionaries for sparse representation of noisy signals, IEEE
       Trans. Signal Processing, theorem 1; Hillar & Sommer (2015).
    """
    rates = both.diagonal()
    alive = (rates > 0).nonzero()[:, 0]
    if len(alive) < 2:
        raise NotApplicable("fewer than two concepts are ever on")
    share = 1 - both[alive][:, alive] / rates[alive, None]
    k, j = _smallest(share)
    return Finding.of(max(0.0, float(share[k, j])), concept=int(alive[k]), on_with=int(alive[j]))


def _checked(support: Tensor) -> None:
    if support.dim() != 2 or support.dtype != torch.bool or 0 in support.shape:
        raise InvalidInput(f"a support is a boolean matrix (d, c), not {support.dtype} of shape {tuple(support.shape)}: use support_of")


def _told_apart(support: Tensor) -> Tensor:
    """Number of coordinates that k reaches and j does not, shape (c, c) for k and j."""
    _checked(support)
    s = support.float()  # counts are exact up to 2**24 coordinates
    return s.T @ (1 - s)


def _smallest(apart: Tensor) -> tuple[int, int]:
    """The ordered pair with the smallest entry off the diagonal, which is overwritten; (0, 0) for a single concept."""
    c = len(apart)
    if c == 1:
        return 0, 0
    apart.fill_diagonal_(torch.inf)  # in place: there may be 10**8 pairs
    return divmod(int(apart.argmin()), c)
