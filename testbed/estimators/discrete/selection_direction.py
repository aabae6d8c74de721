"""Which way a hierarchy of states points: constituents that are selected together, or caused by what is above them."""

from __future__ import annotations

from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from testbed.contracts import BLOCK, Codes, Data, Estimator, InvalidInput, Structure
from testbed.estimators.discrete.context_states import ContextStates
from testbed.numerics.batches import rows
from testbed.numerics.compositions import (
    Misfit,
    class_misfit,
    composition_misfit,
    conditional_information,
    fewest_classes,
    information,
    merged,
)
from testbed.numerics.matching import dense

Array = NDArray[np.float64]
States = NDArray[np.int64]

RULES = ("latent_class", "bic", "conditional_information")
CRITICAL = 2.33
"""Standard errors by which an explanation must miss to be rejected, besides missing by enough."""
MOST_CELLS = 2**24
"""Of a table of tuples and contexts times the runs of EM on it."""


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

    Latent classes are rejected if they miss by more than `misfit` nats a row, a composition if it leaves more than `unexplained` of
    what t tells of x; both only where that is no chance. The answer is the explanation that is not rejected while the other is, else
    ``"undecided"``. Means are over blocks. The effects have no bias to first order and do not grow with n: what is right at 3,000 rows is
    right at 100,000.

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
        self.states_ = (ContextStates() if self.states is None else self.states.clone()).fit(x, seed=seed)
        found = Structure.of(self.states_)
        if found is None or not found.n_states:
            raise InvalidInput(f"states must find a graph of states, but {type(self.states_).__name__} has none: give context_states")
        self.levels_, self.n_states_ = list(found.levels), list(found.n_states)
        self.constituents_ = [list(tuple_) for tuple_ in found.constituents]
        self.rows_, self.width_ = x.shape
        codes = np.concatenate([dense(self.states_.encode(part)).long().cpu().numpy() for part in torch.split(x, BLOCK)])
        lowest = max(self.levels_)
        blocks = [i for i, lower in enumerate(self.constituents_) if lower and all(self.levels_[j] == lowest for j in lower)]
        self.evidence_: list[dict[str, Any]] = []
        self.stopped_ = ""
        arities = {len(self.constituents_[i]) for i in blocks}
        judged = [self._judge(codes, [i for i in blocks if len(self.constituents_[i]) == s], blocks, seed) for s in sorted(arities)]
        self.direction_ = self._answer([pair for pair in judged if pair])
        return self

    def encode(self, observed: Any) -> Codes:
        return self.states_.encode(rows(observed, self.view, columns=self.width_))

    def decode(self, codes: Codes) -> Tensor:
        return self.states_.decode(codes)

    def get_state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        states = self.states_
        del self.states_
        try:
            arrays, plain = super().get_state()
        finally:
            self.states_ = states
        inner, said = states.get_state()
        return arrays | {f"states/{name}": value for name, value in inner.items()}, plain | {"states": said}

    def set_state(self, arrays: Any, plain: Any) -> SelectionDirection:
        inner = {name.removeprefix("states/"): value for name, value in arrays.items() if name.startswith("states/")}
        self.states_ = (ContextStates() if self.states is None else self.states.clone()).set_state(inner, plain["states"])
        own = {name: value for name, value in plain.items() if name != "states"}
        return super().set_state({name: value for name, value in arrays.items() if not name.startswith("states/")}, own)

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

    def _judge(self, codes: States, own: list[int], blocks: list[int], seed: int) -> tuple[Misfit, Misfit] | None:
        """Both explanations of blocks with equally many constituents: latent classes, composition; None where none has a context."""
        tables, states, kept = [], [], []
        for i in own:
            lower = self.constituents_[i]
            sizes = [self.n_states_[j] for j in lower]
            if np.prod(sizes) > MOST_CELLS:
                raise InvalidInput(f"a block of {len(lower)} constituents has {np.prod(sizes)} tuples, too many: give smaller blocks")
            key = np.ravel_multi_index(tuple(codes[:, lower].T), sizes)
            found = self._beside(key, int(np.prod(sizes)), codes, [c for c in blocks if c != i])
            if found is not None:
                context, table = found
                state = np.zeros(len(table), np.int64)
                state[key] = codes[:, i]
                tables.append(table.reshape(*sizes, -1))
                states.append(state)
                kept.append((i, context))
        if not tables:
            return None
        counts = _padded(tables)
        shape = counts.shape[1:-1]
        classes = [self.classes or max(int(s.max()) + 1, *t.shape[:-1]) for s, t in zip(states, tables, strict=True)]
        if counts.size * self.starts * max(classes) > MOST_CELLS * 64:
            raise InvalidInput(f"tables of {counts[0].size} cells with {max(classes)} classes are too large: lower starts or block sizes")
        spread = [_spread(state, table.shape[:-1], shape) for state, table in zip(states, tables, strict=True)]
        flat = counts.reshape(len(counts), -1, counts.shape[-1])
        how: dict[str, Any] = {"starts": self.starts, "rounds": self.rounds, "seed": seed}
        caused = class_misfit(flat, shape, classes, **how)
        if not _rejected([caused], self.misfit):  # then as many states as classes must do
            classes = fewest_classes(flat, shape, classes, self.misfit / 4, **how)
        composed = composition_misfit(flat, [merged(table, state, k) for table, state, k in zip(flat, spread, classes, strict=True)])
        if not caused.converged:
            self.stopped_ = f"latent classes still grew likelier after {self.rounds} rounds: raise rounds"
        for f, (block, context) in enumerate(kept):
            self.evidence_.append(
                {
                    "block": block,
                    "context": context,
                    "classes": classes[f],
                    "states": len(np.unique(states[f])),
                    "class_misfit": float(caused.nats[f]),
                    "composition_misfit": float(composed.nats[f]),
                    "information": information(flat[f]),
                    "conditional_information": conditional_information(flat[f].sum(axis=1), shape, spread[f]),
                }
            )
        return caused, composed

    @staticmethod
    def _beside(key: States, tuples: int, codes: States, others: list[int]) -> tuple[int, Array] | None:
        """The other block whose states the tuple tells most of, and their table, shape (T, X)."""
        best: tuple[float, int, Array] | None = None
        for c in others:
            width = int(codes[:, c].max()) + 1
            if width > 1:
                table = np.bincount(key * width + codes[:, c], minlength=tuples * width).reshape(tuples, width).astype(float)
                says = information(table)
                if best is None or says > best[0]:
                    best = says, c, table
        return None if best is None else best[1:]

    # -------------------------------------------------------------------------------------------------------------- answer

    def _answer(self, judged: list[tuple[Misfit, Misfit]]) -> str:
        if not judged:
            return "undecided"
        if self.rule == "conditional_information":
            given = np.mean([one["conditional_information"] for one in self.evidence_])
            return "selection" if given > self.misfit else "independent children"
        if self.rule == "bic":
            return self._shorter(judged)
        says = float(np.mean([one["information"] for one in self.evidence_]))
        no_cause = _rejected([caused for caused, _ in judged], self.misfit)
        no_composition = _rejected([composed for _, composed in judged], self.unexplained * max(says, 0.0))
        if no_cause == no_composition:
            return "undecided"
        return "selection" if no_cause else "independent children"

    def _shorter(self, judged: list[tuple[Misfit, Misfit]]) -> str:
        n = self.rows_
        caused, composed = (
            sum(float((one.parameters * np.log(n) / 2 - one.likelihood * n).sum()) for one in side) for side in zip(*judged, strict=True)
        )
        return "selection" if composed < caused else "independent children"


def _rejected(parts: list[Misfit], most: float) -> bool:
    """Whether explanations miss by more than `most` on average, and by more than chance."""
    nats = np.concatenate([part.nats for part in parts])
    error = np.sqrt(sum(float((part.error**2).sum()) for part in parts)) / len(nats)
    return bool(nats.mean() > most and nats.mean() > CRITICAL * error)


def _padded(tables: list[Array]) -> Array:
    """Tables of equally many axes in one array, shape (F, largest sizes)."""
    out = np.zeros((len(tables), *np.max([table.shape for table in tables], axis=0)))
    for f, table in enumerate(tables):
        where: tuple[Any, ...] = (f, *(slice(k) for k in table.shape))
        out[where] = table
    return out


def _spread(state: States, sizes: tuple[int, ...], shape: tuple[int, ...]) -> States:
    """States of tuples, shape (product of sizes,), numbered in a larger table."""
    out = np.zeros(shape, np.int64)
    out[tuple(slice(k) for k in sizes)] = state.reshape(sizes)
    return out.ravel()
