"""Which concepts of each level compose, and how codes of a hierarchy of states are described: what all estimators of this folder share."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal, TypeAlias

import torch
from torch import Tensor

from testbed.contracts import Codes, InvalidInput
from testbed.numerics.matching import dense

Blocks: TypeAlias = list[list[int]]
Tuples: TypeAlias = "Literal['blocks'] | list[list[list[int]]]"


def plan(leaves: int, arity: int | Sequence[int], tuples: Tuples, depth: int | None) -> list[Blocks]:
    """Blocks of every level of composites, the lowest first.

    Parameters
    ----------
    leaves : int
    arity : int or sequence of int
        Of blocks of neighbours: one for all levels, or one for each level from 0 on.
    tuples : "blocks" or list of list of list of int
        Neighbours, `arity` at a time, until one concept is left; or as a generator's `constituents` has them: per level from 0 on, and
        composite, concepts of the next level. A concept belongs to one tuple at most.
    depth : int, optional
        Levels of composites, at most.

    Raises
    ------
    InvalidInput
        If concepts cannot be cut into such blocks, or tuples name concepts that there are not, or one twice.
    """
    out: list[Blocks] = []
    size = leaves
    if isinstance(tuples, str):
        most = depth if isinstance(arity, int) else len(arity)
        while size > 1 and (most is None or len(out) < most):
            own = arity if isinstance(arity, int) else arity[-1 - len(out)]
            if size % own:
                raise InvalidInput(
                    f"{size} concepts of height {len(out)} cannot be cut into blocks of arity {own}: change arity, tuples, or set depth to "
                    f"{len(out)}" + (" at most" if out else " or more columns")
                )
            out.append([list(range(first, first + own)) for first in range(0, size, own)])
            size //= own
    else:
        for blocks in reversed(tuples):
            used = [j for block in blocks for j in block]
            if not blocks or min(map(len, blocks)) < 1 or len(set(used)) < len(used) or min(used) < 0 or max(used) >= size:
                raise InvalidInput(
                    f"tuples {blocks} are not of {size} concepts: name each from 0 to {size - 1} once at most, one list per composite"
                )
            out.append([list(block) for block in blocks])
            size = len(blocks)
    if not out:
        raise InvalidInput(f"{leaves} column makes no tuple: give a view of more columns")
    return out[:depth]


def described(blocks: Sequence[Blocks], counts: Sequence[Sequence[int]]) -> tuple[list[int], Blocks, list[int]]:
    """Levels, constituents and numbers of states of all codes, level 0 first, see `testbed.contracts.Structure`.

    Parameters
    ----------
    blocks : sequence of blocks
        The lowest level of composites first.
    counts : sequence of sequence of int
        Numbers of states of the leaves, then of each level of composites.
    """
    top = len(blocks)
    downwards = list(reversed(counts))
    constituents: Blocks = []
    first = 0
    for level, own in enumerate(downwards):
        first += len(own)
        below = blocks[top - 1 - level] if level < top else [[] for _ in own]
        constituents += [[first + j for j in block] for block in below]
    return [level for level, own in enumerate(downwards) for _ in own], constituents, [k for own in downwards for k in own]


def values_of_leaves(codes: Codes, values: Sequence[Sequence[float]]) -> Tensor:
    """What the last codes, states of the leaves, stand for, shape (n, d)."""
    leaves = dense(codes)[:, -len(values) :].round().long().cpu()
    return torch.stack([torch.tensor(own)[leaves[:, j].clamp(0, len(own) - 1)] for j, own in enumerate(values)], dim=1)
