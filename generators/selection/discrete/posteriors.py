"""What observed rows say about every latent: exact, batched."""

from __future__ import annotations

import torch
from torch import Tensor

from generators.selection.discrete.emission import Emission
from generators.selection.discrete.law import Law
from testbed.contracts import BLOCK, InvalidInput


def posteriors(law: Law, emission: Emission, values: Tensor) -> list[Tensor]:
    """P(state of every concept | observed row).

    Parameters
    ----------
    law : Law
    emission : Emission
    values : Tensor, shape (n, d)
        Rows of the view that `emission` shows.

    Returns
    -------
    list of Tensor, shape (n, n_l, largest number of states of the level), float64
        0 for states that a concept does not have.

    Raises
    ------
    InvalidInput
        If a row has probability 0.
    """
    last = len(law.cardinalities) - 1
    pieces: list[list[Tensor]] = []
    step = _rows_at_a_time(emission)
    for start in range(0, len(values), step):
        log = emission.log_likelihood(values[start : start + step])
        found = law.posterior({last: (log - _peaks(log, emission)).exp()})
        wrong = (found[0].sum(dim=1) == 0).nonzero()
        if len(wrong):
            raise InvalidInput(f"row {start + int(wrong[0])} has probability 0 under this instance: give rows of its own, or raise noise")
        pieces.append([by_concept(p, c) for p, c in zip(found, law.cardinalities, strict=True)])
    if not pieces:
        raise InvalidInput("there is no row to explain: give at least 1")
    return [torch.cat(level) for level in zip(*pieces, strict=True)]


def log_likelihood(law: Law, emission: Emission, values: Tensor) -> Tensor:
    """log p of every observed row after selection, shape (n,), float64; a density if embedded, -inf if impossible."""
    last = len(law.cardinalities) - 1
    out = []
    step = _rows_at_a_time(emission)
    for start in range(0, len(values), step):
        log = emission.log_likelihood(values[start : start + step])
        peaks = _peaks(log, emission)
        first = peaks[:, torch.tensor(emission.cardinalities, device=peaks.device).cumsum(0) - 1]
        out.append(law.log_evidence({last: (log - peaks).exp()}) + first.sum(dim=1))
    if not out:
        raise InvalidInput("there is no row to explain: give at least 1")
    return torch.cat(out)


def by_concept(flat: Tensor, cardinalities: tuple[int, ...]) -> Tensor:
    """From states of a level side by side, shape (..., S_l), to (..., n_l, largest number of states), padded with 0."""
    widest = max(cardinalities)
    if min(cardinalities) == widest:
        return flat.reshape(*flat.shape[:-1], len(cardinalities), widest)
    out = flat.new_zeros(*flat.shape[:-1], len(cardinalities), widest)
    for i, column in enumerate(torch.split(flat, list(cardinalities), dim=-1)):
        out[..., i, : column.shape[-1]] = column
    return out


def _rows_at_a_time(emission: Emission) -> int:
    """Rows whose likelihoods are held at a time: a block, or fewer where leaves have many states (16 MB)."""
    return max(1, min(BLOCK, 2**21 // sum(emission.cardinalities)))


def _peaks(log: Tensor, emission: Emission) -> Tensor:
    """The largest log-likelihood of each position, repeated over its states, shape of `log`."""
    counts = emission.cardinalities
    if min(counts) == max(counts):
        return log.reshape(len(log), len(counts), -1).amax(dim=2).repeat_interleave(counts[0], dim=1)
    return torch.cat([part.amax(dim=1, keepdim=True).expand_as(part) for part in torch.split(log, list(counts), dim=1)], dim=1)
