"""What the command line prints of scores."""

import pandas as pd

from testbed import terminal
from testbed.results import COLUMNS, Results


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
