"""What a component's source says, read as text: where it is, its fingerprint, its parameters. Nothing is imported.

A stage's key holds the fingerprint of the component's module and of every first-party module that it imports, so an edit recomputes
what it touches and nothing else. Parents' ``__init__`` files count only if something is imported from them by name.
"""

from __future__ import annotations

import ast
import hashlib
import importlib.util
import json
import os
import re
import sys
import sysconfig
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Literal

from testbed.contracts import InvalidInput
from testbed.registry import LOCAL, search_working_folder

OURS = frozenset({"testbed", "generators", "evaluators", "suites"})


def locate(module: str) -> Path | None:
    """The source file of a module, or None if it has none (built-in, compiled, not there)."""
    search_working_folder()
    return _locate(module, os.getcwd())


@lru_cache(maxsize=4096)
def _locate(module: str, folder: str) -> Path | None:
    top, *rest = module.split(".")
    if top == "__main__":
        file = getattr(sys.modules["__main__"], "__file__", None)
        return Path(file) if file and Path(file).is_file() else None
    try:
        spec = importlib.util.find_spec(top)
    except (ImportError, ValueError):
        return None
    if spec is None:
        return None
    if not rest:
        return Path(spec.origin) if spec.origin and spec.origin.endswith(".py") else None
    for root in spec.submodule_search_locations or ():
        base = Path(root).joinpath(*rest)
        for path in (base.with_suffix(".py"), base / "__init__.py"):
            if path.is_file():
                return path
    return None


def _tree(path: Path) -> ast.Module:
    about = path.stat()
    return _parsed(path, about.st_mtime_ns, about.st_size)


@lru_cache(maxsize=4096)
def _parsed(path: Path, changed: int, size: int) -> ast.Module:
    try:
        return ast.parse(path.read_bytes(), filename=str(path))
    except SyntaxError as error:
        raise InvalidInput(f"{path}, line {error.lineno}: {error.msg}: this is no Python that {sys.version.split()[0]} reads") from None
    except (ValueError, RecursionError, MemoryError):
        raise InvalidInput(f"{path} is no Python: it holds a null byte, or nests too deep") from None


def fingerprint(path: str) -> str:
    """SHA-256 over the sources of a component ``module:Class`` and its first-party imports.

    A class that has no source file (typed into a notebook) is fingerprinted by its code objects' text where Python kept it, else by
    its identity, so that it is never mistaken for another one.
    """
    module = path.partition(":")[0]
    digest = hashlib.sha256()
    for name, file in sorted(closure(module).items()):
        digest.update(f"{name}\0".encode())
        digest.update(hashlib.sha256(file.read_bytes()).digest())
    if path in LOCAL:
        digest.update(_text_of(LOCAL[path]).encode())
    return digest.hexdigest()


def closure(module: str) -> dict[str, Path]:
    """A module and all first-party modules that it imports, directly or not, with their files."""
    found: dict[str, Path] = {}
    todo = [module]
    home = _home(module)
    while todo:
        name = todo.pop()
        file = locate(name)
        if name in found or file is None or not _first_party(name, file, module, home):
            continue
        found[name] = file
        todo += _imports(name, file)
    return found


def _home(module: str) -> Path | None:
    """The folder on the import path that a component's top-level module or package sits in, unless that is an installation."""
    file = locate(module.split(".")[0])
    if file is None:
        return None
    home = file.parent.parent if file.name == "__init__.py" else file.parent
    installed = {Path(sysconfig.get_path(name)) for name in ("purelib", "platlib", "stdlib", "platstdlib")}
    return None if home in installed or "site-packages" in home.parts else home


def _first_party(name: str, file: Path, module: str, home: Path | None) -> bool:
    top = name.split(".")[0]
    if top in OURS or top == module.split(".")[0]:
        return True
    return home is not None and file.is_relative_to(home) and "site-packages" not in file.parts


def _imports(name: str, file: Path) -> Iterator[str]:
    """Modules that a file imports, as dotted names; those under ``if TYPE_CHECKING`` do not run and do not count."""
    package = name if file.name == "__init__.py" else name.rpartition(".")[0]
    for node in _running(_tree(file)):
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield alias.name
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                above = package.split(".")[: len(package.split(".")) - node.level + 1]
                base = ".".join([*above, *([node.module] if node.module else [])])
            for alias in node.names:
                inner = f"{base}.{alias.name}"
                yield inner if locate(inner) is not None else base


def _running(tree: ast.AST) -> Iterator[ast.AST]:
    for node in ast.iter_child_nodes(tree):
        if isinstance(node, ast.If) and ast.unparse(node.test) in ("TYPE_CHECKING", "typing.TYPE_CHECKING"):
            for other in node.orelse:
                yield from (other, *_running(other))
            continue
        yield node
        yield from _running(node)


def _text_of(cls: type) -> str:
    import inspect

    try:
        return inspect.getsource(cls)
    except (OSError, TypeError):
        return f"{cls.__qualname__} at {id(cls)}"


# ------------------------------------------------------------------------------------------------------------ signatures


@dataclass(frozen=True)
class Parameter:
    """One constructor parameter, as written: `annotation` is source text, "" if there is none."""

    name: str
    annotation: str
    required: bool


@dataclass(frozen=True)
class ClassText:
    """What the text of a class says. `parameters` is None where that cannot be told without importing it."""

    parameters: tuple[Parameter, ...] | None
    constants: Mapping[str, Any]
    summary: str


def read_class(path: str) -> ClassText | None:
    """Parameters, literal class attributes and first docstring line of ``module:Class``; None if its text cannot be found."""
    module, _, qualname = path.partition(":")
    file = locate(module)
    if file is None or path in LOCAL:
        return None
    return _read(module, file, qualname, depth=0)


def _read(module: str, file: Path, qualname: str, depth: int) -> ClassText | None:
    tree = _tree(file)
    node = next((n for n in tree.body if isinstance(n, ast.ClassDef) and n.name == qualname), None)
    if node is None or depth > 8:
        return None
    constants: dict[str, Any] = {}
    inherited: tuple[Parameter, ...] | None = ()
    fields: dict[str, Parameter] | None = {}
    for base in reversed(node.bases):
        text = _read_base(module, file, tree, base, depth)
        inherited = text.parameters if text is not None else (() if ast.unparse(base) in ("ABC", "object") else None)
        fields = None if fields is None or inherited is None else fields | {p.name: p for p in inherited}
        constants |= text.constants if text is not None else {}
    for item in node.body:
        target = item.target if isinstance(item, ast.AnnAssign) else item.targets[0] if isinstance(item, ast.Assign) else None
        if isinstance(target, ast.Name) and isinstance(item, ast.AnnAssign | ast.Assign) and item.value is not None:
            try:
                constants[target.id] = ast.literal_eval(item.value)
                json.dumps(constants[target.id], allow_nan=False)  # what is none, such as a set, is of no use in a plan
            except (ValueError, TypeError, SyntaxError, RecursionError, MemoryError):
                constants.pop(target.id, None)
    init = next((n for n in node.body if isinstance(n, ast.FunctionDef) and n.name == "__init__"), None)
    if init is not None:
        parameters = _parameters(init)
    elif node.decorator_list:
        parameters = _fields(node, fields) if _is_dataclass(tree, node) and fields is not None else None
    else:
        parameters = inherited
    summary = (ast.get_docstring(node) or "").strip().split("\n\n")[0].replace("\n", " ")
    summary = re.sub(r" \[\d+\]_", "", summary)  # references are for the documentation
    return ClassText(parameters, constants, summary)


def _is_dataclass(tree: ast.Module, node: ast.ClassDef) -> bool:
    """Whether `dataclass` of the standard library, all of whose fields have the same kind, is a class's only decorator."""
    names = [ast.unparse(d.func if isinstance(d, ast.Call) else d) for d in node.decorator_list]
    imported = any(isinstance(n, ast.ImportFrom) and n.module == "dataclasses" for n in tree.body)
    return names == ["dataclass"] and imported


def _fields(node: ast.ClassDef, inherited: Mapping[str, Parameter]) -> tuple[Parameter, ...]:
    """Parameters of a dataclass: its bases' fields, and its own, which take the place of those with the same name."""
    found = dict(inherited)
    for item in node.body:
        if not isinstance(item, ast.AnnAssign) or not isinstance(item.target, ast.Name):
            continue
        annotation = ast.unparse(item.annotation)
        options = item.value.keywords if isinstance(item.value, ast.Call) and ast.unparse(item.value.func) == "field" else None
        if re.match(r"(typing\.)?ClassVar\b", annotation) or any(
            o.arg == "init" and ast.unparse(o.value) == "False" for o in options or ()
        ):
            continue
        given = item.value is not None if options is None else any(o.arg in ("default", "default_factory") for o in options)
        found[item.target.id] = Parameter(item.target.id, annotation, not given)
    return tuple(found.values())


def _read_base(module: str, file: Path, tree: ast.Module, base: ast.expr, depth: int) -> ClassText | None:
    name = ast.unparse(base).split("[")[0]
    if any(isinstance(n, ast.ClassDef) and n.name == name for n in tree.body):
        return _read(module, file, name, depth + 1)
    for node in tree.body:
        if isinstance(node, ast.ImportFrom) and node.module and not node.level:
            for alias in node.names:
                if (alias.asname or alias.name) == name:
                    home = "testbed.contracts" if node.module == "testbed" else node.module
                    other = locate(home)
                    return _read(home, other, alias.name, depth + 1) if other is not None else None
        if isinstance(node, ast.Import) and name.startswith("testbed.") and any(alias.name == "testbed" for alias in node.names):
            other = locate("testbed.contracts")
            return _read("testbed.contracts", other, name.split(".")[-1], depth + 1) if other is not None else None
    return None


def _parameters(init: ast.FunctionDef) -> tuple[Parameter, ...] | None:
    spec = init.args
    if spec.vararg or spec.kwarg:
        return None
    positional = [*spec.posonlyargs, *spec.args][1:]
    needed = len(positional) - len(spec.defaults)
    found = [Parameter(a.arg, ast.unparse(a.annotation) if a.annotation else "", i < needed) for i, a in enumerate(positional)]
    for argument, default in zip(spec.kwonlyargs, spec.kw_defaults, strict=True):
        found.append(Parameter(argument.arg, ast.unparse(argument.annotation) if argument.annotation else "", default is None))
    return tuple(found)


def type_of(annotation: str) -> Any:
    """The type that an annotation's text stands for, as far as TOML values can be checked against it; Any where it cannot be told."""
    if not annotation:
        return Any
    try:
        return _type(ast.parse(annotation.strip("\"'"), mode="eval").body)
    except SyntaxError:
        return Any


_PLAIN: Mapping[str, Any] = {
    "int": int,
    "float": float,
    "str": str,
    "bool": bool,
    "None": None,
    "Path": str,
    "dict": dict[str, Any],
}
_ARRAYS = ("list", "tuple", "Sequence", "List", "Tuple")


def _type(node: ast.expr) -> Any:
    match node:
        case ast.Constant(value=None):
            return None
        case ast.Constant(value=str(text)):
            return type_of(text)
        case ast.Name(id=name) if name in _PLAIN:
            return _PLAIN[name]
        case ast.Name(id=name) if name in _ARRAYS:
            return list[Any]
        case ast.BinOp(left=left, op=ast.BitOr(), right=right):
            a, b = _type(left), _type(right)
            return Any if a is Any or b is Any else a | b
        case ast.Subscript(value=ast.Name(id="Optional"), slice=inner):
            return _type(inner) | None if _type(inner) is not Any else Any
        case ast.Subscript(value=ast.Name(id="Literal"), slice=inner):
            values = tuple(ast.literal_eval(e) for e in (inner.elts if isinstance(inner, ast.Tuple) else [inner]))
            return Literal[values]
        case ast.Subscript(value=ast.Name(id=name), slice=inner) if name in _ARRAYS:
            first = inner.elts[0] if isinstance(inner, ast.Tuple) else inner
            same = not isinstance(inner, ast.Tuple) or len({ast.dump(e) for e in inner.elts if ast.unparse(e) != "..."}) == 1
            return list[_type(first)] if same else list[Any]  # type: ignore[misc]
        case ast.Subscript(value=ast.Name(id=name), slice=ast.Tuple(elts=[_, inner])) if name in ("dict", "Mapping"):
            return dict[str, _type(inner)]  # type: ignore[misc]
    return Any
