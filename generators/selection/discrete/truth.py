"""What is known of a discrete instance."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from generators.selection.discrete.chains import ChainLaw
from generators.selection.discrete.emission import Emission
from generators.selection.discrete.interventions import States, drawn_marginals, moved_marginals, moves
from generators.selection.discrete.law import Law
from generators.selection.discrete.model import Model
from generators.selection.discrete.posteriors import by_concept, posteriors
from testbed.contracts import Level, NotApplicable, Observed, Truth
from testbed.numerics.matching import dense


@dataclass(frozen=True, kw_only=True)
class DiscreteTruth(Truth):
    """Truth of a discrete hierarchy.

    `facts` hold, per level l and padded to the largest number of states v or of tuples P in it:

    - ``marginals/l`` (n_l, v): exact, after selection; NaN where a select-then-do makes them costly, see `moved_marginals`.
    - ``concept_entropies/l`` (n_l,): entropy of each concept by itself, in nats; NaN where its marginals are.
    - ``composition/l`` (n_l, P): the state that g gives every tuple, admissible or not, tuples numbered row-major (the last constituent
      varies fastest); -1 in padding. ``second/l`` (n_l, P) and ``chance/l`` (n_l,): the state it stands for otherwise, and how often.
    - ``potential/l`` (n_l, P): phi. ``fibres/l`` (n_l, v): number of admissible tuples of every state.

    Further ``leaf_law`` (n_L, v); ``root_potential`` (n_0, v), or ``root_potential_joint`` where constituents are shared and a root law is
    requested; ``entropies``: of levels 0 ... l together, in nats, for each l (in graphs that take elimination NaN for all but the last);
    ``acceptance`` and ``log_acceptance``; ``emission`` and ``embedding``; ``forced``: what a select-then-do has set.

    Where Markov chains sample, marginals are Monte Carlo estimates, with standard errors ``marginal_errors/l`` (n_l, v); ``sampler`` tells
    how the chains mixed, and has the standard error of ``log_acceptance``; entropies are NaN.
    """

    law: Law
    emission: Emission

    def oracle(self, observed: Observed, view: str) -> Tensor:
        """The most probable state of every concept by itself given the row, shape (n, n_0 + ... + n_L), int64, level 0 first.

        Raises
        ------
        NotApplicable
            After select-then-do, where the row no longer follows from the law before it, and where Markov chains sample.
        """
        if isinstance(self.law, ChainLaw):
            raise NotApplicable("a graph that Markov chains sample has no exact posterior: use fewer shared constituents or states")
        if self.facts["forced"]:
            raise NotApplicable("rows of a select-then-do have no exact posterior: condition, or do-then-select")
        values = dense(observed.views[view].values)
        device = str(values.device)
        found = posteriors(self.law.to(device), self.emission.to(device), values)
        return torch.cat([p.argmax(dim=2) for p in found], dim=1)


def truth_of(model: Model, law: Law, emission: Emission, forced: States) -> DiscreteTruth:
    """Assemble what is known of an instance."""
    graph = model.graph
    counts = graph.cardinalities
    facts: dict[str, object] = {}
    if isinstance(law, ChainLaw):
        facts["sampler"] = law.facts()
        facts |= {f"marginal_errors/{level}": by_concept(error, counts[level]) for level, error in enumerate(law.marginal_errors())}
        moved = drawn_marginals(model, law.rows(), forced) if forced else {}
    else:
        moved = moved_marginals(model, law, forced) if forced else {}
    for level, marginal in enumerate(law.marginals()):
        table = by_concept(marginal, counts[level])
        for i in [i for (at, i) in moves(graph, forced) if at == level]:
            table[i] = 0.0
            table[i, : counts[level][i]] = moved.get((level, i), math.nan)
        facts[f"marginals/{level}"] = table
        facts[f"concept_entropies/{level}"] = -torch.xlogy(table, table).sum(dim=1)
    for level, rules in enumerate(model.rules):
        facts[f"composition/{level}"] = pad_sequence([r.states for r in rules], batch_first=True, padding_value=-1)
        facts[f"second/{level}"] = pad_sequence([r.second for r in rules], batch_first=True, padding_value=-1)
        facts[f"potential/{level}"] = pad_sequence([r.potential for r in rules], batch_first=True)
        facts[f"chance/{level}"] = torch.tensor([r.chance for r in rules], dtype=torch.float64)
        fibres = [rule.fibres(count) for rule, count in zip(rules, counts[level], strict=True)]
        facts[f"fibres/{level}"] = pad_sequence(fibres, batch_first=True)
    facts["leaf_law"] = by_concept(model.unary[-1], counts[-1])
    if graph.last and model.selection is None:
        facts["root_potential"] = by_concept(model.unary[0], counts[0])
    elif model.selection is not None:
        facts["root_potential_joint"] = model.selection
    facts["entropies"] = law.entropies()
    facts["log_acceptance"] = law.log_acceptance
    facts["acceptance"] = math.exp(law.log_acceptance)
    facts["emission"] = {"observe": emission.observe, "noise": emission.noise, "spread": emission.spread}
    facts["embedding"] = emission.embedding
    facts["forced"] = [[level, i, state] for (level, i), state in forced.items()]
    settings: dict[str, float] = {"concepts": sum(graph.sizes), "positions": graph.sizes[-1], "depth": graph.last}
    settings |= {f"states_level_{level}": max(c) for level, c in enumerate(counts)}
    return DiscreteTruth(
        levels=tuple(Level("states", len(c), c) for c in counts),
        constituents=dict(enumerate(graph.constituents)) | {graph.last: ((),) * graph.sizes[-1]},
        settings=settings,
        facts=facts,
        law=law,
        emission=emission,
    )
