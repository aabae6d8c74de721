"""Tables are what the records say."""

import math

import pandas as pd
import pytest

from testbed.contracts import InvalidInput
from testbed.results import COLUMNS, Results, by_fit, calibrate, gather, leaderboard, write_index
from testbed.runner import run
from testbed.stats import variance_components


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
    per = raw.groupby("instance")[["value", "chance", "ceiling"]].mean()
    assert row.calibrated == pytest.approx(((per.value - per.chance) / (per.ceiling - per.chance)).mean())
    assert row.calibrated_low < row.calibrated < row.calibrated_high
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
    about = {"settings": {"concepts": 3}, "levels": [["real", 3]], "identified": {"x": ["permutation", "sign", "scale"]}}
    assert results.samples[0]["truth"] == about
    assert all(math.isfinite(fit["seconds"]) for fit in results.fits)
    assert results.tested["score"] == {"kinds": ["real"], "invariances": ["permutation", "sign", "scale", "shift"]}
    assert results.tested["size"] == {"kinds": [], "invariances": []}


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


@pytest.mark.parametrize(
    ("value", "chance", "ceiling", "direction", "wanted"),
    [
        (0.6, 0.2, 1.0, "higher", 0.5),
        (3.0, 10.0, 0.0, "lower", 0.7),
        (0.1, 0.2, 1.0, "higher", -0.125),
        (0.6, 0.5, 0.505, "higher", None),  # nothing between them
        (0.6, 0.9, 0.5, "higher", None),  # the ceiling is below chance
        (0.6, 0.2, 1.0, "none", None),
        (0.6, math.nan, 1.0, "higher", None),
        (0.0, 0.0, 0.0, "higher", None),
    ],
)
def test_a_calibrated_score_runs_from_chance_to_ceiling_where_there_is_a_way(value, chance, ceiling, direction, wanted):
    assert calibrate(value, chance, ceiling, direction) == (None if wanted is None else pytest.approx(wanted))


def _results(rows):
    common = {"generator": "g", "estimator": "e", "fit_seed": 0, "evaluator": "s", "part": "", "chance": 0.0, "ceiling": 1.0}
    common |= {"direction": "higher", "floors": {}, "needs_truth": False, "trial": "t", "key": "k"}
    return Results({}, pd.DataFrame([common | row for row in rows], columns=list(COLUMNS)), [], [], [], [], [], [])


def test_instances_are_calibrated_one_by_one():
    """The mean of calibrated scores is not the calibrated mean where chance differs between instances."""
    scores = [(0.5, 0.0), (0.9, 0.8)]
    row = leaderboard(_results([{"instance": i, "value": v, "chance": c} for i, (v, c) in enumerate(scores)])).iloc[0]
    assert row.calibrated == pytest.approx(0.5)
    assert (row.calibrated_low, row.calibrated_high) == pytest.approx((0.5, 0.5))
    assert math.isnan(
        leaderboard(_results([{"instance": i, "value": 0.9, "chance": c} for i, c in enumerate((0.0, 0.99))])).iloc[0].calibrated
    )


@pytest.mark.parametrize("sign", [1, -1])
def test_a_score_is_above_the_best_floor_only_if_the_paired_interval_says_so(sign):
    """In either direction; a floor is compared on the same instance, so that hard instances count for neither."""

    def row(values, best):
        levels = {"direction": "higher" if sign == 1 else "lower"}
        return leaderboard(
            _results(
                [
                    levels | {"instance": i, "value": sign * v, "floors": {"worse": sign * 0.1, "best": sign * f, "unmade": None}}
                    for i, (v, f) in enumerate(zip(values, best, strict=True))
                ]
            )
        ).iloc[0]

    steady = row((0.31, 0.52, 0.91), (0.2, 0.4, 0.8))
    assert (steady.floor, steady.floor_mean, steady.above_floor) == ("best", pytest.approx(sign * 1.4 / 3), True)
    assert not row((0.31, 0.3, 0.91), (0.2, 0.4, 0.8)).above_floor
    assert row((0.31,), (0.2,)).above_floor
    assert not row((0.1,), (0.2,)).above_floor


def test_without_floors_nothing_is_said_of_them():
    row = leaderboard(_results([{"instance": 0, "value": 0.9}])).iloc[0]
    assert (row.floor, row.above_floor) == ("", None)


def test_scores_by_fit_feed_the_sources_of_noise(results):
    nested = by_fit(results, "score", "gauss", "random")
    assert {len(fits) for fits in nested.values()} == {2}
    assert len(nested) == 3
    found = variance_components(nested)
    assert found.n == {"instance": 3, "fit_seed": 6, "row": 6}
    assert found.fit_seed > 0
    assert by_fit(results, "score/worst", "gauss", "random").keys() == nested.keys()
    results.groups.append(
        {"evaluator": "score", "generator": "gauss", "estimator": "random", "instance": 0, "fit_seed": 0, "groups": {"b": 2.0, "a": 1.0}}
    )
    assert by_fit(results, "score", "gauss", "random") == {0: {0: [1.0, 2.0]}}
    for score in ("spread", "scor"):
        with pytest.raises(InvalidInput, match="no fit of 'random'"):
            by_fit(results, score, "gauss", "random")


def test_the_index_is_written_beside_another_process_that_writes_it(results):
    from pathlib import Path

    theirs = Path("out/index.draft")
    theirs.write_bytes(b"half")
    write_index("out", results)
    assert theirs.read_bytes() == b"half"
    assert not list(Path("out").glob(".*.draft"))
