"""The command line: `testbed --help` lists what it can do."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from pathlib import Path
from signal import SIGINT, SIGTERM, signal
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

if TYPE_CHECKING:
    from testbed.claims import Verdict
    from testbed.results import Results

app = typer.Typer(
    name="testbed",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
    help="""**Identifiability testbed**: does a method that claims to read concepts out of a generative model read the *true* ones?

Generators sample data from hierarchies that are known exactly, estimators recover the latents, evaluators score the recovery between its
chance level and its ceiling; then the very same estimators are applied to real models.

Start with `testbed run quick`, then open the report that it names.""",
)


class Kind(StrEnum):
    """What can be listed."""

    generators = "generators"
    estimators = "estimators"
    evaluators = "evaluators"
    assumptions = "assumptions"
    dials = "dials"
    suites = "suites"
    models = "models"


class Device(StrEnum):
    """Where tensors live."""

    auto = "auto"
    cpu = "cpu"
    cuda = "cuda"


Folder = Annotated[Path, typer.Argument(metavar="DIR", help="A folder that `testbed run` wrote.")]
Settings = Annotated[list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Set a parameter; may be given several times.")]


@app.command()
def run(
    suite: Annotated[str, typer.Argument(metavar="SUITE", help="A shipped name (`testbed list suites`), a file, or a folder.")],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Folder that holds the results. [default: runs/SUITE]")] = None,
    preset: Annotated[str | None, typer.Option(metavar="NAME", help="One of the suite's sizes, `[presets.NAME]`.")] = None,
    jobs: Annotated[int, typer.Option(help="Worker processes. Does not change any score.")] = 1,
    device: Annotated[Device, typer.Option(help="Where tensors live; auto takes CUDA where there is some.")] = Device.auto,
    settings: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Override, such as `data.train=1000` or `estimator.topk_sae.k=8`; repeatable."),
    ] = None,
    only: Annotated[list[str] | None, typer.Option(metavar="NAME", help="Only this generator, estimator or evaluator; repeatable.")] = None,
    fresh: Annotated[bool, typer.Option("--fresh", help="Forget this suite's results in DIR first.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")] = False,
) -> None:
    """Run a suite: sample, fit, encode, score; then judge its claims and write the report.

    What is in DIR already is not computed again, so an interrupted run goes on where it stopped, a new estimator resamples nothing and
    a new evaluator refits nothing. Trials that fail are kept with their traceback and tried again next time.

    Examples: `testbed run quick` · `testbed run quick --jobs 2 --set instances=3` · `testbed run my_suite.toml --only topk_sae --dry-run`
    """
    from testbed.runner import execute, missing, plan_suite
    from testbed.store import Store
    from testbed.terminal import Bars, console, show_plan

    plans = plan_suite(suite, preset=preset, settings=settings or (), only=only or (), on=device.value)
    base = out if out is not None else Path("runs") / Path(suite).stem
    failed, finished = False, []
    for plan in plans:
        folder = base / plan.suite.name if len(plans) > 1 else base
        if dry_run:
            show_plan(plan, folder, *missing(plan, Store(folder)))
            continue
        try:
            with _terminable(), Bars(plan) as bars:
                summary = execute(plan, folder, jobs=jobs, fresh=fresh, watcher=bars)
            console.print(summary.sentence(), highlight=False, markup=False)
            failed |= bool(summary.failed)
            finished.append(_finish(folder))
        except KeyboardInterrupt as stopped:
            console.print(
                f"Stopped. What was computed is kept in {folder}: run the same command again to go on.", highlight=False, markup=False
            )
            raise typer.Exit(128 + (SIGTERM if isinstance(stopped, _Terminated) else SIGINT)) from None
    if len(finished) > 1:
        _together(base, finished)
    if failed:
        raise typer.Exit(1)


def _finish(folder: Path) -> tuple[dict[str, Any], list[Verdict]]:
    """After a run: claims, leaderboard, index and report. Gives the suite and the verdicts on its claims."""
    from testbed.claims import judge
    from testbed.report import write_report
    from testbed.results import gather, leaderboard, write_index
    from testbed.store import write_atomic, write_json
    from testbed.terminal import console, show_claims, show_failures, show_leaderboard

    results = gather(folder)
    verdicts = judge(results)
    write_index(folder, results)
    write_atomic(folder / "leaderboard.csv", leaderboard(results).to_csv(index=False, float_format="%.6g").encode())
    write_json(folder / "claims.json", [verdict.as_json() for verdict in verdicts])
    show_leaderboard(results)
    show_claims(verdicts)
    show_failures(results)
    console.print(f"Report: {write_report(folder, results, verdicts)}", soft_wrap=True, highlight=False, markup=False)
    return results.run["suite"], verdicts


def _together(folder: Path, finished: list[tuple[dict[str, Any], list[Verdict]]]) -> None:
    """After all suites of a folder: their claims in one table and on one page."""
    from dataclasses import replace

    from testbed.report import write_overview
    from testbed.store import write_json
    from testbed.terminal import console, show_claims

    verdicts = [replace(verdict, id=f"{suite['name']}/{verdict.id}") for suite, found in finished for verdict in found]
    write_json(folder / "claims.json", [verdict.as_json() for verdict in verdicts])
    show_claims(verdicts)
    console.print(f"Report: {write_overview(folder, finished)}", soft_wrap=True, highlight=False, markup=False)


@app.command()
def report(folder: Folder) -> None:
    """Write DIR/report.html anew: one page, readable offline."""
    from testbed.claims import judge
    from testbed.report import write_report
    from testbed.terminal import console

    results = _gather(folder)
    console.print(f"Report: {write_report(folder, results, judge(results))}", soft_wrap=True, highlight=False, markup=False)


@app.command()
def claims(
    folder: Folder,
    as_json: Annotated[bool, typer.Option("--json", help="Print a list of objects: id, verdict, value, low, high, bar, n, ...")] = False,
    strict: Annotated[bool, typer.Option("--strict", help="Exit code 1 unless every claim is shown.")] = False,
) -> None:
    """Judge what the suite asserted beforehand: shown, not shown, or undecided."""
    import json

    from testbed.claims import judge, recorded
    from testbed.terminal import show_claims

    verdicts = recorded(folder) or judge(_gather(folder))
    if as_json:
        typer.echo(json.dumps([verdict.as_json() for verdict in verdicts], indent=1, allow_nan=False))
    else:
        show_claims(verdicts)
    if strict and any(verdict.verdict != "shown" for verdict in verdicts):
        raise typer.Exit(1)


@app.command()
def show(
    folder: Folder,
    trial: Annotated[str | None, typer.Option(metavar="ID", help="One trial: generator/instance/estimator/fit seed.")] = None,
) -> None:
    """Show the leaderboard of a run, its trials and failures; or everything about one trial."""
    from testbed.terminal import show_failures, show_leaderboard, show_trial, show_trials

    results = _gather(folder)
    if trial is not None:
        show_trial(results, folder, trial)
        return
    show_trials(results)
    show_leaderboard(results)
    show_failures(results)


@app.command()
def verify(
    folder: Folder,
    mend: Annotated[bool, typer.Option("--repair", help="Delete damaged stages, so that the next run computes them again.")] = False,
) -> None:
    """Hold every file in DIR against the hash that its record has; exit code 1 if something is not what was written."""
    from testbed import upkeep
    from testbed.terminal import console

    problems = upkeep.verify(folder)
    for problem in problems:
        console.print(f"{problem.path} {problem.what}", soft_wrap=True, highlight=False, markup=False)
    if not problems:
        console.print(f"{folder} is in order.", highlight=False, markup=False)
        return
    if mend:
        folders = upkeep.repair(problems)
        console.print(f"{len(folders)} damaged stages deleted: run the suite again to compute them.", highlight=False)
        raise typer.Exit(0 if all(problem.stage for problem in problems) else 1)
    console.print("`testbed verify DIR --repair` deletes the damaged stages; the next run computes them again.", highlight=False)
    raise typer.Exit(1)


@app.command()
def replay(
    folder: Folder,
    trial: Annotated[str, typer.Option(metavar="ID", help="generator/instance/estimator/fit seed; `testbed show DIR` lists them.")],
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Keep the stages here. [default: nowhere]")] = None,
) -> None:
    """Compute one trial of DIR again from nothing, and say whether it comes out as recorded; exit code 1 if it does not.

    It is computed with the settings of the run and the code that is here now: what has changed since is named.
    """
    from testbed.replay import SAME
    from testbed.replay import replay as repeat
    from testbed.terminal import show_replay

    found = repeat(folder, trial, out)
    show_replay(found)
    if any(stage.verdict != SAME for stage in found):
        raise typer.Exit(1)


@app.command()
def gc(
    folder: Folder,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be deleted, and delete nothing.")] = False,
) -> None:
    """Delete what the last run in DIR does not use: stages of earlier settings, and what interrupted runs left."""
    from testbed import upkeep
    from testbed.terminal import console

    found = upkeep.garbage(folder)
    for path in found.paths if dry_run else ():
        console.print(str(path), soft_wrap=True, highlight=False, markup=False)
    if not dry_run:
        upkeep.collect(found)
    done = "would be deleted" if dry_run else "deleted"
    console.print(f"{len(found.paths)} folders and files, {found.size / 1e6:,.1f} MB, {done}.", highlight=False)


@app.command()
def diff(
    before: Annotated[Path, typer.Argument(metavar="A", help="A folder that `testbed run` wrote.")],
    after: Annotated[Path, typer.Argument(metavar="B", help="Another one.")],
    everything: Annotated[bool, typer.Option("--all", help="Also what is the same, and every part of a score.")] = False,
) -> None:
    """Compare two runs: settings, claims, and every score, paired by instance where both saw the same data."""
    from testbed.differences import differences
    from testbed.terminal import show_differences

    show_differences(differences(_gather(before), _gather(after), parts=everything), everything)


@app.command()
def export(
    folder: Folder,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="Where to. [default: DIR/export]")] = None,
) -> None:
    """Write the scores as CSV, Parquet and LaTeX tables, and figures as SVG and PDF with their data beside them."""
    from testbed.export import export as write
    from testbed.terminal import console

    target = out if out is not None else folder / "export"
    files = write(_gather(folder), target)
    console.print(f"{len(files)} files in {target}", highlight=False, markup=False)


@app.command("list")
def list_(kind: Annotated[Kind | None, typer.Argument(help="What to list; everything by default.")] = None) -> None:
    """List generators, estimators, evaluators, assumptions, dials, suites and built-in models."""
    from testbed.terminal import show_list

    for one in [kind] if kind is not None else list(Kind):
        show_list(one.value)


@app.command()
def init(
    kind: Annotated[str, typer.Argument(metavar="KIND", help="estimator, generator or evaluator.")],
    name: Annotated[str, typer.Argument(metavar="NAME", help="In snake case, such as nearest_point.")],
    out: Annotated[Path, typer.Option(metavar="DIR", help="In which the package's folder is made.")] = Path(),
) -> None:
    """Begin a package of your own: a component that works as it is, with an entry point, a test and a README.

    Example: `testbed init estimator nearest_point`, then `pip install -e nearest-point` and `testbed check nearest_point`
    """
    from testbed.scaffold import scaffold
    from testbed.terminal import console

    root = scaffold(kind, name, out)
    console.print(f"{root} is ready: pip install -e {root}, then testbed check {name}", highlight=False, soft_wrap=True, markup=False)


@app.command()
def check(
    component: Annotated[str, typer.Argument(metavar="MODULE:CLASS", help="A component of yours, or a registered name.")],
    settings: Settings = None,
) -> None:
    """Check that a generator, estimator or evaluator keeps its contract; names what it breaks.

    Example: `testbed check my_package.my_module:MyEstimator --set k=8`
    """
    from testbed.conformance import check_component
    from testbed.terminal import console, show_checks

    outcomes = check_component(component, _params(settings))
    show_checks(component, outcomes)
    broken = [outcome for outcome in outcomes if outcome.problem]
    if broken:
        console.print(f"{component} breaks its contract: {broken[0].problem}", style="red", highlight=False, markup=False)
        raise typer.Exit(1)


@app.command()
def sample(
    generator: Annotated[str, typer.Argument(metavar="GENERATOR", help="A registered name or MODULE:CLASS.")],
    out: Annotated[Path, typer.Option(metavar="FILE", help="The .safetensors file to write.")],
    n: Annotated[int, typer.Option("--n", min=1, help="Rows.")] = 4096,
    seed: Annotated[int, typer.Option(help="Seed of the instance and of its rows.")] = 0,
    settings: Settings = None,
) -> None:
    """Draw an instance of a generator and write rows, latents and dictionaries to one file.

    Example: `testbed sample sparse_concepts --set noise=0.1 --n 10000 --seed 1 --out rows.safetensors`
    """
    from testbed.sampling import write_sample
    from testbed.terminal import console

    names = write_sample(generator, _params(settings), n, seed, out)
    console.print(f"{out}: {n} rows; {', '.join(names)}", highlight=False, markup=False)


@app.command()
def assumptions(
    generator: Annotated[str, typer.Argument(metavar="GENERATOR", help="A registered name or MODULE:CLASS.")],
    seed: Annotated[int, typer.Option(help="Seed of the instance.")] = 0,
    settings: Settings = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the table as a list of objects.")] = False,
) -> None:
    """Draw an instance and tell which assumptions of the theorems hold on it, by what margin, and what decides it.

    Example: `testbed assumptions sparse_concepts --set lone_firing=0.01 --seed 3`
    """
    import json
    from dataclasses import asdict

    from generators.assumptions.table import assumption_table
    from testbed.sampling import draw_instance
    from testbed.terminal import show_assumptions

    rows = assumption_table(draw_instance(generator, _params(settings), seed))
    if as_json:
        typer.echo(json.dumps([asdict(row) for row in rows], indent=1, default=str))
    else:
        show_assumptions(rows)


@app.command("seeds-needed")
def seeds_needed(
    folder: Folder,
    score: Annotated[str, typer.Option(metavar="SCORE", help="A score or a part of one: decoder_mcc, decoder_mcc/level_0.")],
    estimators: Annotated[tuple[str, str], typer.Option(metavar="A B", help="The two estimators to be told apart.")],
    difference: Annotated[float, typer.Option(metavar="SIZE", help="The difference in the score that is to be shown.")],
    generator: Annotated[str | None, typer.Option(metavar="NAME", help="Only this generator. [default: each]")] = None,
    power: Annotated[float, typer.Option(help="Probability with which it is to be shown.")] = 0.8,
    alpha: Annotated[float, typer.Option(help="Probability of showing a difference where there is none.")] = 0.05,
) -> None:
    """Tell how many instances it takes to show a difference between two estimators, from a run of a few instances.

    The pilot in DIR says how much paired differences vary between instances (averaged over fit seeds); a paired t-test needs so many
    instances for that. *Cautious* allows for a pilot that was too calm by chance: with the spread at its upper 80 % limit.

    Example: `testbed seeds-needed runs/quick --score decoder_mcc --estimators topk_sae fast_ica --difference .02`
    """
    from testbed.pilot import instances_needed
    from testbed.terminal import show_needed

    show_needed(instances_needed(_gather(folder), score, estimators, difference, generator, power, alpha), score, estimators, difference)


def _params(settings: list[str] | None) -> dict[str, Any]:
    from testbed.contracts import InvalidInput
    from testbed.suite import parse_setting

    found: dict[str, Any] = {}
    for setting in settings or ():
        keys, value = parse_setting(setting)
        if len(keys) != 1:
            raise InvalidInput(f"--set {setting}: name one parameter, for example noise=0.1")
        found[keys[0]] = value
    return found


class _Terminated(KeyboardInterrupt):
    """SIGTERM came, by which schedulers and `kill` ask a run to end."""


@contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM ends what is under way as an interrupt does, instead of at once and with its workers left behind."""

    def stop(number: int, frame: object) -> NoReturn:
        raise _Terminated

    before = signal(SIGTERM, stop)
    try:
        yield
    finally:
        signal(SIGTERM, before)


def _gather(folder: Path) -> Results:
    from testbed.results import gather

    return gather(folder)


def _version(wanted: bool) -> None:
    if wanted:
        from testbed import __version__

        typer.echo(__version__)
        raise typer.Exit


@app.callback()
def _root(
    version: Annotated[bool, typer.Option("--version", callback=_version, is_eager=True, help="Print the version.")] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show a traceback when something is wrong.")] = False,
) -> None:
    if debug:
        _Debug.on = True


class _Debug:
    on = False


def main() -> NoReturn:
    """Entry point: bad input ends in one sentence and exit code 2."""
    try:
        app(standalone_mode=True)
    except Exception as error:
        from testbed.contracts import InvalidInput, NotApplicable
        from testbed.store import Damaged

        if _Debug.on or not isinstance(error, InvalidInput | Damaged | NotApplicable | OSError):
            raise
        typer.echo(f"Error: {_sentence(error)}", err=True)
        sys.exit(2)
    sys.exit(0)


def _sentence(error: Exception) -> str:
    """What an error says, on one line; of what the system refuses the place and what can be done."""
    text = str(error)
    if isinstance(error, OSError) and error.strerror:
        place = "a file" if error.filename is None else str(error.filename)
        text = f"{place} cannot be read or written ({error.strerror}): give another place, or see to its rights and to room on the disk"
    return "".join(letter if letter.isprintable() else " " if letter.isspace() else repr(letter)[1:-1] for letter in text)
