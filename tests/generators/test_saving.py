"""A saved instance is the same world again, for every family; a file that was touched is refused."""

import json

import pytest
import torch

from generators.controls.classic_hierarchy import ClassicHierarchy
from generators.controls.classic_states import ClassicStates
from generators.controls.correlated import CorrelatedConcepts
from generators.controls.independent import IndependentConcepts
from generators.controls.joint_emission import JointEmissionTwin
from generators.controls.joint_emission_states import JointEmissionStates
from generators.controls.pure_noise import PureNoise
from generators.controls.shuffled_levels import ShuffledLevels
from generators.controls.twins import TwinConcepts
from generators.controls.unselected import Unselected
from generators.saving import FAMILIES, load_instance, same_state, save_instance
from generators.selection.continuous.family import ContinuousHierarchy
from generators.selection.discrete.family import DiscreteHierarchy
from generators.selection.sparse import SparseConcepts
from testbed.contracts import Instance, InvalidInput, SparseRows
from testbed.registry import load
from testbed.store import Damaged

CONTROLS = [
    ClassicHierarchy,
    JointEmissionTwin,
    IndependentConcepts,
    CorrelatedConcepts,
    ShuffledLevels,
    TwinConcepts,
    PureNoise,
    Unselected,
]
STATES = [ClassicStates, JointEmissionStates]
SAVABLE = [SparseConcepts, DiscreteHierarchy, ContinuousHierarchy, *CONTROLS, *STATES]


def test_every_family_that_can_be_saved_is_tried_here():
    drawn = [type(cls.small().draw(0)) for cls in SAVABLE]
    assert {f"{cls.__module__}:{cls.__qualname__}" for cls in drawn} == set(FAMILIES.values())
    assert all(load(path) for path in FAMILIES.values())


@pytest.mark.parametrize("cls", SAVABLE)
def test_a_loaded_instance_gives_the_same_rows_and_the_same_truth(cls, tmp_path):
    instance = cls.small().draw(3)
    same(instance, load_instance(save_instance(instance, tmp_path)))
    assert not same_state(instance, cls.small().draw(4))


def same(instance, again):
    """The same state, rows, latents and truth."""
    assert same_state(instance, again)
    a, b = instance.sample(300, 5), again.sample(300, 5)
    for name, view in a.observed.views.items():
        assert torch.equal(view.values, b.observed.views[name].values)
        assert view.shows == b.observed.views[name].shows
    for level, rows in a.latents.items():
        other = b.latents[level]
        assert torch.equal(rows.dense(), other.dense()) if isinstance(rows, SparseRows) else torch.equal(rows, other)
    if instance.truth is None:
        assert again.truth is None
        return
    assert instance.truth.levels == again.truth.levels
    assert instance.truth.constituents == again.truth.constituents
    assert instance.truth.facts.keys() == again.truth.facts.keys()
    assert instance.truth.settings == again.truth.settings


@pytest.mark.parametrize("cls", [cls for cls in CONTROLS if cls is not PureNoise])
def test_a_steered_control_comes_back_steered(cls, tmp_path):
    instance = cls.small().draw(3)
    for steered in (instance.condition({(0, 0): 1.0}), instance.do_then_select({(1, 3): 0.7}), instance.select_then_do({(0, 1): 0.0})):
        same(steered, load_instance(save_instance(steered, tmp_path)))
        assert not same_state(steered, instance)


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


def changes(value, path=()):
    """Every number in JSON, and every other with which it could be changed."""
    if isinstance(value, dict | list):
        for key, part in value.items() if isinstance(value, dict) else enumerate(value):
            yield from changes(part, (*path, key))
    elif isinstance(value, int | float) and not isinstance(value, bool):
        yield path, value + 1


@pytest.mark.parametrize("cls", SAVABLE)
def test_a_number_that_was_changed_in_the_json_is_refused(cls, tmp_path):
    path = save_instance(cls.small().draw(3), tmp_path) / "instance.json"
    about = json.loads(path.read_text())
    places = list(changes(about["state"], ("state",)))
    assert places
    for place, value in places:
        changed = json.loads(json.dumps(about))
        part = changed
        for key in place[:-1]:
            part = part[key]
        part[place[-1]] = value
        path.write_text(json.dumps(changed))
        with pytest.raises(Damaged, match="not what was written"):
            load_instance(tmp_path)


@pytest.mark.parametrize("cls", SAVABLE)
def test_a_state_without_one_of_its_parts_is_refused_by_the_class_itself(cls):
    """Digests tell of accidents; a state that was written to deceive must not pass for an instance either."""
    instance = cls.small().draw(3)
    arrays, plain = instance.state()
    for name in arrays:
        with pytest.raises(InvalidInput):
            type(instance).from_state({key: array for key, array in arrays.items() if key != name}, plain)
    for name in plain:
        with pytest.raises(InvalidInput):
            type(instance).from_state(arrays, {key: value for key, value in plain.items() if key != name})


@pytest.mark.parametrize(
    ("content", "kind"), [("{", Damaged), ("[]", InvalidInput), (json.dumps({"schema": 1, "family": "os:system"}), InvalidInput)]
)
def test_what_is_no_instance_of_a_known_family_is_refused_and_nothing_it_names_is_imported(content, kind, tmp_path):
    (tmp_path / "instance.json").write_text(content)
    with pytest.raises(kind):
        load_instance(tmp_path)
    with pytest.raises(InvalidInput, match=r"no instance\.json"):
        load_instance(tmp_path / "nowhere")


class Unsavable(Instance):
    def chunks(self, seed, part="train", start=0):
        return iter(())


def test_what_cannot_be_saved_says_so(tmp_path):
    with pytest.raises(InvalidInput, match="cannot be saved"):
        save_instance(Unsavable(), tmp_path)
