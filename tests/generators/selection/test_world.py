"""Instances on disk: the same samples after loading, and nothing that was changed is accepted."""

import json

import pytest
import torch
from safetensors.torch import load_file, save_file

from generators.saving import load_instance, same_state, save_instance
from generators.selection.sparse import SparseConcepts
from generators.selection.world import from_state
from testbed.contracts import InvalidInput, Savable
from testbed.store import Damaged

WORLDS = [
    {},
    {"rule": ["and", "any"], "branching": [3, 2], "views": "per_level", "noise": [0.1, 0.0, 0.2], "bias": 1.0},
    {"correlation": 0.4, "magnitude_law": "student", "dictionary": "clustered", "rates": "geometric"},
    {"levels": (6,)},
]


def drawn(**params):
    return SparseConcepts(**{"levels": (2, 6, 20), "dimension": 8, **params}).draw(5)


@pytest.mark.parametrize("params", WORLDS, ids=str)
def test_a_loaded_instance_gives_the_same_samples(params, tmp_path):
    instance = drawn(**params)
    assert isinstance(instance, Savable)
    loaded = load_instance(save_instance(instance, tmp_path))
    assert same_state(instance, loaded)
    for part in ("train", "test"):
        a, b = instance.sample(5000, 2, part), loaded.sample(5000, 2, part)
        assert all(torch.equal(a.observed.views[view].values, b.observed.views[view].values) for view in a.observed.views)
        assert all(torch.equal(a.latents[level].dense(), b.latents[level].dense()) for level in a.latents)
    assert loaded.truth.constituents == instance.truth.constituents
    assert loaded.truth.settings == instance.truth.settings
    assert loaded.truth.facts.keys() == instance.truth.facts.keys()


def test_a_steered_instance_comes_back_steered(tmp_path):
    instance = drawn().do_then_select({(1, 0): 1.5}).condition({(2, 3): 0.0}).select_then_do({(2, 4): 2.0})
    loaded = load_instance(save_instance(instance, tmp_path))
    assert torch.equal(loaded.sample(300, 0).latents[2].dense(), instance.sample(300, 0).latents[2].dense())
    assert loaded.sample(300, 0).latents[1].dense()[:, 0].eq(1.5).all()
    assert not same_state(loaded, drawn())


def test_changed_files_are_refused(tmp_path):
    save_instance(drawn(), tmp_path)
    about = json.loads((tmp_path / "instance.json").read_text())
    for change in (
        lambda state: state["magnitudes"].update(mean=2.0),
        lambda state: state.update(sizes=[2, 6, 21]),
        lambda state: state.pop("views"),
    ):
        changed = json.loads(json.dumps(about))
        change(changed["state"])
        (tmp_path / "instance.json").write_text(json.dumps(changed))
        with pytest.raises(Damaged, match="not what was written"):
            load_instance(tmp_path)
        with pytest.raises(InvalidInput, match="not what was written"):
            from_state(load_file(tmp_path / "instance.safetensors"), changed["state"])
    (tmp_path / "instance.json").write_text(json.dumps(about))
    arrays = load_file(tmp_path / "instance.safetensors")
    arrays["tilts"][0] += 1
    save_file(arrays, tmp_path / "instance.safetensors")
    with pytest.raises(Damaged):
        load_instance(tmp_path)


def change(arrays, name, value):
    return {**arrays, name: value}


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("tilts", torch.zeros(3, dtype=torch.float64)),
        ("tilts", torch.full((28,), torch.nan, dtype=torch.float64)),
        ("constituents/1", torch.zeros(6, 3, dtype=torch.int64)),
        ("constituents/1", torch.arange(18).reshape(6, 3) + 5),
        ("composition/0", torch.tensor([0, 7])),
        ("composition/0", torch.tensor([0])),
        ("dictionary/mixed/1", torch.zeros(6, 9)),
        ("clamp", torch.full((28,), 2)),
        ("loadings", torch.ones(4, 1, dtype=torch.float64)),
        ("loadings", torch.ones(2, 1, dtype=torch.float64)),
    ],
)
def test_states_that_are_none_are_refused(name, value):
    arrays, plain = drawn().state()
    assert from_state(arrays, plain).forest.sizes == (2, 6, 20)
    with pytest.raises(InvalidInput, match="save it again"):
        from_state(change(arrays, name, value), plain)
    with pytest.raises(InvalidInput, match="lacks a part"):
        from_state({k: v for k, v in arrays.items() if k != name}, plain)
