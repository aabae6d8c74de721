"""The discrete family: states composed by random tables from tuples of states, selected together, observed as tokens."""

from __future__ import annotations

import math
from itertools import count
from typing import Literal

import numpy as np
import torch
from torch import Tensor

from generators.selection.discrete.chains import ChainLaw
from generators.selection.discrete.emission import draw_emission
from generators.selection.discrete.gap import least_gap, least_probability
from generators.selection.discrete.graph import Graph, draw_constituents, per_level
from generators.selection.discrete.instance import DiscreteInstance
from generators.selection.discrete.law import Law, Unreachable
from generators.selection.discrete.model import Model
from generators.selection.discrete.parity import draw_parity_rule
from generators.selection.discrete.selection import law_of, with_root_law
from generators.selection.discrete.tables import Rule, draw_rule, twinned
from generators.selection.markov.mixing import SAMPLERS, Sampler
from testbed.contracts import Generator, InvalidInput, seed_of

LEAST_MASS = 1e-6
"""Smallest probability of a leaf's state."""
DRAWS = 20
"""Sets of tables that are tried in a graph with shared constituents until every state is reachable."""

GATE = 500
"""Sets of tables that are tried until states are far enough apart; ten times as many where they also must not be rare."""
ROUNDING = 1e-12
"""Of a gap."""


class DiscreteHierarchy(Generator):
    r"""A hierarchy of discrete concepts under selection.

    Before selection leaves are independent. Each composite's table g gives every tuple of its constituents' states a state; the potential
    phi leaves every state a few admissible tuples, its synonyms. Sampling is exact: by messages in forests, by enumeration or elimination
    in graphs with shared constituents (where more than 2**20 configurations would be open at a time, Markov chains take over). A joint
    potential of several concepts is a composite above them with one state.

    Parameters
    ----------
    depth : int
        L: levels are 0, the most abstract, to L, the leaves.
    states : int, list of int, or list of list of int
        Number of states of each concept: the same everywhere, one per level 0 ... L, or a list per level, repeated over its
        concepts.
    branching : int, list of int, or list of list of int
        Constituents of each composite: likewise, for levels 0 ... L - 1.
    roots : int
        Concepts of level 0.
    concepts : list of int, or None
        Concepts of every level, `roots` being ignored: fewer than tuples have places are shared, more are free. None: as many as needed.
    constituents : list of list of list of int, or None
        The whole graph: per level 0 ... L - 1 and composite, concepts of the next level. None draws it.
    shuffle : bool
        Whether tuples are scattered over the next level or are neighbours in it.
    synonyms : int, list of int, or list of list of int
        m, admissible tuples per state: the same everywhere, one per level 0 ... L - 1, or per level a list that is repeated over the
        *states* of each composite (unequal fibres).
    rules : {"random", "parity"} or list of str
        What tables are: random ones, or ``"parity"``, where a tuple's state and potential depend on a sum of its constituents' states
        alone, so that all but one of them are independent of each other (see `generators.selection.discrete.parity`; `synonyms` then
        counts residues). The same everywhere, or one per level 0 ... L - 1.
    shared_rules : bool
        Whether all composites of a level have the same table.
    preference : float
        How unequal synonyms are: phi(t) = u ** preference with u uniform; 0 makes them equal.
    ambiguity : float
        Probability with which an admissible tuple stands for a second state (stochastic rules); at most 1/2.
    leaf_concentration : float or None
        Each leaf's base law is drawn from a symmetric Dirichlet law with this parameter; None makes it uniform.
    root_law : {"free", "uniform"} or list of list of float
        Law of level 0 after selection: as it follows (phi_S = 1), uniform, or given for each of its concepts, which are independent.
    noise : float
        Probability that a token is another than its leaf's state.
    observe : {"tokens", "one_hot", "embedded"}
        The one view, named alike: int64 token numbers (n, positions), one-hot rows, or a random unit vector per token plus noise.
    dimension, spread : int, float
        Of embedded tokens: dimension of each, and standard deviation of the noise on each coordinate.
    label : bool
        Whether the row table shows the states of level 0.
    minimum_gap : float
        Tables are drawn anew, up to 500 times, until the context laws of any two states of a composite differ by this much in total
        variation, see `generators.selection.discrete.gap`; 0 takes them as they come, twins and all.
    minimum_probability : float
        Likewise until every state of these composites (levels 1 to L - 1) is at least so probable; up to 5,000 times.
    twins : int
        Composites of levels 1 to L - 1, drawn at random, whose last two states are exact twins: their slices of the table above are
        alike, so that no data tell them apart. `minimum_gap` speaks of the others.
    sampler : {"auto", "exact", "markov_chain"}
        With shared constituents. ``"auto"``: Markov chains where exact ways take too long; they are refused unless they have mixed, and
        posteriors and likelihoods are not known then. ``"exact"`` refuses such graphs outright; ``"markov_chain"`` samples all so.
    """

    def __init__(
        self,
        depth: int = 2,
        states: int | list[int] | list[list[int]] = 4,
        branching: int | list[int] | list[list[int]] = 2,
        roots: int = 1,
        concepts: list[int] | None = None,
        constituents: list[list[list[int]]] | None = None,
        shuffle: bool = False,
        synonyms: int | list[int] | list[list[int]] = 2,
        rules: str | list[str] = "random",
        shared_rules: bool = False,
        preference: float = 0.0,
        ambiguity: float = 0.0,
        leaf_concentration: float | None = None,
        root_law: Literal["free", "uniform"] | list[list[float]] = "free",
        noise: float = 0.0,
        observe: Literal["tokens", "one_hot", "embedded"] = "tokens",
        dimension: int = 8,
        spread: float = 0.1,
        label: bool = False,
        minimum_gap: float = 0.0,
        minimum_probability: float = 0.0,
        twins: int = 0,
        sampler: Sampler = "auto",
    ) -> None:
        self.depth = depth
        self.states = states
        self.branching = branching
        self.roots = roots
        self.concepts = concepts
        self.constituents = constituents
        self.shuffle = shuffle
        self.synonyms = synonyms
        self.rules = rules
        self.shared_rules = shared_rules
        self.preference = preference
        self.ambiguity = ambiguity
        self.leaf_concentration = leaf_concentration
        self.root_law = root_law
        self.noise = noise
        self.observe = observe
        self.dimension = dimension
        self.spread = spread
        self.label = label
        self.minimum_gap = minimum_gap
        self.minimum_probability = minimum_probability
        self.twins = twins
        self.sampler = sampler

    @classmethod
    def small(cls) -> DiscreteHierarchy:
        return cls(synonyms=[[1, 3], [2, 4]], leaf_concentration=2.0, noise=0.05, label=True)

    def draw(self, seed: int) -> DiscreteInstance:
        """Draw graph, tables and laws.

        Raises
        ------
        InvalidInput
            If the graph, a table or a law cannot exist, a state is unreachable, nothing survives selection, the Markov chains of a graph
            that is too large to be exact have not mixed, or no set of tables that is tried has the gap that is wanted.
        """
        self._check()
        graph = self._graph(seed)
        pairs = self._twins(graph, seed)
        emission = draw_emission(graph.cardinalities[-1], self.observe, self.noise, self.dimension, self.spread, seed)
        unary = [torch.ones(graph.states(level), dtype=torch.float64) for level in range(graph.last)]
        unary.append(leaf_laws(graph.cardinalities[-1], self.leaf_concentration, seed))
        widest, tries = -1.0, GATE * (10 if self.minimum_probability else 1)
        for attempt in count():
            model = Model(graph, self._rules(graph, seed, attempt, pairs), tuple(unary))
            try:
                if self.root_law != "free":
                    model = with_root_law(model, self._root_law(graph))
                law = law_of(model, self.sampler)
                if not isinstance(law, ChainLaw):  # whose draws may miss states that are only rare
                    _check_reachable(graph, law)
                gap = self._gap(graph, law, pairs)
                if gap >= self.minimum_gap - ROUNDING:
                    break
                widest = max(widest, gap)
                if attempt + 1 == tries:
                    raise self._refused(tries, widest)
            except Unreachable:
                if attempt + 1 >= (tries if pairs else 1 if graph.is_forest else DRAWS):
                    raise
        return DiscreteInstance(model, emission, self.label, known=law, sampler=self.sampler)

    def _gap(self, graph: Graph, law: Law, pairs: list[tuple[int, int]]) -> float:
        """The gap that is gated: -1 where states are too rare anyway, infinite where nothing is."""
        if self.minimum_probability and least_probability(graph, law) < self.minimum_probability:
            return -1.0
        return least_gap(graph, law, pairs) if self.minimum_gap else math.inf

    def _refused(self, tried: int, widest: float) -> InvalidInput:
        rare = f", or states rarer than minimum_probability {self.minimum_probability:g}" if self.minimum_probability else ""
        return InvalidInput(
            f"{tried} sets of tables have a gap of at most {max(widest, 0):.3g} between the context laws of two states of a concept, "
            f"less than minimum_gap {self.minimum_gap:g}{rare}: lower it, synonyms or states, raise branching, or change the seed"
        )

    def _check(self) -> None:
        if not 0 <= self.minimum_gap < 1:
            raise InvalidInput(
                f"minimum_gap, a total variation, must lie in [0, 1), not {self.minimum_gap}: 0 takes instances as they come"
            )
        if not 0 <= self.minimum_probability < 1:
            raise InvalidInput(f"minimum_probability must lie in [0, 1), not {self.minimum_probability}: 0 takes instances as they come")
        if self.sampler not in SAMPLERS:
            raise InvalidInput(f"sampler must be one of {', '.join(map(repr, SAMPLERS))}, not {self.sampler!r}")
        if self.depth < 1:
            raise InvalidInput(f"depth must be at least 1, not {self.depth}: level 0 is composed of something")
        if not (0 <= self.preference < float("inf") and 0 <= self.ambiguity <= 0.5):
            raise InvalidInput(f"preference must be at least 0 and ambiguity lie in [0, 1/2], not {self.preference} and {self.ambiguity}")
        if self.root_law not in ("free", "uniform") and isinstance(self.root_law, str):
            raise InvalidInput(f"root_law must be 'free', 'uniform' or a law for each concept of level 0, not {self.root_law!r}")

    def _graph(self, seed: int) -> Graph:
        if self.constituents is not None:
            composed = tuple(tuple(tuple(lower) for lower in level) for level in self.constituents)
            if len(composed) != self.depth:
                raise InvalidInput(f"constituents has {len(composed)} levels of composites, but depth is {self.depth}: make them equal")
            leaves = 1 + max((j for lower in composed[-1] for j in lower), default=-1)
        else:
            composed = draw_constituents(self.roots, per_level(self.branching, self.depth, "branching"), self.concepts, self.shuffle, seed)
            leaves = self.concepts[-1] if self.concepts else 1 + max(j for lower in composed[-1] for j in lower)
        sizes = [*map(len, composed), leaves]
        counts = per_level(self.states, self.depth + 1, "states")
        return Graph(tuple(tuple(c[i % len(c)] for i in range(n)) for c, n in zip(counts, sizes, strict=True)), composed)

    def _twins(self, graph: Graph, seed: int) -> list[tuple[int, int]]:
        """Composites (level, number) whose last two states are twins."""
        places = [(level, i) for level in range(1, graph.last) for i in range(graph.sizes[level]) if graph.cardinalities[level][i] > 2]
        if not 0 <= self.twins <= len(places):
            raise InvalidInput(f"twins must lie between 0 and {len(places)}, the composites of levels 1 to L - 1, not {self.twins}")
        order = np.random.default_rng(seed_of("twins", seed)).permutation(len(places))
        return sorted(places[k] for k in order[: self.twins])

    def _rules(self, graph: Graph, seed: int, attempt: int, pairs: list[tuple[int, int]]) -> tuple[tuple[Rule, ...], ...]:
        synonyms = per_level(self.synonyms, graph.last, "synonyms")
        kinds_of_rule = [self.rules] * graph.last if isinstance(self.rules, str) else list(self.rules)
        if len(kinds_of_rule) != graph.last or not set(kinds_of_rule) <= {"random", "parity"}:
            raise InvalidInput(f"rules must be 'random', 'parity' or a list of {graph.last} of them, one per level, not {self.rules!r}")
        inner = seed if not attempt else seed_of("attempt", seed, attempt)
        out = []
        for level in range(graph.last):
            kinds = {(graph.shape(level, i), k) for i, k in enumerate(graph.cardinalities[level])}
            if self.shared_rules and len(kinds) > 1:
                raise InvalidInput(
                    f"shared_rules wants composites of level {level} alike, but they have constituents and states {sorted(kinds)}: "
                    "make branching and states equal within levels, or set shared_rules to false"
                )
            draw = draw_rule if kinds_of_rule[level] == "random" else draw_parity_rule
            rules: list[Rule] = []
            for i in range(graph.sizes[level]):
                if self.shared_rules and rules:
                    rules.append(rules[0])
                    continue
                shape, states = graph.shape(level, i), graph.cardinalities[level][i]
                rule = draw(shape, states, synonyms[level], self.preference, self.ambiguity, inner, (level, i))
                for k, j in enumerate(graph.constituents[level][i]):
                    if (level + 1, j) in pairs:
                        rule = twinned(rule, shape, k)
                rules.append(rule)
            out.append(tuple(rules))
        return tuple(out)

    def _root_law(self, graph: Graph) -> Tensor:
        if isinstance(self.root_law, str):
            return torch.cat([torch.full((k,), 1 / k, dtype=torch.float64) for k in graph.cardinalities[0]])
        return torch.tensor([p for law in self.root_law for p in law], dtype=torch.float64)


def leaf_laws(cardinalities: tuple[int, ...], concentration: float | None, seed: int) -> Tensor:
    """Base laws of the leaves, one after the other, shape (sum of cardinalities,), float64.

    Raises
    ------
    InvalidInput
        If the concentration is not above 0.
    """
    if concentration is None:
        return torch.cat([torch.full((k,), 1 / k, dtype=torch.float64) for k in cardinalities])
    if not 0 < concentration < float("inf"):
        raise InvalidInput(f"leaf_concentration must be above 0 and finite, or None for uniform laws, not {concentration}")
    generator = np.random.default_rng(seed_of("leaves", seed))
    laws = []
    for k in cardinalities:
        law = torch.from_numpy(generator.dirichlet(np.full(k, concentration))).clamp_min(LEAST_MASS)
        laws.append(law / law.sum())
    return torch.cat(laws)


def _check_reachable(graph: Graph, law: Law) -> None:
    for level, marginal in enumerate(law.marginals()):
        never = (marginal <= 0).nonzero()
        if len(never):
            state = int(never[0])
            first = graph.first(level)
            i = max(i for i, start in enumerate(first) if start <= state)
            raise Unreachable(
                f"state {state - first[i]} of concept {i} of level {level} is unreachable: no configuration that survives selection has "
                "it; raise synonyms, lower states or change root_law"
            )
