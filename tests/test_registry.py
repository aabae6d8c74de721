"""Names stand for classes; every built-in one can be imported; wrong ones end in one sentence."""

import sys

import pytest

from testbed.contracts import Estimator, Evaluator, Generator, InvalidInput
from testbed.registry import BUILT_IN, KINDS, load, names, resolve, suggest

BASES = {"generators": Generator, "estimators": Estimator, "evaluators": Evaluator}
EVERY = [(kind, name) for kind in KINDS for name in BUILT_IN[kind]]


@pytest.mark.parametrize(("kind", "name"), EVERY)
def test_every_built_in_name_is_a_class_of_its_kind(kind, name):
    assert issubclass(load(resolve(kind, name)), BASES[kind])


def test_the_nearest_name_is_offered():
    with pytest.raises(InvalidInput, match=r"no estimator 'topk_sea'; did you mean 'topk_sae'\?"):
        resolve("estimators", "topk_sea")
    assert suggest("zzz", ["abc"]) == ""


def test_a_path_stands_for_itself():
    assert resolve("generators", "my.module:Class") == "my.module:Class"
    with pytest.raises(InvalidInput):
        resolve("generators", "my module:Class")


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("no_such_module_at_all:A", "no module 'no_such_module_at_all'"),
        ("testbed.contracts:Estimatr", r"no class 'Estimatr'; did you mean 'Estimator'\?"),
        ("testbed.contracts:BLOCK", "is not a class"),
    ],
)
def test_what_cannot_be_loaded_is_said_in_a_sentence(path, message):
    with pytest.raises(InvalidInput, match=message):
        load(path)


def test_a_module_that_fails_or_lacks_something_is_named(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "broken_toy.py").write_text("1 / 0")
    (tmp_path / "needy_toy.py").write_text("import not_installed_anywhere")
    with pytest.raises(InvalidInput, match="cannot be imported: ZeroDivisionError"):
        load("broken_toy:A")
    with pytest.raises(InvalidInput, match="needs the module 'not_installed_anywhere'"):
        load("needy_toy:A")
    assert sys.path[-1] == str(tmp_path)
    sys.path.remove(str(tmp_path))


def test_an_installed_package_adds_names_by_entry_points(tmp_path, monkeypatch):
    home = tmp_path / "plug-0.1.dist-info"
    home.mkdir()
    (home / "METADATA").write_text("Metadata-Version: 2.1\nName: plug\nVersion: 0.1\n")
    (home / "entry_points.txt").write_text("[testbed.estimators]\nplugged = plug.module:Thing\ntopk_sae = plug.module:Impostor\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    names.cache_clear()
    try:
        assert resolve("estimators", "plugged") == "plug.module:Thing"
        assert resolve("estimators", "topk_sae") == BUILT_IN["estimators"]["topk_sae"]  # a plug-in cannot take a built-in's name
    finally:
        names.cache_clear()
