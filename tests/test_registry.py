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


def installed(folder, package, entries):
    """What pip leaves of a package that registers estimators."""
    home = folder / f"{package}-0.1.dist-info"
    home.mkdir()
    (home / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {package}\nVersion: 0.1\n")
    (home / "entry_points.txt").write_text("\n".join(["[testbed.estimators]", *entries, ""]))


@pytest.fixture
def site(tmp_path, monkeypatch):
    monkeypatch.syspath_prepend(str(tmp_path))
    names.cache_clear()
    yield tmp_path
    names.cache_clear()


def test_an_installed_package_adds_names_by_entry_points(site):
    installed(site, "plug", ["plugged = plug.module:Thing"])
    assert resolve("estimators", "plugged") == "plug.module:Thing"
    assert names("estimators").packaged >= {"plugged"}


def test_a_package_cannot_take_a_built_in_name_and_it_is_said(site):
    installed(site, "plug", ["topk_sae = plug.module:Impostor"])
    with pytest.warns(UserWarning, match=r"package plug \(plug.module:Impostor\) claims the estimator name 'topk_sae', which is built in"):
        assert resolve("estimators", "topk_sae") == BUILT_IN["estimators"]["topk_sae"]


def test_a_name_that_two_packages_claim_is_refused_until_one_is_meant(site):
    installed(site, "one", ["plugged = one.module:Thing"])
    installed(site, "two", ["plugged = two.module:Thing"])
    with pytest.raises(InvalidInput, match="both claim the estimator name 'plugged': name the one that is meant") as refused:
        resolve("estimators", "plugged")
    assert all(f"package {name} ({name}.module:Thing)" in str(refused.value) for name in ("one", "two"))
    assert resolve("estimators", "two.module:Thing") == "two.module:Thing"
