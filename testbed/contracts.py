"""The nouns of the testbed: data, generators, estimators, evaluators. The page to read first.

A *generator* holds a specification; drawn with a seed it becomes an *instance*, which samples data and knows its own *truth*.
An *estimator* is fitted on what can be observed and turns rows into *codes*. An *evaluator* scores codes of held-out rows, against
the truth where there is one. Nothing in this module imports torch: planning a suite, or finding that nothing is left to do, must
cost no more than reading text.
"""

from __future__ import annotations

import copy
import hashlib
import inspect
import json
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, ClassVar, Literal, Protocol, Self, TypeAlias, TypeGuard, runtime_checkable

if TYPE_CHECKING:
    from pathlib import Path

    from torch import Tensor

BLOCK = 4096
"""Rows per block: each block of a sample has a seed of its own, so a short sample is the beginning of every longer one."""

PARTS = ("train", "test", "reference")
"""The disjoint parts of an instance's data: estimators see `train`, scores come from `test`, reference levels from `reference`."""


class InvalidInput(ValueError):
    """What was given cannot be used. The message says what was given, what was wanted and what to do."""


class UnusableCheckpoint(InvalidInput):
    """A checkpoint that cannot be read or is of another training; deleting it and training from the start always helps."""


class NotApplicable(Exception):
    """An evaluator has nothing to say about this outcome (no dictionary, no truth, no model); the message says why."""


class NotExpressible(Exception):
    """Fitted state that is neither arrays nor JSON, so that it cannot be stored."""


# ---------------------------------------------------------------------------------------------------------------- seeds


def seed_of(*parts: str | int) -> int:
    """A seed in [0, 2**63) that depends on every part and on nothing else (no global state, no machine)."""
    text = json.dumps(parts, separators=(",", ":"))
    return int.from_bytes(hashlib.sha256(text.encode()).digest()[:8], "big") >> 1


# ----------------------------------------------------------------------------------------------------------------- data


@dataclass(frozen=True, slots=True)
class SparseRows:
    """Rows that are mostly zero, in compressed form (CSR).

    Attributes
    ----------
    indptr : Tensor, shape (n + 1,), int64
        Row i owns entries ``indptr[i]:indptr[i + 1]``.
    indices : Tensor, shape (nnz,), int64
        Column of each entry.
    values : Tensor, shape (nnz,)
    shape : tuple of int, (n, m)
    """

    indptr: Tensor
    indices: Tensor
    values: Tensor
    shape: tuple[int, int]

    @classmethod
    def from_dense(cls, dense: Tensor) -> SparseRows:
        """Keep the entries of `dense`, shape (n, m), that are not 0."""
        rows, columns = dense.nonzero(as_tuple=True)
        return cls.from_entries(rows, columns, dense[rows, columns], (dense.shape[0], dense.shape[1]))

    @classmethod
    def from_entries(cls, rows: Tensor, columns: Tensor, values: Tensor, shape: tuple[int, int]) -> SparseRows:
        """From entries sorted by row; `rows`, `columns` and `values` have shape (nnz,)."""
        indptr = rows.new_zeros(shape[0] + 1)
        indptr[1:] = rows.bincount(minlength=shape[0]).cumsum(0)
        return cls(indptr, columns, values, shape)

    @classmethod
    def cat(cls, pieces: list[SparseRows]) -> SparseRows:
        """Stack pieces of equal width below each other."""
        import torch

        starts, offset = [pieces[0].indptr[:1]], 0
        for piece in pieces:
            starts.append(piece.indptr[1:] + offset)
            offset += len(piece.values)
        return cls(
            torch.cat(starts),
            torch.cat([piece.indices for piece in pieces]),
            torch.cat([piece.values for piece in pieces]),
            (sum(len(piece) for piece in pieces), pieces[0].shape[1]),
        )

    def __len__(self) -> int:
        return self.shape[0]

    def __getitem__(self, rows: slice) -> SparseRows:
        start, stop, step = rows.indices(len(self))
        if step != 1:
            raise InvalidInput(f"sparse rows are cut in steps of 1, not {step}")
        stop = max(start, stop)
        first, last = int(self.indptr[start]), int(self.indptr[stop])
        indptr = self.indptr[start : stop + 1] - first
        return SparseRows(indptr, self.indices[first:last], self.values[first:last], (stop - start, self.shape[1]))

    def row_of_entry(self) -> Tensor:
        """Row index of each entry, shape (nnz,)."""
        counts = self.indptr.diff()
        return counts.new_ones(len(counts)).cumsum(0).sub(1).repeat_interleave(counts)

    def dense(self) -> Tensor:
        """The same rows as a dense tensor, shape (n, m)."""
        out = self.values.new_zeros(self.shape)
        out[self.row_of_entry(), self.indices] = self.values
        return out

    def to(self, device: Any) -> SparseRows:
        return SparseRows(self.indptr.to(device), self.indices.to(device), self.values.to(device), self.shape)


Rows: TypeAlias = "Tensor | SparseRows"
Codes: TypeAlias = "Tensor | SparseRows"


def stacked(pieces: list[Any]) -> Rows:
    """Rows below each other; sparse where they are."""
    import torch

    return SparseRows.cat(pieces) if isinstance(pieces[0], SparseRows) else torch.cat(pieces)


def side_by_side(pieces: list[Any]) -> Rows:
    """Rows next to each other, shape (n, m_1 + m_2 + ...); sparse where all pieces are."""
    import torch

    if not all(isinstance(piece, SparseRows) for piece in pieces):
        return torch.cat([piece.dense() if isinstance(piece, SparseRows) else piece for piece in pieces], dim=1)
    starts = [sum(piece.shape[1] for piece in pieces[:i]) for i in range(len(pieces) + 1)]
    row = torch.cat([piece.row_of_entry() for piece in pieces])
    column = torch.cat([piece.indices + start for piece, start in zip(pieces, starts, strict=False)])
    value = torch.cat([piece.values for piece in pieces])
    order = row.argsort(stable=True)
    return SparseRows.from_entries(row[order], column[order], value[order], (len(pieces[0]), starts[-1]))


@dataclass(frozen=True, slots=True)
class Shows:
    """What a view shows. A view is not a level: a real model has many views and no known levels."""

    levels: tuple[int, ...] = ()
    noise: float | None = None
    timestep: int | None = None
    layer: str | None = None


@dataclass(frozen=True, slots=True)
class View:
    """One way of looking at the data: `values` of shape (n, d), and what they show."""

    values: Rows
    shows: Shows = field(default_factory=Shows)


@dataclass(frozen=True)
class Observed:
    """What an estimator may see: named views of the same n rows, and a table of what is known about each row.

    Attributes
    ----------
    views : mapping of str to View
    rows : mapping of str to Tensor, shape (n,)
        Row table: group, position, timestep, labels that a user may know.
    """

    views: Mapping[str, View]
    rows: Mapping[str, Tensor] = field(default_factory=dict)

    def __post_init__(self) -> None:
        lengths = {name: len(view.values) for name, view in self.views.items()}
        lengths |= {f"row table {name}": len(column) for name, column in self.rows.items()}
        if len(set(lengths.values())) > 1:
            raise InvalidInput(f"views and row table must have the same number of rows, but have {lengths}")

    def __len__(self) -> int:
        return len(next(iter(self.views.values())).values)

    def __getitem__(self, rows: slice) -> Observed:
        views = {name: View(view.values[rows], view.shows) for name, view in self.views.items()}
        return Observed(views, {name: column[rows] for name, column in self.rows.items()})

    def to(self, device: Any) -> Observed:
        views = {name: View(view.values.to(device), view.shows) for name, view in self.views.items()}
        return Observed(views, {name: column.to(device) for name, column in self.rows.items()})

    def name_of(self, view: str | None) -> str:
        """The name of the view that is meant: `view` itself, or the only one there is."""
        if view is None and len(self.views) == 1:
            return next(iter(self.views))
        if view is None or view not in self.views:
            wanted = "no view was named" if view is None else f"there is no view {view!r}"
            raise InvalidInput(f"{wanted}: set view to one of {', '.join(map(repr, self.views))}")
        return view

    def names_of(self, views: Iterable[str] | None) -> tuple[str, ...]:
        """The names of the views that are meant: `views` themselves, or all there are, in their order."""
        return tuple(self.views) if views is None else tuple(self.name_of(name) for name in views)

    def view(self, name: str) -> View:
        """A view by its name; or several side by side, by their names joined with ``+``, see `joined`."""
        if name in self.views:
            return self.views[name]
        parts = [self.views[self.name_of(part)] for part in apart(name)]
        import torch

        values = [part.values.dense() if isinstance(part.values, SparseRows) else part.values for part in parts]
        return View(torch.cat(values, dim=1), Shows(tuple(dict.fromkeys(level for part in parts for level in part.shows.levels))))


def joined(views: Iterable[str]) -> str:
    """The name of several views side by side, for an estimator that reads them all and has codes of its own for each."""
    return "+".join(views)


def apart(view: str) -> tuple[str, ...]:
    """The views that a name stands for, see `joined`."""
    return tuple(view.split("+"))


@dataclass(frozen=True)
class Sample:
    """Observed rows together with the latents that produced them (empty where nobody knows them)."""

    observed: Observed
    latents: Mapping[int, Rows] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.observed)

    def __getitem__(self, rows: slice) -> Sample:
        return Sample(self.observed[rows], {level: values[rows] for level, values in self.latents.items()})


def concatenate(samples: list[Sample]) -> Sample:
    """Stack samples of the same instance below each other."""
    import torch

    first = samples[0].observed
    views = {k: View(stacked([s.observed.views[k].values for s in samples]), v.shows) for k, v in first.views.items()}
    rows = {k: torch.cat([s.observed.rows[k] for s in samples]) for k in first.rows}
    return Sample(Observed(views, rows), {k: stacked([s.latents[k] for s in samples]) for k in samples[0].latents})


@dataclass(frozen=True, slots=True)
class Level:
    """Concepts of one level: how many, and what their values are (`states` with a cardinality each, `real`, or `sparse`)."""

    kind: Literal["states", "real", "sparse"]
    size: int
    cardinalities: tuple[int, ...] = ()


INVARIANCES: Mapping[str, str] = {
    "permutation": "codes in another order",
    "sign": "the sign of each code",
    "scale": "a positive factor for each code",
    "shift": "a number added to each code",
    "monotone": "an increasing map of each code",
    "relabelling": "a one-to-one map of each code's values",
    "state relabelling": "a one-to-one map of each code's values, where codes are states (integers)",
    "rotation": "an orthogonal map of all codes together",
    "affine": "an invertible affine map of all codes together",
}
"""Changes of codes (with the dictionary and the decoder that undo them) up to which concepts are identified, or a score stays the same."""

_IMPLIED = {
    "monotone": ("scale", "shift"),
    "relabelling": ("sign", "monotone", "scale", "shift", "state relabelling"),
    "rotation": ("permutation", "sign"),
    "affine": ("rotation", "permutation", "sign", "scale", "shift"),
}


def implied(names: Iterable[str]) -> frozenset[str]:
    """`names` of `INVARIANCES` with every other one that is a special case of them."""
    return frozenset(other for name in names for other in (name, *_IMPLIED.get(name, ())))


@dataclass(frozen=True)
class Truth(ABC):
    """What a generator knows about an instance.

    Attributes
    ----------
    levels : tuple of Level
        From level 0, the most abstract, to level L, the most concrete.
    constituents : mapping of int to tuple of tuple of int
        ``constituents[l][i]`` are the concepts of level l + 1 that concept i of level l is composed of; () for a free concept.
    dictionaries : mapping of str to mapping of int to Tensor, shape (n_l, d)
        Per view and level, the direction along which each concept is written.
    rates : mapping of int to Tensor, shape (n_l,)
        Realised marginals, after selection: how often each concept of a sparse level is on.
    settings : mapping of str to float
        Numbers that a suite may hand to an estimator; every table marks a setting that was read off the truth.
    facts : mapping
        Everything else (potentials, rules, noise), as tensors or JSON values.
    """

    levels: tuple[Level, ...]
    constituents: Mapping[int, tuple[tuple[int, ...], ...]]
    dictionaries: Mapping[str, Mapping[int, Tensor]] = field(default_factory=dict)
    rates: Mapping[int, Tensor] = field(default_factory=dict)
    settings: Mapping[str, float] = field(default_factory=dict)
    facts: Mapping[str, Any] = field(default_factory=dict)

    def dictionary(self, view: str) -> Tensor:
        """True atoms of every concept that `view` shows, level by level, shape (c, d); 0 in the views that do not show the concept."""
        import torch

        parts = (view,) if view in self.dictionaries else apart(view)
        for part in parts:
            if part not in self.dictionaries:
                raise NotApplicable(f"the truth holds no dictionary for view {part!r}")
        atoms: Tensor = torch.block_diag(*(torch.cat(list(self.dictionaries[part].values())) for part in parts))  # type: ignore[no-untyped-call]
        return atoms

    def written(self, view: str) -> tuple[int, ...]:
        """Levels whose concepts have atoms in `view`, in the order of `dictionary`; () where there is none."""
        parts = (view,) if view in self.dictionaries else apart(view)
        return tuple(level for part in parts for level in self.dictionaries.get(part, ()))

    def identified(self, view: str) -> tuple[str, ...]:
        """Names of `INVARIANCES` up to which theorems identify the concepts that `view` shows, where they apply; () if none promises any.

        States up to relabelling; others up to scale and sign where they are written along directions, else up to an invertible map of
        each; all up to permutation.
        """
        written = self.written(view)
        kinds = {self.levels[level].kind for level in written or range(len(self.levels))}
        if "states" in kinds:
            return ("permutation", "relabelling") if kinds == {"states"} else ()
        return ("permutation", "sign", "scale") if written else ("permutation", "sign", "monotone")

    @abstractmethod
    def oracle(self, observed: Observed, view: str) -> Codes:
        """The best codes of `observed` that knowledge of the truth gives, shape (n, c), in the order of `dictionary`; of one view."""

    def codes(self, observed: Observed, view: str) -> Codes:
        """`oracle` of a view, or of several side by side, see `joined`.

        Raises
        ------
        NotApplicable
            If two of the views show the same level.
        """
        if view in observed.views:
            return self.oracle(observed, view)
        levels = [level for part in apart(view) for level in observed.view(part).shows.levels]
        if len(set(levels)) < len(levels):
            raise NotApplicable(f"views {view!r} show a level twice: there is no best code of each concept")
        return side_by_side([self.oracle(observed, part) for part in apart(view)])


# ----------------------------------------------------------------------------------------------------------- components


class Component:
    """scikit-learn's conventions: the constructor only stores its arguments, under their own names."""

    environment: ClassVar[tuple[str, ...]] = ()
    """What its results depend on besides source and parameters: names of packages, or ``"python"``; their versions are in its keys."""

    @classmethod
    def parameter_names(cls) -> tuple[str, ...]:
        if cls.__init__ is object.__init__:
            return ()
        return tuple(name for name in inspect.signature(cls).parameters)

    def get_params(self, deep: bool = False) -> dict[str, Any]:
        """The constructor's arguments; `deep` is there for scikit-learn's `clone`."""
        return {name: getattr(self, name) for name in self.parameter_names()}

    def set_params(self, **params: Any) -> Self:
        for name, value in params.items():
            if name not in self.parameter_names():
                raise InvalidInput(f"{type(self).__name__} has no parameter {name!r}: it has {self.parameter_names()}")
            setattr(self, name, value)
        return self

    def clone(self) -> Self:
        """A new component with the same parameters and nothing fitted."""
        return type(self)(**copy.deepcopy(self.get_params()))

    @classmethod
    def small(cls) -> Self:
        """A setting that is quick enough for `testbed check`; the default one unless a component says otherwise."""
        return cls()

    def __repr__(self) -> str:
        return f"{type(self).__name__}({', '.join(f'{k}={v!r}' for k, v in self.get_params().items())})"


class Generator(Component, ABC):
    """A specification of data. `draw` turns it into an instance: graph, tables and dictionary fixed, ready to sample."""

    @abstractmethod
    def draw(self, seed: int) -> Instance:
        """Draw an instance, always on the CPU; the same specification and seed give the same instance."""


class Instance(ABC):
    """One drawn world. Rows come in a fixed order that depends on the seed and the part alone."""

    truth: Truth | None = None
    device: str = "cpu"

    @abstractmethod
    def chunks(self, seed: int, part: str = "train", start: int = 0) -> Iterator[Sample]:
        """Consecutive rows from row `start` on, in chunks of any size: endless, or until the data end.

        Parameters
        ----------
        seed : int
        part : {"train", "test", "reference"}
            Parts share no row.
        start : int
            First row wanted; reaching it costs (about) nothing, so that a resumed stream is exact and cheap.
        """

    def to(self, device: str) -> Self:
        """The same instance, sampling on `device`. Instances that hold tensors move them too."""
        other = copy.copy(self)
        other.device = device
        return other

    def stream(self, batch_size: int, seed: int, part: str = "train", start: int = 0) -> Iterator[Sample]:
        """The same rows as `sample`, in batches of `batch_size`."""
        held: list[Sample] = []
        count = 0
        for chunk in self.chunks(seed, part, start):
            held.append(chunk)
            count += len(chunk)
            if count < batch_size:
                continue
            rows = concatenate(held) if len(held) > 1 else held[0]
            first = 0
            while count - first >= batch_size:
                yield rows[first : first + batch_size]
                first += batch_size
            held, count = ([rows[first:count]] if first < count else []), count - first
        if count:
            yield concatenate(held)

    def sample(self, n: int, seed: int, part: str = "train") -> Sample:
        """The first `n` rows.

        Raises
        ------
        InvalidInput
            If `n` is less than 1, or the data end before row n.
        """
        if n < 1:
            raise InvalidInput(f"a sample has at least 1 row, not {n}")
        pieces, count = [], 0
        for chunk in self.chunks(seed, part):
            pieces.append(chunk[: n - count])
            count += len(pieces[-1])
            if count >= n:
                return concatenate(pieces)
        raise InvalidInput(f"{n} rows of part {part!r} were asked for, but there are only {count}: ask for fewer, or give more data")


class BlockInstance(Instance):
    """An instance whose rows are drawn independently, block by block."""

    @abstractmethod
    def block(self, seed: int) -> Sample:
        """Draw `BLOCK` rows on `self.device` from a random number generator with this seed."""

    def chunks(self, seed: int, part: str = "train", start: int = 0) -> Iterator[Sample]:
        index, skip = divmod(start, BLOCK)
        while True:
            yield self.block(seed_of("block", part, seed, index))[skip:]
            index, skip = index + 1, 0


Data: TypeAlias = "Observed | Tensor | Iterable[Observed] | Iterable[Tensor] | Any"


class Estimator(Component, ABC):
    """Learns to read codes off what is observed. Everything learned is an attribute whose name ends in ``_``.

    Optional attributes after `fit`: ``dictionary_`` (m, d), the direction each code writes along; ``history_``, learning curves as
    lists; where a hierarchy is learned, ``constituents_`` and with it ``levels_``, ``n_states_`` and ``direction_``, one entry per code,
    see `Structure`. An estimator of several views has a parameter ``views``, names or None for all, instead of ``view``; its codes are
    scored against what these views show side by side, see `joined`.
    """

    needs_truth: ClassVar[bool] = False
    """Oracles set this; they are given ``truth`` in `fit` and stand apart in every table."""

    @abstractmethod
    def fit(self, data: Data, *, seed: int) -> Self:
        """Learn from observed rows: an Observed, an array (n, d), or a stream of either (a cache on disk is one)."""

    @abstractmethod
    def encode(self, observed: Any) -> Codes:
        """Codes of each row, shape (n, m). `observed` is an Observed or an array."""

    @abstractmethod
    def decode(self, codes: Codes) -> Tensor:
        """The view that the codes describe, shape (n, d)."""

    def blank(self, name: str) -> Estimator:
        """A fresh estimator for the attribute `name` that holds a fitted one; estimators made of others define it, for `set_state`."""
        raise NotExpressible(f"{type(self).__name__} does not say by its method blank which estimator {name} holds")

    def get_state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Fitted state as ``(arrays, json)``: the attributes that end in ``_``; of estimators among them, or of lists of them, theirs.

        Raises
        ------
        NotExpressible
            If an attribute is neither of these; override this method and `set_state` then.
        """
        return state_of(self, type(self).__name__)

    def set_state(self, arrays: Mapping[str, Any], plain: Mapping[str, Any]) -> Self:
        """Take back what `get_state` gave; a tensor arrives as a tensor, a numpy array as a numpy array.

        Raises
        ------
        InvalidInput
            If it is nothing that `get_state` gives: a state is read from a file, which must not set anything else.
        """
        nested = plain.get(NESTED, {})
        for name, value in {**arrays, **plain}.items():
            if name != NESTED and "/" not in name:
                setattr(self, _fitted(name, self), value)
        if not isinstance(nested, dict):
            raise InvalidInput(f"{type(self).__name__}: the state's {NESTED!r} is no table: fit again")
        for name, told in nested.items():
            several = isinstance(told, list)
            made = [self._restored(name, f"{name}/{i}/", one, arrays) for i, one in enumerate(told if several else [told])]
            setattr(self, _fitted(name, self), made if several else made[0])
        return self

    def _restored(self, name: str, place: str, told: Mapping[str, Any], arrays: Mapping[str, Any]) -> Estimator:
        if not isinstance(told, Mapping) or not all(isinstance(told.get(part), dict) for part in ("params", "plain")):
            raise InvalidInput(f"{type(self).__name__}: the state of {name} has no params and no plain: fit again")
        own = {key.removeprefix(place): value for key, value in arrays.items() if key.startswith(place)}
        return self.blank(name).set_params(**told["params"]).set_state(own, told["plain"])


def _fitted(name: str, owner: Any) -> str:
    """The name of a fitted attribute, and of nothing else."""
    if not name.isidentifier() or not name.endswith("_") or name.startswith("_"):
        raise InvalidInput(f"{type(owner).__name__}: a state holds attributes whose names end in '_', not {name!r}: fit again")
    return name


NESTED = "nested"
"""Under which the JSON of a state keeps that of estimators inside an estimator."""


def state_of(holder: Any, owner: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Attributes of an object that end in ``_`` as arrays and JSON, see `Estimator.get_state`; `owner` is its name, for the error."""
    arrays: dict[str, Any] = {}
    plain: dict[str, Any] = {}
    for name, value in vars(holder).items():
        if not name.endswith("_") or name.startswith("_"):
            continue
        inner = value if isinstance(value, list) else [value]
        if hasattr(value, "dtype") and hasattr(value, "shape") and hasattr(value, "__array__"):
            arrays[name] = value
        elif inner and all(isinstance(one, Estimator) for one in inner):
            told = []
            for i, one in enumerate(inner):
                own, rest = one.get_state()
                arrays |= {f"{name}/{i}/{key}": array for key, array in own.items()}
                told.append({"params": {k: v for k, v in one.get_params().items() if _is_json(v)}, "plain": rest})
            plain.setdefault(NESTED, {})[name] = told if isinstance(value, list) else told[0]
        elif _is_json(value):
            plain[name] = value
        else:
            raise NotExpressible(f"{owner}.{name} is neither an array nor JSON, but a {type(value).__name__}")
    return arrays, plain


def _is_json(value: Any) -> bool:
    try:
        json.dumps(value, allow_nan=False)
    except (TypeError, ValueError):
        return False
    return True


class Resumable(Protocol):
    """An estimator whose `fit` takes a `checkpoint`; runs hand one to every estimator that does, see `is_resumable`."""

    def fit(self, data: Data, *, seed: int, checkpoint: str | Path | None = None) -> Any:
        """Learn as `Estimator.fit` does, and outlive being killed.

        Parameters
        ----------
        data, seed
            As in `Estimator.fit`.
        checkpoint : path, optional
            File to write now and then, whole or not at all, and to go on from where it is there already; what is learned is to the bit
            what an undisturbed `fit` learns. Files whose names begin with it are the estimator's too. None is left at the end.

        Raises
        ------
        UnusableCheckpoint
            If the file cannot be read or is of another training.
        """


def is_resumable(estimator: Any) -> TypeGuard[Resumable]:
    """Whether an estimator's `fit` takes a checkpoint."""
    return "checkpoint" in inspect.signature(estimator.fit).parameters


@runtime_checkable
class Patchable(Protocol):
    """An instance whose rows come from a model that can be run with some of its activations replaced."""

    def patched_losses(self, replace: Callable[[Tensor], Tensor] | None, part: str, n: int, seed: int) -> Any:
        """Next-token losses of the first n rows of a part when their activations x become ``replace(x)``, called batch by batch.

        Returns
        -------
        loss, group : Tensor, shape (n,)
            Cross-entropy in nats of the token after each row, and the document of each row.
        """


@runtime_checkable
class Legible(Protocol):
    """An instance whose rows have a text around them."""

    def context(self, rows: Mapping[str, Tensor], index: int, before: int, after: int) -> tuple[list[str], int]:
        """Token strings around row `index` of a row table, and the place of that row's own token among them."""


@runtime_checkable
class Dialable(Protocol):
    """An instance of a specification with a dial on one of the assumptions that theorems make of it."""

    breaks: tuple[str, ...]
    """Assumptions that the dial breaks."""
    moves: tuple[str, ...]
    """Others that it may move, since they speak of the same arrays; all the rest must stay as they are."""

    def margins(self, amount: float) -> Mapping[str, tuple[bool, float]]:
        """Whether each assumption holds with the dial at `amount`, from 0 to 1, and its margin; without those that cannot be told."""


Setting: TypeAlias = Mapping[tuple[int, int], float]
"""Values of concepts, by (level, concept): a state, a magnitude (0 is off), a real value."""


@runtime_checkable
class Intervenable(Protocol):
    """An instance that can be steered, in three ways that differ; each gives a new instance that samples from the new law."""

    def condition(self, setting: Setting) -> Instance:
        """The selected law given that the concepts have these values: what steering a sampler does."""

    def do_then_select(self, setting: Setting) -> Instance:
        """Set the concepts by force in the base law, then select: potentials weigh what follows from the forced values."""

    def select_then_do(self, setting: Setting) -> Instance:
        """Select, then set the concepts by force: only what is composed of them changes, nothing below a composite."""


@runtime_checkable
class Unselectable(Protocol):
    """An instance that knows its own law without selection."""

    def unselected(self) -> Instance:
        """The same concepts and views with every potential 1: where what was learned from selected rows can be tried."""


@runtime_checkable
class Savable(Protocol):
    """An instance that can be written to disk and drawn from again; see `generators.saving`."""

    def state(self) -> tuple[dict[str, Tensor], dict[str, Any]]:
        """All that the instance is, as arrays and JSON."""

    @classmethod
    def from_state(cls, arrays: Mapping[str, Tensor], plain: Mapping[str, Any]) -> Instance:
        """The same instance again; InvalidInput if the state is not one."""


@dataclass(frozen=True)
class Structure:
    """The graph that an estimator found among its own codes.

    Attributes
    ----------
    levels : tuple of int
        Of each code, shape (m,); 0 is the most abstract.
    constituents : tuple of tuple of int
        Of each code, the codes that it is composed of; () where it is composed of none.
    n_states : tuple of int
        Of each code, how many values it takes; () where codes are no states.
    direction : {"selection", "independent children", "undecided"}
        What makes constituents depend on each other: one class for selection and joint emission, which have the same law; one for a cause
        whose children are independent given it.

    Raises
    ------
    InvalidInput
        If the numbers of codes differ, or a constituent is no code, or the composite itself.
    """

    levels: tuple[int, ...]
    constituents: tuple[tuple[int, ...], ...]
    n_states: tuple[int, ...] = ()
    direction: str = "undecided"

    def __post_init__(self) -> None:
        m = len(self.levels)
        if len(self.constituents) != m or len(self.n_states) not in (0, m):
            raise InvalidInput(
                f"{m} levels, {len(self.constituents)} tuples, {len(self.n_states)} state counts: a structure has one per code"
            )
        for code, tuple_ in enumerate(self.constituents):
            if not all(0 <= j < m and j != code for j in tuple_):
                raise InvalidInput(f"code {code} of {m} is composed of {list(tuple_)}: constituents are numbers of other codes")
        if self.direction not in DIRECTIONS:
            raise InvalidInput(f"direction is {self.direction!r}: {', '.join(DIRECTIONS)}")

    @classmethod
    def of(cls, estimator: Any) -> Structure | None:
        """What a fitted estimator's ``constituents_``, ``levels_``, ``n_states_``, ``direction_`` say; None if it has no constituents."""
        found = getattr(estimator, "constituents_", None)
        if found is None:
            return None
        constituents = tuple(tuple(map(int, one)) for one in found)
        levels = getattr(estimator, "levels_", None)
        return cls(
            levels=tuple(map(int, levels)) if levels is not None else (0,) * len(constituents),
            constituents=constituents,
            n_states=tuple(map(int, getattr(estimator, "n_states_", ()))),
            direction=str(getattr(estimator, "direction_", "undecided")),
        )


DIRECTIONS = ("selection", "independent children", "undecided")


@dataclass(frozen=True)
class Outcome:
    """What one evaluator call is about: codes of held-out rows, and what is known about those rows.

    Attributes
    ----------
    codes : Tensor or SparseRows, shape (n, m)
    sample : Sample
        The held-out rows, with latents where there are any.
    view : str
        The view that was encoded.
    dictionary : Tensor, shape (m, d), or None
    decode : callable or None
        From codes to rows of the view.
    truth : Truth or None
    instance : Instance or None
    encode : callable or None
        From Observed to codes; used when a model is run with its activations replaced by their reconstruction.
    part, seed : str, int
        Which rows these are, for instances that can run them again.
    structure : Structure or None
        The graph that the estimator found among its codes.
    """

    codes: Codes
    sample: Sample
    view: str
    dictionary: Tensor | None = None
    decode: Callable[[Codes], Tensor] | None = None
    truth: Truth | None = None
    instance: Instance | None = None
    encode: Callable[[Any], Codes] | None = None
    part: str = "test"
    seed: int = 0
    structure: Structure | None = None


@dataclass(frozen=True)
class Scores:
    """What an evaluator found.

    Attributes
    ----------
    value : float
        The headline number.
    parts : mapping of str to float
        Further numbers, such as the same score per level.
    groups : mapping of str to float
        The score of each group of rows (a document), where groups are the units that a claim is tested on.
    details : mapping
        JSON for the report: whatever a reader wants to look at.
    """

    value: float
    parts: Mapping[str, float] = field(default_factory=dict)
    groups: Mapping[str, float] = field(default_factory=dict)
    details: Mapping[str, Any] = field(default_factory=dict)


@dataclass(frozen=True)
class Reference:
    """A way to make codes whose score is known in kind: no better than chance, or the best there is.

    Attributes
    ----------
    name : str
    scope : {"instance", "trial"}
        ``"instance"``: ``make(outcome, seed)`` needs the sample and the truth alone, and is made once per instance, on rows of the part
        ``"reference"``. ``"trial"``: it needs the codes or the dictionary of the trial, since chance depends on their number and
        sparsity.
    make : callable
        From an Outcome and a seed to the reference's Outcome.
    """

    name: str
    scope: Literal["instance", "trial"]
    make: Callable[[Outcome, int], Outcome]


class Evaluator(Component, ABC):
    """Scores outcomes, and names what its scores are to be read against."""

    direction: ClassVar[Literal["higher", "lower", "none"]] = "higher"
    """Which way is better; ``"none"`` for descriptions such as L0."""
    equivalence: ClassVar[str] = "none"
    """Changes of the codes that leave the score alone, in words: the class up to which it tests recovery."""
    invariances: ClassVar[tuple[str, ...]] = ()
    """The same in names of `INVARIANCES`, for the checks, which try them, and for the report, which holds them against what theorems
    promise; () where no such change leaves the score alone, or none is claimed."""
    kinds: ClassVar[tuple[str, ...]] = ()
    """Kinds of level it can score (``states``, ``real``, ``sparse``); empty if it needs no truth."""
    scope: ClassVar[Literal["trial", "seeds"]] = "trial"
    """``"trial"``: `score` takes an Outcome. ``"seeds"``: a list of them, one per fit seed of the same estimator on the same instance."""
    chance: ClassVar[Reference | float | None] = None
    ceiling: ClassVar[Reference | float | None] = None
    floors: ClassVar[tuple[Reference, ...]] = ()
    """Chance level and ceiling (a reference, or a number where it is known by construction), and floors shown beside them."""

    @abstractmethod
    def score(self, outcome: Any, *, seed: int) -> Scores:
        """Score an outcome (or a list of them, see `scope`).

        Raises
        ------
        NotApplicable
            If the outcome lacks what the evaluator needs.
        InvalidInput
            If codes or data are unusable (NaN, other number of rows).
        """
