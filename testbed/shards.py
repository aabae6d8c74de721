"""Samples on disk: typed shards and a manifest, appended shard by shard, resumed after a kill, read as a stream.

A folder holds ``manifest.json`` (where the rows come from, their layout, every shard with its number of rows and its hash) and one
safetensors file per shard. A shard that the manifest does not list does not exist.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import torch
from safetensors.torch import load, save
from torch import Tensor

from testbed.contracts import BLOCK, InvalidInput, Observed, Rows, Sample, Shows, SparseRows, View, concatenate
from testbed.store import SCHEMA, Damaged, digest_of, write_atomic, write_json

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
            self.folder.mkdir(parents=True, exist_ok=True)
            self.manifest = {"schema": SCHEMA, "source": source, "dtype": dtype, "shards": [], "complete": False, "views": {}}
            write_json(path, self.manifest)

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
            self._write(rows[: self.shard_rows])
            self._held = [rows[self.shard_rows :]] if len(rows) > self.shard_rows else []

    def finish(self) -> None:
        """Write what is held back and mark the folder complete."""
        if self._held:
            self._write(concatenate(self._held))
            self._held = []
        self.manifest["complete"] = True
        write_json(self.folder / "manifest.json", self.manifest)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if kind is None and not self.complete:
            self.finish()

    def _write(self, sample: Sample) -> None:
        name = f"shard-{len(self.manifest['shards']):05d}.safetensors"
        data = save({k: v.cpu().contiguous() for k, v in _pack(sample, self.dtype)})
        write_atomic(self.folder / name, data)
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
        self.manifest["shards"].append({"file": name, "rows": len(sample), "sha256": digest_of(self.folder / name)})
        write_json(self.folder / "manifest.json", self.manifest)


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
        if not path.is_file() or digest_of(path) != shard["sha256"]:
            raise Damaged(f"{path} is missing or not what was written: delete {self.folder} and run again", self.folder)
        return _unpack(load(path.read_bytes()), self.manifest["views"], shard["rows"])

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
        manifest = json.loads(path.read_bytes())
    except FileNotFoundError:
        raise InvalidInput(f"{folder} holds no manifest.json: it is not a folder of samples") from None
    except ValueError as error:
        raise Damaged(f"{path} cannot be read ({error}): delete {folder} and run again", folder) from None
    if not isinstance(manifest, dict) or manifest.get("schema") != SCHEMA:
        raise InvalidInput(f"{path} was written by another version of the testbed: delete {folder} and run again")
    return manifest


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


def _unpack(tensors: dict[str, Tensor], views: Mapping[str, Any], n: int) -> Sample:
    def rows_at(name: str) -> Rows:
        if name in tensors:
            return tensors[name]
        shape = tensors[f"{name}|shape"].tolist()
        return SparseRows(tensors[f"{name}|indptr"], tensors[f"{name}|indices"], tensors[f"{name}|values"], (shape[0], shape[1]))

    stems = {name.split("|")[0] for name in tensors}
    shown = {
        key: View(rows_at(f"view/{key}"), Shows(tuple(about["levels"]), about["noise"], about["timestep"], about["layer"]))
        for key, about in views.items()
    }
    table = {stem.removeprefix("row/"): tensors[stem] for stem in sorted(stems) if stem.startswith("row/")}
    latents = {int(stem.removeprefix("latent/")): rows_at(stem) for stem in sorted(stems) if stem.startswith("latent/")}
    sample = Sample(Observed(shown, table), dict(sorted(latents.items())))
    if len(sample) != n:
        raise Damaged(f"a shard has {len(sample)} rows where the manifest says {n}")
    return sample
