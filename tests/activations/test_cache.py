import pytest
import torch

from testbed.activations import cache, hooks
from testbed.activations.cache import cache_activations
from testbed.activations.models import load_model
from testbed.activations.tiny import tiny
from testbed.contracts import InvalidInput
from testbed.shards import ShardReader


@pytest.fixture(scope="module")
def lm():
    return load_model(tiny().model)


@pytest.fixture
def small(lm):
    return {"model": lm, "module": "residual.0", "text": [tiny().text], "context": 32, "tokens": 1000, "batch": 4, "shard_rows": 300}


def same(a, b):
    a, b = a.sample().observed, b.sample().observed
    return torch.equal(a.views["residual.0"].values, b.views["residual.0"].values) and all(
        torch.equal(a.rows[name], b.rows[name]) for name in a.rows
    )


def test_a_cache_holds_the_rows_asked_for_and_where_they_come_from(tmp_path, lm, small):
    reader = cache_activations(tmp_path, **small)
    assert len(reader) == 1000
    observed = reader.sample().observed
    assert observed.views["residual.0"].values.shape == (1000, 32)
    assert observed.views["residual.0"].shows.layer == "model.layers.0"
    assert int(observed.rows["position"].min()) == 1  # the first position of a window is a sink of attention
    about = reader.manifest["source"]
    assert about["fingerprint"] == lm.fingerprint
    assert about["module"] == "model.layers.0"
    assert about["context"] == 32


def test_an_estimator_may_read_it_as_a_stream(tmp_path, small):
    reader = cache_activations(tmp_path, **small)
    assert [len(observed) for observed in reader] == [300, 300, 300, 100]


def test_a_cache_goes_on_after_a_kill_to_the_same_bytes(tmp_path, small, monkeypatch):
    whole = cache_activations(tmp_path / "whole", **small)
    passes = []

    def killed(*arguments, **named):
        for number, chunk in enumerate(run(*arguments, **named)):
            passes.append(number)
            if number == 6:
                raise KeyboardInterrupt
            yield chunk

    run = cache.samples
    monkeypatch.setattr(cache, "samples", killed)
    with pytest.raises(KeyboardInterrupt):
        cache_activations(tmp_path / "cut", **small)
    with pytest.raises(InvalidInput, match="not written to its end"):
        ShardReader(tmp_path / "cut")
    there = sorted(path.name for path in (tmp_path / "cut").glob("shard-*"))
    assert there == ["shard-00000.safetensors", "shard-00001.safetensors"]

    ran = []
    monkeypatch.setattr(cache, "samples", lambda *a, **k: (ran.append(1) or chunk for chunk in run(*a, **k)))
    resumed = cache_activations(tmp_path / "cut", **small)
    assert len(ran) <= 5  # of 9 batches or more, each of at most 120 rows, those that hold rows 600 to 999
    assert same(resumed, whole)
    assert resumed.manifest["shards"] == whole.manifest["shards"]


def test_a_finished_cache_is_read_without_running_the_model(tmp_path, small, monkeypatch):
    first = cache_activations(tmp_path, **small)
    monkeypatch.setattr(hooks, "collect", lambda *_: pytest.fail("the model ran"))
    monkeypatch.setattr(cache, "samples", lambda *_: pytest.fail("the model ran"))
    assert same(cache_activations(tmp_path, **small), first)


@pytest.mark.parametrize("change", [{"module": "residual.1"}, {"tokens": 900}, {"context": 16}, {"seed": 1}, {"dtype": "float16"}])
def test_a_folder_with_rows_of_another_source_is_refused(tmp_path, small, change):
    cache_activations(tmp_path, **small)
    with pytest.raises(InvalidInput, match="another source"):
        cache_activations(tmp_path, **{**small, **change})


def test_float16_takes_half_the_space(tmp_path, small):
    whole = cache_activations(tmp_path / "whole", **small).sample().observed.views["residual.0"].values
    half = cache_activations(tmp_path / "half", **small, dtype="float16").sample().observed.views["residual.0"].values
    assert torch.equal(half, whole.half())


def test_values_that_float16_cannot_hold_are_refused(tmp_path, small, monkeypatch):
    run = cache.samples

    def large(*arguments):
        for chunk in run(*arguments):
            chunk.observed.views["residual.0"].values.mul_(1e6)
            yield chunk

    monkeypatch.setattr(cache, "samples", large)
    with pytest.raises(InvalidInput, match="store them as float32"):
        cache_activations(tmp_path, **small, dtype="float16")


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"tokens": 10**9}, "1000000000 tokens were asked for, but the texts give"),
        ({"tokens": 0}, "at least 1"),
        ({"batch": 0}, "at least 1"),
        ({"module": "residual.9"}, "blocks 0 to 1"),
    ],
)
def test_arguments_that_cannot_be_used_leave_no_folder(tmp_path, small, change, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        cache_activations(tmp_path / "cache", **{**small, **change})
    assert not (tmp_path / "cache").exists()
