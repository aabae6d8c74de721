"""What assumptions speak of, read off an instance's truth; NotApplicable, in a sentence, where the truth does not hold it.

Each reader gives a dict from where something was found (a view, a composite) to arrays.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from generators.assumptions import discrete_law as discrete
from generators.assumptions import real_law as real
from generators.assumptions.enumerated_law import enumerated_pairs
from generators.assumptions.forest_law import ForestLaw, count_law, forest_law, pairs, rates_of, tuple_tables
from generators.assumptions.information import total_correlation
from generators.assumptions.support import support_of
from testbed.contracts import Instance, NotApplicable, Truth

QUANTILE = 0.99
"""Share of rows whose codes are to be unique: k is that quantile of the number of active concepts."""


def truth_of(instance: Instance) -> Truth:
    """The truth, or NotApplicable."""
    if instance.truth is None:
        raise NotApplicable("nobody knows the truth of this instance")
    return instance.truth


def dictionaries(instance: Instance) -> dict[str, Tensor]:
    """Atoms of every view that is written linearly, shape (c, d)."""
    truth = truth_of(instance)
    if not truth.dictionaries:
        raise NotApplicable("the truth holds no dictionary: its views are not written linearly")
    return {view: truth.dictionary(view) for view in truth.dictionaries}


def dictionaries_and_active(instance: Instance) -> dict[str, tuple[Tensor, int]]:
    """The same, with how many concepts are active at once in all but 1 % of rows."""
    atoms = dictionaries(instance)
    return {view: (atoms[view], active(instance, view)) for view in atoms}


def active(instance: Instance, view: str) -> int:
    """k of a view: the 99 % quantile of the number of active concepts, exact for forests; else what the truth tells the oracle."""
    truth = truth_of(instance)
    try:
        law = forest_law(instance)
    except NotApplicable:
        law = None
    if law is None or not law.trees_independent:
        told = truth.facts.get(f"pursuit/{view}")
        if not isinstance(told, dict) or "max_active" not in told:
            raise NotApplicable("the truth does not tell how many concepts are active at once")
        return int(told["max_active"])
    reached = count_law(law, _shown(law, truth, view)).cumsum(0) >= QUANTILE
    return int(reached.long().argmax())


def supports(instance: Instance) -> dict[str, Tensor]:
    """Support of f's Jacobian per view, shape (d, c), bool: as the truth states it, else where its Jacobian is not 0."""
    stated = real.supports(truth_of(instance))
    return stated or {view: support_of(jacobian) for view, jacobian in jacobians(instance).items()}


def jacobians(instance: Instance) -> dict[str, Tensor]:
    """Jacobians of f at several points per view, shape (points, d, c); one point where f is linear."""
    truth = truth_of(instance)
    found = real.jacobians(truth) or {view: truth.dictionary(view).double().T[None] for view in truth.dictionaries}
    if not found:
        raise NotApplicable("the truth holds neither a dictionary nor a map f with a Jacobian: its views are tokens")
    return found


def linear_maps(instance: Instance) -> dict[str, Tensor]:
    """Atoms of every view, shape (c, d); for a nonlinear f its Jacobian at several points, transposed."""
    maps = real.jacobians(truth_of(instance))
    several = {f"{view}, point {i}": point.T for view, points in maps.items() for i, point in enumerate(points)}
    return several or dictionaries(instance)


def rates(instance: Instance) -> dict[str, Tensor]:
    """How often each concept of a view is not 0, shape (c,): 1 for real ones."""
    truth = truth_of(instance)
    found = {}
    for view, levels in truth.dictionaries.items():
        pieces = [
            truth.rates[level].double() if level in truth.rates else torch.ones(truth.levels[level].size).double() for level in levels
        ]
        found[view] = torch.cat(pieces)
    if not found:
        raise NotApplicable("the truth holds no dictionary, whose codes could be sparse")
    return found


def compositions(instance: Instance) -> dict[str, tuple[tuple[int, ...], ...]]:
    """Constituents of every composite, by level."""
    truth = truth_of(instance)
    found = {f"level {level}": tuples for level, tuples in truth.constituents.items() if any(tuples)}
    if not found:
        raise NotApplicable("no concept is composed of others")
    return found


def natural_parameters(instance: Instance) -> Tensor:
    """Natural parameters of the concepts given each value of an auxiliary variable, shape (values, m)."""
    value = truth_of(instance).facts.get("natural_parameters")
    if not isinstance(value, Tensor):
        raise NotApplicable("the instance has no auxiliary variable (facts 'natural_parameters', one row per value)")
    return value


def tuple_laws(instance: Instance) -> dict[str, tuple[Tensor, Tensor]]:
    """Law of every composite's tuple and g on it, one axis per constituent each."""
    if discrete.is_discrete(instance):
        return discrete.tuples(instance)
    law = forest_law(instance)
    found: dict[str, tuple[Tensor, Tensor]] = {}
    for level in range(len(law.forest.sizes) - 1):
        tables, states = tuple_tables(law, level)
        found |= {_name(level, i): (tables[i], states[i]) for i in range(len(tables))}
    if not found:
        raise NotApplicable("no concept is composed of others")
    return found


def context_laws(instance: Instance) -> dict[str, Tensor]:
    """Joint law of every composite that is a constituent itself and its context, its co-constituents; shape (states, contexts).

    The rest of the tree tells two states apart at least as well; equally well where the composite above is a root.
    """
    if discrete.is_discrete(instance):
        return discrete.contexts(instance)
    law = forest_law(instance)
    found: dict[str, Tensor] = {}
    for level in range(len(law.forest.sizes) - 2):
        tables, _ = tuple_tables(law, level)
        for i, constituents in enumerate(law.forest.constituents[level].tolist()):
            for j, concept in enumerate(constituents):
                found.setdefault(_name(level + 1, concept), tables[i].movedim(j, 0).reshape(2, -1))
    if not found:
        raise NotApplicable("no composite has a context: level 0 is told apart only where it is itself a view")
    return found


def tuple_context_laws(instance: Instance) -> dict[str, tuple[Tensor, Tensor]]:
    """Joint law of the tuple of every composite with a context and that context, shape (tuples, contexts), and g, shape (tuples,)."""
    if discrete.is_discrete(instance):
        return discrete.tuple_contexts(instance)
    if forest_law(instance).shared:
        raise NotApplicable("composites share constituents: a tuple and its context depend on each other beyond the composite's state")
    contexts, tuples = context_laws(instance), tuple_laws(instance)
    found = {}
    for name, context in contexts.items():
        table, states = tuples[name]
        given = context / context.sum(dim=1, keepdim=True).clamp_min(torch.finfo(context.dtype).tiny)
        g = states.flatten()
        found[name] = (table.flatten()[:, None] * given[g], g)
    return found


def stochastic_tables(instance: Instance) -> dict[str, tuple[Tensor, int]]:
    """Joint tables of tuple and context, and the number of states, where g is stochastic."""
    if not discrete.is_discrete(instance):
        raise NotApplicable("g is deterministic here")
    states = {
        f"level {level} composite {i}": count
        for level, about in enumerate(truth_of(instance).levels)
        for i, count in enumerate(about.cardinalities)
    }
    return {name: (table, states[name]) for name, (table, _) in discrete.tuple_contexts(instance, stochastic=True).items()}


def tuples_for_voidness(instance: Instance) -> dict[str, Any]:
    """Law of every composite's tuple, whatever its rule; of real concepts, their covariance."""
    if real.is_real(instance):
        return dict(real.tuples(truth_of(instance)))
    if discrete.is_discrete(instance):
        return {name: table for name, (table, _) in discrete.tuples(instance, deterministic=False).items()}
    return {name: table for name, (table, _) in tuple_laws(instance).items()}


def tuples_for_faithfulness(instance: Instance) -> dict[str, Any]:
    """Law of every composite's tuple and g on it; of real concepts, the covariance of composite and tuple."""
    if real.is_real(instance):
        return dict(real.tuples(truth_of(instance), with_composite=True))
    return dict(tuple_laws(instance))


def tuples_for_degeneracy(instance: Instance) -> dict[str, Any]:
    """Law of every composite's tuple and g on it; of real concepts, their standard deviations."""
    truth = truth_of(instance)
    if real.is_real(instance):
        return {f"level {level}": truth.facts[f"deviation/{level}"].cpu() for level in range(len(truth.levels))}
    return dict(tuple_laws(instance))


def joint_rates(instance: Instance) -> dict[str, Tensor]:
    """P(both on) of pairs of concepts that a view shows, per tree, and of the most frequent ones of different trees."""
    law, truth = forest_law(instance), truth_of(instance)
    rates = rates_of(law)
    levels = [level for level in range(len(law.forest.sizes)) if len(law.forest.roots(level))]
    trees = enumerated_pairs(law) if law.shared else [pairs(law, level) for level in levels]
    root = torch.zeros(len(rates), dtype=torch.int64)
    for first, tree in enumerate(tree for nodes, _ in trees for tree in nodes):
        root[tree] = first
    found: dict[str, Tensor] = {}
    for view in truth.dictionaries:
        shown = _shown(law, truth, view)
        mask = torch.zeros(len(rates), dtype=torch.bool)
        mask[shown] = True
        for nodes, both in trees:
            for tree, matrix in zip(nodes, both, strict=True):
                keep = mask[tree]
                if keep.sum() > 1:
                    found[f"{view}, nodes {tree[keep].tolist()[:40]}"] = matrix[keep][:, keep]
        most = shown[rates[shown].argmax()]
        others = shown[root[shown] != root[most]]
        if len(others) and law.trees_independent:
            a, b = rates[others[0]], rates[most]
            found[f"{view}, trees of nodes {[int(others[0]), int(most)]}"] = torch.stack([torch.stack([a, a * b]), torch.stack([a * b, b])])
    if not found:
        raise NotApplicable("no view shows two concepts")
    return found


def dependences(instance: Instance) -> dict[str, float]:
    """Per view a number that is 0 iff the concepts it shows are independent: the largest correlation or total correlation of a tuple."""
    if real.is_real(instance):
        return real.dependences(truth_of(instance))
    law, truth = forest_law(instance), truth_of(instance)
    tuples = tuple_laws(instance) if len(law.forest.sizes) > 1 else {}
    correlated: dict[str, float] = dict.fromkeys(truth.dictionaries, 0.0)
    for where, both in joint_rates(instance).items():
        view = where.partition(",")[0]
        r = both.diagonal()
        spread = (r * (1 - r)).sqrt().clamp_min(torch.finfo(r.dtype).tiny)
        rho = ((both - r[:, None] * r) / spread[:, None] / spread).abs().fill_diagonal_(0)
        correlated[view] = max(correlated[view], float(rho.max()))
    if not law.trees_independent:
        loadings = truth.facts["tree_loadings"]
        together = float((loadings @ loadings.T).abs().fill_diagonal_(0).max())  # 0 iff the copula leaves trees independent
        correlated = {view: max(value, together) for view, value in correlated.items()}
    for view, levels in truth.dictionaries.items():
        for name, (table, _) in tuples.items():
            if int(name.split()[1]) + 1 in levels:
                correlated[view] = max(correlated[view], total_correlation(table / table.sum()))
    return correlated


def _shown(law: ForestLaw, truth: Truth, view: str) -> Tensor:
    """Nodes that a view shows."""
    return torch.cat([torch.arange(law.forest.sizes[level]) + law.forest.start(level) for level in truth.dictionaries[view]])


def _name(level: int, index: int) -> str:
    return f"level {level} composite {index}"
