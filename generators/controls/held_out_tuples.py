"""Training rows without some admissible tuples, test rows with all of them: can codes be put together in a new way?"""

from __future__ import annotations

import copy
import math
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any, Literal, Self

import torch
from torch import Tensor

from generators.controls.instances import settings_of
from generators.selection.discrete.chains import ChainLaw
from generators.selection.discrete.family import DiscreteHierarchy
from generators.selection.discrete.instance import DiscreteInstance
from generators.selection.discrete.law import Unreachable
from generators.selection.discrete.posteriors import by_concept
from generators.selection.discrete.selection import law_of
from generators.selection.rules import weights
from generators.selection.sparse import SparseConcepts, SparseInstance
from generators.selection.world import World
from testbed.contracts import BLOCK, BlockInstance, Generator, Instance, InvalidInput, Sample, Truth, concatenate, seed_of
from testbed.numerics.unseen import FACT, take_sample, tuple_shape, unseen

FAMILIES: Mapping[str, type[Generator]] = {"discrete": DiscreteHierarchy, "sparse": SparseConcepts}
LEAST = 0.02
"""Smallest share of rows that holding tuples out may leave: each row of training then costs fifty."""
LARGEST = 2**14
"""Most tuples of a composite of sparse concepts."""

HeldOut = list[tuple[int, int, list[int]]]
"""Level, composite, and the numbers of its tuples that are held out."""


class HeldOutTuples(Generator):
    r"""A discrete or sparse hierarchy whose part ``train`` lacks some admissible tuples.

    Of each composite a share of the admissible tuples of its constituents is held out, drawn by the instance's seed. A row of the part
    ``train`` in which any of them occurs is left out; ``test`` and ``reference`` are those of the whole instance, to the bit: scores and
    the levels that they are read against come from rows of the whole law. The tuple of a composite of sparse concepts is which of its
    constituents are on; the one that is all off is never held out. No tuple is held out without which a state of a constituent, or of
    the composite, would be in no tuple of the training rows: every part is seen, only not in every company. Training follows

    .. math:: P_{\text{train}}(v) = P(v \mid \text{no tuple of } v \text{ is held out}),

    which changes the marginals. ``truth.rates`` and ``settings`` are those of *training* (an estimator may be told them), facts
    ``held_out/test_rates/l`` those of the whole law; for states the fact ``marginals/l`` is the whole law's and
    ``held_out/train_marginals/l`` that of training. All are exact. ``held_out/tuples`` says what is held out, ``held_out/acceptance``
    which share of rows is left: a row of training costs the inverse of it in drawn rows, ``held_out/cost``. Whether a row of the test
    part holds an unseen tuple follows from its latents and ``held_out/tuples``; the row table, which estimators see, does not tell.

    Parameters
    ----------
    family : {"discrete", "sparse"}
    params : dict or None
        Of `DiscreteHierarchy` or `SparseConcepts`. None is all defaults.
    share : float
        Of each composite's admissible tuples, rounded, but one at least; 0 holds nothing out. Fewer where states would disappear.
    composites : int or None
        How many composites, drawn at random, hold tuples out; None: all. Every one costs rows, so that large hierarchies need a limit.

    References
    ----------
    .. [1] Lake & Baroni (2018), Generalization without systematicity, ICML: held-out combinations of known parts.
    """

    def __init__(
        self,
        family: Literal["discrete", "sparse"] = "discrete",
        params: dict[str, Any] | None = None,
        share: float = 0.2,
        composites: int | None = None,
    ) -> None:
        self.family = family
        self.params = params
        self.share = share
        self.composites = composites

    def draw(self, seed: int) -> HeldOutInstance:
        """Draw the whole instance, and which of its tuples are held out.

        Raises
        ------
        InvalidInput
            If a parameter is not possible, the law of training is not known exactly (correlated trees, shared constituents of sparse
            concepts, Markov chains), too few rows are left, or a state would disappear from training.
        """
        if self.family not in FAMILIES:
            raise InvalidInput(f"family is {self.family!r}: {' or '.join(map(repr, FAMILIES))}")
        unknown = [name for name in self.params or {} if name not in FAMILIES[self.family].parameter_names()]
        if unknown:
            raise InvalidInput(f"{FAMILIES[self.family].__name__} has no parameter {unknown[0]!r}: leave it out")
        if not 0 <= self.share < 1:
            raise InvalidInput(f"share must lie in [0, 1), not {self.share}: it is the part of a composite's tuples that is held out")
        if self.composites is not None and self.composites < 0:
            raise InvalidInput(f"composites must be at least 0, or None for all, not {self.composites}")
        whole = FAMILIES[self.family](**(self.params or {})).draw(seed)
        assert isinstance(whole, DiscreteInstance | SparseInstance)
        _check_exact(whole)
        held = self._held_out(whole, seed)
        rates, acceptance = _train_law(whole, held)
        if acceptance < LEAST:
            raise InvalidInput(
                f"holding these tuples out leaves {100 * acceptance:.2g} % of the rows for training, less than {100 * LEAST:g} %: "
                "lower share, or set composites to a smaller number"
            )
        return HeldOutInstance(whole, held, rates, acceptance)

    def _held_out(self, whole: DiscreteInstance | SparseInstance, seed: int) -> HeldOut:
        truth = whole.truth
        every = [(level, i) for level in range(len(truth.levels) - 1) for i, t in enumerate(truth.constituents[level]) if t]
        order = torch.randperm(len(every), generator=torch.Generator().manual_seed(seed_of("held out composites", seed))).tolist()
        chosen = sorted(every[k] for k in order[: self.composites])
        out: HeldOut = []
        for level, i in chosen if self.share else ():
            shape = tuple_shape(truth, level, i)
            generator = torch.Generator().manual_seed(seed_of("held out tuples", seed, level, i))
            number = _choose(_admissible(whole, level, i), shape, self.share, generator, isinstance(whole, SparseInstance))
            if number:
                out.append((level, i, number))
        return out


class HeldOutInstance(Instance):
    """Rows of the whole instance, of which those of the part ``train`` that hold a held-out tuple are left out.

    A block of training rows is filled from blocks that depend on its own seed alone, so that reaching a row takes no row before its
    block, and a short sample is the beginning of every longer one.

    Parameters
    ----------
    whole : BlockInstance
    held : list of (level, composite, tuples)
    rates : list of Tensor
        Of training: how often each concept is on, shape (n_l,), or in each state, shape (n_l, v), by level.
    acceptance : float
    """

    truth: Truth

    def __init__(self, whole: BlockInstance, held: HeldOut, rates: list[Tensor], acceptance: float) -> None:
        self.whole = whole
        truth = whole.truth
        assert truth is not None
        facts: dict[str, Any] = {
            FACT: [[level, i, number] for level, i, number in held],
            "held_out/acceptance": acceptance,
            "held_out/cost": 1 / acceptance,
        }
        if truth.levels[0].kind == "sparse":
            facts |= {f"held_out/test_rates/{level}": r for level, r in truth.rates.items()}
            found = dict(enumerate(rates))
            self.truth = replace(truth, rates=found, settings=settings_of(truth.settings, found), facts={**truth.facts, **facts})
        else:
            facts |= {f"held_out/train_marginals/{level}": r for level, r in enumerate(rates)}
            self.truth = replace(truth, facts={**truth.facts, **facts})

    def to(self, device: str) -> Self:
        other = copy.copy(self)
        other.whole, other.device = self.whole.to(device), device
        return other

    def chunks(self, seed: int, part: str = "train", start: int = 0) -> Iterator[Sample]:
        if part != "train" or not self.truth.facts[FACT]:
            yield from self.whole.chunks(seed, part, start)
            return
        index, skip = divmod(start, BLOCK)
        while True:
            yield self._block(seed_of("block", part, seed, index))[skip:]
            index, skip = index + 1, 0

    def _block(self, seed: int) -> Sample:
        """`BLOCK` rows without held-out tuples."""
        pieces, count, attempt = [], 0, 0
        while count < BLOCK:
            drawn = self.whole.block(seed_of("held out", seed, attempt))
            kept = (~unseen(drawn.latents, self.truth).any(dim=1)).nonzero()[:, 0]
            pieces.append(take_sample(drawn, kept[: BLOCK - count]))
            count, attempt = count + len(pieces[-1]), attempt + 1
        return concatenate(pieces)


# ------------------------------------------------------------------------------------------------------- which tuples


def _admissible(whole: DiscreteInstance | SparseInstance, level: int, i: int) -> tuple[Tensor, Tensor]:
    """Pairs of an admissible tuple and a state of the composite that it stands for, shapes (R,)."""
    if isinstance(whole, DiscreteInstance):
        tuples, states, _ = whole.model.rules[level][i].rows()
        return tuples, states
    patterns = _patterns(len(whole.truth.constituents[level][i]))
    composition = whole.world.compositions[level][i]
    count = patterns.sum(dim=1)
    tuples = composition.potential()[count].nonzero()[:, 0]
    return tuples, composition.holds()[count[tuples]].long()


def _choose(rows: tuple[Tensor, Tensor], shape: tuple[int, ...], share: float, generator: torch.Generator, sparse: bool) -> list[int]:
    """Numbers of the tuples to hold out, one after the other in random order unless a state would be left without a tuple."""
    tuples, states = rows
    candidates = [t for t in torch.unique(tuples).tolist() if t or not sparse]  # tuple 0 of sparse concepts: all are off
    wanted = max(1, round(share * len(candidates)))
    columns = [*torch.unravel_index(tuples, shape), states]
    left = [column.bincount() for column in columns]
    out: list[int] = []
    for k in torch.randperm(len(candidates), generator=generator).tolist():
        own = tuples == candidates[k]
        lost = [column[own].bincount(minlength=len(count)) for column, count in zip(columns, left, strict=True)]
        if len(out) < wanted and not any(bool(((count == one) & (one > 0)).any()) for count, one in zip(left, lost, strict=True)):
            left = [count - one for count, one in zip(left, lost, strict=True)]
            out.append(candidates[k])
    return sorted(out)


# --------------------------------------------------------------------------------------------------- the law of training


def _check_exact(whole: DiscreteInstance | SparseInstance) -> None:
    """Raise InvalidInput unless the law of training can be told exactly."""
    if isinstance(whole, DiscreteInstance):
        if isinstance(whole.law, ChainLaw):
            raise InvalidInput("tuples cannot be held out where Markov chains sample: use fewer shared constituents or states")
        return
    if whole.world.forest.shared or whole.world.loadings.shape[1]:
        raise InvalidInput("tuples of sparse concepts are held out in forests of independent trees: set shared and correlation to 0")
    if any(2 ** lower.shape[1] > LARGEST for lower in whole.world.forest.constituents):
        raise InvalidInput(f"a composite has more than {LARGEST} tuples of constituents that are on or off: lower branching")


def _train_law(whole: DiscreteInstance | SparseInstance, held: HeldOut) -> tuple[list[Tensor], float]:
    """Marginals of training by level, and the share of rows that is left."""
    if isinstance(whole, SparseInstance):
        rates, log_z = _pattern_law(whole.world, held)
        _, before = _pattern_law(whole.world, [])
        return list(torch.split(rates, list(whole.world.forest.sizes))), min(1.0, math.exp(log_z - before))
    rules = [list(level) for level in whole.model.rules]
    for level, i, tuples in held:
        potential = rules[level][i].potential.clone()
        potential[tuples] = 0.0
        rules[level][i] = replace(rules[level][i], potential=potential)
    vanished = "a state would disappear from training, though each composite by itself keeps it: lower share, or change the seed"
    try:
        law = law_of(replace(whole.model, rules=tuple(map(tuple, rules))), whole.sampler)
    except Unreachable:
        raise InvalidInput(vanished) from None
    found = law.marginals()
    if any(bool(((before > 0) & (after <= 0)).any()) for before, after in zip(whole.law.marginals(), found, strict=True)):
        raise InvalidInput(vanished)
    shaped = [by_concept(m, counts) for m, counts in zip(found, whole.model.graph.cardinalities, strict=True)]
    return shaped, min(1.0, math.exp(law.log_acceptance - whole.law.log_acceptance))


def _patterns(size: int) -> Tensor:
    """Which of `size` constituents are on in each tuple, numbered row-major, shape (2**size, size), int64."""
    return torch.stack(torch.unravel_index(torch.arange(2**size), (2,) * size), dim=1)


def _pattern_law(world: World, held: HeldOut) -> tuple[Tensor, float]:
    r"""Marginals of the nodes of a forest without the held-out tuples, shape (N,), and :math:`\log Z`.

    Messages pass upward as in `generators.selection.messages`, by tuple instead of by number of active constituents; marginals are the
    gradient of :math:`\log Z` in the tilts.
    """
    forest = world.forest
    tilts = world.tilts.detach().clone().requires_grad_()
    by_level = torch.split(tilts, list(forest.sizes))
    log_z = tilts.new_zeros(())
    above = torch.stack([torch.ones_like(by_level[-1]), by_level[-1].exp()], dim=1)
    for level in reversed(range(len(forest.sizes))):
        if level < len(forest.sizes) - 1:
            lower = forest.constituents[level]
            on, phi = weights(world.compositions, level, forest.sizes[level])
            patterns = _patterns(lower.shape[1])
            count = patterns.sum(dim=1)
            allowed = torch.ones(len(lower), len(patterns), dtype=torch.float64)
            for at, i, tuples in held:
                if at == level:
                    allowed[i, tuples] = 0.0
            weight = phi[:, count] * allowed
            for j in range(lower.shape[1]):
                weight = weight * above[lower[:, j]][:, patterns[:, j]]
            holds = on[:, count]
            raw = [torch.where(holds, 0.0, weight).sum(dim=1), torch.where(holds, weight, 0.0).sum(dim=1) * by_level[level].exp()]
            above = torch.stack(raw, dim=1)
        total = above.sum(dim=1, keepdim=True)
        log_z = log_z + total.log().sum()
        above = above / total
    (rates,) = torch.autograd.grad(log_z, tilts)
    return rates, float(log_z.detach())
