"""Dials on arrays: each moves what one assumption speaks of from as it is (amount 0) to broken (amount 1)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from generators.assumptions.information import checked_law
from testbed.contracts import InvalidInput


def checked_amount(amount: float) -> float:
    """The amount, or InvalidInput unless it lies in [0, 1]."""
    if not 0 <= amount <= 1:
        raise InvalidInput(f"a dial is turned by an amount in [0, 1], not {amount}")
    return float(amount)


def towards_common(dictionary: Tensor, amount: float) -> Tensor:
    r"""Coherence: atoms :math:`\propto (1 - a)\, d_i / |d_i| + a\, u`, of their own norms, with u the direction of their mean.

    The atoms' signs are as they are, so that an atom opposite to u passes through other directions on its way. At 1 all are parallel.
    """
    a = checked_amount(amount)
    atoms = normalize(dictionary.double(), dim=1)
    mean = atoms.mean(dim=0)
    common = normalize(mean if mean.norm() > 1e-6 else atoms[0], dim=0)
    turned = normalize((1 - a) * atoms + a * common, dim=1) * dictionary.double().norm(dim=1, keepdim=True)
    out: Tensor = turned.to(dictionary.dtype)
    return out


def towards_combination(dictionary: Tensor, atom: int, others: list[int], amount: float) -> Tensor:
    """Injectivity and spark: one atom turns towards the sum of others, on which it depends at 1 (spark at most len(others) + 1)."""
    a = checked_amount(amount)
    if atom in others or not others:
        raise InvalidInput(f"atom {atom} cannot turn towards {others}: name other atoms")
    atoms = dictionary.double().clone()
    unit = normalize(atoms, dim=1)
    turned = (1 - a) * unit[atom] + a * normalize(unit[others].sum(dim=0), dim=0)
    atoms[atom] = normalize(turned, dim=0) * atoms[atom].norm()
    return atoms.to(dictionary.dtype)


def nest(support: Tensor, inner: int, outer: int, amount: float) -> Tensor:
    """Structural sparsity and nesting: `outer` reaches a share of the coordinates that only `inner` reached, all of them at 1."""
    a = checked_amount(amount)
    missing = (support[:, inner] & ~support[:, outer]).nonzero()[:, 0]
    out = support.clone()
    out[missing[: round(a * len(missing))], outer] = True
    return out


def linearise(jacobians: Tensor, amount: float) -> Tensor:
    """Span of rows: Jacobians, shape (points, d, c), move to their mean, which is what a linear f has at every point."""
    a = checked_amount(amount)
    mean: Tensor = jacobians.mean(dim=0, keepdim=True)
    return (1 - a) * jacobians + a * mean


def share(constituents: tuple[tuple[int, ...], ...], amount: float) -> tuple[tuple[int, ...], ...]:
    """Pure constituents: in a share of its places each composite takes the next composite's constituent; all are shared at 1."""
    a = checked_amount(amount)
    if len(constituents) < 2:
        raise InvalidInput("constituents are shared among two composites or more")
    out = []
    for i, own in enumerate(constituents):
        other = constituents[(i + 1) % len(constituents)]
        taken = [j for j in other[: round(a * len(own))] if j not in own]
        out.append((*own, *taken))
    return tuple(out)


def twins(joint: Tensor, first: int, second: int, amount: float) -> Tensor:
    r"""No twins: the context law of `second` mixes with that of `first`, :math:`(1 - a)\, p_2(c) + a\, p_1(c)`.

    States keep their probabilities, and total variation of the two falls as 1 - a. Rows may be states, or all tuples of one (turn each).
    """
    a = checked_amount(amount)
    law = checked_law(joint)
    rates = law.sum(dim=1)
    if rates[first] == 0 or rates[second] == 0:
        raise InvalidInput(f"states {first} and {second} must both occur")
    law[second] = (1 - a) * law[second] + a * law[first] * rates[second] / rates[first]
    return law


def towards_independence(table: Tensor, amount: float) -> Tensor:
    r"""Selection not void: :math:`(1 - a)\, p + a \prod_j p_j`; marginals stay, total correlation falls (it is convex along the way)."""
    a = checked_amount(amount)
    law = checked_law(table)
    product = torch.ones((), dtype=law.dtype)
    for j in range(law.dim()):
        rest = [k for k in range(law.dim()) if k != j]
        product = product[..., None] * (law.sum(dim=rest) if rest else law)
    return (1 - a) * law + a * product


def without_lone_firing(table: Tensor, states: Tensor, amount: float) -> Tensor:
    """Faithfulness: tuples partly on with the composite off lose a share of their weight, all of it at 1; axes are (off, on)."""
    a = checked_amount(amount)
    law = checked_law(table)
    anything_on = torch.ones(law.shape, dtype=torch.bool)
    anything_on.flatten()[0] = False
    lone = anything_on & (states == 0)
    return checked_law(torch.where(lone, (1 - a) * law, law))


def onto_one_tuple(table: Tensor, amount: float) -> Tensor:
    """Not degenerate: a share of all mass goes to the most frequent tuple, all of it at 1."""
    a = checked_amount(amount)
    law = checked_law(table)
    point = torch.zeros_like(law)
    point.flatten()[int(law.argmax())] = 1.0
    return (1 - a) * law + a * point


def unvaried(parameters: Tensor, amount: float) -> Tensor:
    """Sufficient variability: natural parameters, shape (values, m), lose the direction in which they vary least."""
    a = checked_amount(amount)
    rows = parameters.double()
    mean = rows.mean(dim=0)
    direction: Tensor = torch.linalg.svd(rows - mean, full_matrices=True)[2][-1]
    return rows - a * ((rows - mean) @ direction)[:, None] * direction
