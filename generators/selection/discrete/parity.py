r"""Parity-like tables: only all constituents together say anything.

With constituents of v states each, renumbered at random by :math:`\pi_j`, a tuple's residue is

.. math:: r(t) = \sum_j \pi_j(t_j) \bmod v,

and its state and its potential depend on the residue alone. The tuples of a residue are as many for whatever states all but one constituent
have; so where the constituents' own laws are uniform, any s - 1 of them are independent in the selected law, whatever is selected above.
All of them together are not: their total correlation is log v less the entropy of the residue. With v = 2 it is parity.
"""

from __future__ import annotations

import math

import torch

from generators.selection.discrete.tables import LARGEST, LEAST, Rule, dealt
from testbed.contracts import InvalidInput, seed_of


def draw_parity_rule(
    shape: tuple[int, ...],
    cardinality: int,
    synonyms: list[int],
    preference: float,
    ambiguity: float,
    seed: int,
    where: tuple[int, ...],
) -> Rule:
    r"""A random table of this kind in which state v has ``synonyms[v % len(synonyms)]`` admissible residues.

    Parameters
    ----------
    shape, cardinality, seed, where
        As for `generators.selection.discrete.tables.draw_rule`.
    synonyms : list of int
        Residues per state; each has :math:`v^{s-1}` tuples.
    preference : float
        :math:`\phi = u^{\mathrm{preference}}` of each admissible residue, u uniform on (0, 1].
    ambiguity : float
        Must be 0.

    Raises
    ------
    InvalidInput
        If constituents have unequal numbers of states, residues do not suffice, the table is too large, or rules are to be stochastic.
    """
    v, count = shape[0], math.prod(shape)
    name = f"composite {where[1]} of level {where[0]}"
    quota = torch.tensor([synonyms[k % len(synonyms)] for k in range(cardinality)])
    if len(set(shape)) > 1 or ambiguity:
        raise InvalidInput(f"parity rules are deterministic and want constituents alike, but {name} has {shape} states: make them equal")
    if count > LARGEST:
        raise InvalidInput(f"{name} has {count} tuples of constituents' states, more than {LARGEST}: lower states or branching")
    if int(quota.min()) < 1 or int(quota.sum()) > v:
        raise InvalidInput(f"{name} needs {int(quota.sum())} residues for its {cardinality} states, but has {v}: lower synonyms or states")
    generator = torch.Generator().manual_seed(seed_of("parity", seed, *where))
    columns = torch.unravel_index(torch.arange(count), shape)
    residue = torch.stack([torch.randperm(v, generator=generator)[column] for column in columns]).sum(dim=0) % v
    wanted = int(quota.sum())
    order = torch.randperm(v, generator=generator)
    state = torch.empty(v, dtype=torch.int64)
    state[order] = dealt(quota, v)
    weight = torch.zeros(v, dtype=torch.float64)
    u = 1 - torch.rand(wanted, generator=generator, dtype=torch.float64)
    weight[order[:wanted]] = (u**preference).clamp_min(LEAST)
    return Rule(state[residue], weight[residue], state[residue], 0.0)
