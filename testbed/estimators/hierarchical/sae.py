"""The paper's own procedure: a sparse dictionary per view, edges between adjacent levels, and no edge more than is needed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from testbed.contracts import Codes, Data, Estimator, InvalidInput, Observed, Truth, seed_of, side_by_side
from testbed.estimators.hierarchical.consensus_dictionary import ConsensusDictionary
from testbed.estimators.hierarchical.edge_learner import EdgeLearner, adjacent, in_range
from testbed.estimators.hierarchical.learners import learner_named
from testbed.estimators.hierarchical.nested import learned
from testbed.estimators.hierarchical.ordering import best_order, explained_shares
from testbed.estimators.hierarchical.sizing import fit_sized
from testbed.numerics.batches import first_pieces, is_read_once, is_stream
from testbed.numerics.firing import is_on
from testbed.numerics.matching import dense
from testbed.numerics.sufficiency import Events, Found, code_length, pruned


@dataclass(kw_only=True, eq=False, repr=False)
class HierarchicalSAE(Estimator):
    """Concepts of every level by sparse dictionary learning, one view per level, and what each is composed of [1]_.

    1. *Codes.* One sparse estimator per view. The default, `ConsensusDictionary`, finds the number of concepts and of active ones; an
       estimator that has ``n_codes`` and ``k`` is fitted twice with ``size="found"``, see `sizing`.
    2. *Edges.* Whether each code is on, by a threshold from its own values, is what the edge learner sees: which codes of the next lower
       level is each code composed of?
    3. *Pruning.* An edge whose absence lets the rest of the tuple tell the composite as well (by code length, see
       `testbed.numerics.sufficiency`) is dropped: the smallest graph that still explains every higher code.

    Nothing is read off the truth, unless `codes` is an oracle.

    Parameters
    ----------
    codes : Estimator, optional
        Cloned for each view, with `view` set. An oracle makes this one an oracle.
    views : list of str, optional
        The views, the most abstract first; None for all there are, in their order.
    order : {"given", "found"}
        Whether the order of `views` is that of levels, or is found: composites are functions of what they are composed of and not the other
        way round, so that each view should be explained by the next one.
    edges : str or Estimator
        A learner's name: ``"smallest_sufficient"``, ``"correlation"``, ``"lasso"``, ``"logistic"``, ``"adjacent_tests"``,
        ``"edge_dictionary"``; or an estimator that gives ``constituents_``, such as ``pc``, ``fci`` or ``causal_learn``, see `nested`.
    prune : bool
    effect, least : float
        Smallest shares that an edge must save when graphs are pruned, see `SmallestSufficient`.
    size : {"found", "given"}
        Whether width and number of active codes of `codes` are found, where it has such parameters.
    shuffled : bool
        A control: whether rows of every view but the last are shuffled, each by itself, before edges are learned. Codes are
        what they were, and nothing is left to find.
    samples : int
        Most rows that edges are learned from, the first ones.

    Attributes
    ----------
    constituents_, levels_
        See `Structure`. Codes are grouped by view, in the order of `views`.
    names_ : list of str
        The views.
    sizes_ : list of int
        Codes of each view.
    shares_ : array, shape (v, v)
        With ``order="found"``, how far the codes of each view (row) are explained by those of each other one.
    dictionary_ : Tensor, shape (m, sum of d)
        Atoms, 0 outside of their view; only where all of `codes` have one.
    stopped_ : str
        Why the search for edges ended early, in a sentence; empty if it was through.

    References
    ----------
    .. [1] Kong et al. (2025), Beyond the black box: identifiable interpretation and control in generative models via causal minimality,
       arXiv 2512.10720, section 5.
    """

    codes: Estimator | None = None
    views: Sequence[str] | None = None
    order: Literal["given", "found"] = "given"
    edges: str | Estimator = "smallest_sufficient"
    prune: bool = True
    effect: float = 0.06
    least: float = 0.0125
    size: Literal["found", "given"] = "found"
    shuffled: bool = False
    samples: int = 50_000

    @classmethod
    def small(cls) -> Self:
        return cls(codes=ConsensusDictionary.small())

    @property
    def needs_truth(self) -> bool:  # type: ignore[override]
        return bool(getattr(self.codes, "needs_truth", False))

    def fit(self, data: Data, *, seed: int, truth: Truth | None = None) -> Self:
        """Learn codes, edges, and prune.

        Parameters
        ----------
        data : Observed, or iterable of them that can be read again
        seed : int
        truth : Truth, optional
            For oracles.

        Raises
        ------
        InvalidInput
            If the data are plain arrays, or a stream that can be read only once; a parameter is out of range; or as `codes` says.
        """
        self._check()
        first = one_of(data)
        self.names_ = list(first.names_of(self.views))
        if len(set(self.names_)) < len(self.names_) or not self.names_:
            raise InvalidInput(f"views are {self.names_}: name each view once")
        self.models_ = []
        for i, name in enumerate(self.names_):
            own = seed_of("codes", seed, i)
            self.models_.append(fit_sized(self._of_view(name), data, own, self.size == "found", truth))
        codes = self._activity(data)
        if self.shuffled:
            generator = np.random.default_rng(seed_of("shuffled", seed))
            codes = [generator.permutation(one) for one in codes[:-1]] + codes[-1:]
        self.sizes_ = [part.shape[1] for part in codes]
        place = list(range(len(codes)))
        if self.order == "found":
            self.shares_ = explained_shares(codes)
            place = best_order(self.shares_)
        level_of = {view: level for level, view in enumerate(place)}
        levels = np.repeat([level_of[i] for i in range(len(codes))], self.sizes_)
        self.levels_ = levels.tolist()
        on = np.concatenate(codes, axis=1)
        self._learn(on, levels, seed)
        return self

    @property
    def dictionary_(self) -> Tensor:
        return torch.block_diag(*(model.dictionary_ for model in self.models_))  # type: ignore[no-untyped-call, no-any-return, attr-defined]

    def blank(self, name: str) -> Estimator:
        return ConsensusDictionary() if self.codes is None else self.codes.clone()

    def _of_view(self, name: str) -> Estimator:
        """A fresh estimator of codes of one view."""
        model = self.blank("models_")
        if "view" not in model.parameter_names():
            raise InvalidInput(f"{type(model).__name__} has no parameter view, so that it cannot be told its view: take another for codes")
        return model.set_params(view=name)

    def _activity(self, data: Any) -> list[NDArray[np.bool_]]:
        """Whether each code of each view is on, shape (n, m) each."""
        pieces = [[dense(model.encode(observed)) for model in self.models_] for observed in first_pieces(data, self.samples)]
        return [is_on(torch.cat(list(of_view))) for of_view in zip(*pieces, strict=True)]

    def _learn(self, on: NDArray[np.bool_], levels: NDArray[np.int64], seed: int) -> None:
        """Edges of adjacent levels, pruned."""
        learner = learner_named(self.edges)
        if isinstance(learner, EdgeLearner):
            learner.samples = max(learner.samples, len(on))
        found, self.stopped_ = learned(learner, on, levels, seed_of("edges", seed))
        self.constituents_ = pruned_graph(on, levels, found, self.effect, self.least) if self.prune else found

    def encode(self, observed: Any) -> Codes:
        """Codes of all views side by side, in the order of `views`."""
        if not hasattr(self, "models_"):
            raise InvalidInput("HierarchicalSAE is not fitted yet: call fit first")
        return side_by_side([model.encode(observed) for model in self.models_])

    def decode(self, codes: Codes) -> Tensor:
        """All views side by side."""
        parts = torch.split(dense(codes), self.sizes_, dim=1)
        return torch.cat([model.decode(part) for model, part in zip(self.models_, parts, strict=True)], dim=1)

    def _check(self) -> None:
        in_range("effect", self.effect, 0, 0.99)
        in_range("least", self.least, 0, 0.99)
        in_range("samples", self.samples, 20, 10**9)
        for name, choices in (("order", ("given", "found")), ("size", ("given", "found"))):
            if getattr(self, name) not in choices:
                raise InvalidInput(f"{name} must be one of {', '.join(map(repr, choices))}, not {getattr(self, name)!r}")


def one_of(data: Any) -> Observed:
    """The first piece of the data, which must be an Observed, or pieces of one that can be read again."""
    if is_read_once(data):
        raise InvalidInput("each view's codes are learned by a pass of its own: give data that can be read again, not an iterator")
    first = next(iter(data), None) if is_stream(data) else data
    if not isinstance(first, Observed):
        raise InvalidInput("a hierarchy has a view per level, but the data are plain arrays: give an Observed with these views")
    return first


def pruned_graph(
    on: NDArray[np.bool_], levels: NDArray[np.int64], constituents: list[list[int]], effect: float, least: float
) -> list[list[int]]:
    """The smallest graph, within the given one, that still explains every higher code; twins that the search keeps on purpose stay."""
    out = [list(tuple_) for tuple_ in constituents]
    for upper, lower in adjacent(levels):
        events = Events.of(on[:, lower])
        place = {int(j): k for k, j in enumerate(lower)}
        for i in upper.tolist():
            members = tuple(place[j] for j in out[i])
            if not members or len(members) > MOST:
                continue
            found = Found(members, code_length(events, on[:, i], members), code_length(events, on[:, i], ()))
            kept = set(pruned(events, on[:, i], found, effect, least).members)
            # What could stand in the place of a member is no less a constituent than that member.
            kept |= {k for k in set(members) - kept if any(same(events, k, j) for j in kept)}
            out[i] = [int(lower[k]) for k in sorted(kept)]
    return out


MOST = 20
"""Constituents beyond which a truth table is not looked at: a table of 2 to that power is no law."""


def same(events: Events, a: int, b: int) -> bool:
    """Whether two events happen in the same rows, all but 1 %."""
    both = events.together[a, b]
    return bool(both >= 0.99 * max(events.together[a, a], events.together[b, b]))
