r"""Selection of level 0: :math:`\phi_S(v_0) = q(v_0) / \prod_i \mu_{0,i}(v_{0,i})` gives V_0 the law q."""

from __future__ import annotations

import math
from dataclasses import replace

import torch
from torch import Tensor

from generators.selection.discrete.chains import ChainLaw
from generators.selection.discrete.elimination import EliminatedLaw
from generators.selection.discrete.enumeration import EnumeratedLaw
from generators.selection.discrete.forest import ForestLaw
from generators.selection.discrete.frontier import Concept, steps
from generators.selection.discrete.law import LARGEST_JOINT, Law, TooLarge, Unreachable
from generators.selection.discrete.messages import tuple_laws
from generators.selection.discrete.model import Model, network
from generators.selection.markov.mixing import Sampler
from testbed.contracts import InvalidInput


def law_of(model: Model, sampler: Sampler = "auto") -> Law:
    """The law of a model: by messages if it is a forest, by enumeration if it is small, else by elimination. All are exact.

    Where even that is too large, by Markov chains (unless `sampler` is ``"exact"``); ``"markov_chain"`` takes them wherever constituents
    are shared.

    Raises
    ------
    InvalidInput
        If no configuration survives, a graph with shared constituents is too large to be exact, or the chains have not mixed.
    """
    if model.graph.is_forest:
        return ForestLaw(model)
    if sampler == "markov_chain":
        return ChainLaw(model)
    try:
        return EnumeratedLaw(model)
    except TooLarge:
        pass
    try:
        return EliminatedLaw(model)
    except TooLarge:
        if sampler == "exact":
            raise
    return ChainLaw(model)


def with_root_law(model: Model, wanted: Tensor) -> Model:
    r"""The same model with :math:`\phi_S` such that the concepts of level 0 are independent with law `wanted`.

    In a forest :math:`\phi_S` factorises over roots, otherwise it is one table. It is scaled to be 1 at most.

    Parameters
    ----------
    model : Model
    wanted : Tensor, shape (S_0,), float64
        q, the laws of the concepts of level 0 one after the other.

    Raises
    ------
    InvalidInput
        If q is no law, or gives weight to a state that no admissible tuples lead to.
    """
    counts = list(model.graph.cardinalities[0])
    laws = torch.split(wanted, counts) if len(wanted) == sum(counts) else ()
    if not laws or not all(bool((q >= 0).all()) and abs(float(q.sum()) - 1) < 1e-6 for q in laws):
        raise InvalidInput(f"root_law must give each concept of level 0 a law over its states ({counts}), not {wanted.tolist()}")
    if model.graph.is_forest:
        reached = tuple_laws(network(model))[0][0]
        _check_reached(wanted, reached)
        ratio = torch.where(wanted > 0, wanted / reached, 0.0)
        scaled = torch.cat([r / r.max() for r in torch.split(ratio, counts)])
        return replace(model, unary=(model.unary[0] * scaled, *model.unary[1:]))
    table = root_weights(model)
    product = torch.ones((), dtype=torch.float64)
    for q in laws:
        product = product[..., None] * q
    _check_reached(product, table)
    ratio = torch.where(product > 0, product / table, 0.0)
    return replace(model, selection=ratio / ratio.max())


def root_weights(model: Model) -> Tensor:
    """Weight of every configuration of level 0 up to a factor, shape (v_1, v_2, ...): in a forest, the product of the roots' messages.

    Raises
    ------
    TooLarge
        If there are too many configurations.
    """
    graph = model.graph
    if math.prod(graph.cardinalities[0]) > LARGEST_JOINT:
        raise TooLarge(
            f"root_law wants a potential of {math.prod(graph.cardinalities[0])} configurations of level 0 where constituents are shared, "
            f"more than {LARGEST_JOINT}: use fewer roots, or root_law 'free'"
        )
    weight = torch.ones(1, dtype=torch.float64)
    columns: dict[Concept, Tensor] = {}
    for step in steps(model, frozenset((0, i) for i in range(graph.sizes[0]))):
        row = weight[step.source] * step.factor
        weight = row.new_zeros(step.count).index_add_(0, step.target, row)
        weight = weight / weight.sum()
        one = torch.zeros(step.count, dtype=torch.int64).scatter_(0, step.target, torch.arange(len(row)))  # roots are open: any row will do
        columns = {c: column[step.source[one]] for c, column in columns.items()}
        columns |= {(level, i): state[one] - graph.first(level)[i] for level, i, state in step.added if level == 0}
    table = torch.zeros(graph.cardinalities[0], dtype=torch.float64)
    table.index_put_(tuple(columns[0, i] for i in range(graph.sizes[0])), weight, accumulate=True)
    return table


def _check_reached(wanted: Tensor, reached: Tensor) -> None:
    if bool(((wanted > 0) & (reached <= 0)).any()):
        raise Unreachable(
            "root_law gives probability to states of level 0 that no admissible tuples lead to (together): acceptance would be 0; raise "
            "synonyms or change root_law"
        )
