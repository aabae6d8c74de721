"""Rows on disk are the rows that went in, in order; a folder that was cut short goes on after its last whole shard."""

import json

import pytest
import torch

from testbed.contracts import InvalidInput, Observed, Sample, Shows, SparseRows, View
from testbed.shards import ShardReader, ShardWriter, write_samples
from testbed.store import Damaged


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


@pytest.mark.parametrize(("content", "kind"), [("{", Damaged), (json.dumps({"schema": 0}), InvalidInput)])
def test_a_manifest_that_is_none_is_refused(tmp_path, content, kind):
    (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(kind):
        ShardReader(tmp_path)
    with pytest.raises(InvalidInput, match="no manifest"):
        ShardReader(tmp_path / "nowhere")
