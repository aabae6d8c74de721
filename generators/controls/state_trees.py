"""Top-down trees of states beside a discrete hierarchy: a composite is drawn first, and then emits the tuple of its constituents."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import replace
from typing import Any, ClassVar, Self

import torch
from torch import Tensor

from generators.controls.instances import intervention
from generators.controls.settings import done_first
from generators.selection.discrete import interventions, posteriors
from generators.selection.discrete.forest import ForestLaw
from generators.selection.discrete.instance import DiscreteInstance
from generators.selection.discrete.interventions import States
from generators.selection.discrete.messages import tuple_laws
from generators.selection.discrete.model import Network
from generators.selection.discrete.posteriors import by_concept
from generators.selection.discrete.truth import DiscreteTruth
from testbed.contracts import BLOCK, BlockInstance, InvalidInput, Observed, Sample, Setting, seed_of


def emitting(net: Network) -> Network:
    r"""The same law as P(root) and P(tuple | composite), whatever factors it had: the weights of each state's tuples sum to 1.

    .. math:: P(t \mid v) \propto \phi(t) \prod_j \mu_{l+1,j}(t_j) \quad \text{on } g(t) = v.
    """
    above, tuples = tuple_laws(net)
    unary = []
    for level, law in enumerate(above):
        at_root = torch.isin(net.concept[level], net.roots[level])
        unary.append(torch.where(at_root, law, 1.0))
    weights = [t / t.sum(dim=1, keepdim=True).clamp_min(torch.finfo(t.dtype).tiny) for t in tuples]
    return replace(net, unary=tuple(unary), weights=tuple(weights))


def steered(net: Network, done: States, given: States) -> Network:
    """An emitting tree after states are set by force and others conditioned on.

    A concept that is set by force has its state whatever its composite emits, and tells it nothing; its own tuple is emitted anew.
    """
    slots, unary = [s.clone() for s in net.slots], [u.clone() for u in net.unary]
    for (level, i), v in done.items():
        own = net.concept[level] == i
        state = int(net.first[level][i]) + v
        if i in net.roots[level].tolist():
            unary[level][own] = 0.0
            unary[level][state] = 1.0
        else:
            emitted = torch.cat([own, own.new_zeros(1)])[slots[level - 1]]
            slots[level - 1][emitted] = state
    for (level, i), v in given.items():
        state = int(net.first[level][i]) + v
        other = net.concept[level] == i
        other[state] = False
        unary[level][other] = 0.0
    return replace(net, slots=tuple(slots), unary=tuple(unary))


class TreeInstance(BlockInstance):
    """A top-down tree of states, shown as the discrete hierarchy beside which it stands.

    Parameters
    ----------
    selected : DiscreteInstance
        A forest.
    done, given : mapping of (level, concept) to state, optional
        Set by force, and conditioned on. Nothing is selected here: `do_then_select` and `select_then_do` are the same.
    """

    direction: ClassVar[str]
    indistinguishable: ClassVar[tuple[str, ...]]
    """Directions that no data could tell from it."""

    def __init__(self, selected: DiscreteInstance, done: States | None = None, given: States | None = None) -> None:
        graph = selected.model.graph
        if not graph.is_forest:
            raise InvalidInput(f"a {type(self).__name__} needs a forest, but some concepts belong to two composites: leave concepts out")
        self.selected, self.done, self.given = selected, done or {}, given or {}
        net = self.network()
        self.law = ForestLaw(selected.model, steered(emitting(net), self.done, self.given) if self.done or self.given else net)
        self.truth: DiscreteTruth = self._describe()

    @abstractmethod
    def network(self) -> Network:
        """The tree before anything is done."""

    @abstractmethod
    def tables(self) -> dict[str, Any]:
        """What the truth says of how tuples are emitted."""

    def _describe(self) -> DiscreteTruth:
        selected, law = self.selected.truth, self.law
        facts: dict[str, Any] = {key: selected.facts[key] for key in ("emission", "embedding")}
        for level, marginal in enumerate(law.marginals()):
            table = by_concept(marginal, law.cardinalities[level])
            facts[f"marginals/{level}"] = table
            facts[f"concept_entropies/{level}"] = -torch.xlogy(table, table).sum(dim=1)
        if not self.done:  # tuples that become equal by force would be counted apart
            facts["entropies"] = law.entropies()
        facts |= {"direction": self.direction, "direction_class": list(self.indistinguishable), "forced": []}
        facts |= self.tables() | intervention(_floats(self.done), _floats(self.given))
        return replace(selected, law=law, facts=facts)

    def to(self, device: str) -> Self:
        other = super().to(device)
        other.selected = self.selected.to(device)
        other.law = self.law.to(device)
        return other

    def block(self, seed: int) -> Sample:
        """As `DiscreteInstance` does it, from the law of the tree."""
        return self.selected.shown(self.law.draw(BLOCK, torch.Generator(self.device).manual_seed(seed_of("states", seed))), seed)

    def posteriors(self, observed: Observed) -> list[Tensor]:
        """P(state of every concept | row), shape (n, n_l, v) per level, exact."""
        return posteriors.posteriors(self.law, self.selected.emission, self.selected.values_of(observed))

    def log_likelihood(self, observed: Observed) -> Tensor:
        """log p of every row, shape (n,), exact."""
        return posteriors.log_likelihood(self.law, self.selected.emission, self.selected.values_of(observed))

    def condition(self, setting: Setting) -> Self:
        """The law given states."""
        more = interventions.checked(self.selected.model.graph, setting)
        for place, state in more.items():
            known = self.done.get(place, self.given.get(place, state))
            if known != state:
                raise InvalidInput(f"concept {place[1]} of level {place[0]} is given state {state}, but has {known}: give it one state")
        return self._steered(self.done, self.given | {place: v for place, v in more.items() if place not in self.done})

    def do_then_select(self, setting: Setting) -> Self:
        """Set concepts by force: what is below them is emitted anew, all else stays as it was drawn."""
        done_first(_floats(self.given))
        return self._steered(self.done | interventions.checked(self.selected.model.graph, setting), {})

    def select_then_do(self, setting: Setting) -> Self:
        """The same as `do_then_select`, since nothing is selected."""
        return self.do_then_select(setting)

    def _steered(self, done: States, given: States) -> Self:
        made = type(self)(self.selected.to("cpu"), done, given)
        return made if self.device == "cpu" else made.to(self.device)

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        arrays, plain = self.selected.state()
        return arrays, {"selected": plain, "done": _written(self.done), "given": _written(self.given)}

    @classmethod
    def from_state(cls, arrays: Mapping[str, Tensor], plain: Mapping[str, Any]) -> Self:
        try:
            selected = DiscreteInstance.from_state(arrays, plain["selected"])
            done, given = ({(level, i): v for level, i, v in plain[name]} for name in ("done", "given"))
        except (KeyError, TypeError, ValueError) as error:
            if isinstance(error, InvalidInput):
                raise
            raise InvalidInput(f"this is not the state of a {cls.__name__} ({type(error).__name__}: {error}): save it again") from None
        graph = selected.model.graph
        return cls(selected, *(interventions.checked(graph, states) if states else {} for states in (done, given)))


def _floats(states: States) -> dict[tuple[int, int], float]:
    return {place: float(v) for place, v in states.items()}


def _written(states: States) -> list[list[int]]:
    return [[*place, v] for place, v in states.items()]
