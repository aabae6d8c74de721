"""Outcomes made by hand, whose score is known in kind: worlds of every kind of concept, and changes of their codes."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

import torch
from torch import Tensor

from evaluators.calibration import shown_levels, true_structure
from generators.assumptions.dialed import Dialed
from generators.controls.held_out_tuples import HeldOutTuples
from generators.language_model import LanguageModel
from generators.selection.continuous.family import ContinuousHierarchy
from generators.selection.discrete.family import DiscreteHierarchy
from generators.selection.sparse import SparseConcepts
from testbed.conformance.promises import dense
from testbed.contracts import Codes, Instance, Level, Observed, Outcome, Sample, Shows, SparseRows, Structure, Truth, View

ROWS = 1000
SEED = 9
HELD_OUT = " with unseen tuples"
"""After ``sparse`` or ``states``: the world of that name whose training holds some tuples out."""
SPARSE_F = " behind a sparse f"
"""After ``real``: the world of that name in which each coordinate sees two concepts."""
SECOND = {"sparse": f"sparse{HELD_OUT}", "states": f"states{HELD_OUT}", "real": f"real{SPARSE_F}"}
"""The world to go to where an evaluator does not apply to the first one of a kind."""

Change = Callable[[Outcome, int], Outcome]
"""From an outcome and a seed to one with other codes."""


# --------------------------------------------------------------------------------------------------------------- worlds


def world(name: str) -> Outcome:
    """Perfect codes of a world: ``sparse``, ``real`` or ``states`` concepts, a tiny language ``model``, an instance with a ``dial``.

    Its arrays are the caller's own, so that one who changes them changes nobody else's.
    """
    made = _world(name)
    atoms = None if made.dictionary is None else made.dictionary.clone()
    return replace(made, codes=dense(made.codes).clone(), sample=copy.deepcopy(made.sample), dictionary=atoms)


@cache
def _world(name: str) -> Outcome:
    if name in ("model", "dial"):
        return _unlabelled(LanguageModel.small() if name == "model" else Dialed(params={"levels": [2, 6], "dimension": 16}), name)
    generator = {
        "sparse": SparseConcepts.small(),
        "real": ContinuousHierarchy(levels=(2, 5), branching=2, dimension=8, cells=128, views="mixed"),
        "states": DiscreteHierarchy.small(),
        f"sparse{HELD_OUT}": HeldOutTuples("sparse", SparseConcepts.small().get_params(), 0.4),
        f"real{SPARSE_F}": ContinuousHierarchy(levels=(2, 5), branching=2, dimension=15, row_support=1, cells=128, views="mixed"),
        f"states{HELD_OUT}": HeldOutTuples("discrete", DiscreteHierarchy.small().get_params()),
    }[name]
    instance = generator.draw(7)
    sample = instance.sample(ROWS, SEED, "test")
    truth, view = instance.truth, sample.observed.name_of(None)
    assert truth is not None
    codes = torch.cat([dense(sample.latents[level]) for level in sorted(sample.latents)], dim=1)
    atoms = truth.dictionary(view) if view in truth.dictionaries else None
    outcome = _outcome(instance, sample, view, codes, atoms)
    if atoms is not None:  # the best that can be read off other rows, as the codes are of these
        outcome = replace(outcome, encode=lambda observed: dense(truth.oracle(observed, view)).float())
    levels = shown_levels(outcome) if not name.startswith("states") else tuple(sorted(sample.latents))
    return replace(outcome, structure=true_structure(truth, levels))


def _unlabelled(generator: Any, name: str) -> Outcome:
    """Rows of an instance without known concepts in an orthonormal basis: a perfect reconstruction."""
    instance = generator.draw(7)
    sample = instance.sample(64, SEED, "test")
    view = sample.observed.name_of(None)
    x = dense(sample.observed.views[view].values)
    d = x.shape[1]
    basis = torch.linalg.qr(torch.randn(d, d, generator=torch.Generator().manual_seed(1)))[0] if name == "model" else torch.eye(d)
    return _outcome(instance, sample, view, (x - x.mean(dim=0)) @ basis, basis.T.contiguous())


def _outcome(instance: Instance, sample: Sample, view: str, codes: Tensor, atoms: Tensor | None) -> Outcome:
    if atoms is None:
        return Outcome(codes, sample, view, truth=instance.truth, instance=instance, seed=SEED)
    bias = dense(sample.observed.views[view].values).mean(dim=0) - codes.mean(dim=0) @ atoms
    back = torch.linalg.pinv(atoms)

    def decode(given: Codes) -> Tensor:
        described: Tensor = dense(given) @ atoms + bias
        return described

    def encode(observed: Any) -> Tensor:
        values = observed if isinstance(observed, Tensor) else dense(observed.views[view].values)
        codes: Tensor = (values - bias) @ back
        return codes

    return Outcome(codes, sample, view, atoms, decode, instance.truth, instance, encode, "test", SEED)


@dataclass(frozen=True)
class _OneTruth(Truth):
    def oracle(self, observed: Observed, view: str) -> Tensor:
        return dense(observed.views[view].values)[:, :1]


@cache
def one_concept(kind: str) -> Outcome:
    """A world of a single concept, written along the first of four coordinates."""
    g = torch.Generator().manual_seed(3)
    z = torch.randn(200, 1, generator=g)
    if kind == "sparse":
        z = z.abs() * (torch.rand(200, 1, generator=g) < 0.3)
    level = Level("sparse", 1) if kind == "sparse" else Level("real", 1)
    if kind == "states":
        z, level = torch.randint(0, 3, (200, 1), generator=g), Level("states", 1, (3,))
    atoms = torch.eye(1, 4)
    x = z.float() @ atoms
    truth = _OneTruth((level,), {0: ((),)}, {} if kind == "states" else {"x": {0: atoms}}, facts={"bias/x": torch.zeros(4)})
    latents = SparseRows.from_dense(z) if kind == "sparse" else z
    sample = Sample(Observed({"x": View(x, Shows(levels=(0,)))}), {0: latents})
    return Outcome(z, sample, "x", None if kind == "states" else atoms, lambda codes: dense(codes).float() @ atoms, truth, seed=SEED)


def reseeded(outcome: Outcome) -> Outcome:
    """What another fit seed might have found: other directions, by a little."""
    atoms = outcome.dictionary
    if atoms is None:
        return outcome
    return replace(outcome, dictionary=atoms + 0.05 * torch.randn(atoms.shape, generator=torch.Generator().manual_seed(3)))


# ------------------------------------------------------------------------------------------------- changes that are undone


def _changed(
    outcome: Outcome, forth: Callable[[Tensor], Tensor], back: Callable[[Tensor], Tensor] | None, atoms: Callable[[Tensor], Tensor] | None
) -> Outcome:
    """Codes under a map, with the dictionary, the decoder and the encoder that belong to them."""
    decode, encode, dictionary = outcome.decode, outcome.encode, outcome.dictionary
    return replace(
        outcome,
        codes=forth(dense(outcome.codes)),
        dictionary=dictionary if dictionary is None or atoms is None else atoms(dictionary),
        decode=None if decode is None or back is None else lambda given: decode(back(dense(given))),
        encode=None if encode is None or back is None else lambda observed: forth(dense(encode(observed))),
    )


def permuted(outcome: Outcome, seed: int) -> Outcome:
    order = torch.randperm(outcome.codes.shape[1], generator=_generator(seed))
    place = order.argsort()
    changed = _changed(outcome, lambda a: a[:, order], lambda a: a[:, place], lambda d: d[order])
    return replace(changed, structure=_picked(outcome.structure, order.tolist()))


def flipped(outcome: Outcome, seed: int) -> Outcome:
    sign = torch.ones(outcome.codes.shape[1])
    sign[seed % 2 :: 2] = -1.0
    return _changed(outcome, lambda a: a * sign, lambda a: a * sign, lambda d: d * sign[:, None])


def scaled(outcome: Outcome, seed: int) -> Outcome:
    factor = (4 * torch.rand(outcome.codes.shape[1], generator=_generator(seed)) - 2).exp()
    return _changed(outcome, lambda a: a * factor, lambda a: a / factor, lambda d: d / factor[:, None])


def shifted(outcome: Outcome, seed: int) -> Outcome:
    step = torch.randn(outcome.codes.shape[1], generator=_generator(seed))
    return _changed(outcome, lambda a: a + step, lambda a: a - step, None)


def warped(outcome: Outcome, seed: int) -> Outcome:
    """Each code under an increasing map, which does not keep 0."""
    codes = dense(outcome.codes).float()
    bend = 0.5 + torch.rand(codes.shape[1], generator=_generator(seed))
    size = codes.abs().amax(dim=0).clamp_min(1e-6)
    return _changed(outcome, lambda a: (bend * a / size).exp(), lambda a: a.clamp_min(1e-6).log() * size / bend, None)


def relabelled(outcome: Outcome, seed: int) -> Outcome:
    """Each code under a one-to-one map of its values: other labels where it has few of them, else a decreasing map."""
    codes = dense(outcome.codes)
    columns = []
    for j, column in enumerate(codes.T):
        values, label = column.unique(return_inverse=True)
        if len(values) <= 64:
            columns.append(values[torch.randperm(len(values), generator=_generator(seed + j))][label])
        else:
            columns.append(-(column / column.abs().max().clamp_min(1e-6)).exp())
    made = torch.stack(columns, dim=1)
    return replace(outcome, codes=made, decode=None, encode=None)


def states_relabelled(outcome: Outcome, seed: int) -> Outcome:
    return outcome if dense(outcome.codes).is_floating_point() else relabelled(outcome, seed)


def rotated(outcome: Outcome, seed: int) -> Outcome:
    q = _orthogonal(outcome.codes.shape[1], seed)
    return _changed(outcome, lambda a: a.float() @ q, lambda a: a @ q.T, lambda d: q.T @ d)


def mixed(outcome: Outcome, seed: int) -> Outcome:
    """All codes under an affine map of condition 4."""
    m = outcome.codes.shape[1]
    a = _orthogonal(m, seed) @ torch.linspace(0.5, 2.0, m).diag() @ _orthogonal(m, seed + 1)
    back, step = torch.linalg.inv(a), torch.randn(m, generator=_generator(seed + 2))
    return _changed(outcome, lambda codes: codes.float() @ a + step, lambda codes: (codes - step) @ back, lambda d: back @ d)


CHANGES: dict[str, Change] = {
    "permutation": permuted,
    "sign": flipped,
    "scale": scaled,
    "shift": shifted,
    "monotone": warped,
    "relabelling": relabelled,
    "state relabelling": states_relabelled,
    "rotation": rotated,
    "affine": mixed,
}
"""A change of codes for each name of `testbed.contracts.INVARIANCES`."""


# ---------------------------------------------------------------------------------------------------- codes that are hard


def meaningless(outcome: Outcome, seed: int) -> Outcome:
    """The same codes of other rows, with random directions."""
    order = torch.randperm(len(outcome.codes), generator=_generator(seed))
    shape = None if outcome.dictionary is None else outcome.dictionary.shape
    atoms = None if shape is None else torch.randn(shape, generator=_generator(seed + 1))
    return replace(outcome, codes=dense(outcome.codes)[order], dictionary=atoms)


def noise(outcome: Outcome, seed: int) -> Outcome:
    """Normal codes and directions; states drawn by chance in a world of states."""
    codes, g = dense(outcome.codes), _generator(seed)
    made = torch.randn(codes.shape, generator=g)
    if not codes.is_floating_point():
        made = (torch.rand(codes.shape, generator=g) * (codes.amax(dim=0) + 1)).long()
    atoms = None if outcome.dictionary is None else torch.randn(outcome.dictionary.shape, generator=g)
    return replace(outcome, codes=made, dictionary=atoms)


def with_dead(outcome: Outcome, seed: int) -> Outcome:
    m = outcome.codes.shape[1]
    made = picked(outcome, [*range(m), m - 1, m - 1, m - 1])
    codes = dense(made.codes).clone()
    codes[:, -3:] = 0
    return replace(made, codes=codes)


def silent(outcome: Outcome, seed: int) -> Outcome:
    return replace(outcome, codes=torch.zeros_like(dense(outcome.codes)))


def constant(outcome: Outcome, seed: int) -> Outcome:
    return replace(outcome, codes=torch.ones_like(dense(outcome.codes)))


def on_or_off(outcome: Outcome, seed: int) -> Outcome:
    codes = dense(outcome.codes)
    return replace(outcome, codes=(codes > codes.float().mean(dim=0)).to(codes.dtype))


def tied(outcome: Outcome, seed: int) -> Outcome:
    """Codes rounded to a few values."""
    codes = dense(outcome.codes)
    return replace(outcome, codes=(2 * codes).round() / 2 if codes.is_floating_point() else codes // 2)


HARD: dict[str, Change] = {
    "three dead codes beside the others": with_dead,
    "one code for all concepts": lambda outcome, seed: picked(outcome, [0]),
    "fewer codes than concepts": lambda outcome, seed: picked(outcome, range(outcome.codes.shape[1] // 2)),
    "every code twice": lambda outcome, seed: picked(outcome, [*range(outcome.codes.shape[1])] * 2),
    "codes that never fire": silent,
    "codes that are always 1": constant,
    "codes that are 0 or 1": on_or_off,
    "codes with many ties": tied,
}
"""Codes that estimators do give, and that a score must survive."""


def spoiled(outcome: Outcome, seed: int, value: float) -> Outcome:
    """One entry of the codes, the dictionary and the decoded rows is `value`."""
    codes = dense(outcome.codes).float().clone()
    codes[3, 0] = value
    atoms = None if outcome.dictionary is None else outcome.dictionary.clone()
    if atoms is not None:
        atoms[0, 0] = value
    decode = outcome.decode
    return replace(outcome, codes=codes, dictionary=atoms, decode=None if decode is None else lambda given: decode(given) * float("nan"))


def first_rows(outcome: Outcome, seed: int, n: int) -> Outcome:
    return replace(outcome, codes=outcome.codes[:n], sample=outcome.sample[:n])


def picked(outcome: Outcome, codes: Sequence[int]) -> Outcome:
    """These codes (first each once in increasing order, then repeated ones); what is decoded from them leaves out the others."""
    columns, shown = torch.tensor(list(codes)), torch.tensor(sorted(set(codes)))
    decode, encode, m = outcome.decode, outcome.encode, outcome.codes.shape[1]

    def decoded(given: Codes) -> Tensor:
        assert decode is not None
        values = dense(given)
        first = torch.zeros(len(values), m, dtype=values.dtype)
        return decode(first.index_copy(1, shown, values[:, : len(shown)]))

    return replace(
        outcome,
        codes=dense(outcome.codes)[:, columns],
        dictionary=None if outcome.dictionary is None else outcome.dictionary[columns],
        decode=None if decode is None else decoded,
        encode=None if encode is None else lambda observed: dense(encode(observed))[:, columns],
        structure=_picked(outcome.structure, columns.tolist()),
    )


def _picked(structure: Structure | None, codes: Sequence[int]) -> Structure | None:
    """The graph among these codes; a constituent that is not there is left out."""
    if structure is None:
        return None
    place = {old: new for new, old in reversed(list(enumerate(codes)))}
    return Structure(
        tuple(structure.levels[old] for old in codes),
        tuple(tuple(place[j] for j in structure.constituents[old] if j in place) for old in codes),
        tuple(structure.n_states[old] for old in codes) if structure.n_states else (),
        structure.direction,
    )


def _orthogonal(m: int, seed: int) -> Tensor:
    q: Tensor = torch.linalg.qr(torch.randn(m, m, generator=_generator(seed)))[0]
    return q


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
