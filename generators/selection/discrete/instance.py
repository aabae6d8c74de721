"""A drawn discrete hierarchy: samples, posteriors, interventions, and its state on disk."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any, Self

import torch
from torch import Tensor

from generators.selection.discrete import interventions, law, posteriors
from generators.selection.discrete.emission import Emission
from generators.selection.discrete.graph import Graph
from generators.selection.discrete.interventions import States, checked
from generators.selection.discrete.model import Model
from generators.selection.discrete.selection import law_of
from generators.selection.discrete.tables import Rule
from generators.selection.discrete.truth import DiscreteTruth, truth_of
from generators.selection.markov.mixing import SAMPLERS, Sampler
from testbed.contracts import BLOCK, BlockInstance, InvalidInput, Observed, Sample, Setting, Shows, View, seed_of


class DiscreteInstance(BlockInstance):
    """Samples a model.

    Latents are states, int64, one column per concept. The view is named after what it holds: ``tokens`` (int64), ``one_hot`` or
    ``embedded`` (float32). With `label`, the row table holds the states of level 0, as ``label`` or ``label_0``, ``label_1`` ....

    Parameters
    ----------
    model : Model
    emission : Emission
    label : bool
    forced : mapping of (level, concept) to state, optional
        What a select-then-do has set.
    known : Law, optional
        The model's law, where it is known already.
    sampler : {"auto", "exact", "markov_chain"}
        See `law_of`.
    """

    def __init__(
        self,
        model: Model,
        emission: Emission,
        label: bool = False,
        forced: States | None = None,
        known: law.Law | None = None,
        sampler: Sampler = "auto",
    ) -> None:
        self.model = model
        self.emission = emission
        self.label = label
        self.forced = forced or {}
        self.sampler = sampler
        self.law = law_of(model, sampler) if known is None else known
        self.truth: DiscreteTruth = truth_of(model, self.law, emission, self.forced)

    def to(self, device: str) -> Self:
        other = super().to(device)
        other.law = self.law.to(device)
        other.emission = self.emission.to(device)
        return other

    def block(self, seed: int) -> Sample:
        states = self.law.draw(BLOCK, self._generator("states", seed))
        if self.forced:
            states = interventions.force(self.model, self.forced, states)
        return self.shown(states, seed)

    def shown(self, states: list[Tensor], seed: int) -> Sample:
        """A sample with these states, per level."""
        tokens = self.emission.tokens(states[-1], self._generator("tokens", seed))
        view = View(self.emission.show(tokens, self._generator("noise", seed)), Shows((len(states) - 1,), self._sigma()))
        names = ["label"] if states[0].shape[1] == 1 else [f"label_{i}" for i in range(states[0].shape[1])]
        rows = dict(zip(names, states[0].T, strict=True)) if self.label else {}
        return Sample(Observed({self.emission.observe: view}, rows), dict(enumerate(states)))

    def posteriors(self, observed: Observed | Tensor) -> list[Tensor]:
        """P(state of every concept | row), shape (n, n_l, v) per level, exact; labels are not used. See `posteriors`."""
        return posteriors.posteriors(self._unforced().law, self.emission, self.values_of(observed))

    def log_likelihood(self, observed: Observed | Tensor) -> Tensor:
        """log p of every row, shape (n,), exact: a density if embedded, -inf if impossible."""
        return posteriors.log_likelihood(self._unforced().law, self.emission, self.values_of(observed))

    def joint(self, concepts: Sequence[tuple[int, int]]) -> Tensor:
        """Exact joint law of a few latents (level, concept), one axis each; InvalidInput if the table would be too large."""
        return law.joint(self._unforced().law.to("cpu"), concepts)

    def tuple_context(self, level: int, composite: int, context: Sequence[tuple[int, int]]) -> Tensor:
        """Exact joint table of a composite's tuple and a context of other latents, shape (tuples, contexts), numbered row-major."""
        graph = self.model.graph
        if not (0 <= level < graph.last and 0 <= composite < graph.sizes[level]):
            raise InvalidInput(f"there is no composite {composite} of level {level}: levels have {list(graph.sizes[:-1])} composites")
        constituents = [(level + 1, j) for j in graph.constituents[level][composite]]
        return law.tuple_context(self._unforced().law.to("cpu"), constituents, context)

    def condition(self, setting: Setting) -> DiscreteInstance:
        """The selected law given that the concepts have these states."""
        return self._like(interventions.condition(self._unforced().model, checked(self.model.graph, setting)))

    def do_then_select(self, setting: Setting) -> DiscreteInstance:
        """Set the concepts by force in the base law, then select by the same potentials."""
        return self._like(interventions.do_then_select(self._unforced().model, checked(self.model.graph, setting)))

    def select_then_do(self, setting: Setting) -> DiscreteInstance:
        """Select, then set the concepts by force: only what is composed of them changes, by g, which is defined for every tuple."""
        return self._like(self.model, self.forced | checked(self.model.graph, setting))

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that the instance is, as arrays and JSON."""
        model, emission = self.model, self.emission
        arrays = {f"unary/{level}": unary for level, unary in enumerate(model.unary)}
        for level, rules in enumerate(model.rules):
            for name in ("states", "potential", "second"):
                arrays[f"{name}/{level}"] = torch.cat([getattr(rule, name) for rule in rules])
        if model.selection is not None:
            arrays["selection"] = model.selection
        if emission.observe == "embedded":
            arrays["embedding"] = emission.embedding.cpu()
        plain = {
            "cardinalities": [list(level) for level in model.graph.cardinalities],
            "constituents": [[list(lower) for lower in level] for level in model.graph.constituents],
            "chance": [[rule.chance for rule in rules] for rules in model.rules],
            "emission": {"observe": emission.observe, "noise": emission.noise, "spread": emission.spread},
            "label": self.label,
            "sampler": self.sampler,
            "forced": self.truth.facts["forced"],
        }
        return arrays, plain

    @classmethod
    def from_state(cls, arrays: Mapping[str, Tensor], plain: Mapping[str, Any]) -> DiscreteInstance:
        """The same instance again; InvalidInput if the state is not one."""
        try:
            graph = Graph(
                tuple(map(tuple, plain["cardinalities"])), tuple(tuple(tuple(lower) for lower in level) for level in plain["constituents"])
            )
            model = Model(
                graph,
                tuple(_rules(graph, level, arrays, plain["chance"][level]) for level in range(graph.last)),
                tuple(arrays[f"unary/{level}"] for level in range(graph.last + 1)),
                arrays.get("selection"),
            )
            about = plain["emission"]
            embedding = arrays["embedding"] if about["observe"] == "embedded" else torch.empty(0, 0)
            emission = Emission(graph.cardinalities[-1], about["observe"], about["noise"], embedding, about["spread"])
            forced = {(level, i): state for level, i, state in plain["forced"]}
            if plain["sampler"] not in SAMPLERS:
                raise InvalidInput(f"sampler must be one of {', '.join(map(repr, SAMPLERS))}, not {plain['sampler']!r}")
            return cls(model, emission, bool(plain["label"]), checked(graph, forced) if forced else {}, sampler=plain["sampler"])
        except InvalidInput:
            raise
        except (KeyError, IndexError, TypeError, ValueError, AttributeError, RuntimeError) as error:
            raise InvalidInput(f"this is not the state of a discrete hierarchy ({type(error).__name__}: {error}): save it again") from None

    def _like(self, model: Model, forced: States | None = None) -> DiscreteInstance:
        return DiscreteInstance(model, self.emission.to("cpu"), self.label, forced, sampler=self.sampler).to(self.device)

    def _unforced(self) -> Self:
        if self.forced:
            raise InvalidInput(f"concepts were set by force after selection ({self.forced}), which no such law describes: do this first")
        return self

    def values_of(self, observed: Observed | Tensor) -> Tensor:
        """The values of the view, on the device of the instance."""
        values = observed.views[observed.name_of(self.emission.observe)].values if isinstance(observed, Observed) else observed
        if not isinstance(values, Tensor):
            raise InvalidInput(f"observed rows must be a tensor (n, d), not {type(values).__name__}")
        return values.to(self.device)

    def _sigma(self) -> float | None:
        return self.emission.spread if self.emission.observe == "embedded" else None

    def _generator(self, role: str, seed: int) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(seed_of(role, seed))


def _rules(graph: Graph, level: int, arrays: Mapping[str, Tensor], chances: Sequence[float]) -> tuple[Rule, ...]:
    """The rules of a level from their arrays, laid end to end."""
    counts = [int(torch.tensor(graph.shape(level, i)).prod()) for i in range(graph.sizes[level])]
    states, potential, second = (torch.split(arrays[f"{name}/{level}"], counts) for name in ("states", "potential", "second"))
    return tuple(Rule(*row) for row in zip(states, potential, second, chances, strict=True))
