"""Rows on disk are the rows that went in, in order; a folder that was cut short goes on after its last whole shard."""

import json

import pytest
import torch
from safetensors.torch import load_file, save

from testbed.contracts import InvalidInput, Observed, Sample, Shows, SparseRows, View
from testbed.shards import ShardReader, ShardWriter, write_samples
from testbed.store import Damaged, digest_of


def piece(start, n):
    x = torch.arange(start, start + n, dtype=torch.float32).unsqueeze(1) * torch.tensor([1.0, -1.0])
    sparse = SparseRows.from_dense(x[:, :1] * (torch.arange(start, start + n).unsqueeze(1) % 3 == 0))
    return Sample(Observed({"x": View(x, Shows(levels=(0, 1), layer="l.3"))}, {"group": torch.arange(start, start + n)}), {1: x, 0: sparse})


def pieces(n, size=7):
    return [piece(start, min(size, n - start)) for start in range(0, n, size)]


def test_what_goes_in_comes_out(tmp_path):
    with ShardWriter(tmp_path, {"from": "test"}, shard_rows=10) as writer:
        for one in pieces(33):
            writer.append(one)
    reader = ShardReader(tmp_path)
    assert len(reader) == 33
    assert [len(observed) for observed in reader] == [10, 10, 10, 3]
    sample, whole = reader.sample(), piece(0, 33)
    assert torch.equal(sample.observed.views["x"].values, whole.observed.views["x"].values)
    assert sample.observed.views["x"].shows == Shows(levels=(0, 1), layer="l.3")
    assert torch.equal(sample.observed.rows["group"], whole.observed.rows["group"])
    assert torch.equal(sample.latents[0].dense(), whole.latents[0].dense())
    assert list(sample.latents) == [0, 1]


def test_a_reader_shows_no_latents_to_whoever_iterates_it(tmp_path):
    reader = write_samples(tmp_path, {}, pieces(20))
    assert all(isinstance(observed, Observed) and not hasattr(observed, "latents") for observed in reader)


def test_writing_goes_on_after_the_last_whole_shard(tmp_path):
    writer = ShardWriter(tmp_path / "cut", {"from": "test"}, shard_rows=10)
    for one in pieces(26):
        writer.append(one)  # six rows are held back and lost with the writer
    with pytest.raises(InvalidInput, match="not written to its end"):
        ShardReader(tmp_path / "cut")
    again = ShardWriter(tmp_path / "cut", {"from": "test"}, shard_rows=10)
    assert again.rows == 20
    again.append(piece(20, 13))
    again.finish()
    with ShardWriter(tmp_path / "whole", {"from": "test"}, shard_rows=10) as whole:
        whole.append(piece(0, 33))
    assert [s["sha256"] for s in again.manifest["shards"]] == [s["sha256"] for s in whole.manifest["shards"]]


def test_rows_of_another_source_are_refused(tmp_path):
    write_samples(tmp_path, {"seed": 1}, pieces(5))
    with pytest.raises(InvalidInput, match="another source"):
        ShardWriter(tmp_path, {"seed": 2})


def test_nothing_is_there_before_the_first_whole_shard(tmp_path):
    writer = ShardWriter(tmp_path / "few", {"from": "test"}, shard_rows=10)
    writer.append(piece(0, 7))
    assert not (tmp_path / "few").exists()
    writer.append(piece(7, 3))
    assert ShardWriter(tmp_path / "few", {"from": "test"}).rows == 10


def test_views_can_be_stored_in_half_precision(tmp_path):
    reader = write_samples(tmp_path, {}, pieces(5), dtype="bfloat16")
    assert reader.sample().observed.views["x"].values.dtype == torch.bfloat16
    assert reader.sample().latents[1].dtype == torch.float32
    with pytest.raises(InvalidInput, match="dtype 'int3'"):
        ShardWriter(tmp_path / "b", {}, dtype="int3")


def test_a_spoiled_or_missing_shard_is_named(tmp_path):
    reader = write_samples(tmp_path, {}, pieces(5))
    shard = tmp_path / reader.manifest["shards"][0]["file"]
    data = bytearray(shard.read_bytes())
    data[-1] ^= 1
    shard.write_bytes(data)
    with pytest.raises(Damaged, match=r"shard-00000.safetensors is missing or not what was written"):
        reader.sample()
    shard.unlink()
    with pytest.raises(Damaged, match="missing"):
        list(reader)


def resealed(folder, tensors):
    """The only shard with other arrays in it, and the hash that these should have."""
    path = folder / "shard-00000.safetensors"
    path.write_bytes(save(tensors))
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["shards"][0]["sha256"] = digest_of(path)
    (folder / "manifest.json").write_text(json.dumps(manifest))


@pytest.mark.parametrize(
    ("name", "value", "message"),
    [
        ("view/x", None, r"view/x\|indptr is missing"),
        ("view/x", torch.zeros(4, 2), "shape .4, 2. where there are 5 rows"),
        ("view/x", torch.zeros(5), "shape .5,. where there are 5 rows"),
        ("row/group", torch.zeros(4), "same number of rows"),
        ("row/group", torch.tensor(1), "is no column"),
        ("latent/1", torch.zeros(6, 2), "where there are 5 rows"),
        ("latent/x", torch.zeros(5, 2), "invalid literal"),
        ("latent/0|indptr", torch.tensor([0, 1]), "does not divide"),
        ("latent/0|indptr", torch.tensor([0, 3, 1, 1, 2, 2]), "does not divide"),
        ("latent/0|indptr", torch.zeros(6), "do not go together"),
        ("latent/0|indices", torch.tensor([7]), "are not columns of 1"),
        ("latent/0|indices", torch.tensor([-1]), "are not columns of 1"),
        ("latent/0|values", torch.zeros(3), "do not go together"),
        ("latent/0|shape", torch.tensor([5, -1]), "do not go together"),
        ("latent/0|shape", torch.tensor([5, 10**14]), "says 100,000,000,000,000 columns"),
        ("latent/0|shape", torch.tensor([10**12, 1]), "does not divide 1 entries among 1000000000000 rows"),
    ],
)
def test_arrays_that_are_no_rows_are_named(tmp_path, name, value, message):
    write_samples(tmp_path, {}, pieces(5))
    tensors = load_file(tmp_path / "shard-00000.safetensors")
    tensors.pop(name, None)
    resealed(tmp_path, tensors if value is None else {**tensors, name: value})
    with pytest.raises(Damaged, match=message) as error:
        ShardReader(tmp_path).sample()
    assert "shard-00000.safetensors is not what was written" in str(error.value)


def test_what_the_library_says_of_a_file_is_one_line(tmp_path):
    write_samples(tmp_path, {}, pieces(5))
    path = tmp_path / "shard-00000.safetensors"
    path.write_bytes(path.read_bytes().replace(b'"F32"', b'"a\\n"', 1))
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    manifest["shards"][0]["sha256"] = digest_of(path)
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(Damaged, match="is not what was written") as error:
        ShardReader(tmp_path).sample()
    assert "\n" not in str(error.value)


def test_a_shard_with_fewer_bytes_than_rows_is_refused(tmp_path):
    """A list makes room for as many items as a reader says that it has."""
    write_samples(tmp_path, {}, pieces(5))
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    manifest["shards"][0]["rows"] = 10**12
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(Damaged, match="too small for 1,000,000,000,000 rows"):
        list(ShardReader(tmp_path))


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("shards", 0, "file"), "../shard-00000.safetensors"),
        (("shards", 0, "file"), "/etc/passwd"),
        (("shards", 0, "rows"), -5),
        (("shards", 0), 3),
        (("views", "x", "levels"), "ab"),
        (("complete",), "yes"),
    ],
)
def test_a_manifest_that_says_something_else_is_refused_with_the_place(tmp_path, place, value):
    write_samples(tmp_path, {}, pieces(5))
    manifest = json.loads((tmp_path / "manifest.json").read_text())
    part = manifest
    for key in place[:-1]:
        part = part[key]
    part[place[-1]] = value
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(Damaged, match=rf"manifest.json is not what was written .{place[0]}"):
        ShardReader(tmp_path)


@pytest.mark.parametrize(("content", "kind"), [("{", Damaged), (json.dumps({"schema": 0}), InvalidInput)])
def test_a_manifest_that_is_none_is_refused(tmp_path, content, kind):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(kind):
        ShardReader(tmp_path)
    with pytest.raises(InvalidInput, match="no manifest"):
        ShardReader(tmp_path / "nowhere")
