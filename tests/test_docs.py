"""Every Python example in the README and the documentation runs."""

import re
import runpy
import subprocess
import sys
import tomllib
from pathlib import Path

import pytest

from testbed.suite import from_tree

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```(\w+)\n(.*?)^```$", re.DOTALL | re.MULTILINE)


def blocks(page, language):
    return [code for kind, code in BLOCK.findall(page.read_text()) if kind == language]


@pytest.mark.parametrize("page", [page for page in PAGES if blocks(page, "python")], ids=lambda page: page.name)
def test_a_pages_python_examples_run_one_after_the_other(page, tmp_path):
    found = subprocess.run([sys.executable, "-c", "\n".join(blocks(page, "python"))], capture_output=True, text=True, cwd=tmp_path)
    assert found.returncode == 0, found.stderr


def test_the_readmes_example_compares_ones_own_estimator(tmp_path):
    (code,) = blocks(ROOT / "README.md", "python")
    script = (
        code.replace("print(", "table = (")
        + "\nassert {'FirstPoints', 'topk_sae', 'pca'} == set(table.estimator)\nassert (table.n == 3).all()"
    )
    subprocess.run([sys.executable, "-c", script], check=True, cwd=tmp_path)


@pytest.mark.parametrize("code", [code for page in PAGES for code in blocks(page, "toml")])
def test_suites_in_the_documentation_are_valid(code, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "my_module.py").write_text("class MyEstimator:\n    def __init__(self): ...\n")
    tree = tomllib.loads(code)
    if "evaluator" in tree:
        from_tree(tree)
        from_tree(tomllib.loads(code), preset="tiny")


def test_links_between_pages_lead_somewhere():
    for page in PAGES:
        for target in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", page.read_text()):
            if not target.startswith("http"):
                assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_pictures_are_those_that_the_code_draws():
    drawing = runpy.run_path(str(ROOT / "docs" / "draw.py"))
    for name in drawing["PICTURES"]:
        assert (ROOT / "docs" / "images" / f"{name}.svg").read_text() == drawing["drawn"](name), "run python docs/draw.py"
