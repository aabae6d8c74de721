"""The beginning of a package with a component of one's own: module, entry point, test, README."""

from __future__ import annotations

import re
from pathlib import Path
from string import Template

from testbed.contracts import InvalidInput
from testbed.store import write_atomic

KINDS = ("estimator", "generator", "evaluator")
TEMPLATES = Path(__file__).parent / "scaffolds"


def scaffold(kind: str, name: str, folder: str | Path = ".") -> Path:
    """Write a package that works as it is, installs with pip, and passes its own test and ``testbed check``.

    Parameters
    ----------
    kind : {"estimator", "generator", "evaluator"}
    name : str
        Of the component, in snake case: ``nearest_point`` gives the package ``nearest-point`` with the class ``NearestPoint``.
    folder : path
        In which the package's own folder is made.

    Returns
    -------
    Path
        The package's folder.

    Raises
    ------
    InvalidInput
        If the kind is none, the name no identifier in snake case, or the folder is there already.
    """
    if kind not in KINDS:
        raise InvalidInput(f"{kind!r} is no kind of component: {', '.join(KINDS)}")
    if not re.fullmatch("[a-z][a-z0-9]*(_[a-z0-9]+)*", name):
        raise InvalidInput(f"{name!r} is no name in snake case: letters, digits and single underscores, such as nearest_point")
    package = name.replace("_", "-")
    root = Path(folder) / package
    if root.exists():
        raise InvalidInput(f"{root} is there already: choose another name or folder")
    words = {"kind": kind, "name": name, "package": package, "class_name": "".join(part.capitalize() for part in name.split("_"))}
    for template, place in (
        (f"{kind}.py.txt", f"src/{name}/{kind}.py"),
        ("init.py.txt", f"src/{name}/__init__.py"),
        (f"test_{kind}.py.txt", f"tests/test_{name}.py"),
        ("pyproject.toml.txt", "pyproject.toml"),
        ("README.md.txt", "README.md"),
    ):
        text = Template((TEMPLATES / template).read_text(encoding="utf-8")).substitute(words)
        write_atomic(root / place, text.encode())
    return root
