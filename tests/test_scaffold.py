"""A package that `testbed init` writes works as it is: its own tests pass, it installs, and it is found by its name."""

import os
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from testbed.contracts import InvalidInput
from testbed.scaffold import KINDS, scaffold

LINT = [sys.executable, "-m", "ruff", "check", "--isolated", "--line-length", "140", "--select", "E,F,B,UP,N"]


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_written_passes_its_own_tests(tmp_path, kind):
    root = scaffold(kind, "my_own", tmp_path)
    assert root == tmp_path / "my-own"
    path = os.pathsep.join([str(root / "src"), str(Path(__file__).parents[1])])
    run = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "tests"]
    out = subprocess.run(run, cwd=root, env={**os.environ, "PYTHONPATH": path}, capture_output=True, text=True)
    assert out.returncode == 0, out.stdout + out.stderr
    assert subprocess.run([*LINT, "src", "tests"], cwd=root, capture_output=True).returncode == 0
    project = tomllib.loads((root / "pyproject.toml").read_text())
    assert project["project"]["entry-points"][f"testbed.{kind}s"] == {"my_own": f"my_own.{kind}:MyOwn"}


@pytest.mark.slow
def test_a_package_is_installed_by_pip_and_found_by_its_name(tmp_path):
    root = scaffold("estimator", "my_own", tmp_path)
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "-q", "--no-deps", "--no-build-isolation", "--target", str(site), str(root)]
    subprocess.run(pip, check=True, capture_output=True)
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(site), str(Path(__file__).parents[1])])}
    run = [sys.executable, "-m", "testbed"]
    listed = subprocess.run([*run, "list", "estimators"], env=environment, capture_output=True, text=True, cwd=tmp_path, check=True).stdout
    assert "my_own" in listed
    checked = subprocess.run([*run, "check", "my_own"], env=environment, capture_output=True, text=True, cwd=tmp_path)
    assert checked.returncode == 0, checked.stdout


@pytest.mark.parametrize(
    ("kind", "name", "message"),
    [
        ("metric", "a", "is no kind of component"),
        ("estimator", "MyOwn", "no name in snake case"),
        ("estimator", "a__b", "no name in snake"),
    ],
)
def test_what_cannot_be_written_is_a_sentence(tmp_path, kind, name, message):
    with pytest.raises(InvalidInput, match=message):
        scaffold(kind, name, tmp_path)


def test_nothing_is_written_over(tmp_path):
    scaffold("estimator", "my_own", tmp_path)
    with pytest.raises(InvalidInput, match="is there already"):
        scaffold("evaluator", "my_own", tmp_path)
