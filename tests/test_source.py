"""Fingerprints change with what a component's result depends on, and with nothing else; signatures are read without importing."""

import sys
from typing import Any, Literal

import pytest

from testbed.contracts import InvalidInput
from testbed.registry import BUILT_IN, KINDS, load
from testbed.source import closure, fingerprint, locate, read_class, type_of

EVERY = [path for kind in KINDS for path in BUILT_IN[kind].values()]


@pytest.fixture
def package(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    root = tmp_path / "pkg"
    root.mkdir()
    (root / "__init__.py").write_text("from pkg.other import X\n")
    (root / "main.py").write_text(
        "from typing import TYPE_CHECKING\nimport json\nfrom . import near\nimport helper\nif TYPE_CHECKING:\n    import pkg.types_only\n"
        "def f():\n    from pkg.late import y\nclass A:\n    def __init__(self, a: int, *, b: str = 'x'):\n        'c'\n"
    )
    for name in ("near", "late", "other", "types_only"):
        (root / f"{name}.py").write_text("x = y = X = 1\n")
    (tmp_path / "helper.py").write_text("h = 1\n")
    return root


def test_the_closure_is_what_runs_and_is_first_party(package):
    assert set(closure("pkg.main")) == {"pkg.main", "pkg.near", "pkg.late", "helper"}
    assert "pkg" not in sys.modules


@pytest.mark.parametrize(
    ("text", "message"), [(b"class A(:\n", r"main.py, line 1: .*: this is no Python"), (b"a = 1\0", "null byte"), (b"\xff", "no Python")]
)
def test_a_source_that_is_no_python_is_named(package, text, message):
    (package / "main.py").write_bytes(text)
    for look in (fingerprint, read_class):
        with pytest.raises(InvalidInput, match=message):
            look("pkg.main:A")


def test_constants_are_what_a_plan_can_hold(package):
    (package / "main.py").write_text(
        "class A:\n    a = 1\n    b = {1, 2}\n    c = {(1, 2): [3]}\n    d = 1e999\n    e = {[]: 1}\n    f = ('x',)\n"
    )
    assert read_class("pkg.main:A").constants == {"a": 1, "f": ("x",)}


@pytest.mark.parametrize(("file", "touched"), [("main", True), ("near", True), ("late", True), ("other", False), ("types_only", False)])
def test_an_edit_changes_the_fingerprint_of_what_it_touches(package, file, touched):
    before = fingerprint("pkg.main:A")
    path = package / f"{file}.py"
    path.write_text(path.read_text() + "z = 2\n")
    assert (fingerprint("pkg.main:A") != before) is touched


def test_a_helper_beside_the_component_counts(package):
    before = fingerprint("pkg.main:A")
    (package.parent / "helper.py").write_text("h = 2\n")
    assert fingerprint("pkg.main:A") != before


def test_modules_without_source_have_no_place():
    assert locate("sys") is None
    assert locate("no.such.module") is None
    assert locate("testbed.contracts").name == "contracts.py"


@pytest.mark.parametrize("path", EVERY)
def test_signatures_read_as_text_are_the_real_ones(path):
    text = read_class(path)
    assert tuple(p.name for p in text.parameters) == load(path).parameter_names()
    assert text.summary


def test_constants_are_inherited_as_text():
    assert read_class(BUILT_IN["evaluators"]["seed_agreement"]).constants["scope"] == "seeds"
    assert read_class(BUILT_IN["evaluators"]["l0"]).constants["scope"] == "trial"
    assert read_class(BUILT_IN["estimators"]["oracle_dictionary"]).constants["needs_truth"] is True


def test_what_cannot_be_told_from_text_is_left_open(package):
    (package / "odd.py").write_text(
        "import elsewhere\n@elsewhere.made\nclass D:\n    a: int = 1\n"
        "class E(elsewhere.Base):\n    pass\nclass F:\n    def __init__(self, **k): ...\nclass G(D):\n    def __init__(self): ...\n"
    )
    assert [read_class(f"pkg.odd:{name}").parameters for name in "DEF"] == [None, None, None]
    assert read_class("pkg.odd:G").parameters == ()
    assert read_class("pkg.odd:H") is None
    assert read_class("nowhere:H") is None


def test_fields_of_dataclasses_are_parameters(package):
    (package / "fields.py").write_text(
        "from dataclasses import dataclass, field\nfrom typing import ClassVar\n"
        "@dataclass(kw_only=True)\nclass A:\n    kept: ClassVar[int] = 3\n    a: int\n"
        "    b: float = 1.0\n    c: list[int] = field(init=False)\n"
        "@dataclass(kw_only=True)\nclass B(A):\n    d: list[int] = field(default_factory=list)\n"
        "    a: int = 2\n    e: int = field()\n"
        "class C(B):\n    pass\n"
    )
    found = {name: [(p.name, p.annotation, p.required) for p in read_class(f"pkg.fields:{name}").parameters] for name in "ABC"}
    assert found["A"] == [("a", "int", True), ("b", "float", False)]
    assert found["B"] == [("a", "int", False), ("b", "float", False), ("d", "list[int]", False), ("e", "int", True)]
    assert found["C"] == found["B"]


@pytest.mark.parametrize(
    ("annotation", "wanted"),
    [
        ("int", int),
        ("float | None", float | None),
        ("'str'", str),
        ("list[int]", list[int]),
        ("tuple[float, ...]", list[float]),
        ("Sequence[str]", list[str]),
        ("tuple[int, str]", list[Any]),
        ("Literal['a', 'b']", Literal["a", "b"]),
        ("Optional[int]", int | None),
        ("dict[str, int]", dict[str, int]),
        ("Path", str),
        ("Callable[[int], int]", Any),
        ("int | Thing", Any),
        ("", Any),
        ("not python", Any),
    ],
)
def test_annotations_become_types_that_toml_can_be_checked_against(annotation, wanted):
    assert type_of(annotation) == wanted
