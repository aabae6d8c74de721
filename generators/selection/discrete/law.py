"""The law of a discrete hierarchy: what forests (by messages) and small graphs (by enumeration) both offer."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Protocol, Self

import torch
from torch import Tensor

from testbed.contracts import InvalidInput

LARGEST_JOINT = 2**18
"""Most entries of a joint table."""
CHUNK = 2**19
"""Numbers that one array of a batched pass holds (4 MB): more rows are worked on in turn."""


class Unreachable(InvalidInput):
    """Nothing survives selection, or a state never does."""


class TooLarge(InvalidInput):
    """Too many configurations to be exact."""


class Law(Protocol):
    """The law after selection. Probabilities are float64; "states of a level" are numbered as in `Graph`."""

    cardinalities: tuple[tuple[int, ...], ...]
    log_acceptance: float
    """Log of the share of base samples, weighted by their potentials, that selection keeps."""

    def to(self, device: str) -> Self:
        """The same law on a device."""

    def marginals(self) -> list[Tensor]:
        """Probability of every state, shape (S_l,) per level."""

    def entropies(self) -> list[float]:
        """Joint entropy of levels 0 ... l in nats, for every l (that of level l alone where g is deterministic)."""

    def draw(self, n: int, generator: torch.Generator) -> list[Tensor]:
        """States of n rows, shape (n, n_l), int64, per level."""

    def log_evidence(self, evidence: Mapping[int, Tensor]) -> Tensor:
        """Log of the mean of the evidence's product, shape (n,); evidence: per level, factors of shape (n, S_l). -inf if impossible."""

    def posterior(self, evidence: Mapping[int, Tensor]) -> list[Tensor]:
        """Probability of every state given evidence, shape (n, S_l) per level; 0 throughout where evidence is impossible."""


def joint(law: Law, concepts: Sequence[tuple[int, int]]) -> Tensor:
    """Exact joint law of a few concepts of any levels, given as (level, concept).

    Returns
    -------
    Tensor, shape (numbers of states of the concepts), float64

    Raises
    ------
    InvalidInput
        If a concept is not there or is given twice, or the table would be too large.
    """
    if not concepts or len(set(concepts)) < len(concepts):
        raise InvalidInput(f"a joint law needs distinct concepts, not {list(concepts)}")
    for level, i in concepts:
        if not (0 <= level < len(law.cardinalities) and 0 <= i < len(law.cardinalities[level])):
            raise InvalidInput(f"there is no concept {i} of level {level}: levels have {list(map(len, law.cardinalities))} concepts")
    shape = tuple(law.cardinalities[level][i] for level, i in concepts)
    count = math.prod(shape)
    if count > LARGEST_JOINT:
        raise TooLarge(f"the joint table of {list(concepts)} has {count} entries, more than {LARGEST_JOINT}: ask for fewer concepts")
    columns = torch.unravel_index(torch.arange(count), shape)
    evidence: dict[int, Tensor] = {}
    step = max(1, CHUNK // max(map(sum, law.cardinalities)))
    pieces = []
    for start in range(0, count, step):
        rows = slice(start, min(count, start + step))
        evidence = {}
        for (level, i), column in zip(concepts, columns, strict=True):
            factor = evidence.setdefault(level, torch.ones(rows.stop - start, sum(law.cardinalities[level]), dtype=torch.float64))
            first = sum(law.cardinalities[level][:i])
            allowed = torch.arange(law.cardinalities[level][i]) == column[rows, None]
            factor[:, first : first + allowed.shape[1]] *= allowed
        pieces.append(law.log_evidence(evidence).exp())
    return torch.cat(pieces).reshape(shape)


def tuple_context(law: Law, constituents: Sequence[tuple[int, int]], context: Sequence[tuple[int, int]]) -> Tensor:
    """Joint table of a tuple of constituents and its context, both row-major, shape (tuples, contexts)."""
    table = joint(law, [*constituents, *context])
    return table.reshape(math.prod(table.shape[: len(constituents)]), -1)
