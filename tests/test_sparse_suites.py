"""The suites `sparse` and `comparison` run through under their smallest preset, and nothing in them is read off the truth but ceilings."""

import importlib.util
from pathlib import Path

import pytest

from testbed.runner import plan_suite, run

BENCH = Path(__file__).parent / "bench"


def script(name):
    spec = importlib.util.spec_from_file_location(name, BENCH / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.mark.parametrize("suite", ["sparse", "comparison"])
def test_no_setting_is_read_off_the_truth(suite):
    (plan,) = plan_suite(suite)
    assert not any(use.from_truth for use in plan.estimators.values())
    knowing = {name.partition(",")[0] for name, use in plan.estimators.items() if use.constants.get("needs_truth")}
    assert knowing == ({"oracle_dictionary", "supervised_probe"} if suite == "sparse" else set())


@pytest.mark.slow
def test_the_sparse_suite_runs_through(tmp_path):
    results = run("sparse", tmp_path, preset="tiny", settings=["instances=1"])
    assert not results.failures
    assert {"minimal_dictionary", "crosscoder", "nmf"} <= set(results.scores["estimator"])


@pytest.mark.slow
def test_the_comparison_runs_through_and_its_table_has_every_other_estimator(tmp_path):
    results = run("comparison", tmp_path, preset="tiny", only=["together", "minimal_dictionary", "topk_sae", "random_dictionary"])
    assert not results.failures
    table = script("head_to_head").compared(results)
    assert set(table["estimator"]) == {"topk_sae", "random_dictionary"}
    assert (table["difference"] - (table["ours"] - table["theirs"])).abs().max() < 1e-9


def test_verdicts_of_the_comparison():
    verdict = script("head_to_head").verdict
    row = {"difference": 0.01, "low": -0.005, "high": 0.025}
    assert verdict(row, 0.2) == "level"
    assert verdict(row, 0.01) == "ahead"
    assert verdict({**row, "difference": -0.01}, 0.01) == "behind"
    assert verdict({"difference": 0.03, "low": -0.01, "high": 0.07}, 0.2) == "undecided"
    assert verdict({"difference": 0.01, "low": 0.001, "high": 0.019}, 0.2) == "undecided"


def test_budgets_go_into_a_suite_and_leave_the_rest_alone():
    text = (Path(__file__).parent.parent / "suites" / "comparison.toml").read_text()
    found = script("budgets").with_budgets(text, {"topk_sae": 123_456, "batch_topk_sae, pursuit": 7})
    changed = [(a, b) for a, b in zip(text.splitlines(), found.splitlines(), strict=True) if a != b]
    assert [b for _, b in changed] == [
        "params = { n_codes = 256, k = 12, samples = 123_456 }",
        'params = { n_codes = 256, k = 12, samples = 7, inference = "pursuit" }',
    ]
