"""A suite: TOML in, trials out. What is asked for is checked here, before anything is computed, and nothing is imported.

A suite lists generators, estimators and evaluators by name, with parameters and grids of them; `read` checks it and `enumerate_trials`
(in `testbed.plan`) crosses them.
"""

from __future__ import annotations

import itertools
import math
import tomllib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from testbed.contracts import InvalidInput
from testbed.registry import resolve, suggest
from testbed.source import read_class, type_of
from testbed.store import DEEPEST, too_deep

ENTRIES = ("generator", "estimator", "evaluator")

MOST = 1_000_000
"""Trials, and settings of a grid, from which on a suite is refused: crossing them out would take memory and time without end."""


def _plain_label(label: str) -> str:
    if "/" in label or not label.strip() or not label.isprintable():
        raise ValueError("a label is one line of text, not empty, and has no '/'")
    return label


def _plain_folder(name: str) -> str:
    if not name.strip() or not name.isprintable() or set(name) & set("/\\") or name.startswith("."):
        raise ValueError("a suite's name names its folder: it is one line of text, not empty, has no '/' and does not begin with '.'")
    return name


Label = Annotated[str, AfterValidator(_plain_label)]
Folder = Annotated[str, AfterValidator(_plain_folder)]
Name = Annotated[str, StringConstraints(min_length=1)]
Count = Annotated[int, Field(ge=1)]
Seeds = Annotated[int, Field(ge=1, le=MOST)]


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class Sizes(_Strict):
    """Rows per part of each instance's data."""

    train: Count = 50_000
    test: Annotated[int, Field(ge=2)] = 8_192
    reference: Annotated[int, Field(ge=2)] = 8_192


class SomeSizes(_Strict):
    """Sizes that one generator has otherwise."""

    train: Count | None = None
    test: Annotated[int, Field(ge=2)] | None = None
    reference: Annotated[int, Field(ge=2)] | None = None


class Entry(_Strict):
    """A component by name, with parameters, and a grid of parameters to sweep."""

    name: Name
    label: Label = ""
    params: dict[str, Any] = {}
    grid: dict[str, list[Any]] = {}


class GeneratorEntry(Entry):
    """A generator; `instances` and `data` override the suite's."""

    instances: Seeds | None = None
    data: SomeSizes = SomeSizes()


class EstimatorEntry(Entry):
    """An estimator; `on` names the generators that it runs on (default: all)."""

    on: list[str] | None = None
    fit_seeds: Seeds | None = None


class EvaluatorEntry(Entry):
    """An evaluator; `on` names the generators whose outcomes it scores (default: all)."""

    on: list[str] | None = None


class Where(_Strict):
    """Which scores a claim is about; a generator left open makes one claim per generator that has such scores."""

    estimator: str
    generator: str | list[str] | None = None


class Versus(_Strict):
    """What a claim compares with, when that is another estimator or another dial setting (generator)."""

    estimator: str | None = None
    generator: str | None = None


class ClaimEntry(_Strict):
    """What a suite asserts beforehand.

    `versus` is a number, ``"chance"``, ``"ceiling"``, ``"floor:NAME"``, or another estimator or generator. `margin` moves the bar:
    ``above`` means value - versus > margin, ``below`` < -margin, ``within`` |value - versus| < margin. `unit` is what the interval is
    over: instances, or the groups of rows (documents) of a real model's held-out text. `statistic` is what is compared: the mean or median
    over units, the smallest of them, or the share of units whose score is at least `threshold` (then `versus` is the share that is wanted).
    """

    id: Name
    statement: str = ""
    score: Name
    where: Where
    versus: float | int | str | Versus
    margin: float = 0.0
    test: Literal["above", "below", "within"] = "above"
    unit: Literal["instance", "group"] = "instance"
    statistic: Literal["mean", "median", "minimum", "share"] = "mean"
    threshold: float | None = None


class Suite(_Strict):
    """A whole suite, as its TOML says it."""

    name: Folder
    title: str = ""
    description: str = ""
    seed: int = 0
    instances: Seeds = 5
    fit_seeds: Seeds = 1
    threads: Annotated[int, Field(ge=1, le=1024)] = 1
    dtype: Literal["float32", "float64"] = "float32"
    seconds: Annotated[float, Field(gt=0)] | None = None
    data: Sizes = Sizes()
    generator: Annotated[list[GeneratorEntry], Field(min_length=1)]
    estimator: Annotated[list[EstimatorEntry], Field(min_length=1)]
    evaluator: Annotated[list[EvaluatorEntry], Field(min_length=1)]
    claim: list[ClaimEntry] = []
    presets: dict[str, dict[str, Any]] = {}


# -------------------------------------------------------------------------------------------------------------- reading


def find(suite: str | Path) -> list[Path]:
    """The TOML files of a suite: a shipped name, a file, or a folder of suites.

    Raises
    ------
    InvalidInput
        If there is no such suite; the nearest shipped name is offered.
    """
    shipped = shipped_suites()
    if str(suite) in shipped:
        return [shipped[str(suite)]]
    path = Path(suite)
    try:
        there = path.exists()
    except OSError as error:  # a name that is too long
        raise InvalidInput(f"suite {str(suite)[:60]!r} ... cannot be looked for ({error.strerror}): give a file or a folder") from None
    if not there and (root := Path(str(files("suites"))) / str(suite)).is_dir():
        path = root
    if path.is_dir():
        found = sorted(path.glob("*.toml"))
        if not found:
            raise InvalidInput(f"folder {path} holds no suite: a suite is a .toml file")
        return found
    if path.is_file():
        return [path]
    raise InvalidInput(
        f"there is no suite {str(suite)!r}{suggest(str(suite), shipped)}: give a file, a folder or a shipped name: {', '.join(shipped)}"
    )


def shipped_suites() -> dict[str, Path]:
    """Suites that come with the testbed, by name (``folder/name`` for those in folders)."""
    root = Path(str(files("suites")))
    return {str(path.relative_to(root).with_suffix("")): path for path in sorted(root.rglob("*.toml"))}


def read(path: Path, *, preset: str | None = None, settings: Sequence[str] = (), only: Sequence[str] = ()) -> Suite:
    """Read and check one suite.

    Parameters
    ----------
    path : Path
    preset : str, optional
        One of the suite's ``[presets.NAME]``.
    settings : sequence of str
        ``key=value`` overrides, applied after the preset: ``data.train=1000``, ``estimator.topk_sae.k=8``.
    only : sequence of str
        Keep only these generators, estimators or evaluators (by label or name); kinds that are not named stay whole.

    Raises
    ------
    InvalidInput
        For anything that cannot be run, with the file and the place in it.
    """
    try:
        tree = tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InvalidInput(f"{path} cannot be read ({error.strerror}): give another file, or see to its rights") from None
    except UnicodeDecodeError as error:
        raise InvalidInput(f"{path} cannot be read (byte {error.start} is not UTF-8): write it as text in UTF-8") from None
    except RecursionError:
        raise InvalidInput(f"{path} is not valid TOML: it nests more than {DEEPEST} levels deep") from None
    except ValueError as error:  # also of a number with thousands of digits
        raise InvalidInput(f"{path} is not valid TOML: {error}") from None
    try:
        return from_tree(tree, preset=preset, settings=settings, only=only)
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from None


def from_tree(tree: dict[str, Any], *, preset: str | None = None, settings: Sequence[str] = (), only: Sequence[str] = ()) -> Suite:
    """Check a suite that has been parsed already; see `read`."""
    _check_plain(tree)
    _validated(tree)
    if preset is not None:
        presets = tree.get("presets", {})
        if preset not in presets:
            raise InvalidInput(f"there is no preset {preset!r}{suggest(preset, presets)}: the suite has {', '.join(presets) or 'none'}")
        for keys, value in _leaves(presets[preset]):
            override(tree, keys, value, f"presets.{preset}")
    for setting in settings:
        keys, value = parse_setting(setting)
        override(tree, keys, value, f"--set {_shown(setting)}")
    _check_plain(tree)
    suite = _validated(tree)
    for kind in ENTRIES:
        entries = list(expand(getattr(suite, kind), kind))
        check_labels(entries, kind)
        setattr(suite, kind, entries)
    _check_places(suite)
    suite = keep_only(suite, only) if only else suite
    _check_number(suite)
    return suite


def _validated(tree: Mapping[str, Any]) -> Suite:
    try:
        return Suite.model_validate(tree)
    except ValidationError as error:
        raise InvalidInput(_sentence(error, tree)) from None


def _check_plain(tree: Mapping[str, Any]) -> None:
    """Refuse what TOML can say, or a setting, and neither JSON nor a key can hold."""
    if too_deep(tree):
        raise InvalidInput(f"tables and lists nest more than {DEEPEST} levels deep: make it flatter")
    for place, value in _all_values(tree):
        if isinstance(value, float) and not math.isfinite(value):
            raise InvalidInput(f"{place}: {value!r} is not a finite number: give one, or leave it out")
        if isinstance(value, int) and abs(value) >= 2**63:
            raise InvalidInput(f"{place}: numbers lie between -2^63 and 2^63: give one that does")
        if isinstance(value, str) and not _encodes(value):
            raise InvalidInput(f"{place}: {value!r} is no text in UTF-8: write it otherwise")
        if not isinstance(value, str | int | float | None):
            raise InvalidInput(f"{place}: a {type(value).__name__} is no setting: write it as text in quotes")


def _all_values(tree: Any, place: str = "") -> Iterator[tuple[str, Any]]:
    """Every value that is no table or list, by its place."""
    if isinstance(tree, Mapping):
        for key, value in tree.items():
            if not key.isprintable():
                raise InvalidInput(f"{place or 'the suite'}: {key!r} is no key: write one of letters that can be printed, on one line")
            yield from _all_values(value, f"{place}.{key}" if place else str(key))
    elif isinstance(tree, list):
        for i, value in enumerate(tree):
            yield from _all_values(value, f"{place}[{i}]")
    else:
        yield place, tree


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _named(loc: Iterable[int | str]) -> str:
    """A place as it is written: ``estimator[0].params.k``."""
    place = ""
    for part in loc:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else str(part)
    return place


def first_fault(error: ValidationError) -> str:
    """The first thing that does not fit, on one line: its place, and what was wanted."""
    first = error.errors(include_url=False, include_context=False)[0]
    given = first["input"]
    shown = f", not {given!r:.100}" if not isinstance(given, dict | list | tuple) else ""
    wanted = first["msg"].removeprefix("Value error, ")
    wanted = "a table is wanted" if first["type"] in ("dict_type", "model_type") else f"{wanted[0].lower()}{wanted[1:]}"
    return f"{_named(first['loc'])}: {wanted}{shown}".removeprefix(": ")


def _sentence(error: ValidationError, tree: Mapping[str, Any]) -> str:
    first = error.errors()[0]
    place = _named(first["loc"])
    if first["type"] == "extra_forbidden":
        known = _fields_at(first["loc"][:-1])
        return f"{place}: there is no such key{suggest(str(first['loc'][-1]), known)} (known: {', '.join(known)})"
    if first["type"] == "missing":
        return f"{place} is missing: " + (f"list at least one [[{place}]]" if place in ENTRIES else "give it")
    if first["type"] == "too_short" and place in ENTRIES:
        return f"{place}: list at least one [[{place}]]"
    return first_fault(error)


def _fields_at(place: tuple[int | str, ...]) -> list[str]:
    model: type[BaseModel] = Suite
    nested: Mapping[str, type[BaseModel]] = {
        "generator": GeneratorEntry,
        "estimator": EstimatorEntry,
        "evaluator": EvaluatorEntry,
        "claim": ClaimEntry,
        "where": Where,
        "versus": Versus,
    }
    for part in place:
        if part == "data":
            model = Sizes
        elif isinstance(part, str) and part in nested:
            model = nested[part]
    return list(model.model_fields)


# ------------------------------------------------------------------------------------------------------------ overrides


def parse_setting(setting: str) -> tuple[list[str], Any]:
    """``a.b=value`` as path and value; the value is TOML, or else a plain string."""
    key, sign, text = setting.partition("=")
    if not sign or not key.strip():
        raise InvalidInput(f"--set {_shown(setting)}: write it as key=value, for example data.train=1000")
    try:
        found: Any = tomllib.loads(f"value = {text}")
    except (ValueError, RecursionError):
        found = {}
    value = found["value"] if found.keys() == {"value"} else text  # a line break could have brought in more keys
    try:
        tree: Any = tomllib.loads(f"{key} = 0")
    except (ValueError, RecursionError):
        tree = {}
    keys = []
    while isinstance(tree, dict):
        if len(tree) != 1:
            raise InvalidInput(f"--set {_shown(setting)}: {key!r} is not a dotted key (quote a part with spaces)")
        (part,) = tree
        keys.append(part)
        tree = tree[part]
    return keys, value


def _shown(setting: str) -> str:
    """A setting as it was typed, on one line."""
    return setting if setting.isprintable() else repr(setting)


def _leaves(tree: Mapping[str, Any], above: tuple[str, ...] = ()) -> Iterator[tuple[list[str], Any]]:
    for key, value in tree.items():
        path = (*above, key)
        if isinstance(value, dict) and value:
            yield from _leaves(value, path)
        else:
            yield list(path), value


def override(tree: dict[str, Any], keys: Sequence[str], value: Any, source: str) -> None:
    """Set one value in a parsed suite; entries of a list are addressed by their label or name.

    ``estimator.topk_sae.k`` means parameter k of the estimator labelled topk_sae; an entry's own keys (`on`, `fit_seeds`, `data` ...)
    come first.
    """
    head, *rest = keys
    if head in ENTRIES and len(rest) >= 2:
        entries = [e for e in tree[head] if rest[0] in (e.get("label"), e["name"])]
        if not entries:
            known = [e.get("label", e["name"]) for e in tree[head]]
            raise InvalidInput(f"{source}: there is no {head} {rest[0]!r}{suggest(rest[0], known)}")
        fields = _fields_at((head,))
        for entry in entries:
            own = rest[1] in fields
            _put(entry, rest[1:] if own else ["params", *rest[1:]], value)
            if not own and isinstance(entry.get("grid"), dict):
                entry["grid"].pop(rest[1], None)
    elif head in ENTRIES or head in ("claim", "presets") or head not in Suite.model_fields:
        known = [k for k in Suite.model_fields if k not in ("claim", "presets")]
        raise InvalidInput(
            f"{source}: there is no setting {'.'.join(keys)!r}{suggest(head, known)}: write a suite's key, or estimator.LABEL.PARAMETER"
        )
    else:
        _put(tree, keys, value)


def _put(tree: dict[str, Any], keys: Sequence[str], value: Any) -> None:
    for key in keys[:-1]:
        if not isinstance(tree.get(key), dict):
            tree[key] = {}
        tree = tree[key]
    tree[keys[-1]] = value


def names_in(suite: Suite) -> set[str]:
    """Labels and names of all generators, estimators and evaluators of a suite."""
    return {name for kind in ENTRIES for entry in getattr(suite, kind) for name in (entry.label, entry.name)}


def keep_only(suite: Suite, only: Sequence[str]) -> Suite:
    """A suite with only the named generators, estimators or evaluators, without what then has nothing to do, nor claims about others."""
    used: set[str] = set()
    for kind in ENTRIES:
        entries = getattr(suite, kind)
        chosen = [e for e in entries if {e.label, e.name} & set(only)]
        used |= {name for e in chosen for name in (e.label, e.name)}
        if chosen:
            setattr(suite, kind, chosen)
    missing = [name for name in only if name not in used]
    if missing:
        known = [e.label for kind in ENTRIES for e in getattr(suite, kind)]
        raise InvalidInput(
            f"--only {missing[0]}: there is no such generator, estimator or evaluator{suggest(missing[0], known)}: name one of "
            f"{', '.join(known)}"
        )
    for kind in ("estimator", "evaluator"):
        setattr(suite, kind, [e for e in getattr(suite, kind) if any(runs_on(e, generator) for generator in suite.generator)])
        for entry in getattr(suite, kind):
            if entry.on is not None:  # without those that are left out, so that what is kept is a suite of its own
                entry.on = [name for name in entry.on if _names_one(name, suite.generator)]
        if not getattr(suite, kind):
            raise InvalidInput(
                f"--only {' --only '.join(only)} leaves no {kind} that runs on {', '.join(e.label for e in suite.generator)}"
            )
    suite.claim = [c for c in suite.claim if problem_of_claim(suite, c) is None]
    return suite


# ------------------------------------------------------------------------------------------------------------- checking


def expand(entries: Sequence[Any], kind: str) -> Iterator[Any]:
    """Entries with every grid crossed out: one entry per setting, labelled ``label parameter=value``."""
    for place, entry in enumerate(entries):
        where = f"{kind}[{place}]"
        label = entry.label or entry.name.rpartition(":")[2]
        for parameter, values in entry.grid.items():
            if not values:
                raise InvalidInput(f"{where}.grid.{parameter}: an empty grid runs nothing: give at least one value or leave it out")
            if parameter in entry.params:
                raise InvalidInput(f"{where}: {parameter!r} is in params and in grid: leave it in one of them")
        if (settings := math.prod(map(len, entry.grid.values()))) > MOST:
            raise InvalidInput(f"{where}.grid has {settings:,} settings, more than {MOST:,}: give fewer values")
        for values in itertools.product(*entry.grid.values()):
            swept = dict(zip(entry.grid, values, strict=True))
            suffix = "".join(f" {k}={_short(v)}" for k, v in swept.items())
            params = {**entry.params, **swept}
            check_params(kind, entry.name, params, where)
            if not (label + suffix).isprintable():
                raise InvalidInput(f"{where}.grid: a value of more than one line cannot be swept: set it in params")
            yield entry.model_copy(update={"label": label + suffix, "params": params, "grid": {}})


def _short(value: Any) -> str:
    return str(value).replace(" ", "").replace("/", "|").replace("'", "")


def check_params(kind: str, name: str, params: Mapping[str, Any], where: str) -> None:
    """Check parameters against the text of the constructor, as far as it can be read without importing it.

    Raises
    ------
    InvalidInput
        For an unknown component, an unknown or missing parameter, or a value of another type.
    """
    try:
        path = resolve(f"{kind}s", name)
    except InvalidInput as error:
        raise InvalidInput(f"{where}.name: {error}") from None
    text = read_class(path)
    if text is None or text.parameters is None:
        return
    known = {parameter.name: parameter for parameter in text.parameters}
    for key, value in params.items():
        place = f"{where}.params.{key}"
        if key not in known:
            raise InvalidInput(f"{place}: {name} has no parameter {key!r}{suggest(key, known)} (it has {', '.join(known) or 'none'})")
        if is_truth_setting(value):
            _check_truth_setting(value, place)
            continue
        inner = list(components_in(value))
        for one in inner:
            nested_kind = component_kind(one["use"], place)
            check_params(nested_kind, one["use"], {k: v for k, v in one.items() if k != "use"}, place)
        if not inner:
            _check_value(value, known[key].annotation, place, name)
    missing = [p.name for p in text.parameters if p.required and p.name not in params]
    if missing:
        raise InvalidInput(f"{where}.params: {name} needs {', '.join(missing)}")


def _check_truth_setting(value: Mapping[str, Any], place: str) -> None:
    kinds: Mapping[str, Any] = {"truth": str, "times": int | float, "float": bool}
    for key, part in value.items():
        if key not in kinds or not isinstance(part, kinds[key]) or (key == "times" and isinstance(part, bool)):
            raise InvalidInput(f'{place}: write {{ truth = "NAME", times = NUMBER, float = true }}, the last two if need be, not {key}')


def _check_value(value: Any, annotation: str, place: str, name: str) -> None:
    if any(isinstance(number, float) and not math.isfinite(number) for number in _numbers(value)):
        raise InvalidInput(f"{place}: {value!r} is not a finite number: give one, or leave it out")
    wanted = type_of(annotation)
    if wanted is not Any:
        try:
            TypeAdapter(wanted, config=ConfigDict(strict=True)).validate_python(value)
        except ValidationError:
            raise InvalidInput(f"{place}: {name} wants {annotation}, not {value!r}") from None
    if "Path" in annotation:
        for path in value if isinstance(value, list) else [value]:
            if isinstance(path, str) and _means_file(path, annotation, isinstance(value, list)) and not _is_there(path):
                raise InvalidInput(f"{place}: there is no file or folder {path!r}: give one that is there, from {Path.cwd()}")


def _means_file(value: str, annotation: str, in_list: bool) -> bool:
    """Whether a value can only be a place on disk; where names are possible too, it is if it looks like one."""
    if "str" not in annotation:
        return True
    return value.startswith((".", "/", "~")) or (in_list and bool(Path(value).suffix))


def _is_there(path: str) -> bool:
    try:
        return Path(path).exists()
    except (OSError, ValueError):  # a name that is too long, or none
        return False


def _numbers(value: Any) -> Iterator[Any]:
    if isinstance(value, list):
        for item in value:
            yield from _numbers(item)
    else:
        yield value


def is_truth_setting(value: Any) -> bool:
    """Whether a parameter is to be read off the truth: ``{ truth = "l0" }`` or ``{ truth = "l0", times = 2 }``."""
    return isinstance(value, dict) and "truth" in value


def is_nested(value: Any) -> bool:
    """Whether a parameter is itself a component: ``{ use = "topk_sae", k = 8 }``."""
    return isinstance(value, dict) and "use" in value


def components_in(value: Any) -> Iterator[Mapping[str, Any]]:
    """Components that a parameter is, or that are in it where it is a list: the steps of a pipeline."""
    if is_nested(value):
        yield value
    for item in value if isinstance(value, list) else ():
        yield from components_in(item)


def component_kind(name: Any, where: str) -> str:
    """Which kind a nested component is: the one that knows its name, estimators first."""
    if not isinstance(name, str):
        raise InvalidInput(f"{where}.use: a component is named by text, not {name!r}: `testbed list` shows them")
    for kind in ("estimator", "generator", "evaluator"):
        try:
            resolve(f"{kind}s", name)
        except InvalidInput:
            continue
        return kind
    raise InvalidInput(f"{where}.use: there is no component {name!r}: `testbed list` shows them")


def check_labels(entries: Sequence[Entry], kind: str) -> None:
    """Every label must be there once."""
    seen: set[str] = set()
    for entry in entries:
        if entry.label in seen:
            raise InvalidInput(f"{kind}: two entries are labelled {entry.label!r}: give one of them another label, or delete the duplicate")
        seen.add(entry.label)


def _check_places(suite: Suite) -> None:
    generators = [e.label for e in suite.generator]
    for kind in ("estimator", "evaluator"):
        for entry in getattr(suite, kind):
            for name in entry.on or ():
                if not _names_one(name, suite.generator):
                    raise InvalidInput(
                        f"{kind} {entry.label!r}: on names no generator {name!r}{suggest(name, generators)}: it has {', '.join(generators)}"
                    )
    seen: set[str] = set()
    for claim in suite.claim:
        if claim.id in seen:
            raise InvalidInput(f"claim: two claims have the id {claim.id!r}: rename one of them")
        seen.add(claim.id)
        problem = problem_of_claim(suite, claim)
        if problem:
            raise InvalidInput(f"claim {claim.id!r}: {problem}")


def _names_one(name: str, generators: Sequence[GeneratorEntry]) -> bool:
    return any(name in (generator.label, generator.name) for generator in generators)


def _check_number(suite: Suite) -> None:
    """Refuse a suite of more than `MOST` trials before any is enumerated."""
    trials = sum(
        (generator.instances or suite.instances) * (estimator.fit_seeds or suite.fit_seeds)
        for generator in suite.generator
        for estimator in suite.estimator
        if runs_on(estimator, generator)
    )
    if trials > MOST:
        raise InvalidInput(f"the suite has {trials:,} trials, more than {MOST:,}: lower instances or fit_seeds, or split it")


def problem_of_claim(suite: Suite, claim: ClaimEntry) -> str | None:
    """Why a claim cannot be judged by what the suite has; None if it can."""
    labels = {kind: [e.label for e in getattr(suite, kind)] for kind in ENTRIES}
    wanted = [("evaluator", claim.score.partition("/")[0]), ("estimator", claim.where.estimator)]
    where = claim.where.generator
    wanted += [("generator", label) for label in ([where] if isinstance(where, str) else where or [])]
    if isinstance(claim.versus, Versus):
        given = {k: v for k, v in claim.versus.model_dump().items() if v is not None}
        if len(given) != 1:
            return "versus names one estimator or one generator"
        wanted += list(given.items())
    elif isinstance(claim.versus, str) and claim.versus not in ("chance", "ceiling") and not claim.versus.startswith("floor:"):
        return f"versus is a number, 'chance', 'ceiling', 'floor:NAME' or another estimator or generator, not {claim.versus!r}"
    for kind, label in wanted:
        if label not in labels[kind]:
            return f"there is no {kind} {label!r}{suggest(label, labels[kind])}: it has {', '.join(labels[kind])}"
    if (claim.statistic == "share") != (claim.threshold is not None):
        return "a share, and nothing else, has a threshold: the score from which on an instance counts"
    if claim.statistic == "share" and (not isinstance(claim.versus, float | int) or not 0 <= claim.versus <= 1):
        return f"versus is the share that is wanted, from 0 to 1, not {claim.versus!r}"
    if claim.statistic == "share" and claim.test == "within":
        return "a share is above or below the one that is wanted, not within something of it"
    return None


def runs_on(entry: EstimatorEntry | EvaluatorEntry, generator: GeneratorEntry) -> bool:
    """Whether an estimator or evaluator is meant for a generator (named by label, or by the component's name)."""
    return entry.on is None or generator.label in entry.on or generator.name in entry.on
