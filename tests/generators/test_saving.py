"""A saved instance is the same world again, for every family; a file that was touched is refused."""

import json

import pytest
import torch

from generators.saving import FAMILIES, load_instance, same_state, save_instance
from generators.selection.continuous.family import ContinuousHierarchy
from generators.selection.discrete.family import DiscreteHierarchy
from generators.selection.sparse import SparseConcepts
from testbed.contracts import InvalidInput
from testbed.registry import load
from testbed.store import Damaged

SAVABLE = [SparseConcepts, DiscreteHierarchy, ContinuousHierarchy]


def test_every_family_that_can_be_saved_is_tried_here():
    assert {f"{type(cls.small().draw(0)).__module__}:{type(cls.small().draw(0)).__qualname__}" for cls in SAVABLE} == set(FAMILIES.values())
    assert all(load(path) for path in FAMILIES.values())


@pytest.mark.parametrize("cls", SAVABLE)
def test_a_loaded_instance_gives_the_same_rows_and_the_same_truth(cls, tmp_path):
    instance = cls.small().draw(3)
    again = load_instance(save_instance(instance, tmp_path))
    assert same_state(instance, again)
    assert not same_state(instance, cls.small().draw(4))
    a, b = instance.sample(300, 5), again.sample(300, 5)
    for name, view in a.observed.views.items():
        assert torch.equal(view.values, b.observed.views[name].values)
    assert instance.truth.levels == again.truth.levels
    assert instance.truth.constituents == again.truth.constituents


@pytest.mark.parametrize("cls", SAVABLE)
def test_a_file_that_was_touched_is_refused(cls, tmp_path):
    save_instance(cls.small().draw(3), tmp_path)
    path = tmp_path / "instance.safetensors"
    data = bytearray(path.read_bytes())
    data[-1] ^= 1
    path.write_bytes(data)
    with pytest.raises(Damaged, match="not what was written"):
        load_instance(tmp_path)
    path.unlink()
    with pytest.raises(Damaged, match="missing"):
        load_instance(tmp_path)


@pytest.mark.parametrize(
    ("content", "kind"), [("{", Damaged), ("[]", InvalidInput), (json.dumps({"schema": 1, "family": "os:system"}), InvalidInput)]
)
def test_what_is_no_instance_of_a_known_family_is_refused_and_nothing_it_names_is_imported(content, kind, tmp_path):
    (tmp_path / "instance.json").write_text(content)
    with pytest.raises(kind):
        load_instance(tmp_path)
    with pytest.raises(InvalidInput, match=r"no instance\.json"):
        load_instance(tmp_path / "nowhere")


def test_what_cannot_be_saved_says_so(tmp_path):
    with pytest.raises(InvalidInput, match="cannot be saved"):
        save_instance(load("generators.controls.independent:IndependentConcepts").small().draw(0), tmp_path)
