"""Tables are what the records say."""

import math

import pandas as pd
import pytest

from testbed.contracts import InvalidInput
from testbed.results import gather, leaderboard, write_index
from testbed.runner import run


@pytest.fixture
def results(toys):
    return run("toy.toml", "out")


def test_every_score_has_its_row_with_chance_and_ceiling(results):
    rows = results.scores[(results.scores.evaluator == "score") & (results.scores.part == "")]
    assert len(rows) == 12
    assert (rows.chance < 0.1).all()
    assert (rows.ceiling > 0.9).all()
    assert set(results.scores.part) == {"", "worst"}
    assert results.scores[results.scores.evaluator == "spread"].fit_seed.isna().all()
    assert set(results.scores[results.scores.needs_truth].estimator) == {"oracle"}


def test_the_leaderboard_averages_fit_seeds_before_instances(results):
    board = leaderboard(results)
    row = board[(board.estimator == "random") & (board.evaluator == "score") & (board.part == "")].iloc[0]
    raw = results.scores[(results.scores.estimator == "random") & (results.scores.evaluator == "score") & (results.scores.part == "")]
    assert row.n == 3
    assert row["mean"] == pytest.approx(raw.groupby("instance").value.mean().mean())
    assert row.calibrated == pytest.approx((row["mean"] - row.chance) / (row.ceiling - row.chance))
    size = board[board.evaluator == "size"]
    assert size.calibrated.isna().all()
    best = board[(board.evaluator == "score") & (board.part == "")]
    assert list(best.estimator) == ["oracle", "random"]


def test_the_index_can_be_made_again_from_the_records(results, toys):
    path = write_index("out", results)
    table = pd.read_parquet(path)
    path.unlink()
    again = pd.read_parquet(write_index("out", gather("out")))
    pd.testing.assert_frame_equal(table, again)
    assert len(table) == len(results.scores)


def test_a_run_that_has_computed_nothing_has_empty_tables(toys):
    from testbed.plan import enumerate_trials
    from testbed.store import Store
    from testbed.suite import find, read

    plan = enumerate_trials(read(find("toy.toml")[0]))
    Store("empty").write_run(plan.as_json())
    results = gather("empty")
    assert results.scores.empty
    assert leaderboard(results).empty
    with pytest.raises(InvalidInput):
        gather("nowhere")


def test_details_and_samples_are_there_to_be_read(results):
    assert len(results.details) == 12
    assert len(results.details[0]["details"]["best"]) == 3
    assert results.samples[0]["rows"] == {"train": 5000, "test": 2000, "reference": 1500}
    assert results.samples[0]["truth"] == {"settings": {"concepts": 3}, "levels": [["real", 3]]}
    assert all(math.isfinite(fit["seconds"]) for fit in results.fits)


def test_a_part_is_read_against_the_same_part_of_a_reference_or_against_nothing(results):
    worst = results.scores[(results.scores.evaluator == "score") & (results.scores.part == "worst")]
    assert worst.ceiling.notna().all()
    assert set(worst.direction) == {"higher"}


def test_numbers_known_by_construction_are_the_headlines_alone():
    from pathlib import Path

    from testbed.results import _score_rows
    from testbed.store import Record

    result = {
        "value": 0.9,
        "parts": {"ce_clean": 3.1},
        "chance": {"value": 0.0, "parts": {}, "by": "construction"},
        "ceiling": {"value": 1.0, "parts": {}, "by": "construction"},
        "floors": {},
        "direction": "higher",
    }
    headline, part = _score_rows(Record("score", "k", {}, result, {}, {}, Path()), {})
    assert (headline["chance"], headline["ceiling"], headline["direction"]) == (0.0, 1.0, "higher")
    assert (part["chance"], part["ceiling"], part["direction"]) == (None, None, "none")
