"""The suite of searches for graphs reads nothing off the truth but codes, and runs through."""

from pathlib import Path

import pytest

from testbed.runner import plan_suite, run

SUITE = Path(__file__).parents[1] / "suites" / "hierarchy" / "graphs.toml"


def test_every_search_gets_the_same_codes_and_no_setting_is_read_off_the_truth():
    (plan,) = plan_suite(SUITE)
    assert not any(use.from_truth for use in plan.estimators.values())
    assert len(plan.trials) == 10 * (8 + 7 + 7 + 3 + 3)
    assert {claim.id for claim in plan.suite.claim} >= {"nothing orients", "functions break faithfulness"}


@pytest.mark.slow
def test_the_suite_runs_through(tmp_path):
    results = run(SUITE, tmp_path, preset="tiny")
    assert not results.failures
    found = results.scores[(results.scores["evaluator"] == "MAG") & (results.scores["generator"] == "forest")]
    assert (found.loc[found["part"] == "between constituents", "value"] > 0).all()
    assert len(found["estimator"].unique()) == 8
