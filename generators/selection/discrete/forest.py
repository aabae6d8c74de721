"""The law of a forest, exact by messages."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Self

import torch
from torch import Tensor

from generators.selection.discrete.graph import Graph
from generators.selection.discrete.law import CHUNK, Unreachable
from generators.selection.discrete.lookup import Lookup
from generators.selection.discrete.messages import downward, tuple_laws, upward
from generators.selection.discrete.model import Model, Network, network


class ForestLaw:
    """The law of a model whose graph is a forest; see `Law`.

    Parameters
    ----------
    model : Model
    net : Network, optional
        Other weights of tuples and states than the model's, on its graph.

    Raises
    ------
    Unreachable
        If no configuration survives selection.
    """

    def __init__(self, model: Model, net: Network | None = None) -> None:
        self.cardinalities = model.graph.cardinalities
        self._graph: Graph = model.graph
        self._net = network(model) if net is None else net
        self._base = upward(self._net, {}, 1)
        self.log_acceptance = float(self._base.log_partition)
        if not self.log_acceptance > -torch.inf:
            raise Unreachable("no configuration survives selection (acceptance 0): change the setting, the potentials or the root law")
        above, tuples = tuple_laws(self._net)
        self._tuples = tuple(Lookup.of(t) for t in tuples)
        self._root_laws = tuple(self._root_lookup(level, law) for level, law in enumerate(above))
        self._places = tuple(self._places_of(level) for level in range(self._graph.last))
        self._step = max(1, CHUNK // max([len(self._net.unary[-1]), *(w.numel() for w in self._net.weights)]))

    def to(self, device: str) -> Self:
        """The same law on a device."""
        other = copy.copy(self)
        other._net = self._net.to(device)
        other._base = upward(other._net, {}, 1)
        other._tuples = tuple(Lookup(t.bounds.to(device), t.end.to(device)) for t in self._tuples)
        other._root_laws = tuple((Lookup(t.bounds.to(device), t.end.to(device)), w) for t, w in self._root_laws)
        other._places = tuple([(a.to(device), b.to(device)) for a, b in level] for level in self._places)
        return other

    def marginals(self) -> list[Tensor]:
        """Probability of every state, shape (S_l,) per level."""
        return [belief[:, 0] for belief in downward(self._net, self._base)]

    def entropies(self) -> list[float]:
        """Joint entropy of levels 0 ... l in nats: each level adds that of its roots and of its tuples given the composites."""
        marginals, out, total = self.marginals(), [], 0.0
        for level, marginal in enumerate(marginals):
            root = torch.isin(self._net.concept[level], self._net.roots[level])
            total -= float(torch.xlogy(marginal[root], marginal[root]).sum())
            if level:
                weights = self._base.tuples[level - 1][:, :, 0]
                share = weights / weights.sum(dim=1, keepdim=True).clamp_min(torch.finfo(weights.dtype).tiny)
                total -= float((marginals[level - 1][:, None] * torch.xlogy(share, share)).sum())
            out.append(total)
        return out

    def draw(self, n: int, generator: torch.Generator) -> list[Tensor]:
        """States of n rows, shape (n, n_l), int64, per level: roots by their law, then tuples given their composite, level by level."""
        out: list[Tensor] = []
        head = torch.empty(0, dtype=torch.int64)  # states of the level above, numbered over the whole level
        for level, first in enumerate(self._net.first):
            state = torch.empty(n, len(first), dtype=torch.int64, device=first.device)
            if level:
                slots = self._net.slots[level - 1].flatten(0, 1)
                chosen = self._tuples[level - 1].draw(head, generator)
                for j, (composites, constituents) in enumerate(self._places[level - 1]):
                    state[:, constituents] = slots[:, j][chosen[:, composites]]
            roots = self._net.roots[level]
            if len(roots):
                lookup, width = self._root_laws[level]
                law = torch.arange(len(roots), device=first.device).expand(n, -1)
                state[:, roots] = lookup.draw(law, generator) - law * width + first[roots]
            head = state
            out.append(state - first)
        return out

    def log_evidence(self, evidence: Mapping[int, Tensor]) -> Tensor:
        """Log of the mean of the evidence's product, shape (n,)."""
        pieces = [upward(self._net, part, n).log_partition for part, n in self._chunks(evidence)]
        return torch.cat(pieces) - self.log_acceptance

    def posterior(self, evidence: Mapping[int, Tensor]) -> list[Tensor]:
        """Probability of every state given evidence, shape (n, S_l) per level; 0 throughout where evidence is impossible."""
        out: list[Tensor] = []
        start = 0
        total = len(next(iter(evidence.values())))
        for part, n in self._chunks(evidence):
            beliefs = downward(self._net, upward(self._net, part, n))
            if not out:
                out = [b.new_empty(total, len(b)) for b in beliefs]
            for whole, belief in zip(out, beliefs, strict=True):
                whole[start : start + n] = belief.T
            start += n
        return out

    def _chunks(self, evidence: Mapping[int, Tensor]) -> list[tuple[dict[int, Tensor], int]]:
        """Evidence, a few rows at a time, as (S_l, n)."""
        device = self._net.unary[0].device
        total = len(next(iter(evidence.values())))
        parts = [slice(start, min(total, start + self._step)) for start in range(0, total, self._step)]
        return [({k: v[p].to(device).T.contiguous() for k, v in evidence.items()}, p.stop - p.start) for p in parts]

    def _root_lookup(self, level: int, law: Tensor) -> tuple[Lookup, int]:
        """Laws of the roots of `level`, padded to equal width."""
        widths = [self.cardinalities[level][i] for i in self._net.roots[level].tolist()]
        padded = torch.zeros(len(widths), max(widths, default=1), dtype=torch.float64)
        for k, i in enumerate(self._net.roots[level].tolist()):
            start = int(self._net.first[level][i])
            padded[k, : widths[k]] = law[start : start + widths[k]]
        return Lookup.of(padded), padded.shape[1]

    def _places_of(self, level: int) -> list[tuple[Tensor, Tensor]]:
        """For the j-th constituent: the composites that have one, and which concept it is."""
        lower = self._graph.constituents[level]
        out = []
        for j in range(max(map(len, lower))):
            having = [i for i, tuple_ in enumerate(lower) if len(tuple_) > j]
            out.append((torch.tensor(having), torch.tensor([lower[i][j] for i in having])))
        return out
