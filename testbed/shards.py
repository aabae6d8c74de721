"""Samples on disk: typed shards and a manifest, appended shard by shard, resumed after a kill, read as a stream.

A folder holds ``manifest.json`` (where the rows come from, their layout, every shard with its number of rows and its hash) and one
safetensors file per shard. A shard that the manifest does not list does not exist.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from safetensors import SafetensorError
from safetensors.torch import load, save
from torch import Tensor

from testbed.contracts import BLOCK, InvalidInput, Observed, Rows, Sample, Shows, SparseRows, View, concatenate
from testbed.store import SCHEMA, SYNC_FROM, Damaged, in_a_line, read_json, write_atomic, write_json

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16, "float64": torch.float64}


class ShardWriter:
    """Append samples to a folder. Opened again with the same `source`, it goes on after the last whole shard.

    Parameters
    ----------
    folder : path
    source : mapping
        Where the rows come from, as JSON (model, revision, module, text fingerprint, seeds ...).
    dtype : {"float32", "float16", "bfloat16", "float64"}, optional
        What the views' real values are stored as (tokens stay integers); None keeps what arrives.
    shard_rows : int
        Rows per shard.

    Raises
    ------
    InvalidInput
        If the folder holds rows from another source, or `dtype` is unknown.
    """

    def __init__(self, folder: str | Path, source: Mapping[str, Any], *, dtype: str | None = None, shard_rows: int = 4 * BLOCK) -> None:
        if dtype is not None and dtype not in DTYPES:
            raise InvalidInput(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}")
        self.folder = Path(folder)
        self.dtype = dtype
        self.shard_rows = shard_rows
        self._held: list[Sample] = []
        source = json.loads(json.dumps(source))
        path = self.folder / "manifest.json"
        if path.exists():
            self.manifest = _read_manifest(self.folder)
            if self.manifest["source"] != source or self.manifest["dtype"] != dtype:
                raise InvalidInput(f"{self.folder} holds rows from another source: choose another folder or delete this one")
        else:
            self.manifest = {"schema": SCHEMA, "source": source, "dtype": dtype, "shards": [], "complete": False, "views": {}}
        self._opened = time.monotonic()

    @property
    def rows(self) -> int:
        """Rows in finished shards: where the next `append` must go on."""
        return sum(shard["rows"] for shard in self.manifest["shards"])

    @property
    def complete(self) -> bool:
        return bool(self.manifest["complete"])

    def append(self, sample: Sample) -> None:
        self._held.append(sample)
        while sum(map(len, self._held)) >= self.shard_rows:
            rows = concatenate(self._held)
            self._write_shard(rows[: self.shard_rows])
            write_json(self.folder / "manifest.json", self.manifest)
            self._held = [rows[self.shard_rows :]] if len(rows) > self.shard_rows else []

    def finish(self) -> None:
        """Write what is held back and mark the folder complete."""
        sync = time.monotonic() - self._opened >= SYNC_FROM or bool(self.manifest["shards"])
        if self._held:
            self._write_shard(concatenate(self._held), sync)
            self._held = []
        self.manifest["complete"] = True
        write_json(self.folder / "manifest.json", self.manifest, sync=sync)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None and not self.complete:
            self.finish()

    def _write_shard(self, sample: Sample, sync: bool = True) -> None:
        name = f"shard-{len(self.manifest['shards']):05d}.safetensors"
        data = save({k: v.cpu().contiguous() for k, v in _pack(sample, self.dtype)})
        write_atomic(self.folder / name, data, sync=sync)
        self.manifest["views"] = {
            key: {
                "columns": view.values.shape[1],
                "levels": list(view.shows.levels),
                "noise": view.shows.noise,
                "timestep": view.shows.timestep,
                "layer": view.shows.layer,
            }
            for key, view in sample.observed.views.items()
        }
        self.manifest["shards"].append({"file": name, "rows": len(sample), "sha256": hashlib.sha256(data).hexdigest()})


class ShardReader:
    """A finished folder of shards, read as a stream.

    Iterating gives one Observed per shard: no latents, so that an estimator can be handed the reader itself.

    Parameters
    ----------
    folder : path
    device : str
        Where the Observed that iterating gives are put; `samples` stay on the CPU.

    Raises
    ------
    InvalidInput
        If the folder holds no finished shards.
    Damaged
        While reading, if a shard is missing or not what was written.
    """

    def __init__(self, folder: str | Path, device: str = "cpu") -> None:
        self.folder = Path(folder)
        self.device = device
        self.manifest = _read_manifest(self.folder)
        if not self.manifest["complete"]:
            raise InvalidInput(f"{self.folder} was not written to its end: run again to complete it")
        if not self.manifest["shards"]:
            raise InvalidInput(f"{self.folder} holds no rows: delete it and run again")
        for path, rows in ((self.folder / shard["file"], shard["rows"]) for shard in self.manifest["shards"]):
            if path.is_file() and rows > path.stat().st_size:  # whoever makes room for as many would run out of memory
                raise Damaged(f"{path} is too small for {rows:,} rows: delete {self.folder} and run again", self.folder)

    def __len__(self) -> int:
        return sum(shard["rows"] for shard in self.manifest["shards"])

    def __iter__(self) -> Iterator[Observed]:
        for sample in self.samples():
            yield sample.observed if self.device == "cpu" else sample.observed.to(self.device)

    def starting_at(self, row: int) -> Iterator[Observed]:
        """From row `row` on: shards before it are not read, so that interrupted training goes on at once."""
        first = 0
        for shard in self.manifest["shards"]:
            if row < first + shard["rows"]:
                observed = self._sample_of(shard).observed[max(0, row - first) :]
                yield observed if self.device == "cpu" else observed.to(self.device)
            first += shard["rows"]

    def samples(self) -> Iterator[Sample]:
        """One Sample per shard, latents included."""
        for shard in self.manifest["shards"]:
            yield self._sample_of(shard)

    def _sample_of(self, shard: Mapping[str, Any]) -> Sample:
        path = self.folder / shard["file"]
        data = path.read_bytes() if path.is_file() else b""
        if hashlib.sha256(data).hexdigest() != shard["sha256"]:
            raise Damaged(f"{path} is missing or not what was written: delete {self.folder} and run again", self.folder)
        try:
            return _unpack(load(data), self.manifest["views"], shard["rows"])
        except (SafetensorError, ValueError) as error:
            why = in_a_line(error)
            raise Damaged(f"{path} is not what was written ({why}): delete {self.folder} and run again", self.folder) from None

    def sample(self) -> Sample:
        """All rows at once."""
        return concatenate(list(self.samples()))


def write_samples(folder: Path, source: Mapping[str, Any], samples: Iterable[Sample], *, dtype: str | None = None) -> ShardReader:
    """Write samples from the first to the last and open the folder for reading."""
    with ShardWriter(folder, source, dtype=dtype) as writer:
        for sample in samples:
            writer.append(sample)
    return ShardReader(folder)


def _read_manifest(folder: Path) -> dict[str, Any]:
    path = folder / "manifest.json"
    try:
        manifest = read_json(path)
    except (FileNotFoundError, NotADirectoryError):
        raise InvalidInput(f"{folder} holds no manifest.json: it is not a folder of samples") from None
    except ValueError as error:
        raise Damaged(f"{path} cannot be read ({error}): delete {folder} and run again", folder) from None
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise InvalidInput(f"{path} was written by another version of the testbed: delete {folder} and run again")
    try:
        _Manifest.model_validate(manifest)
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        what = error.errors()[0]["msg"]
        raise Damaged(f"{path} is not what was written ({place}: {what}): delete {folder} and run again", folder) from None
    return manifest


class _Strict(BaseModel):
    model_config = ConfigDict(strict=True, allow_inf_nan=False)


class _Shard(_Strict):
    file: str = Field(pattern=r"^shard-[0-9]+\.safetensors$")  # never a place outside the folder
    rows: int = Field(ge=1)
    sha256: str


class _Shown(_Strict):
    levels: list[int]
    noise: float | None
    timestep: int | None
    layer: str | None


class _Manifest(_Strict):
    source: dict[str, Any]
    dtype: str | None
    shards: list[_Shard]
    complete: bool
    views: dict[str, _Shown]


def _pack(sample: Sample, dtype: str | None) -> Iterator[tuple[str, Tensor]]:
    for name, view in sample.observed.views.items():
        values = view.values
        if isinstance(values, Tensor) and values.is_floating_point() and dtype is not None:
            values = values.to(DTYPES[dtype])
        yield from _pack_rows(f"view/{name}", values)
    for level, latents in sample.latents.items():
        yield from _pack_rows(f"latent/{level}", latents)
    for name, column in sample.observed.rows.items():
        yield f"row/{name}", column


def _pack_rows(name: str, rows: Rows) -> Iterator[tuple[str, Tensor]]:
    if isinstance(rows, SparseRows):
        yield f"{name}|indptr", rows.indptr
        yield f"{name}|indices", rows.indices
        yield f"{name}|values", rows.values
        yield f"{name}|shape", torch.tensor(rows.shape)
    else:
        yield name, rows


MOST_COLUMNS = 1 << 26
"""Most columns of sparse rows that are read: four times those of the largest dictionaries, since a dense row takes room for each."""


def sparse_rows(tensors: Mapping[str, Tensor], name: str = "") -> SparseRows:
    """Sparse rows from the four arrays that they are stored as, under names that begin with `name`.

    Raises
    ------
    ValueError
        If an array is missing, or they are not rows in compressed form.
    """
    parts = ("indptr", "indices", "values", "shape")
    if missing := [part for part in parts if f"{name}{part}" not in tensors]:
        raise ValueError(f"{name}{missing[0]} is missing")
    indptr, indices, values, shape = (tensors[f"{name}{part}"] for part in parts)
    whole = all(array.dtype == torch.int64 and array.ndim == 1 for array in (indptr, indices, shape))
    if not whole or values.ndim != 1 or len(indices) != len(values) or len(shape) != 2 or int(shape.min()) < 0:
        raise ValueError(f"{name}indptr, {name}indices, {name}values and {name}shape do not go together")
    n, m = shape.tolist()
    if m > MOST_COLUMNS:
        raise ValueError(f"{name}shape says {m:,} columns, more than {MOST_COLUMNS:,}")
    if len(indptr) != n + 1 or int(indptr[0]) != 0 or int(indptr[-1]) != len(values) or bool((indptr.diff() < 0).any()):
        raise ValueError(f"{name}indptr does not divide {len(values)} entries among {n} rows")
    if len(indices) and not 0 <= int(indices.min()) <= int(indices.max()) < m:
        raise ValueError(f"{name}indices are not columns of {m}")
    return SparseRows(indptr, indices, values, (n, m))


def _unpack(tensors: dict[str, Tensor], views: Mapping[str, Any], n: int) -> Sample:
    """A sample from a shard's arrays; ValueError if they are none, or of another number of rows."""

    def rows_at(name: str) -> Rows:
        rows = tensors[name] if name in tensors else sparse_rows(tensors, f"{name}|")
        if len(rows.shape) != 2 or rows.shape[0] != n:
            raise ValueError(f"{name} has shape {tuple(rows.shape)} where there are {n} rows")
        return rows

    stems = {name.split("|")[0] for name in tensors}
    shown = {
        key: View(rows_at(f"view/{key}"), Shows(tuple(about["levels"]), about["noise"], about["timestep"], about["layer"]))
        for key, about in views.items()
    }
    if not shown:
        raise ValueError("there is no view")
    table = {stem.removeprefix("row/"): tensors[stem] for stem in sorted(stems & tensors.keys()) if stem.startswith("row/")}
    if any(column.ndim != 1 for column in table.values()):
        raise ValueError("a column of the row table is no column")
    latents = {int(stem.removeprefix("latent/")): rows_at(stem) for stem in sorted(stems) if stem.startswith("latent/")}
    return Sample(Observed(shown, table), dict(sorted(latents.items())))
