"""Which way a hierarchy of states points: constituents that are selected together, or caused by what is above them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from testbed.contracts import BLOCK, Codes, Data, Estimator, InvalidInput, Structure
from testbed.estimators.discrete.context_states import ContextStates
from testbed.estimators.discrete.explaining import Block, Tables, missed, missed_on_average
from testbed.numerics.batches import rows
from testbed.numerics.compositions import Misfit, information
from testbed.numerics.matching import dense

Array = NDArray[np.float64]
States = NDArray[np.int64]

RULES = ("latent_class", "bic", "conditional_information")
MOST_TUPLES = 2**16
"""Of a block."""


class SelectionDirection(Estimator):
    r"""Say whether constituents depend on each other because they are selected together, or because one cause has them as children.

    Codes and graph are those of `states`, fitted on the same rows. The direction follows from the lowest blocks, whose constituents are
    seen as they are: each block's table of tuples t beside a context x, the state of that other block of which t tells most. Two
    explanations are held against it, see `testbed.numerics.compositions`:

    *selection* (or joint emission, which has the same law): x is independent of t given the state g(t) that was found;

    *independent children*: the best model of K latent classes, x and all constituents independent given the class. K is the number of
    states found, or of the largest constituent's, if that is more: in a classic hierarchy no state is a function of its tuple, laws of
    tuples are blurred mixtures, and merging them finds too few.

    Where classes do, the composition may have no more states than the fewest classes that still do: of explanations by equally many states
    one must be worse, or nothing is decided.

    Latent classes are rejected if they miss some block by more than `misfit` nats a row (a cause must explain all its hierarchy, and where
    alphabets are larger than numbers of states K classes can explain much), a composition if it leaves more than `unexplained` of what t
    tells of x, over all blocks; both only where that is no chance. The answer is the explanation that is not rejected while the other is,
    else ``"undecided"``. The effects have no bias to first order and do not grow with n: what is right at 3,000 rows is right at 100,000.

    Two naive rules are there to be compared with. ``"conditional_information"``: selection where siblings depend on each other, by more
    than `misfit`, given the state that was found; but that state is a function of them, a collider, and they do in classic hierarchies,
    too. ``"bic"``: the explanation with the smaller BIC, with up to K classes; in few rows that is the one with fewer parameters.

    Parameters
    ----------
    states : Estimator, optional
        Finds blocks and states: its codes are states, the leaves' last. By default `ContextStates`.
    rule : {"latent_class", "bic", "conditional_information"}
    misfit : float
        Nats per row.
    unexplained : float
        Share of what a tuple tells of its context.
    classes : int, optional
        K for all blocks.
    starts, rounds : int
        Runs of EM on each block, and rounds of the best of them.
    samples : int
        Most rows to use, the first ones.
    view : str, optional

    Attributes
    ----------
    direction_ : {"selection", "independent children", "undecided"}
    evidence_ : list of dict
        Per block that has a context: ``block`` and ``context`` (codes), ``classes`` (K), ``states``, ``class_misfit``,
        ``composition_misfit``, ``information`` (of t and x), ``conditional_information``, in nats.
    stopped_ : str
        A sentence, where EM was not through.
    levels_, constituents_, n_states_ : list
        Of `states`.

    References
    ----------
    .. [1] Kong et al. (arXiv 2512.10720): hierarchies under selection.
    .. [2] Lazarsfeld & Henry (1968), Latent Structure Analysis.
    """

    def __init__(
        self,
        states: Estimator | None = None,
        rule: Literal["latent_class", "bic", "conditional_information"] = "latent_class",
        misfit: float = 0.02,
        unexplained: float = 0.05,
        classes: int | None = None,
        starts: int = 12,
        rounds: int = 500,
        samples: int = 100_000,
        view: str | None = None,
    ) -> None:
        self.states = states
        self.rule = rule
        self.misfit = misfit
        self.unexplained = unexplained
        self.classes = classes
        self.starts = starts
        self.rounds = rounds
        self.samples = samples
        self.view = view

    @classmethod
    def small(cls) -> SelectionDirection:
        return cls(ContextStates.small(), starts=4, rounds=100)

    def fit(self, data: Data, *, seed: int) -> SelectionDirection:
        """Fit `states`, then hold both explanations of each lowest block against its table; `seed` starts EM.

        Raises
        ------
        InvalidInput
            If a parameter is out of range, `states` finds no graph of states, or its blocks have too many tuples.
        """
        self._check()
        x = rows(data, self.view, limit=self.samples)
        self.states_ = self.blank("states_").fit(x, seed=seed)
        found = Structure.of(self.states_)
        if found is None or not found.n_states:
            raise InvalidInput(f"states must find a graph of states, but {type(self.states_).__name__} has none: give context_states")
        self.levels_, self.n_states_ = list(found.levels), list(found.n_states)
        self.constituents_ = [list(tuple_) for tuple_ in found.constituents]
        self.rows_, self.width_ = x.shape
        codes = np.concatenate([dense(self.states_.encode(part)).long().cpu().numpy() for part in torch.split(x, BLOCK)])
        self.evidence_: list[dict[str, Any]] = []
        self.stopped_ = ""
        self.direction_ = self._answer(self._blocks(codes), seed)
        return self

    def encode(self, observed: Any) -> Codes:
        return self.states_.encode(rows(observed, self.view, columns=self.width_))

    def decode(self, codes: Codes) -> Tensor:
        return self.states_.decode(codes)

    def blank(self, name: str) -> Estimator:
        return ContextStates() if self.states is None else self.states.clone()

    # ------------------------------------------------------------------------------------------------------------ evidence

    def _check(self) -> None:
        if self.rule not in RULES:
            raise InvalidInput(f"rule must be one of {', '.join(map(repr, RULES))}, not {self.rule!r}")
        if not self.misfit > 0 or not 0 < self.unexplained < 1:
            raise InvalidInput(f"misfit must be above 0 and unexplained lie in (0, 1), not {self.misfit} and {self.unexplained}")
        if self.starts < 1 or self.rounds < 1 or self.samples < 2 or (self.classes is not None and self.classes < 1):
            raise InvalidInput(
                f"starts, rounds and classes must be at least 1 and samples 2, not {self.starts}, {self.rounds}, {self.classes} and "
                f"{self.samples}: raise them"
            )

    def _blocks(self, codes: States) -> list[Block]:
        """The lowest blocks, each beside that other block whose state its tuple tells most of; without those that have no context."""
        lowest = max(self.levels_)
        blocks = [i for i, lower in enumerate(self.constituents_) if lower and all(self.levels_[j] == lowest for j in lower)]
        keys, states = {}, {}
        for i in blocks:
            lower = self.constituents_[i]
            sizes = tuple(self.n_states_[j] for j in lower)
            tuples = int(np.prod(sizes))
            if tuples > MOST_TUPLES:
                raise InvalidInput(f"a block has {tuples} tuples, more than {MOST_TUPLES}: give smaller blocks, or fewer values")
            keys[i] = np.ravel_multi_index(tuple(codes[:, lower].T), sizes)
            # Codes may look at the whole row. Here a tuple has the state that it has most often, or contexts would be in both.
            states[i] = _table(keys[i], codes[:, i], tuples).argmax(axis=1).reshape(sizes)
        seen = {i: states[i].ravel()[keys[i]] for i in blocks}
        out = []
        for i in blocks:
            tables = {c: _table(keys[i], seen[c], states[i].size) for c in blocks if c != i and seen[c].max() > seen[c].min()}
            if tables:
                context = max(tables, key=lambda c: information(tables[c]))
                out.append(Block(i, context, tables[context].reshape(*states[i].shape, -1), states[i]))
        return out

    # -------------------------------------------------------------------------------------------------------------- answer

    def _answer(self, blocks: list[Block], seed: int) -> str:
        if not blocks:
            return "undecided"
        arities = sorted({block.state.ndim for block in blocks})
        parts = [Tables.of([block for block in blocks if block.state.ndim == s], self.classes) for s in arities]
        for part in parts:
            self.evidence_ += part.evidence()
        if self.rule == "conditional_information":
            given = np.mean([one["conditional_information"] for one in self.evidence_])
            return "selection" if given > self.misfit else "independent children"
        how = {"starts": self.starts, "rounds": self.rounds, "seed": seed}
        if self.rule == "bic":
            return "selection" if sum(part.bic_difference(how) for part in parts) < 0 else "independent children"
        judged = [part.explained(self.misfit, how) for part in parts]
        for one, caused, composed in zip(self.evidence_, *map(_together, zip(*judged, strict=True)), strict=True):
            one |= {"class_misfit": caused, "composition_misfit": composed}
        if not all(caused.converged for caused, _ in judged):
            self.stopped_ = f"latent classes still grew likelier after {self.rounds} rounds: raise rounds"
        says = float(np.mean([one["information"] for one in self.evidence_]))
        no_cause = missed([caused for caused, _ in judged], self.misfit)
        no_composition = missed_on_average([composed for _, composed in judged], self.unexplained * max(says, 0.0))
        if no_cause == no_composition:
            return "undecided"
        return "selection" if no_cause else "independent children"


def _together(parts: Sequence[Misfit]) -> list[float]:
    return [float(nats) for part in parts for nats in part.nats]


def _table(key: States, state: States, tuples: int) -> Array:
    width = int(state.max()) + 1
    return np.bincount(key * width + state, minlength=tuples * width).reshape(tuples, width).astype(np.float64)
