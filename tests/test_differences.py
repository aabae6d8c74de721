"""Two runs are compared setting by setting, claim by claim, and score by score over the instances that both saw."""

import math

import pytest

from testbed.differences import differences
from testbed.results import gather
from testbed.runner import execute, plan_suite


def run(folder, *settings):
    (plan,) = plan_suite("toy.toml", preset="tiny", settings=settings)
    execute(plan, folder)
    return gather(folder)


def test_a_run_does_not_differ_from_itself(toys):
    results = run("a")
    found = differences(results, results, parts=True)
    assert (found.settings, found.claims, found.only_before, found.only_after) == ((), (), (), ())
    assert found.gaps
    assert all(gap.difference.mean == 0 and gap.paired for gap in found.gaps)


def test_another_setting_is_named_and_scores_are_paired_where_data_are_the_same(toys):
    before, after = run("a"), run("b", "estimator.random.m=2")
    found = differences(before, after)
    assert [place for place, *_ in found.settings] == ["estimator.random.params.m"]
    moved = {(gap.evaluator, gap.estimator): gap for gap in found.gaps if gap.before != gap.after}
    assert {estimator for _, estimator in moved} == {"random"}
    assert all(gap.paired and gap.difference.n == 2 for gap in moved.values())
    assert all(gap.after - gap.before == pytest.approx(gap.difference.mean) for gap in moved.values())


def test_scores_on_other_data_are_not_paired(toys):
    found = differences(run("a"), run("b", "data.test=1000"))
    gaps = [gap for gap in found.gaps if gap.before != gap.after]
    assert gaps
    assert all(not gap.paired and math.isnan(gap.difference.low) for gap in gaps)


def test_scores_that_only_one_has_are_told(toys):
    (plan,) = plan_suite("toy.toml", preset="tiny", only=["oracle"])
    execute(plan, "b")
    found = differences(run("a"), gather("b"))
    assert found.only_after == ()
    assert all("random" in name for name in found.only_before)
    assert {claim[0] for claim in found.claims} >= {"oracle-above-random"}
