"""Trials packed for the page: every one of them, with what the tables say, in few bytes."""

import base64
import dataclasses
import gzip
import json
import math
from pathlib import Path

import pandas as pd
import pytest

from testbed.contracts import seed_of
from testbed.plan import enumerate_trials
from testbed.report import trials as module
from testbed.report.trials import STATES, trials
from testbed.results import COLUMNS, Results
from testbed.suite import read


def unpacked(found):
    return json.loads(gzip.decompress(base64.b64decode(found.packed)))


def ids(data):
    """Built from the columns, as the page's script does it."""
    of = data["trials"]
    names = zip(of["generator"], of["instance"], of["estimator"], of["fit_seed"], strict=True)
    return [f"{data['generators'][g]['label']}/{i}/{data['estimators'][e]['label']}/{s}" for g, i, e, s in names]


def states(data):
    return dict(zip(ids(data), (data["states"][state] for state in data["trials"]["state"]), strict=True))


def with_a_group(hand, **more):
    """The same results with an evaluator that compares the fit seeds of one estimator on one instance."""
    name = "known & true/1/good"
    group = {"id": name, "generator": "known & true", "instance": 1, "estimator": "good", "scores": {"agreement": "a group's key"}}
    judge = {**hand.run["evaluators"][0], "label": "agreement", "constants": {"direction": "higher", "scope": "seeds"}}
    run = {**hand.run, "groups": [group], "evaluators": [*hand.run["evaluators"], judge]}
    return name, dataclasses.replace(hand, run=run, **more)


def test_every_trial_is_there_once_in_the_order_of_the_run(hand):
    found = trials(hand)
    assert ids(unpacked(found)) == [trial["id"] for trial in hand.run["trials"]]
    assert (found.total, found.held, found.whole) == (60, 60, True)


def test_scores_are_those_of_the_table_to_six_digits(hand):
    data = unpacked(trials(hand))
    order = {name: i for i, name in enumerate(ids(data))}
    labels = [evaluator["label"] for evaluator in data["evaluators"]]
    columns = {(labels[column["evaluator"]], column["part"]): column for column in data["scores"]}
    for row in hand.scores.to_dict("records"):
        column, i = columns[row["evaluator"], row["part"]], order[row["trial"]]
        for name in ("value", "chance", "ceiling"):
            if math.isnan(row[name]):
                assert name not in column or column[name][i] is None
            else:
                assert column[name][i] == pytest.approx(row[name], rel=5e-6)
        assert {name: levels[i] for name, levels in column["floors"].items()} == row["floors"]
    assert sum(value is not None for column in columns.values() for value in column["value"]) == len(hand.scores)


def test_a_scale_is_drawn_only_where_chance_and_ceiling_lie_apart(hand):
    scores = hand.scores.assign(ceiling=hand.scores["ceiling"].where(hand.scores["evaluator"] != "explained_variance", 0.001))
    data = unpacked(
        trials(dataclasses.replace(hand, scores=scores.assign(chance=scores["chance"].where(scores["ceiling"] != 0.001, 0.001))))
    )
    scale = {(data["evaluators"][c["evaluator"]]["label"], c["part"]): {s for s in c["scale"] if s is not None} for c in data["scores"]}
    assert scale["decoder_mcc", ""] == {1}
    assert scale["dead_units", ""] == {1}  # lower is better, and the ceiling is the lower one
    assert scale["explained_variance", ""] == {0}
    assert scale["l0", ""] == {0}


def test_trials_are_done_failed_unfinished_or_not_run(hand):
    lost, scoreless = "known & true/0/good/0", "known & true/0/good/1"
    less = dataclasses.replace(
        hand,
        fits=[fit for fit in hand.fits if fit["id"] != lost],
        scores=hand.scores[(hand.scores["trial"] != scoreless) | (hand.scores["evaluator"] != "l0")],
    )
    found = trials(less)
    by = states(unpacked(found))
    failed = {failure["trial"] for failure in hand.failures}
    assert {name for name, state in by.items() if state == "failed"} == failed
    assert (by[lost], by[scoreless]) == ("not run", "unfinished")
    assert dict(found.counts) == {"done": 60 - len(failed) - 2, "failed": len(failed), "unfinished": 1, "not run": 1}
    assert set(STATES) >= set(dict(found.counts))


def test_what_fails_for_many_counts_for_each_of_them(hand):
    """A sample that fails takes all trials of its instance; an evaluator that compares fit seeds, all fit seeds."""
    group, more = with_a_group(hand)
    sample = {"trial": "language model/0", "stage": "sample", "key": "k", "error": "ValueError: s", "traceback": "t", "attempts": 1}
    score = {"trial": group, "stage": "score", "key": "a group's key", "error": "ValueError: g", "traceback": "t", "attempts": 3}
    data = unpacked(trials(dataclasses.replace(more, failures=[sample, score])))
    assert {name for name, state in states(data).items() if state == "failed"} == {
        *(name for name in ids(data) if name.startswith("language model/0/")),
        f"{group}/0",
        f"{group}/1",
    }
    assert [[data["errors"][error], attempts] for error, attempts in data["failed"][str(ids(data).index(f"{group}/1"))]] == [
        [["score agreement", "ValueError: g", "t"], 3]
    ]


def test_a_score_of_several_fit_seeds_stands_with_each_of_them(hand):
    group, more = with_a_group(hand)
    row = dict.fromkeys(COLUMNS) | {"generator": "known & true", "instance": 1, "estimator": "good", "evaluator": "agreement"}
    row |= {"part": "", "value": 0.75, "floors": {}, "direction": "higher", "needs_truth": False, "trial": group, "key": "a group's key"}
    table = pd.concat([hand.scores, pd.DataFrame([row]).astype(dict.fromkeys(("value", "chance", "ceiling"), float))])
    data = unpacked(trials(dataclasses.replace(more, scores=table)))
    (column,) = [c for c in data["scores"] if data["evaluators"][c["evaluator"]]["label"] == "agreement"]
    assert {name: value for name, value in zip(ids(data), column["value"], strict=True) if value is not None} == {
        f"{group}/0": 0.75,
        f"{group}/1": 0.75,
    }
    assert [evaluator["together"] for evaluator in data["evaluators"]].index(1) == column["evaluator"]


def test_seeds_are_those_that_the_plan_has(toys):
    """As text, since numbers of a script are exact below 2**53 only."""
    plan = enumerate_trials(read(Path("toy.toml")))
    data = unpacked(trials(Results(plan.as_json(), pd.DataFrame(columns=list(COLUMNS)), [], [], [], [], [], [])))
    assert data["instance_seeds"] == {str(s.instance): str(s.instance_seed) for s in plan.samplings}
    assert data["fit_seeds"] == {f"{t.sampling.instance}/{t.fit_index}": str(t.fit_seed) for t in plan.trials}
    assert max(int(seed) for seed in data["fit_seeds"].values()) > 2**53
    assert data["instance_seeds"]["0"] == str(seed_of("instance", plan.suite.seed, 0))


def test_settings_are_those_of_the_fit_and_say_where_they_come_from(hand):
    data = unpacked(trials(hand))
    by = dict(zip(ids(data), data["trials"]["settings"], strict=True))
    good = {name: (value, given, marked) for name, value, given, marked in data["settings"][by["known & true/0/good/0"]]}
    assert good["k"] == ("8", 1, 0)
    assert good["lr"] == ("0.01", 0, 0)
    truth = {name: (value, given, marked) for name, value, given, marked in data["settings"][by["known & true/0/from the truth/0"]]}
    assert truth["k"] == ("12", 1, 1)
    assert len(data["settings"]) == 3  # what recurs is there once


def test_a_page_without_room_leaves_out_parts_first_then_trials_and_says_so(hand, monkeypatch):
    whole = trials(hand)
    monkeypatch.setattr(module, "BUDGET", len(whole.packed) - 1)
    without_parts = trials(hand)
    assert not without_parts.whole
    assert (without_parts.held, without_parts.counts) == (60, whole.counts)
    assert not any(column["part"] for column in unpacked(without_parts)["scores"])
    monkeypatch.setattr(module, "BUDGET", len(without_parts.packed) - 1)
    few = trials(hand)
    assert 0 < few.held < 60
    assert len(few.packed) <= module.BUDGET
    assert (few.total, few.counts) == (60, whole.counts)
    assert ids(unpacked(few)) == [trial["id"] for trial in hand.run["trials"]][: few.held]


def test_the_same_results_pack_into_the_same_bytes(hand):
    assert trials(hand).packed == trials(hand).packed


def test_a_trial_takes_little_room(crowd):
    found = trials(crowd(1_000))
    assert found.whole
    assert len(found.packed) < 400 * 1_000
