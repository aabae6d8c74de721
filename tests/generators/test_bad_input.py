"""What cannot be drawn ends in one sentence and exit code 2 on the command line, before anything is sampled or written."""

import json
import shutil

import pytest
import torch

from generators.saving import load_instance, save_instance
from generators.selection.continuous.couplings import draw_couplings
from generators.selection.continuous.graph import establish
from generators.selection.continuous.laws import base_density
from generators.selection.continuous.selection import FREE
from generators.selection.discrete.family import DiscreteHierarchy
from generators.selection.forest import Forest
from generators.selection.sparse import SparseConcepts
from testbed.cli import main
from testbed.contracts import InvalidInput
from testbed.store import Damaged

CASES = {
    "impossible selection, sparse": ("sparse_concepts", ["all_on=0.0"], "all_on must be a finite number above 0"),
    "impossible selection, discrete": ("discrete_hierarchy", ["root_law=[[1.0,0.0,0.0,0.0]]"], "unreachable"),
    "impossible selection, continuous": ("continuous_hierarchy", ['selection="interval"', "center=60.0"], "is impossible"),
    "impossible tuples, continuous": ("continuous_hierarchy", ["agreement=1e-13", 'agreement_kind="interval"'], "is impossible"),
    "impossible phi_S, continuous": ("continuous_hierarchy", ['root_selection="interval"', "root_center=60.0"], "phi_S of concept 0"),
    "impossible table": ("random_hierarchy", ["v=4", "m=5"], "m v"),
    "impossible table, discrete": ("discrete_hierarchy", ["synonyms=5"], "(v^s)"),
    "empty graph, sparse": ("sparse_concepts", ["levels=[]"], "levels must be"),
    "empty graph, discrete": ("discrete_hierarchy", ["constituents=[[],[]]"], "empty"),
    "empty graph, continuous": ("continuous_hierarchy", ["levels=[]"], "levels must be"),
    "too few constituents, sparse": ("sparse_concepts", ["levels=[3,6]", "branching=3"], "9 constituents"),
    "too few constituents, continuous": ("continuous_hierarchy", ["levels=[3,6]", "branching=3"], "9 constituents"),
    "a concept twice in a tuple": ("discrete_hierarchy", ["constituents=[[[0,0]],[[0,1]]]"], "distinct"),
    "a constituent on no level below": ("discrete_hierarchy", ["constituents=[[[0,5]],[[0,1],[2,3]]]"], "numbered 0 to 1"),
    "unachievable rate": ("sparse_concepts", ["composite_rate=0.99"], "cannot fire at rate 0.99"),
    "unreachable state": ("discrete_hierarchy", ["synonyms=1", "states=[2,8,8]"], "unreachable"),
    "unreachable gap": ("random_hierarchy", ["minimum_gap=0.9", "L=2"], "have a gap of at most"),
    "a gap that is none": ("discrete_hierarchy", ["minimum_gap=1.0"], "minimum_gap, a total variation"),
    "control of nothing": ("classic_hierarchy", ["levels=[]"], "levels must be"),
    "shared constituents, top down": ("joint_emission_twin", ["levels=[4,12]", "branching=2", "shared=2"], "set shared to 0"),
    "a wrong kind": ("continuous_hierarchy", ['levels="deep"'], "wants list[int]"),
}


@pytest.mark.parametrize("case", CASES)
def test_the_command_line_says_what_is_wrong_in_one_sentence(case, tmp_path, monkeypatch, capsys):
    generator, settings, sentence = CASES[case]
    out = tmp_path / "rows.safetensors"
    pairs = [part for setting in settings for part in ("--set", setting)]
    monkeypatch.setattr("sys.argv", ["testbed", "sample", generator, *pairs, "--n", "10", "--out", str(out)])
    with pytest.raises(SystemExit) as stopped:
        main()
    assert stopped.value.code == 2
    said = capsys.readouterr().err
    assert sentence in " ".join(said.split())
    assert said.startswith("Error: ")
    assert "Traceback" not in said
    assert not out.exists()


def test_real_concepts_that_are_shared_are_refused():
    forest = Forest((2, 3), (torch.tensor([[0, 1], [1, 2]]),))
    assert forest.shared
    with pytest.raises(InvalidInput, match="cannot be shared"):
        establish(forest, (draw_couplings(2, 2, "equal", 0.0, 0, 0),), base_density("gaussian", 5.0, 64), (FREE,), 64)


def changed(arrays, plain):
    """Saved instances as somebody could write them, so that all digests are right, and what is wrong with each."""
    yield {**arrays, "constituents/0": arrays["constituents/0"] + 10_000}, plain
    yield {name: array for name, array in arrays.items() if name != "constituents/0"}, plain
    yield arrays, {**plain, "sizes": [1]}


def test_a_saved_instance_with_a_graph_that_is_none_is_refused_though_its_digests_are_right(tmp_path):
    instance = SparseConcepts.small().draw(0)
    arrays, plain = instance.state()
    for wrong_arrays, wrong in changed(arrays, plain):

        class Forged(SparseConcepts.small().draw(0).__class__):
            def state(self, arrays=wrong_arrays, plain=wrong):
                return arrays, plain

        Forged.__module__, Forged.__qualname__ = type(instance).__module__, type(instance).__qualname__
        forged = Forged.of(instance.world)
        folder = tmp_path / "forged"
        save_instance(forged, folder)
        with pytest.raises(InvalidInput):
            load_instance(folder)
        shutil.rmtree(folder)


@pytest.mark.parametrize("cls", [SparseConcepts, DiscreteHierarchy])
def test_a_file_of_another_instance_is_refused(cls, tmp_path):
    """Each file is whole; they do not belong together."""
    save_instance(cls.small().draw(0), tmp_path / "a")
    save_instance(cls.small().draw(1), tmp_path / "b")
    shutil.copy(tmp_path / "b" / "instance.safetensors", tmp_path / "a" / "instance.safetensors")
    with pytest.raises(Damaged, match="not what was written"):
        load_instance(tmp_path / "a")
    about = json.loads((tmp_path / "b" / "instance.json").read_text())
    about["family"] = "continuous"
    (tmp_path / "b" / "instance.json").write_text(json.dumps(about))
    with pytest.raises(Damaged, match="not what was written"):
        load_instance(tmp_path / "b")
