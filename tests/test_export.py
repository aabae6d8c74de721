"""What a run found is written for other programs: the same numbers in every format."""

from xml.etree import ElementTree

import pandas as pd
import pytest

from testbed.export import export, latex
from testbed.results import gather, leaderboard
from testbed.runner import execute, plan_suite


@pytest.fixture
def results(toys):
    (plan,) = plan_suite("toy.toml", preset="tiny")
    return gather(execute(plan, "out").folder)


def test_every_format_holds_the_same_scores(results, tmp_path):
    files = export(results, tmp_path / "export")
    assert all(file.is_file() and file.stat().st_size for file in files)
    plain, packed = pd.read_csv(tmp_path / "export" / "scores.csv"), pd.read_parquet(tmp_path / "export" / "scores.parquet")
    assert plain["value"].tolist() == pytest.approx(packed["value"].tolist())
    assert len(plain) == len(results.scores)
    drawn = pd.read_csv(tmp_path / "export" / "figures" / "gauss-score.csv")
    board = leaderboard(results)
    assert drawn["mean"].tolist() == pytest.approx(board[(board["evaluator"] == "score") & (board["part"] == "")]["mean"].tolist())
    svg = ElementTree.parse(tmp_path / "export" / "figures" / "gauss-score.svg").getroot()
    words = {text.strip() for element in svg.iter() if (text := element.text)}
    assert {"random", "oracle", "gauss", "score"} <= words
    assert (tmp_path / "export" / "figures" / "gauss-score.pdf").read_bytes().startswith(b"%PDF")


def test_writing_again_gives_the_same_bytes(results, tmp_path):
    first = {path.name: path.read_bytes() for path in export(results, tmp_path / "a")}
    second = {path.name: path.read_bytes() for path in export(results, tmp_path / "b")}
    assert first == second


def test_a_table_has_a_line_per_estimator_and_escapes_what_latex_would_read(results):
    board = leaderboard(results)
    text = latex(board[board["part"] == ""].assign(estimator=lambda t: t["estimator"] + "_50%"))
    assert text.count(r"\\") == 1 + 2 + 2
    assert r"random\_50\%" in text
    assert text.index("random") < text.index("oracle")
    assert text.startswith(r"\begin{tabular}")
