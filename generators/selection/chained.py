r"""On/off concepts of a component with shared constituents that is too large to enumerate: Markov chains in the place of its table.

Everything but samples is a Monte Carlo estimate there: rates are shares of the chains' draws, with a stated standard error, and tilts for
requested rates come from stochastic approximation, :math:`\theta_{t+1} = \theta_t - a_t H^{-1} (\hat r_t - r)` with :math:`\hat r_t` the
rates of chains that move along, averaged over t [1]_.

References
----------
.. [1] Polyak & Juditsky (1992), Acceleration of stochastic approximation by averaging, SIAM Journal on Control and Optimization 30,
   838-855.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from generators.selection.forest import Forest
from generators.selection.markov.factors import Factor, Factors
from generators.selection.markov.mixing import Chains, Report, run
from generators.selection.markov.sweeps import Rows, draw_base, sweep
from generators.selection.messages import Evidence
from generators.selection.randomness import Floats, Ints
from generators.selection.rules import Compositions, each
from testbed.contracts import InvalidInput, seed_of

WIDEST = 12
"""Most constituents of a composite."""
ROWS, NEWTON, AVERAGED = 512, 24, 120
"""Chains, steps of Newton's method on noisy moments, and steps that are averaged after them; each is one sweep of all chains."""
LARGEST_TILT = 25.0
"""Tilts beyond this are on their way to infinity."""
MARGIN, ERRORS = 0.01, 4.5
"""A requested rate holds if the realised one is within that many standard errors and this share of the rate's standard deviation."""


@dataclass(frozen=True)
class Sampled:
    """A component whose law is known by chains.

    Attributes
    ----------
    nodes : Tensor, shape (m,)
        Ascending.
    states : Tensor, shape (c, m), bool
        Draws of the chains, which stand for the law with equal weights.
    held : Tensor, shape (c, m), bool
        See `Table`.
    place : ndarray, shape (m,)
        Column of each node in the chains' rows.
    chains : Chains
    """

    nodes: Tensor
    states: Tensor
    held: Tensor
    place: Ints
    chains: Chains

    @property
    def report(self) -> Report:
        return self.chains.report

    def law(self, tilts: Tensor) -> Tensor:
        """Weight of each draw, shape (c,); the chains know the tilts already."""
        return torch.full((len(self.states),), 1 / len(self.states), dtype=torch.float64)

    def errors(self) -> Tensor:
        """Standard error of each node's rate, shape (m,)."""
        rate = self.states.double().mean(dim=0)
        return (rate * (1 - rate) / self.chains.sizes[self.place, 1]).sqrt()

    def facts(self) -> dict[str, Any]:
        """How the chains mixed, as JSON."""
        return {**self.report.facts(), "nodes": self.nodes.tolist()}

    def draw(self, n: int, seed: int) -> tuple[Ints, Ints]:
        """Row and node of every concept that is on in n rows."""
        row, column = self.chains.draw(n, seed)[:, self.place].nonzero()
        return row, self.nodes.numpy()[column]


def sampled(forest: Forest, composition: Compositions, nodes: Tensor, evidence: Evidence, tilts: Tensor) -> Sampled:
    """Run chains over the component that has these nodes.

    Raises
    ------
    NotMixed
        If they have not mixed.
    Nothing
        If the evidence is impossible.
    """
    factors, place = factors_of(forest, composition, nodes, evidence, tilts)
    chains = run(factors, f"the component of node {int(nodes[0])} ({int((nodes >= forest.start(len(forest.sizes) - 1)).sum())} leaves)")
    states = torch.from_numpy(chains.pool[:, place] == 1)
    return Sampled(nodes, states, held(forest, composition, nodes, states), place, chains)


def held(forest: Forest, composition: Compositions, nodes: Tensor, states: Tensor) -> Tensor:
    """Whether each composite's rule holds, and each leaf's state, of states of shape (c, m)."""
    out, place = states.clone(), {int(node): i for i, node in enumerate(nodes)}
    for level, node, below in _composites(forest, nodes):
        rule = each(composition, level, forest.sizes[level])[node - forest.start(level)]
        out[:, place[node]] = rule.holds()[states[:, [place[j] for j in below]].sum(dim=1)]
    return out


def factors_of(forest: Forest, composition: Compositions, nodes: Tensor, evidence: Evidence, tilts: Tensor) -> tuple[Factors, Ints]:
    """A component as factors, and the column of each of its nodes in their rows, shape (m,)."""
    leaves = nodes[nodes >= forest.start(len(forest.sizes) - 1)].tolist()
    column = {node: i for i, node in enumerate(leaves)}
    laws, log_weights, states = _weights(forest, composition, nodes, evidence, tilts)
    factors = []
    for (_, node, below), log_weight, state in zip(_composites(forest, nodes), log_weights, states, strict=True):
        factors.append(Factor(tuple(column[j] for j in below), state, log_weight))
        column[node] = len(column)
    return Factors.of(laws, [2] * len(factors), factors), np.array([column[int(node)] for node in nodes])


def _weights(
    forest: Forest, composition: Compositions, nodes: Tensor, evidence: Evidence, tilts: Tensor
) -> tuple[list[Floats], list[Floats], list[Ints]]:
    """Base laws of the leaves, and every composite's log weights and states, by its tuples in row-major order."""
    leaves = nodes[nodes >= forest.start(len(forest.sizes) - 1)].tolist()
    laws = [_leaf_law(float(tilts[leaf]), int(evidence.cut[leaf]), int(evidence.clamp[leaf])) for leaf in leaves]
    log_weights, every = [], []
    for level, node, _ in _composites(forest, nodes):
        rule = each(composition, level, forest.sizes[level])[node - forest.start(level)]
        if rule.size > WIDEST:
            raise InvalidInput(f"a composite of {rule.size} constituents is too wide for chains over its component: lower branching")
        count = np.array([k.bit_count() for k in range(2**rule.size)])
        holds = rule.holds().numpy()
        log_weight = (rule.potential().log() + float(tilts[node]) * rule.holds()).numpy()[count]
        forced, wanted = int(evidence.cut[node]), int(evidence.clamp[node])
        states = holds[count].astype(np.int64) if forced < 0 else np.full(len(count), forced)
        log_weights.append(log_weight if wanted < 0 else np.where(states == wanted, log_weight, -np.inf))
        every.append(states)
    return laws, log_weights, every


def _composites(forest: Forest, nodes: Tensor) -> list[tuple[int, int, list[int]]]:
    """Level, node and constituents' nodes of every composite of a component, from concrete to abstract."""
    inside = set(nodes.tolist())
    found = []
    for level in reversed(range(len(forest.sizes) - 1)):
        lower = (forest.constituents[level] + forest.start(level + 1)).tolist()
        found += [(level, node, below) for node, below in enumerate(lower, forest.start(level)) if node in inside]
    return found


def _leaf_law(tilt: float, forced: int, wanted: int) -> Floats:
    """Weights of off and on: a forced leaf has no base law."""
    law = np.array([1.0, np.exp(tilt)]) if forced < 0 else np.eye(2)[forced]
    return law if wanted < 0 else law * np.eye(2)[wanted]


def approximate_tilts(forest: Forest, composition: Compositions, nodes: Tensor, requested: Tensor) -> Tensor:
    """Tilts under which the requested marginals of a component hold up to Monte Carlo error, shape (m,).

    Parameters
    ----------
    forest : Forest
    composition : Composition, or one per composite
    nodes : Tensor, shape (m,)
    requested : Tensor, shape (N,), float64
        NaN where no rate is requested.

    Raises
    ------
    InvalidInput
        If the realised rates are off by more than `ERRORS` standard errors and `MARGIN`.
    NotMixed
        If the chains do not mix under the tilts found.
    """
    asked = ~requested[nodes].isnan()
    wanted = requested[nodes][asked]
    none, tilts = Evidence.none(len(requested)), torch.zeros_like(requested)
    leaf = nodes[asked] >= forest.start(len(forest.sizes) - 1)
    theta = torch.where(leaf, wanted.logit(), 0.0)
    spread = (wanted * (1 - wanted)).sqrt()
    total, inverse = torch.zeros_like(theta), torch.diag(spread**-2)
    covariance = torch.diag(spread**2)
    factors, place = factors_of(forest, composition, nodes, none, tilts)
    rows: Rows | None = None
    for step in range(NEWTON + AVERAGED):
        tilts[nodes[asked]] = theta
        factors = factors.weighed(*_weights(forest, composition, nodes, none, tilts)[:2])
        seed = seed_of("tilting", step, int(nodes[0]))
        rows = draw_base(factors, ROWS, seed) if rows is None else rows
        sweep(factors, rows, factors.log_weight, 16 if not step else 1, seed)
        states = held(forest, composition, nodes, torch.from_numpy(rows[:, place] == 1))[:, asked].double()
        gap = states.mean(dim=0) - wanted
        if step < NEWTON:
            centred = states - states.mean(dim=0)
            covariance = covariance / 2 + centred.T @ centred / len(states) / 2
            # A ridge, since rare states are hardly seen in so few rows and potentials can force states to be equal.
            inverse = torch.linalg.inv(covariance + torch.diag(0.05 * spread**2))
            theta = theta - (inverse @ gap).clamp(-1, 1)
        else:
            theta = theta - (inverse @ gap) * (step - NEWTON + 2) ** -0.6
            total += theta / AVERAGED
        if not bool((theta.abs() < LARGEST_TILT).all()):
            worst = int((gap / spread).abs().argmax())
            raise InvalidInput(_sentence(forest, nodes, int(nodes[asked][worst]), float(wanted[worst] + gap[worst]), float(wanted[worst])))
    tilts[nodes[asked]] = total
    found = sampled(forest, composition, nodes, none, tilts)
    gap = found.held[:, asked].double().mean(dim=0) - wanted
    off = gap.abs()
    allowed = ERRORS * found.errors()[asked] + MARGIN * spread
    if bool((off > allowed).any()):
        worst = int((off / allowed).argmax())
        raise InvalidInput(_sentence(forest, nodes, int(nodes[asked][worst]), float(wanted[worst] + gap[worst]), float(wanted[worst])))
    return tilts[nodes]


def _sentence(forest: Forest, nodes: Tensor, node: int, rate: float, wanted: float) -> str:
    level = max(level for level in range(len(forest.sizes)) if forest.start(level) <= node)
    return (
        f"the rates requested of the component of node {int(nodes[0])}, which is too large to enumerate, cannot be had under its rules, or "
        "not by stochastic approximation (rare rows in which much is on together are hard for it): concept "
        f"{node - forest.start(level)} of level {level} fires at {rate:.4g}, not {wanted:.4g}: change rate or composite_rate, raise "
        "lone_firing, or lower all_on or shared"
    )
