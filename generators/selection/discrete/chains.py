"""The law of a graph with shared constituents that is too large to be exact, by Markov chains that have mixed."""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from typing import Any, NoReturn, Self

import numpy as np
import torch
from torch import Tensor

from generators.selection.discrete.law import TooLarge, Unreachable
from generators.selection.discrete.model import Model
from generators.selection.markov.annealing import Nothing
from generators.selection.markov.factors import Factor, Factors
from generators.selection.markov.mixing import run
from generators.selection.randomness import Floats


class ChainLaw:
    """The law of a model by chains; see `Law`. Marginals are shares of the chains' draws, acceptance comes from annealing.

    Entropies are NaN. Posteriors, likelihoods and joint tables need an exact law and are refused.

    Raises
    ------
    InvalidInput
        If the chains have not mixed (NotMixed), or nothing that survives selection was found (Unreachable).
    """

    def __init__(self, model: Model) -> None:
        self.cardinalities = model.graph.cardinalities
        factors, self._columns = factors_of(model)
        try:
            self._chains = run(factors, f"this graph of {sum(model.graph.sizes)} concepts with shared constituents")
        except Nothing as error:
            raise Unreachable(str(error)) from None
        self.log_acceptance = self._chains.report.log_partition
        self._device = "cpu"

    def to(self, device: str) -> Self:
        """The same law, giving its rows on a device; chains run on the CPU."""
        other = copy.copy(self)
        other._device = device
        return other

    def rows(self) -> list[Tensor]:
        """The chains' draws, which stand for the law with equal weights: shape (draws, n_l), int64, per level."""
        return self._by_level(self._chains.pool)

    def marginals(self) -> list[Tensor]:
        """Probability of every state, shape (S_l,) per level; 0 for states that no draw has."""
        return self._by_state(lambda level, i, column: column.bincount(minlength=self.cardinalities[level][i]) / len(column))

    def marginal_errors(self) -> list[Tensor]:
        """Standard error of every marginal, shape (S_l,) per level."""
        out = []
        for level, (p, columns) in enumerate(zip(self.marginals(), self._columns, strict=True)):
            sizes = torch.cat([self._chains.sizes[c, :k] for c, k in zip(columns, self.cardinalities[level], strict=True)])
            out.append((p * (1 - p) / sizes.to(p.device)).sqrt())
        return out

    def entropies(self) -> list[float]:
        """NaN for every level: not known."""
        return [math.nan] * len(self.cardinalities)

    def draw(self, n: int, generator: torch.Generator) -> list[Tensor]:
        """States of n rows, shape (n, n_l), int64, per level: each row a chain of its own."""
        seed = int(torch.randint(2**62, (1,), generator=generator, device=generator.device))
        return self._by_level(self._chains.draw(n, seed))

    def log_evidence(self, evidence: Mapping[int, Tensor]) -> NoReturn:
        """Refused: TooLarge."""
        self._refuse()

    def posterior(self, evidence: Mapping[int, Tensor]) -> NoReturn:
        """Refused: TooLarge."""
        self._refuse()

    def facts(self) -> dict[str, Any]:
        """How the chains mixed, as JSON."""
        return {**self._chains.report.facts(), "log_acceptance_error": self._chains.report.log_partition_error}

    def _refuse(self) -> NoReturn:
        raise TooLarge(
            "posteriors, likelihoods and joint tables are not known of a graph that is sampled by Markov chains: use fewer shared "
            "constituents or states, or a forest, which is exact at any size"
        )

    def _by_level(self, rows: np.ndarray[tuple[int, int], np.dtype[np.int32]]) -> list[Tensor]:
        return [torch.from_numpy(rows[:, columns].astype(np.int64)).to(self._device) for columns in self._columns]

    def _by_state(self, count: Any) -> list[Tensor]:
        found = []
        for level, states in enumerate(self.rows()):
            found.append(torch.cat([count(level, i, column).double() for i, column in enumerate(states.T)]))
        return found


def factors_of(model: Model) -> tuple[Factors, list[list[int]]]:
    """A model as factors: leaves and the noises of stochastic rules are variables; and the column of every concept, per level."""
    graph = model.graph
    laws = [_part(model, graph.last, j) for j in range(graph.sizes[-1])]
    column = {(graph.last, j): j for j in range(graph.sizes[-1])}
    order = [(level, i) for level in reversed(range(graph.last)) for i in range(graph.sizes[level])]
    noise = {}
    for level, i in order:
        chance = model.rules[level][i].chance
        if chance:
            noise[level, i] = len(laws)
            laws.append(np.array([1 - chance, chance]))
    column |= {concept: len(laws) + f for f, concept in enumerate(order)}
    factors, cardinalities = [], []
    for level, i in order:
        rule = model.rules[level][i]
        members = [column[level + 1, j] for j in graph.constituents[level][i]]
        states = [rule.states.numpy()]
        if (level, i) in noise:
            members.append(noise[level, i])
            states.append(rule.second.numpy())
        potential = rule.potential.numpy()[:, None].repeat(len(states), axis=1)
        state = np.stack(states, axis=1)  # the noise varies fastest
        with np.errstate(divide="ignore"):
            log_weight = np.log(potential * _part(model, level, i)[state])
        factors.append(Factor(tuple(members), state.ravel(), log_weight.ravel()))
        cardinalities.append(graph.cardinalities[level][i])
    if model.selection is not None:
        with np.errstate(divide="ignore"):
            joint = np.log(model.selection.numpy().ravel())
        factors.append(Factor(tuple(column[0, i] for i in range(graph.sizes[0])), np.zeros(len(joint), np.int64), joint))
        cardinalities.append(1)
    return Factors.of(laws, cardinalities, factors), [[column[level, i] for i in range(n)] for level, n in enumerate(graph.sizes)]


def _part(model: Model, level: int, i: int) -> Floats:
    """Factors of a concept's states, shape (states,)."""
    first = model.graph.first(level)[i]
    found: Floats = model.unary[level][first : first + model.graph.cardinalities[level][i]].numpy()
    return found
