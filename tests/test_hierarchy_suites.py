"""The hierarchical suites read nothing off the truth but what is said, and their smallest presets run through."""

from pathlib import Path

import pytest

from testbed.runner import plan_suite, run

FOLDER = Path(__file__).parents[1] / "suites" / "hierarchy"
SUITES = sorted(FOLDER.glob("*.toml"))
TOLD = {"continuous": {"n_codes", "n_components"}, "tuples": {"codes"}}
"""What estimators are told: how many concepts there are. Each suite has a row that is told nothing."""


@pytest.mark.parametrize("file", SUITES, ids=lambda file: file.stem)
def test_no_setting_but_the_number_of_concepts_is_read_off_the_truth(file):
    (plan,) = plan_suite(file)
    assert {name for use in plan.estimators.values() for name in use.from_truth} == TOLD.get(file.stem, set())
    assert any(not use.from_truth and not use.constants.get("needs_truth") for use in plan.estimators.values())


def test_every_search_for_a_graph_gets_the_same_codes():
    (plan,) = plan_suite(FOLDER / "graphs.toml")
    assert len(plan.trials) == 10 * (8 + 7 + 7 + 3 + 3)
    assert {claim.id for claim in plan.suite.claim} >= {"nothing orients", "functions break faithfulness"}


@pytest.mark.slow
@pytest.mark.parametrize("file", SUITES, ids=lambda file: file.stem)
def test_the_smallest_preset_runs_through(file, tmp_path):
    results = run(file, tmp_path, preset="tiny")
    assert not results.failures
    assert {"value", "chance", "ceiling"} <= set(results.scores.columns)
    assert results.scores["value"].notna().any()
