"""The critical-difference diagram draws what the test found, over instances, and says why where it is not drawn."""

import json

import numpy as np
import pytest

from testbed.report.critical_difference import ranking
from testbed.report.figures import galleries
from testbed.report.page import render
from testbed.report.tables import standing
from testbed.results import leaderboard
from testbed.stats import critical_difference

RNG = np.random.default_rng(0)
VALUES = {name: {i: shift + 0.01 * RNG.normal() for i in range(12)} for name, shift in (("low", 0.1), ("mid <b>", 0.5), ("high", 0.9))}
VALUES["twin"] = {i: v + 0.001 * (-1) ** i for i, v in VALUES["high"].items()}


def by_width(spec, width):
    return [trace for trace in spec["data"] if trace.get("line", {}).get("width") == width]


def test_dots_bars_and_ruler_are_the_tests_own():
    title, note, _, spec = ranking(VALUES, "decoder_mcc", "higher")
    found = critical_difference(VALUES)
    assert title == "ranks by decoder_mcc"
    assert "12 instances" in note
    assert f"{found.difference:.3f}" in note
    (dots,) = [trace for trace in spec["data"] if trace["mode"] == "markers"]
    assert dots["x"] == pytest.approx(list(found.ranks.values()), abs=1e-4)
    bars = [trace["x"] for trace in by_width(spec, 5.0)]
    assert bars == [pytest.approx([found.ranks[g[0]], found.ranks[g[-1]]], abs=1e-4) for g in found.groups]
    (ruler,) = by_width(spec, 1.5)
    assert ruler["x"][1] - ruler["x"][0] == pytest.approx(found.difference, abs=1e-3)
    assert spec["layout"]["yaxis"]["ticktext"][-1] == "low"
    assert "<b>" not in json.dumps(spec)
    lower = ranking(VALUES, "l0", "lower")[3]
    assert lower["layout"]["yaxis"]["ticktext"][0] == "low"


def test_plotly_accepts_it():
    graph_objects = pytest.importorskip("plotly.graph_objects")
    text = json.dumps(ranking(VALUES, "decoder_mcc", "higher")[3])
    for name in ("@rule", "@ink", "@muted", "@accent"):
        text = text.replace(name, "#123456")
    assert len(graph_objects.Figure(json.loads(text)).data) > 3


def test_why_there_is_none():
    assert "3 estimators that are no oracles, here 2" in ranking({n: VALUES[n] for n in ("low", "high")}, "s", "higher")
    few = {name: {i: by[i] for i in range(4)} for name, by in VALUES.items()}
    assert "5 instances on which every estimator has a score, here 4" in ranking(few, "s", "higher")
    assert "here 0" in ranking({**VALUES, "elsewhere": {99: 1.0}}, "s", "higher")


def test_a_page_with_few_instances_says_why(hand, verdicts, tmp_path):
    page = render(tmp_path, hand, verdicts)
    assert "No critical-difference diagram: it takes 5 instances on which every estimator has a score, here 2." in page


def test_a_page_with_enough_instances_draws_it_without_oracles(hand):
    table = hand.scores
    more = [table.assign(instance=table["instance"] + 10 * i) for i in range(3)]
    import pandas as pd

    wider = type(hand)(hand.run, pd.concat(more, ignore_index=True), [], [], hand.fits, [], [], hand.samples)
    (drawn,) = [f for f in galleries(wider, standing(wider, leaderboard(wider)))[0].figures if f.title.startswith("ranks by")]
    assert "6 instances" in drawn.note  # of nine: the rest lack an estimator, which failed there
    assert "oracle" not in drawn.spec["layout"]["yaxis"]["ticktext"]
    assert len(drawn.spec["layout"]["yaxis"]["ticktext"]) == 4
