"""Where a score stands, what is said of a missing one, and how numbers are written."""

import math

import pytest

from testbed.report.claims import claims
from testbed.report.tables import boards, standing
from testbed.report.text import number, plain, script_json, seconds, span
from testbed.results import leaderboard


@pytest.fixture
def known(hand):
    return boards(hand, standing(hand, leaderboard(hand)))[0]


def cell(board, estimator, evaluator):
    column = [c.evaluator for c in board.scores.columns].index(evaluator)
    return next(line for line in board.scores.lines if line.estimator == estimator).cells[column]


def test_means_are_those_of_the_leaderboard(hand, known):
    board = leaderboard(hand)
    row = board[(board["generator"] == known.generator) & (board["evaluator"] == "decoder_mcc") & (board["part"] == "")]
    for _, entry in row.iterrows():
        assert cell(known, entry["estimator"], "decoder_mcc").mean == entry["mean"]


def test_oracles_stand_apart_and_marked_settings_are_marked(known):
    (_, estimators), (oracle, oracles) = known.scores.groups
    assert oracle
    assert [line.estimator for line in oracles] == ["oracle"]
    assert [line.estimator for line in estimators if line.marked] == ["from the truth"]


def test_bar_runs_from_chance_to_ceiling(known):
    bar = cell(known, "good", "decoder_mcc").bar
    assert bar.chance < bar.low < bar.mean < bar.high < bar.ceiling
    assert [name for name, _ in bar.floors] == ["common <factor>", "random_rotation"]
    assert all(bar.chance < at < bar.mean for _, at in bar.floors)


def test_bar_runs_the_same_way_where_lower_is_better(known):
    """Chance is the left end even where it is the larger number."""
    bar = cell(known, "good", "dead_units").bar
    assert bar.chance < bar.low <= bar.mean <= bar.high < 100
    assert bar.mean > (bar.chance + bar.ceiling) / 2


def test_calibrated_scores_are_said_with_their_interval(known):
    good = cell(known, "good", "decoder_mcc")
    assert good.calibrated == "74 %"
    low, high = (int(text.removesuffix(" %")) for text in good.calibrated_range.split(" to "))
    assert low < 74 < high
    assert cell(known, "good", "l0").calibrated == ""


def test_scores_at_or_below_the_best_floor_are_marked(known):
    assert cell(known, "an_estimator_with_a_rather_long_label_indeed", "decoder_mcc").floor == "random_rotation (0.450)"
    assert cell(known, "good", "decoder_mcc").floor == ""
    assert cell(known, "good", "dead_units").floor == ""
    assert known.floored


def test_columns_whose_class_is_another_one_are_warned_of(known):
    assert [column.evaluator for column in known.scores.columns if column.warning] == ["decoder_mcc"]
    assert [warning.evaluator for warning in known.warnings] == ["decoder_mcc"]


def test_no_bar_without_chance_or_ceiling(known):
    assert cell(known, "good", "l0").bar is None


def test_fewer_instances_are_said(known):
    assert cell(known, "middling <b>", "decoder_mcc").n == 2
    assert cell(known, "good", "decoder_mcc").n == 0


def test_missing_scores_say_why(known):
    assert cell(known, "good", "top_contexts").state == "not applicable"


def test_failed_fit_is_said_where_no_instance_has_a_score(hand):
    lost = hand.scores[hand.scores["estimator"] != "middling <b>"]
    less = type(hand)(hand.run, lost, hand.details, [], hand.fits, [], hand.failures, hand.samples)
    board = boards(less, standing(less, leaderboard(less)))[0]
    assert cell(board, "middling <b>", "decoder_mcc").state == "failed"


def test_one_claim_on_several_generators_shares_a_scale(verdicts):
    (both,) = [claim for claim in claims(verdicts) if claim.id == "on-both"]
    first, second = both.judged
    assert first.drawing.bars == second.drawing.bars
    assert second.drawing.mean < first.drawing.bars[0] < first.drawing.mean


def test_drawing_holds_on_the_side_of_the_test(verdicts):
    drawn = {claim.id: claim.judged[0].drawing for claim in claims(verdicts)}
    assert drawn["holds"].holds[0] == 0  # below
    assert sum(drawn["open"].holds) == 100  # above
    left, right = drawn["fails"].bars
    assert drawn["fails"].holds == (left, round(right - left, 2))
    assert drawn["nothing"] is None


def test_exact_says_what_is_compared(verdicts):
    exact = {claim.id: claim.exact for claim in claims(verdicts)}
    assert exact["holds"] == "decoder_mcc: good < 0.900"
    assert exact["fails"] == "decoder_mcc: good − ceiling within ±0.020"


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (0.12345, "0.123"),
        (-0.5, "−0.500"),
        (-0.00001, "0.000"),
        (64.0, "64.00"),
        (155.25, "155.2"),
        (12345.6, "12,346"),
        (None, "–"),
        (math.nan, "–"),
    ],
)
def test_numbers(value, wanted):
    assert number(value) == wanted


def test_other_formats():
    assert span([0.2, 0.2000001, math.nan]) == "0.200"
    assert span([0.1, 0.3]) == "0.100 … 0.300"
    assert [seconds(s) for s in (0.004, 2.34, 90, 7300)] == ["4 ms", "2.3 s", "2 min", "2 h 02 min"]
    assert plain({"train": 5, "none": None}) == "train 5"
    assert script_json({"a": "</script>"}) == '{"a":"\\u003c/script\\u003e"}'
