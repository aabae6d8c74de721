"""Somebody else's package with a generator, an estimator and an evaluator: installed by pip, it is used by name like what is built in."""

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from testbed.conformance import check_component

HERE = Path(__file__).parent / "plugin"
NAMES = {"generators": "acme_blends", "estimators": "acme_purest_rows", "evaluators": "acme_hits"}
CLASSES = ("blends:Blends", "purest_rows:PurestRows", "hits:Hits")


@pytest.mark.parametrize("path", CLASSES)
def test_its_components_keep_their_contracts(path, monkeypatch):
    monkeypatch.syspath_prepend(str(HERE / "acme_testbed" / "src"))
    assert not [check.problem for check in check_component(f"acme_testbed.{path}") if check.problem]
    for name in [name for name in sys.modules if name.partition(".")[0] == "acme_testbed"]:
        del sys.modules[name]


def install(package, site, tmp_path):
    source = shutil.copytree(HERE / package, tmp_path / package)  # so that a build leaves nothing in the source tree
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--no-index", "--target", str(site)]
    done = subprocess.run([*pip, str(source)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def site(tmp_path_factory):
    """A folder that pip has put the package into, on the import path of `testbed` and of nothing else."""
    folder = tmp_path_factory.mktemp("installed")
    install("acme_testbed", folder / "site", folder)
    return folder / "site"


def testbed(site, *arguments, code=0):  # noqa: PT028
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(HERE.parents[1])]), "COLUMNS": "200"}
    done = subprocess.run([sys.executable, "-m", "testbed", *arguments], env=environment, capture_output=True, text=True)
    assert done.returncode == code, done.stdout + done.stderr
    return " ".join((done.stdout + done.stderr).replace("│", " ").split())


testbed.__test__ = False


@pytest.mark.slow
@pytest.mark.parametrize("kind", NAMES)
def test_it_is_listed_and_checked_by_its_name(site, kind, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)  # where nothing of its source is
    listed = testbed(site, "list", kind)
    assert NAMES[kind] in listed
    assert "(installed package)" in listed
    assert "promises kept" in testbed(site, "check", NAMES[kind])


@pytest.mark.slow
def test_a_suite_names_all_three_and_ends_with_claims_and_a_report(site, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(HERE / "acme_testbed" / "blends.toml", tmp_path)
    said = testbed(site, "run", "blends.toml", "--jobs", "2")
    assert "Report: runs/blends/report.html" in said
    assert "Acme: blends of pure substances" in (tmp_path / "runs/blends/report.html").read_text()
    claims = json.loads((tmp_path / "runs/blends/claims.json").read_text())
    assert {claim["id"]: claim["verdict"] for claim in claims} == {
        "purest-rows-find-the-profiles": "shown",
        "purest-rows-before-pca": "shown",
    }
    assert "nothing to do: no stage computed" in testbed(site, "run", "blends.toml")
    records = [json.loads(path.read_text()) for path in (tmp_path / "runs/blends/stages/fit").glob("*/*/record.json")]
    assert {r["material"]["component"]["class"] for r in records} >= {"acme_testbed.purest_rows:PurestRows"}

    source = site / "acme_testbed" / "purest_rows.py"  # a new release of the package: its fits are computed again, nothing else is
    text = source.read_text()
    try:
        source.write_text(text + "\nVERSION = 2\n")
        assert "(3 fit, 3 encode, 6 score)" in testbed(site, "run", "blends.toml")
    finally:
        source.write_text(text)


@pytest.mark.slow
def test_names_that_are_taken_stay_with_their_owner_and_it_is_said(site, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    both = shutil.copytree(site, tmp_path / "site")
    install("greedy", tmp_path / "second", tmp_path)
    shutil.copytree(tmp_path / "second", both, dirs_exist_ok=True)
    taken = "package greedy (greedy:First) claims the estimator name 'pca', which is built in and stays so"
    listed = testbed(both, "list", "estimators")
    assert taken in listed
    assert "both claim the estimator name 'acme_purest_rows'" in listed
    shutil.copy(HERE / "acme_testbed" / "blends.toml", tmp_path)
    refused = testbed(both, "run", "blends.toml", code=2)
    assert "both claim the estimator name 'acme_purest_rows': name the one that is meant by its module:Class" in refused
    assert "Traceback" not in refused
    text = (tmp_path / "blends.toml").read_text().replace('name = "acme_purest_rows"', 'name = "acme_testbed.purest_rows:PurestRows"')
    (tmp_path / "blends.toml").write_text(text.replace('estimator = "acme_purest_rows"', 'estimator = "PurestRows"'))
    assert taken in testbed(both, "run", "blends.toml", "--dry-run")
