"""A suite: TOML in, trials out. What is asked for is checked here, before anything is computed, and nothing is imported.

A suite lists generators, estimators and evaluators by name, with parameters and grids of them; `read` checks it and `enumerate_trials`
(in `testbed.plan`) crosses them.
"""

from __future__ import annotations

import itertools
import math
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from testbed.contracts import InvalidInput
from testbed.registry import resolve, suggest
from testbed.source import read_class, type_of

ENTRIES = ("generator", "estimator", "evaluator")


def _plain_label(label: str) -> str:
    if "/" in label or not label.strip():
        raise ValueError("a label is not empty and has no '/'")
    return label


Label = Annotated[str, AfterValidator(_plain_label)]
Name = Annotated[str, StringConstraints(min_length=1)]
Count = Annotated[int, Field(ge=1)]


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

    instances: Count | None = None
    data: SomeSizes = SomeSizes()


class EstimatorEntry(Entry):
    """An estimator; `on` names the generators that it runs on (default: all)."""

    on: list[str] | None = None
    fit_seeds: Count | None = None


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

    name: Name
    title: str = ""
    description: str = ""
    seed: int = 0
    instances: Count = 5
    fit_seeds: Count = 1
    threads: Count = 1
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
    if not path.exists() and (root := Path(str(files("suites"))) / str(suite)).is_dir():
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
    except (OSError, UnicodeDecodeError) as error:
        raise InvalidInput(f"{path} cannot be read: {error}") from None
    except tomllib.TOMLDecodeError as error:
        raise InvalidInput(f"{path} is not valid TOML: {error}") from None
    try:
        return from_tree(tree, preset=preset, settings=settings, only=only)
    except InvalidInput as error:
        raise InvalidInput(f"{path}: {error}") from None


def from_tree(tree: dict[str, Any], *, preset: str | None = None, settings: Sequence[str] = (), only: Sequence[str] = ()) -> Suite:
    """Check a suite that has been parsed already; see `read`."""
    _validated(tree)
    if preset is not None:
        presets = tree.get("presets", {})
        if preset not in presets:
            raise InvalidInput(f"there is no preset {preset!r}{suggest(preset, presets)}: it has {', '.join(presets) or 'none'}")
        for keys, value in _leaves(presets[preset]):
            override(tree, keys, value, f"presets.{preset}")
    for setting in settings:
        keys, value = parse_setting(setting)
        override(tree, keys, value, f"--set {setting}")
    suite = _validated(tree)
    for kind in ENTRIES:
        entries = list(expand(getattr(suite, kind), kind))
        check_labels(entries, kind)
        setattr(suite, kind, entries)
    _check_places(suite)
    return keep_only(suite, only) if only else suite


def _validated(tree: Mapping[str, Any]) -> Suite:
    try:
        return Suite.model_validate(tree)
    except ValidationError as error:
        raise InvalidInput(_sentence(error, tree)) from None


def _sentence(error: ValidationError, tree: Mapping[str, Any]) -> str:
    first = error.errors()[0]
    place = ""
    for part in first["loc"]:
        place += f"[{part}]" if isinstance(part, int) else f".{part}" if place else str(part)
    if first["type"] == "extra_forbidden":
        known = _fields_at(first["loc"][:-1])
        return f"{place}: there is no such key{suggest(str(first['loc'][-1]), known)} (known: {', '.join(known)})"
    if first["type"] == "missing":
        return f"{place} is missing" + (f": list at least one [[{place}]]" if place in ENTRIES else "")
    if first["type"] == "too_short" and place in ENTRIES:
        return f"{place}: list at least one [[{place}]]"
    given = first.get("input")
    shown = f", not {given!r}" if not isinstance(given, dict | list) else ""
    return f"{place}: {first['msg'][0].lower()}{first['msg'][1:]}{shown}"


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
        raise InvalidInput(f"--set {setting}: write it as key=value, for example data.train=1000")
    try:
        value = tomllib.loads(f"value = {text}")["value"]
    except tomllib.TOMLDecodeError:
        value = text
    try:
        tree: Any = tomllib.loads(f"{key} = 0")
    except tomllib.TOMLDecodeError:
        raise InvalidInput(f"--set {setting}: {key!r} is not a dotted key (quote a part with spaces)") from None
    keys = []
    while isinstance(tree, dict):
        (part,) = tree
        keys.append(part)
        tree = tree[part]
    return keys, value


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
            target = entry if own else entry.setdefault("params", {})
            _put(target, rest[1:], value)
            if not own:
                entry.get("grid", {}).pop(rest[1], None)
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
        raise InvalidInput(f"--only {missing[0]}: there is no such generator, estimator or evaluator{suggest(missing[0], known)}")
    for kind in ("estimator", "evaluator"):
        setattr(suite, kind, [e for e in getattr(suite, kind) if any(runs_on(e, generator) for generator in suite.generator)])
        if not getattr(suite, kind):
            raise InvalidInput(
                f"--only {' --only '.join(only)} leaves no {kind} that runs on {', '.join(e.label for e in suite.generator)}"
            )
    suite.claim = [c for c in suite.claim if _claim_problem(suite, c) is None]
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
        for values in itertools.product(*entry.grid.values()):
            swept = dict(zip(entry.grid, values, strict=True))
            suffix = "".join(f" {k}={_short(v)}" for k, v in swept.items())
            params = {**entry.params, **swept}
            check_params(kind, entry.name, params, where)
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
            continue
        if is_nested(value):
            nested_kind = component_kind(value["use"], place)
            check_params(nested_kind, value["use"], {k: v for k, v in value.items() if k != "use"}, place)
            continue
        _check_value(value, known[key].annotation, place, name)
    missing = [p.name for p in text.parameters if p.required and p.name not in params]
    if missing:
        raise InvalidInput(f"{where}.params: {name} needs {', '.join(missing)}")


def _check_value(value: Any, annotation: str, place: str, name: str) -> None:
    if any(isinstance(number, float) and not math.isfinite(number) for number in _numbers(value)):
        raise InvalidInput(f"{place}: {value!r} is not a finite number")
    wanted = type_of(annotation)
    if wanted is not Any:
        try:
            TypeAdapter(wanted, config=ConfigDict(strict=True)).validate_python(value)
        except ValidationError:
            raise InvalidInput(f"{place}: {name} wants {annotation}, not {value!r}") from None
    if "Path" in annotation:
        for path in value if isinstance(value, list) else [value]:
            if isinstance(path, str) and _means_file(path, annotation, isinstance(value, list)) and not Path(path).exists():
                raise InvalidInput(f"{place}: there is no file or folder {path!r}")


def _means_file(value: str, annotation: str, in_list: bool) -> bool:
    """Whether a value can only be a place on disk; where names are possible too, it is if it looks like one."""
    if "str" not in annotation:
        return True
    return value.startswith((".", "/", "~")) or (in_list and bool(Path(value).suffix))


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


def component_kind(name: str, where: str) -> str:
    """Which kind a nested component is: the one that knows its name, estimators first."""
    for kind in ("estimator", "generator", "evaluator"):
        try:
            resolve(f"{kind}s", name)
        except InvalidInput:
            continue
        return kind
    raise InvalidInput(f"{where}.use: there is no component {name!r}")


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
                if not any(e.label == name or e.name == name for e in suite.generator):
                    raise InvalidInput(f"{kind} {entry.label!r}: on names no generator {name!r}{suggest(name, generators)}")
    seen: set[str] = set()
    for claim in suite.claim:
        if claim.id in seen:
            raise InvalidInput(f"claim: two claims have the id {claim.id!r}")
        seen.add(claim.id)
        problem = _claim_problem(suite, claim)
        if problem:
            raise InvalidInput(f"claim {claim.id!r}: {problem}")


def _claim_problem(suite: Suite, claim: ClaimEntry) -> str | None:
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
            return f"there is no {kind} {label!r}{suggest(label, labels[kind])}"
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
