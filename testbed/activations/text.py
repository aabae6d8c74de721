"""Texts to run a language model on: a document is a title and its text. The default needs no download."""

from __future__ import annotations

import ast
import hashlib
import sysconfig
from collections.abc import Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import TypeAlias

from testbed.contracts import InvalidInput
from testbed.store import canonical

Document: TypeAlias = tuple[str, str]
"""Title and text."""

SOURCES = ("pydoc", "stdlib")
"""Texts that come with the interpreter: the language reference as `help()` shows it, and the standard library's docstrings."""

SUFFIXES = (".txt", ".md", ".rst")
"""Files that are read where a folder is given."""

_NOT_TEXT = frozenset({"site-packages", "dist-packages", "test", "tests", "idle_test", "lib2to3", "turtledemo", "__pycache__"})


def documents(text: str | Path | Sequence[str | Path] | None = None) -> list[Document]:
    """Read texts.

    Parameters
    ----------
    text : str, path or sequence of them, optional
        Files (UTF-8, one document each), folders (every .txt, .md and .rst file below them), ``"pydoc"``: the English of the
        interpreter's own language reference, ``"stdlib"``: the docstrings of its standard library, one document per module. Default:
        ``"pydoc"``.

    Returns
    -------
    list of (title, text)
        In the order given; within a folder or source sorted by title.

    Raises
    ------
    InvalidInput
        If a file is missing, empty or not UTF-8, or a folder holds no text.
    """
    places = ["pydoc"] if text is None else [text] if isinstance(text, str | Path) else list(text)
    if not places:
        raise InvalidInput(f"an empty list of texts: name files or folders, or one of {', '.join(SOURCES)}")
    found: list[Document] = []
    for place in places:
        if place == "pydoc":
            found += _topics()
        elif place == "stdlib":
            found += _docstrings()
        else:
            found += _read(Path(place).expanduser())
    return found


def fingerprint(documents: Sequence[Document]) -> str:
    """SHA-256 of titles and texts, in order."""
    return hashlib.sha256(canonical([list(document) for document in documents]).encode()).hexdigest()


def _read(place: Path) -> Iterator[Document]:
    if place.is_dir():
        files = sorted(path for path in place.rglob("*") if path.suffix in SUFFIXES and path.is_file())
        if not files:
            raise InvalidInput(f"folder {place} holds no text: no file in it ends in {', '.join(SUFFIXES)}")
        for file in files:
            yield file.relative_to(place).as_posix(), _content(file)
    else:
        yield place.name, _content(place)


def _content(file: Path) -> str:
    try:
        text = file.read_text(encoding="utf-8")
    except FileNotFoundError:
        raise InvalidInput(f"there is no text {str(file)!r}: give a file, a folder, or one of {', '.join(SOURCES)}") from None
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{file} is not UTF-8 text (byte {error.start}): convert it, or leave it out") from None
    except OSError as error:
        raise InvalidInput(f"{file} cannot be read ({error.strerror})") from None
    if not text.strip():
        raise InvalidInput(f"{file} is empty: leave it out")
    return text


def _topics() -> list[Document]:
    from pydoc_data.topics import topics

    return sorted(topics.items())


@lru_cache(maxsize=1)
def _docstrings() -> tuple[Document, ...]:
    """Docstrings of modules, classes and functions, read off the source: importing the standard library would run it.

    Files that are not Python of this interpreter (there are some, made to be broken) hold no docstring and are left out.
    """
    root = Path(sysconfig.get_path("stdlib"))
    found = []
    for file in sorted(root.rglob("*.py")):
        place = file.relative_to(root)
        if _NOT_TEXT.isdisjoint(place.parts):
            try:
                tree = ast.parse(file.read_bytes())
            except (SyntaxError, ValueError):
                continue
            text = "\n\n".join(_docstrings_of(tree))
            if text:
                found.append((".".join(place.with_suffix("").parts).removesuffix(".__init__"), text))
    return tuple(sorted(found))


def _docstrings_of(tree: ast.AST) -> Iterator[str]:
    """Docstrings in the order of the source."""
    if isinstance(tree, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (text := ast.get_docstring(tree)):
        yield text
    for node in ast.iter_child_nodes(tree):
        yield from _docstrings_of(node)
