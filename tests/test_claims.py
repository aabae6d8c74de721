"""Verdicts follow from intervals and bars, and from nothing else."""

import json
import math

import pandas as pd
import pytest

from testbed.claims import judge
from testbed.results import COLUMNS, Results


def results(claim, values, *, chance=0.1, ceiling=0.9, groups=(), generators=("g",)):
    """Scores of estimators a and b, per instance, on every generator."""
    rows = [
        {
            "generator": g,
            "instance": i,
            "estimator": e,
            "fit_seed": s,
            "evaluator": "mcc",
            "part": part,
            "value": value / (1 if part == "" else 2),
            "chance": chance,
            "ceiling": ceiling,
            "floors": {"mix": 0.4},
            "direction": "higher",
            "needs_truth": False,
            "trial": "",
            "key": "",
        }
        for g in generators
        for e, per_instance in values.items()
        for i, seeds in enumerate(per_instance)
        for s, value in enumerate(seeds)
        for part in ("", "level_0")
    ]
    full = {
        "statement": "",
        "margin": 0.0,
        "test": "above",
        "unit": "instance",
        **claim,
        "where": {"estimator": "a", "generator": None, **claim.get("where", {})},
    }
    if isinstance(full["versus"], dict):
        full["versus"] = {"estimator": None, "generator": None, **full["versus"]}
    run = {"suite": {"claim": [{"id": "c", "score": "mcc", **full}]}, "generators": [{"label": g} for g in generators]}
    return Results(run, pd.DataFrame(rows, columns=list(COLUMNS)), [], list(groups), [], [], [], [])


HIGH = {"a": [[0.80], [0.81], [0.82]], "b": [[0.50], [0.53], [0.52]]}


@pytest.mark.parametrize(
    ("claim", "verdict", "bar"),
    [
        ({"versus": 0.7}, "shown", 0.7),
        ({"versus": 0.7, "margin": 0.2}, "not shown", 0.9),
        ({"versus": 0.81}, "undecided", 0.81),
        ({"versus": 0.9, "test": "below"}, "shown", 0.9),
        ({"versus": 0.9, "test": "below", "margin": 0.3}, "not shown", 0.6),
        ({"versus": 0.81, "test": "within", "margin": 0.05}, "shown", 0.05),
        ({"versus": 0.5, "test": "within", "margin": 0.05}, "not shown", 0.05),
        ({"versus": "chance", "margin": 0.5}, "shown", 0.5),
        ({"versus": "ceiling", "test": "within", "margin": 0.2}, "shown", 0.2),
        ({"versus": "floor:mix", "margin": 0.3}, "shown", 0.3),
        ({"versus": {"estimator": "b"}}, "shown", 0.0),
        ({"versus": {"estimator": "b"}, "margin": 0.5}, "not shown", 0.5),
        ({"versus": {"estimator": "b"}, "test": "below"}, "not shown", -0.0),
        ({"versus": 0.3, "score": "mcc/level_0"}, "shown", 0.3),
    ],
)
def test_a_claim_is_shown_when_its_interval_is_beyond_the_bar(claim, verdict, bar):
    (found,) = judge(results(claim, HIGH))
    assert found.verdict == verdict
    assert found.bar == pytest.approx(bar)
    assert found.n == 3


TEN = {"a": [[0.5], *([0.9 + 0.01 * i] for i in range(9))], "b": [[0.4]] * 10}


@pytest.mark.parametrize(
    ("claim", "verdict", "value"),
    [
        ({"versus": 0.89, "statistic": "median"}, "shown", 0.935),  # the second of ten is .90
        ({"versus": 0.905, "statistic": "median"}, "undecided", 0.935),
        ({"versus": 0.89, "statistic": "mean"}, "undecided", 0.896),
        ({"versus": {"estimator": "b"}, "margin": 0.4, "statistic": "median"}, "shown", 0.535),
        ({"versus": 0.45, "statistic": "minimum"}, "shown", 0.5),
        ({"versus": 0.6, "statistic": "minimum"}, "not shown", 0.5),
        ({"versus": 0.5, "statistic": "share", "threshold": 0.9}, "shown", 0.9),  # 9 of 10: [.555, .997]
        ({"versus": 0.6, "statistic": "share", "threshold": 0.9}, "undecided", 0.9),
        ({"versus": 0.5, "statistic": "share", "threshold": 0.99, "test": "below"}, "shown", 0.0),
    ],
)
def test_a_claim_can_be_about_a_median_a_minimum_or_a_share(claim, verdict, value):
    (found,) = judge(results(claim, TEN))
    assert (found.verdict, found.n) == (verdict, 10)
    assert found.value == pytest.approx(value)
    assert claim["statistic"].split()[0] in found.statistic


def test_five_values_give_a_median_no_interval():
    (found,) = judge(results({"versus": 0.1, "statistic": "median"}, {"a": [[0.9]] * 5}))
    assert (found.verdict, found.low, found.note) == ("undecided", None, "too few values for order statistics")


def test_fit_seeds_are_averaged_first_and_are_not_instances():
    (found,) = judge(results({"versus": 0.5}, {"a": [[0.9, 0.7], [0.8, 0.8]]}))
    assert found.n == 2
    assert (found.value, found.low, found.high) == (pytest.approx(0.8), pytest.approx(0.8), pytest.approx(0.8))


def test_one_instance_decides_nothing():
    (found,) = judge(results({"versus": 0.5}, {"a": [[0.9]]}))
    assert (found.verdict, found.low, found.value) == ("undecided", None, 0.9)
    assert found.note == "one value has no interval"


def test_a_claim_that_leaves_the_generator_open_is_judged_on_each():
    found = judge(results({"versus": 0.5}, HIGH, generators=("g", "h")))
    assert [v.id for v in found] == ["c @ g", "c @ h"]
    (one,) = judge(results({"versus": 0.5, "where": {"generator": "h"}}, HIGH, generators=("g", "h")))
    assert (one.id, one.generator) == ("c", "h")


@pytest.mark.parametrize(
    "claim", [{"versus": 0.5, "where": {"estimator": "z"}}, {"versus": {"estimator": "z"}}, {"versus": "ceiling"}, {"versus": "floor:z"}]
)
def test_a_claim_without_scores_is_undecided_and_says_why(claim):
    (found,) = judge(results(claim, HIGH, ceiling=math.nan))
    assert (found.verdict, found.value, found.n) == ("undecided", None, 0)
    assert found.note.startswith("there is no")


def entry(estimator, seed, groups):
    return {"generator": "g", "instance": 0, "estimator": estimator, "fit_seed": seed, "evaluator": "mcc", "groups": groups}


def test_documents_can_be_the_units():
    groups = [
        entry("a", 0, {"d1": 0.8, "d2": 0.9, "d3": 0.7}),
        entry("a", 1, {"d1": 0.9, "d2": 0.8, "d3": 0.8}),
        entry("b", 0, {"d1": 0.3, "d2": 0.4, "d3": 0.2}),
    ]
    (found,) = judge(results({"versus": {"estimator": "b"}, "unit": "group"}, HIGH, groups=groups))
    assert (found.verdict, found.n, found.unit) == ("shown", 3, "document")
    assert found.value == pytest.approx((0.55 + 0.45 + 0.55) / 3)
    (number,) = judge(results({"versus": 0.5, "unit": "group"}, HIGH, groups=groups))
    assert number.verdict == "shown"
    (wrong,) = judge(results({"versus": "chance", "unit": "group"}, HIGH, groups=groups))
    assert wrong.verdict == "undecided"
    assert json.dumps([v.as_json() for v in (found, number, wrong)])
