"""Fixtures that more than one test file uses."""

import shutil
import sys
from pathlib import Path

import pytest
from hypothesis import settings

settings.register_profile("testbed", deadline=None, max_examples=40, derandomize=True)
settings.load_profile("testbed")

TOYS = Path(__file__).parent / "toys"


@pytest.fixture
def toys(tmp_path, monkeypatch):
    """An empty working folder that holds the toy components and their suite; modules imported from it are forgotten afterwards."""
    for file in TOYS.iterdir():
        if file.is_file():
            shutil.copy(file, tmp_path)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [p for p in sys.path if not p.startswith(str(tmp_path.parent))])
    for name in ("toys", "broken"):
        sys.modules.pop(name, None)
    yield tmp_path
    for name in ("toys", "broken"):
        sys.modules.pop(name, None)


@pytest.fixture
def records():
    """Every record of a store without its provenance, by stage and key."""
    from testbed.store import Store

    def read(folder):
        return {(r.stage, r.key): (r.material, r.result, r.files) for r in Store(folder).records()}

    return read
