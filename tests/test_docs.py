"""Every code block of the README and the documentation is run, or held against what the block before it prints."""

from __future__ import annotations

import ast
import importlib
import io
import pkgutil
import re
import runpy
import shlex
import sys
import tomllib
from collections.abc import Iterator
from contextlib import redirect_stderr, redirect_stdout
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import typer

from testbed import cli, registry
from testbed.suite import from_tree

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
FENCE = re.compile(r"^```(.*)\n((?:.*\n)*?)```$", re.MULTILINE)

STAND_INS = {
    "testbed run quick --jobs 2": "testbed run quick --preset tiny --only 'two levels' --only sparse_concepts",
}
"""Commands that take minutes, and what the tests run instead."""

SLOW = {"extending.md", "index.md", "language-models.md", "model-continuous.md", "model-sparse.md"}
"""Pages that take more than a few seconds of one core."""

PLAIN = {"name": "fragment", "generator": [{"name": "sparse_concepts"}], "estimator": [{"name": "pca"}], "evaluator": [{"name": "l0"}]}
"""The rest of a suite, where a page shows a part of one."""


@dataclass(frozen=True)
class Block:
    line: int
    language: str
    code: str


def blocks(page: Path) -> list[Block]:
    text = page.read_text()
    return [Block(text.count("\n", 0, found.start()) + 1, found[1], found[2]) for found in FENCE.finditer(text)]


class Reader:
    """Follows a page from top to bottom as its reader would: in one folder, with one session of Python."""

    def __init__(self, page: Path, patch: pytest.MonkeyPatch) -> None:
        self.page, self.patch = page, patch
        self.known: dict[str, Any] = {}
        self.printed: str | None = None

    def follow(self, block: Block) -> None:
        read = {"python": self.python, "text": self.text, "toml": self.toml, "bash": self.bash, "console": self.console}.get(block.language)
        where = f"{self.page.name}:{block.line}"
        assert read is not None, f"{where}: no test can try a block of {block.language or 'no language'}"
        try:
            read(block)
        except BaseException as error:
            error.add_note(f"in {where}")
            raise
        if block.language != "python":
            self.printed = None

    def python(self, block: Block) -> None:
        """Runs with what the blocks before it defined. If it begins with ``# NAME.py``, it is that file, too."""
        name = re.match(r"# (\w+\.py)\n", block.code)
        if name:
            Path(name[1]).write_text(block.code)
        script = Path(f"{self.page.stem}_{block.line}.py")
        script.write_text("\n" * block.line + block.code)  # so that a traceback has the page's lines
        with redirect_stdout(io.StringIO()) as out:
            self.known = runpy.run_path(str(script), self.known, "__main__")
        self.printed = out.getvalue()

    def text(self, block: Block) -> None:
        assert self.printed is not None, "a block of text is what the block of Python right before it prints"
        agree(block.code, self.printed)

    def toml(self, block: Block) -> None:
        """A suite, a part of one, or entry points of a package."""
        tree = tomllib.loads(block.code)
        if "project" in tree:
            for group, entries in tree["project"]["entry-points"].items():
                assert group in {f"testbed.{kind}" for kind in registry.KINDS}
                assert all(re.fullmatch(r"[\w.]+:\w+", value) for value in entries.values())
            return
        if "name" in tree:
            Path(f"{tree['name']}.toml").write_text(block.code)
        for preset in (None, *tree.get("presets", ())):
            from_tree({**PLAIN, **tomllib.loads(block.code)}, preset=preset)

    def bash(self, block: Block) -> None:
        for line in block.code.splitlines():
            self.command(line)

    def console(self, block: Block) -> None:
        """``$ command``, each followed by what it prints; nothing stands for anything."""
        assert block.code.startswith("$ ")
        for part in re.split(r"^\$ ", block.code, flags=re.MULTILINE)[1:]:
            command, _, shown = part.partition("\n")
            printed = self.command(command)
            if shown.strip():
                agree(shown, printed)

    def command(self, line: str) -> str:
        line = STAND_INS.get(line.partition("#")[0].strip(), line)
        match shlex.split(line, comments=True):
            case []:
                return ""
            case ["testbed", *arguments]:
                return self.testbed(arguments)
            case ["make", target]:
                assert target in targets()
            case ["pip", "install", "-e", folder]:
                self.installed(Path(folder))
            case ["pip", "install", *wanted]:
                assert installable(wanted[-1]), f"neither an extra nor in the Makefile: {line}"
            case ["python", script, *_]:
                assert (ROOT / script).is_file()
            case ["ls", folder]:
                return "\n".join(sorted(file.name for file in Path(folder).iterdir()))
            case _:
                pytest.fail(f"no test knows how to try {line!r}")
        return ""

    def testbed(self, arguments: list[str]) -> str:
        self.patch.setattr(sys, "argv", ["testbed", *arguments])
        with redirect_stdout(io.StringIO()) as out, redirect_stderr(out), pytest.raises(SystemExit) as end:
            cli.main()
        assert end.value.code in (0, None), out.getvalue()
        return out.getvalue()

    def installed(self, folder: Path) -> None:
        """What ``pip install -e`` leaves behind, but for pip: a path, and metadata with the entry points."""
        project = tomllib.loads((folder / "pyproject.toml").read_text())["project"]
        source = (folder / "src").absolute()
        about = source / f"{project['name']}-{project['version']}.dist-info"
        about.mkdir()
        (about / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {project['name']}\nVersion: {project['version']}\n")
        groups = (f"[{group}]\n" + "".join(f"{k} = {v}\n" for k, v in made.items()) for group, made in project["entry-points"].items())
        (about / "entry_points.txt").write_text("".join(groups))
        self.patch.syspath_prepend(str(source))
        registry.names.cache_clear()


def targets() -> list[str]:
    return re.findall(r"^([a-z-]+):", (ROOT / "Makefile").read_text(), re.MULTILINE)


def installable(wanted: str) -> bool:
    extra = re.fullmatch(r"identifiability-testbed(?:\[(.+)\])?", wanted)
    offered = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
    return set((extra[1] or "dev").split(",")) <= set(offered) if extra else wanted in (ROOT / "Makefile").read_text().split()


NUMBER = re.compile(r"[-+±]?(?:\d[\d,]*\.?\d*|\.\d+)(?:e[-+]?\d+)?")


def shape(line: str) -> str:
    """A line without its numbers, rules and spaces."""
    return " ".join(NUMBER.sub("#", re.sub(r"[─━═]+", "─", line)).split())


def agree(shown: str, printed: str) -> None:
    """Whether lines that a page shows are those that are printed: up to spaces and seconds, and numbers up to .1 or a fifth of them.

    A line ``...`` stands for any number of lines.
    """
    lines, rest = printed.rstrip().splitlines(), shown.rstrip().splitlines()
    found = _aligned(rest, [shape(line) for line in lines])
    assert found is not None, f"the page shows\n{shown}\nbut what is printed is\n{printed}"
    for line, place in zip((line for line in rest if line.strip() != "..."), found, strict=True):
        for ours, theirs in zip(numbers(line), numbers(lines[place]), strict=True):
            assert ours == pytest.approx(theirs, rel=0.2, abs=0.1), f"the page shows\n{line}\nbut what is printed is\n{lines[place]}"


def numbers(line: str) -> list[float]:
    """Numbers of a line that are no seconds; percentages as shares."""
    found = re.findall(f"({NUMBER.pattern})( %)?", re.sub(r"[\d.,]+ s\b", "", line))
    return [float(text.lstrip("±").replace(",", "")) / (100 if percent else 1) for text, percent in found]


def _aligned(shown: list[str], printed: list[str], start: int = 0) -> list[int] | None:
    """Places of the shown lines among the printed shapes from `start` on, or None."""
    if not shown:
        return [] if start == len(printed) else None
    if shown[0].strip() == "...":
        tries = (_aligned(shown[1:], printed, place) for place in range(start, len(printed) + 1))
        return next((found for found in tries if found is not None), None)
    if start == len(printed) or shape(shown[0]) != printed[start]:
        return None
    rest = _aligned(shown[1:], printed, start + 1)
    return None if rest is None else [start, *rest]


@pytest.fixture
def reader(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Reader]:
    """A reader of a page in an empty folder; what is imported from there is forgotten afterwards."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    before = set(registry.LOCAL)
    yield Reader(request.param, monkeypatch)
    for name in set(registry.LOCAL) - before:
        del registry.LOCAL[name]
    for name, module in list(sys.modules.items()):
        if str(getattr(module, "__file__", None) or "").startswith(str(tmp_path)):
            del sys.modules[name]
    registry.names.cache_clear()


@pytest.mark.parametrize(
    "reader",
    [pytest.param(page, marks=[pytest.mark.slow] if page.name in SLOW else [], id=page.name) for page in PAGES if blocks(page)],
    indirect=True,
)
def test_a_page_can_be_followed_from_top_to_bottom(reader: Reader) -> None:
    for block in blocks(reader.page):
        reader.follow(block)


@pytest.mark.parametrize(
    ("shown", "printed", "same"),
    [
        ("a  0.51 ± 0.02\n", "a 0.5 ± 0.1\n", True),
        ("a  0.51\n", "a 0.9\n", False),
        ("in 3.1 s\n", "in 99.0 s\n", True),
        ("6 %\n", "9 %\n", True),
        ("6 %\n", "30 %\n", False),
        ("a\n...\nd\n", "a\nb\nc\nd\n", True),
        ("a\n...\nd\n", "a\nb\nc\n", False),
        ("a\n", "a\nb\n", False),
        ("a\nb\n", "a\n", False),
        ("1,024 rows\n", "1024 rows\n", True),
    ],
)
def test_what_a_page_shows_is_held_against_what_is_printed(shown: str, printed: str, same: bool) -> None:
    if same:
        agree(shown, printed)
        return
    with pytest.raises(AssertionError):
        agree(shown, printed)


@pytest.mark.parametrize("language", ["", "json", "sh"])
def test_a_block_that_nothing_can_try_is_an_error(language: str, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AssertionError, match="no test can try"):
        Reader(PAGES[0], monkeypatch).follow(Block(1, language, ""))


def commands() -> dict[str, Any]:
    return typer.main.get_command(cli.app).commands  # type: ignore[attr-defined,no-any-return]


@pytest.mark.parametrize(
    "page", [*PAGES, ROOT / "CONTRIBUTING.md", ROOT / "results" / "README.md"], ids=lambda page: str(page.relative_to(ROOT))
)
def test_commands_named_in_prose_exist(page: Path) -> None:
    known = commands()
    for code in re.findall(r"(?<!`)`([^`]+)`(?!`)", FENCE.sub("", page.read_text())):
        match code.split():
            case ["testbed", "--help" | "--debug" | "--version" | "COMMAND", *_]:
                pass
            case ["testbed", name, *rest]:
                assert name in known, code
                options = {option for parameter in known[name].params for option in parameter.opts} | {"--help"}
                assert {word for word in rest if word.startswith("--")} <= options, code
            case ["make", target]:
                assert target in targets(), code
            case ["python", script, *_]:
                assert script == "-m" or (ROOT / script).is_file(), code


def test_links_between_pages_lead_somewhere() -> None:
    for page in PAGES:
        for target, anchor in re.findall(r"\]\(([^)#\s]*)(?:#([^)]*))?\)", page.read_text()):
            if target.startswith("http"):
                continue
            file = page.parent / target if target else page
            assert file.exists(), f"{page.name} links to {target}"
            if anchor:
                assert anchor in anchors(file), f"{page.name} links to {target}#{anchor}"


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.+)$", FENCE.sub("", page.read_text()), re.MULTILINE)
    headings = {re.sub(r"[^\w\s-]", "", title).strip().lower().replace(" ", "-") for title in titles}
    if page.name == "api.md":
        headings |= {path for one in documented() for path in (one, *(f"{one}.{name}" for name in vars(pkgutil.resolve_name(one))))}
    return headings


def documented() -> list[str]:
    """What the page about the API shows: modules, and things in modules."""
    return re.findall(r"^::: ([\w.]+)$", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE)


def test_the_api_page_shows_what_is_there() -> None:
    for path in documented():
        assert pkgutil.resolve_name(path).__doc__, path
    members = re.findall(r"^::: ([\w.]+)\n    options:\n      members: \[(.*)\]", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE)
    assert members
    for path, names in members:
        assert all(getattr(pkgutil.resolve_name(path), name).__doc__ for name in names.split(", ")), path


def test_the_api_page_shows_every_public_module_of_the_engine() -> None:
    private = {"__main__", "cli", "terminal", "stages", "runfile"}  # what `testbed --help` shows, and what only runs and readers call
    ours = {f"testbed.{file.stem}" for file in (ROOT / "testbed").glob("*.py")} - {f"testbed.{name}" for name in private | {"__init__"}}
    shown = {path if path in ours else path.rpartition(".")[0] for path in documented()}
    assert ours <= shown


def test_the_api_page_lists_every_command() -> None:
    listed = re.findall(r"^\| `testbed ([a-z-]+)", (ROOT / "docs" / "api.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(commands())


def test_the_api_page_shows_whatever_examples_import() -> None:
    components = {path.replace(":", ".") for kind in registry.KINDS for path in registry.BUILT_IN[kind].values()}
    shown = {*documented(), *components}
    for page in PAGES:
        for block in blocks(page):
            for node in ast.walk(ast.parse(block.code)) if block.language == "python" else ():
                if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] in ("testbed", "generators", "evaluators"):
                    for alias in node.names:
                        thing = getattr(importlib.import_module(str(node.module)), alias.name)
                        homes = {str(node.module), getattr(thing, "__module__", "")}
                        assert any({home, f"{home}.{alias.name}"} & shown for home in homes), f"{page.name}: {node.module}.{alias.name}"


def test_pictures_are_those_that_the_code_draws() -> None:
    drawing = runpy.run_path(str(ROOT / "docs" / "draw.py"))
    for name in drawing["PICTURES"]:
        assert (ROOT / "docs" / "images" / f"{name}.svg").read_text() == drawing["drawn"](name), "run python docs/draw.py"


def test_every_picture_is_small_and_shown_somewhere() -> None:
    shown = {name for page in PAGES for name in re.findall(r"images/([\w.-]+)\)", page.read_text())}
    for file in (ROOT / "docs" / "images").iterdir():
        assert file.name in shown
        assert file.stat().st_size < 150_000, file
