r"""The law of a graph with shared constituents, exact by eliminating concepts one after the other.

The steps of `frontier` form a chain: with w(c) the weight of configuration c of the open concepts and r the rows that lead to it,

.. math:: w'(c') = \sum_{r \to c'} w(c_r)\, \mu(\text{new leaves}_r)\, \phi(t_r)\, P(v_r \mid t_r),

so that passes forward and backward, and drawing backward, are those of a hidden Markov model.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor

from generators.selection.discrete.frontier import steps
from generators.selection.discrete.law import CHUNK, Unreachable
from generators.selection.discrete.lookup import Lookup
from generators.selection.discrete.model import Model

TINY = torch.finfo(torch.float64).tiny


class EliminatedLaw:
    """The law of a model by elimination; see `Law`. Joint entropies are known for all levels together only, and NaN above.

    Raises
    ------
    InvalidInput
        If too many configurations are open at a time (TooLarge), or none survives selection (Unreachable).
    """

    def __init__(self, model: Model) -> None:
        self.cardinalities = model.graph.cardinalities
        self._first = tuple(torch.tensor(model.graph.first(level)) for level in range(model.graph.last + 1))
        self._steps = steps(model)
        rows, weights, log_partition = self._forward({}, 1)
        self.log_acceptance = float(log_partition)
        if not self.log_acceptance > -torch.inf:
            raise Unreachable("no configuration survives selection (acceptance 0): change the setting, the potentials or the root law")
        shares = [row[:, 0] / weight[step.target, 0].clamp_min(TINY) for step, row, weight in zip(self._steps, rows, weights, strict=True)]
        self._lookups = tuple(_ragged(step.target, share) for step, share in zip(self._steps, shares, strict=True))
        _, targets = self._backward(rows, weights)
        information = [float((t[s.target, 0] * torch.xlogy(p, p)).sum()) for t, s, p in zip(targets, self._steps, shares, strict=True)]
        self._entropy = -sum(information)

    def to(self, device: str) -> Self:
        """The same law on a device."""
        other = copy.copy(self)
        other._first = tuple(t.to(device) for t in self._first)
        other._steps = [step.to(device) for step in self._steps]
        other._lookups = tuple(Lookup(lookup.bounds.to(device), lookup.end.to(device)) for lookup in self._lookups)
        return other

    def marginals(self) -> list[Tensor]:
        """Probability of every state, shape (S_l,) per level."""
        rows, weights, _ = self._forward({}, 1)
        return [belief[:, 0] for belief in self._backward(rows, weights)[0]]

    def entropies(self) -> list[float]:
        """Joint entropy of levels 0 ... l in nats; NaN for all but the last."""
        return [float("nan")] * (len(self.cardinalities) - 1) + [self._entropy]

    def draw(self, n: int, generator: torch.Generator) -> list[Tensor]:
        """States of n rows, shape (n, n_l), int64, per level: from the last step back to the first."""
        device = self._first[0].device
        out = [torch.empty(n, len(first), dtype=torch.int64, device=device) for first in self._first]
        target = torch.zeros(n, dtype=torch.int64, device=device)
        for step, lookup in zip(reversed(self._steps), reversed(self._lookups), strict=True):
            row = lookup.draw(target, generator)
            for level, i, state in step.added:
                out[level][:, i] = state[row] - self._first[level][i]
            target = step.source[row]
        return out

    def log_evidence(self, evidence: Mapping[int, Tensor]) -> Tensor:
        """Log of the mean of the evidence's product, shape (n,)."""
        return torch.cat([self._forward(part, n)[2] for part, n in self._chunks(evidence)]) - self.log_acceptance

    def posterior(self, evidence: Mapping[int, Tensor]) -> list[Tensor]:
        """Probability of every state given evidence, shape (n, S_l) per level; 0 throughout where evidence is impossible."""
        pieces = []
        for part, n in self._chunks(evidence):
            rows, weights, _ = self._forward(part, n)
            pieces.append([belief.T for belief in self._backward(rows, weights)[0]])
        return [torch.cat(level) for level in zip(*pieces, strict=True)]

    def _forward(self, evidence: Mapping[int, Tensor], n: int) -> tuple[list[Tensor], list[Tensor], Tensor]:
        """Rows (R, n) and weights after (count, n) of every step, up to scale, and log Z, shape (n,); evidence is (S_l, n)."""
        device = self._first[0].device
        weight = torch.ones(1, n, dtype=torch.float64, device=device)
        log_partition = torch.zeros(n, dtype=torch.float64, device=device)
        rows, weights = [], []
        for step in self._steps:
            row = weight[step.source] * step.factor[:, None]
            for level, _, state in step.added:
                if level in evidence:
                    row = row * evidence[level][state]
            total = row.sum(dim=0)
            log_partition = log_partition + total.log()
            row = row * torch.where(total > 0, 1 / total, 0.0)
            weight = row.new_zeros(step.count, n).index_add_(0, step.target, row)
            rows.append(row)
            weights.append(weight)
        return rows, weights, log_partition

    def _backward(self, rows: list[Tensor], weights: list[Tensor]) -> tuple[list[Tensor], list[Tensor]]:
        """Probability of every state, (S_l, n) per level, and of every step's configurations after it."""
        n = weights[-1].shape[1]
        beliefs = [weights[-1].new_zeros(sum(counts), n) for counts in self.cardinalities]
        after = (weights[-1] > 0).double()  # a single configuration: nothing is open in the end
        targets = [after]
        for k in reversed(range(len(self._steps))):
            step, weight = self._steps[k], weights[k]
            row = rows[k] * torch.where(weight > 0, after / weight, 0.0)[step.target]
            for level, _, state in step.added:
                beliefs[level].index_add_(0, state, row)
            after = row.new_zeros(len(weights[k - 1]) if k else 1, n).index_add_(0, step.source, row)
            targets.insert(0, after)
        return beliefs, targets[1:]

    def _chunks(self, evidence: Mapping[int, Tensor]) -> list[tuple[dict[int, Tensor], int]]:
        total, step = len(next(iter(evidence.values()))), max(1, CHUNK // max(len(s.factor) for s in self._steps))
        device = self._first[0].device
        parts = [slice(start, min(total, start + step)) for start in range(0, total, step)]
        return [({k: v[p].to(device).T.contiguous() for k, v in evidence.items()}, p.stop - p.start) for p in parts]


def _ragged(target: Tensor, share: Tensor) -> Lookup:
    """Laws of unequal lengths, laid end to end: rows sorted by target, shares summing to 1 for each."""
    end = torch.cat([target.diff().nonzero()[:, 0], torch.tensor([len(target) - 1])])
    bounds = torch.minimum(share.cumsum(0), (target + 1).double()).maximum(target.double())
    bounds[end] = target[end].double() + 1
    return Lookup(bounds, end)
