"""Two truths with one observed law, where an assumption is broken: nobody can recover what the two do not share."""

from __future__ import annotations

from dataclasses import dataclass
from itertools import product
from typing import Any

import torch
from scipy.optimize import linear_sum_assignment
from torch import Tensor

from generators.assumptions.information import checked_law
from testbed.contracts import InvalidInput

ROUNDING = 1e-9
"""Observed laws that differ by no more than this, relative to their size, are one law."""


@dataclass(frozen=True)
class EqualLaws:
    """Two truths, and how far apart they and their observed laws are.

    Attributes
    ----------
    assumption : str
        That is broken.
    says : str
        What differs and what does not.
    gap : float
        Largest difference of the observed laws, relative to their size: 0 up to rounding if the witness is one.
    apart : float
        How far the truths are from being one up to the equivalence class: 0 if they are.
    truths : tuple
        The two.
    """

    assumption: str
    says: str
    gap: float
    apart: float
    truths: tuple[Any, Any]

    @property
    def verified(self) -> bool:
        """Whether two truths that differ have one observed law."""
        return self.gap <= ROUNDING and self.apart > ROUNDING


def merged_twins(joint: Tensor, states: Tensor, first: int, second: int) -> EqualLaws:
    r"""States `first` and `second` of a composite, and the same world with both as one state.

    Observed is :math:`p(t, c) = \sum_v p(v)\, p(t \mid v)\, p(c \mid v)`, of tuple and context. It is the same iff the two are twins.

    Parameters
    ----------
    joint : Tensor, shape (tuples, contexts)
        Whose tuples of one state have one context law.
    states : Tensor, shape (tuples,), int64
        g.
    """
    law = checked_law(joint)
    merged = torch.where(states == second, first, states)
    laws = [_explained(law, g) for g in (states, merged)]
    rates = [float(law[states == v].sum()) for v in (first, second)]
    return EqualLaws(
        "no_twins",
        f"states {first} and {second} as two, or as one: same joint law of tuple and context",
        float((laws[0] - laws[1]).abs().max() / laws[0].max()),
        min(rates),
        (states, merged),
    )


def rotated_gaussians(dictionary: Tensor, generator: torch.Generator) -> EqualLaws:
    r"""Independent standard Gaussian concepts z under a dense linear f, and the concepts :math:`Q z` under :math:`Q D`, Q a rotation.

    Both give :math:`x \sim N(0, D^\top D)`, which is all there is to a centred Gaussian law [1]_.

    Parameters
    ----------
    dictionary : Tensor, shape (c, d)
    generator : torch.Generator

    References
    ----------
    .. [1] Comon (1994), Independent component analysis, a new concept?, corollary 13: at most one source may be Gaussian.
    """
    atoms = dictionary.double()
    c = len(atoms)
    q, r = torch.linalg.qr(torch.randn(c, c, generator=generator, dtype=torch.float64))
    q = q * r.diagonal().sign()
    turned = q @ atoms
    covariances = [a.T @ a for a in (atoms, turned)]
    row, column = linear_sum_assignment(q.abs().numpy(), maximize=True)
    return EqualLaws(
        "independent",
        "Gaussian concepts and the same rotated: one covariance, hence one law of x; apart: 1 - mean matched |correlation| of the concepts",
        float((covariances[0] - covariances[1]).abs().max() / covariances[0].abs().max()),
        1 - float(q.abs()[torch.as_tensor(row), torch.as_tensor(column)].mean()),
        (atoms, turned),
    )


def resplit(composite: Tensor, constituents: Tensor, table: Tensor, states: Tensor, shift: Tensor) -> EqualLaws:
    r"""A composite's atom moved by `shift` and its first constituent's moved back, all with magnitude 1.

    :math:`x = v\, d_c + \sum_j t_j d_j` of every tuple that occurs is the same iff composite and first constituent are always on together:
    so with AND (or any rule of one constituent) and no lone firing.

    Parameters
    ----------
    composite : Tensor, shape (d,)
    constituents : Tensor, shape (s, d)
    table, states : Tensor, shape (2, ..., 2)
        Law of the tuple, and g.
    shift : Tensor, shape (d,)
    """
    law = checked_law(table)
    occurs = (law > 0).flatten()
    tuples = torch.tensor(list(product((0.0, 1.0), repeat=law.dim())), dtype=torch.float64)[occurs]  # (p, s)
    v = states.flatten()[occurs].double()
    atoms, below = composite.double(), constituents.double()
    other = below.clone()
    other[0] -= shift
    xs = [v[:, None] * top + tuples @ lower for top, lower in ((atoms, below), (atoms + shift, other))]
    moved = atoms + shift
    return EqualLaws(
        "faithful",
        "d_c + shift and d_1 - shift for d_c and d_1: same x for every tuple that occurs; apart: 1 - |cosine| of the composite's atoms",
        float((xs[0] - xs[1]).abs().max() / xs[0].abs().max().clamp_min(1e-300)),
        1 - float((atoms @ moved).abs() / (atoms.norm() * moved.norm())),
        ((atoms, below), (moved, other)),
    )


def absorbed(values: Tensor, dictionary: Tensor, concept: int, on_with: int, share: float) -> EqualLaws:
    r"""A concept's atom that takes up a share of another's, where the other is on whenever it is.

    :math:`d_k' = d_k + \alpha d_j` with :math:`a_j' = a_j - \alpha a_k` gives the same x. Where j is on, and above :math:`\alpha a_k`,
    whenever k is, supports are the same and codes stay positive: no method that goes by sparsity and sign can prefer one. What differs is
    the law of magnitudes alone.

    Parameters
    ----------
    values : Tensor, shape (n, c)
        Magnitudes, 0 where a concept is off.
    dictionary : Tensor, shape (c, d)
    concept, on_with : int
        k and j.
    share : float
        :math:`\alpha`.

    Raises
    ------
    InvalidInput
        If the new codes have other supports or a negative entry.
    """
    a, atoms = values.double(), dictionary.double()
    codes, other = a.clone(), atoms.clone()
    codes[:, on_with] -= share * a[:, concept]
    other[concept] += share * atoms[on_with]
    if not torch.equal(codes != 0, a != 0) or (codes < 0).any():
        raise InvalidInput(
            f"concept {on_with} is off, or too weak, somewhere where {concept} is on: lower share = {share}, or choose another pair"
        )
    xs = [a @ atoms, codes @ other]
    return EqualLaws(
        "separated_supports",
        f"atom {concept} with or without a share of atom {on_with}: same x and supports, positive codes; apart: 1 - |cosine| of the atom",
        float((xs[0] - xs[1]).abs().max() / xs[0].abs().max().clamp_min(1e-300)),
        1 - float((atoms[concept] @ other[concept]).abs() / (atoms[concept].norm() * other[concept].norm())),
        ((a, atoms), (codes, other)),
    )


def joint_emission(bases: list[Tensor], potential: Tensor, states: Tensor) -> EqualLaws:
    r"""Constituents selected together, and a composite that emits its tuple jointly: arrows reversed, one law of (v, t).

    Selection: :math:`p(t) \propto \phi(t) \prod_j \mu_j(t_j)`, v = g(t). Emission: v drawn from its law, then t from
    :math:`\phi(t) \prod_j \mu_j(t_j)` restricted to g(t) = v. Apart: 1, for the arrows; no data tell them.

    Parameters
    ----------
    bases : list of Tensor, shape (a_j,)
    potential, states : Tensor, shape (a_1, ..., a_s)
    """
    weight = potential.double()
    for j, mu in enumerate(bases):
        weight = weight * checked_law(mu).reshape([-1 if k == j else 1 for k in range(len(bases))])
    names = torch.unique(states)
    selected = torch.stack([torch.where(states == v, weight, 0.0) for v in names])
    selected = selected / selected.sum()
    message = torch.stack([weight[states == v].sum() for v in names])  # mu(v), upward
    emission = torch.stack([torch.where(states == v, weight, 0.0) / m for v, m in zip(names, message, strict=True)])
    emitted = (message / message.sum()).reshape(-1, *(1,) * len(bases)) * emission
    return EqualLaws(
        "direction",
        "constituents -> composite under selection, or composite -> constituents with joint emission: same law of both",
        float((selected - emitted).abs().max() / selected.max()),
        1.0,
        (selected, emitted),
    )


def void_selection(bases: list[Tensor], factors: list[Tensor]) -> EqualLaws:
    r"""Selection by a potential that factorises, :math:`\phi(t) = \prod_j f_j(t_j)`, and none with bases :math:`\propto \mu_j f_j`.

    Proposals are rejected and nothing is selected together. Apart: the share that is rejected.
    """
    weight, accepted, free = torch.ones(()).double(), 1.0, torch.ones(()).double()
    for mu, f in zip(bases, factors, strict=True):
        law = checked_law(mu)
        kept = law * f.double()
        weight = weight[..., None] * kept
        accepted *= float(kept.sum())
        free = free[..., None] * checked_law(kept)
    selected = weight / weight.sum()
    return EqualLaws(
        "not_void",
        "a potential that is a product over constituents, or other base laws and no selection: same law; apart: share rejected",
        float((selected - free).abs().max() / selected.max()),
        1 - accepted,
        (factors, [checked_law(mu * f) for mu, f in zip(bases, factors, strict=True)]),
    )


def _explained(law: Tensor, states: Tensor) -> Tensor:
    """The joint law of tuple and context that states g explain, each state with the context law of its tuples together."""
    out = torch.zeros_like(law)
    for v in torch.unique(states):
        rows = law[states == v]
        if rows.sum() > 0:
            out[states == v] = rows.sum(dim=1, keepdim=True) * (rows.sum(dim=0) / rows.sum())
    return out
