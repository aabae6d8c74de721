"""What the command line prints of scores."""

from types import SimpleNamespace

import pandas as pd

from testbed import terminal
from testbed.results import COLUMNS, Results
from testbed.runner import Done


def test_leaderboard_has_calibrated_scores_and_marks_what_is_not_above_a_floor(monkeypatch):
    rows = [
        {"generator": "g", "instance": i, "estimator": name, "fit_seed": 0, "evaluator": "mcc", "part": "", "value": value + 0.001 * i}
        | {
            "chance": 0.1,
            "ceiling": 0.9,
            "floors": {"rotation": 0.4},
            "direction": "higher",
            "needs_truth": False,
            "trial": "t",
            "key": "k",
        }
        for name, value in (("above", 0.7), ("below", 0.3))
        for i in range(3)
    ]
    results = Results({"estimators": []}, pd.DataFrame(rows, columns=list(COLUMNS)), [], [], [], [], [], [])
    console = terminal.Console(width=100, record=True)
    monkeypatch.setattr(terminal, "console", console)
    terminal.show_leaderboard(results)
    lines = console.export_text().splitlines()
    above, below = (next(line for line in lines if name in line) for name in ("above ", "below "))
    assert "75 %" in above
    assert "*" not in above
    assert "25 % *" in below
    assert "* not above the best floor on the same instances" in lines


def test_of_many_jobs_only_some_have_a_line_but_all_that_fail_and_the_last(monkeypatch):
    monkeypatch.setattr(terminal.time, "monotonic", lambda: 100.0)
    lines = []
    for n in (1_000, 3_000):
        console = terminal.Console(width=100, record=True)
        monkeypatch.setattr(terminal, "console", console)
        with terminal.Bars(SimpleNamespace(suite=SimpleNamespace(title="many"), trials=range(n))) as bars:
            bars.begin(n, 0)
            for i in range(n):
                job = SimpleNamespace(id=f"job {i}")
                bars.start(job)
                bars.finish(job, Done({}, {"fit:k": {"error": "no"}} if i == 7 else {}, 0.0))
        lines.append(console.export_text().splitlines()[1:])
    every, some = lines
    assert len(every) == 1_000
    assert [line.split()[-1] for line in some] == ["0", "no", "2999"]


def test_what_a_user_named_is_printed_as_it_is(monkeypatch):
    """Square brackets are markup to the library that prints; in a label or an error they are letters."""
    console = terminal.Console(width=100, record=True)
    monkeypatch.setattr(terminal, "console", console)
    with terminal.Bars(SimpleNamespace(suite=SimpleNamespace(title="a [/red] title"), trials=range(2))) as bars:
        bars.begin(2, 0)
        for name, errors in (("good[bold]/0", {}), ("bad[/]/0", {"fit:k": {"error": "list[int] is wanted"}})):
            job = SimpleNamespace(id=name)
            bars.start(job)
            bars.finish(job, Done({}, errors, 0.0))
    failure = {"trial": "bad[/]/0", "stage": "fit", "attempts": 1, "error": "list[int] is wanted"}
    terminal.show_failures(SimpleNamespace(failures=[failure]))
    said = console.export_text()
    for words in (
        "a [/red] title",
        "good[bold]/0",
        "failed bad[/]/0: list[int] is wanted",
        "bad[/]/0 (fit, 1 attempt(s)): list[int] is wanted",
    ):
        assert words in said
