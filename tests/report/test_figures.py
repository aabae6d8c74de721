"""Figures are valid plotly, say nothing that their labels smuggle in, and show each thing once."""

import json

import pytest

from testbed.report.curves import curves
from testbed.report.figures import galleries
from testbed.report.tables import standing
from testbed.results import leaderboard


@pytest.fixture
def drawn(hand):
    return galleries(hand, standing(hand, leaderboard(hand)))


def figure(drawn, generator, title):
    return next(f for gallery in drawn if gallery.generator == generator for f in gallery.figures if f.title == title)


def painted(value, coloured=False):
    """A specification with a colour in the place of each colour's name, as the page's script does it."""
    if isinstance(value, dict):
        return {key: painted(inner, key.endswith("color")) for key, inner in value.items()}
    if isinstance(value, list):
        return [painted(inner, coloured) for inner in value]
    return "#123456" if coloured and isinstance(value, str) and value.startswith("@") else value


def test_plotly_accepts_every_figure(drawn):
    graph_objects = pytest.importorskip("plotly.graph_objects")
    for gallery in drawn:
        for each in gallery.figures:
            made = graph_objects.Figure(painted(each.spec))
            assert len(made.data) == len(each.spec["data"])


def test_directed_evaluators_have_a_dot_plot_and_others_none(drawn):
    titles = [f.title for f in drawn[0].figures]
    assert {"decoder_mcc", "explained_variance", "dead_units"} <= set(titles)
    assert "l0" not in titles
    assert "decoder_mcc against explained_variance" in titles


def test_dot_plot_shows_every_instance_and_puts_oracles_last(drawn, hand):
    spec = figure(drawn, "known & true", "decoder_mcc").spec
    table = hand.scores[(hand.scores["generator"] == "known & true") & (hand.scores["evaluator"] == "decoder_mcc")]
    small = [trace for trace in spec["data"] if trace.get("marker", {}).get("size") == 5]
    assert len(small[0]["x"]) == len(table[table["part"] == ""].groupby(["estimator", "instance"]))
    assert spec["layout"]["yaxis"]["ticktext"][-1] == "oracle"


def test_labels_are_escaped_for_plotly(drawn):
    text = json.dumps([f.spec for gallery in drawn for f in gallery.figures])
    assert "middling &lt;b&gt;" in text
    assert "<b>" not in text


def test_equal_values_are_named_instead_of_drawn(hand):
    table = hand.scores.copy()
    table.loc[table["evaluator"] == "dead_units", "value"] = 0.0
    flat = type(hand)(hand.run, table, [], [], hand.fits, [], [], hand.samples)
    gallery = galleries(flat, standing(flat, leaderboard(flat)))[0]
    assert "dead_units" not in [f.title for f in gallery.figures]
    assert gallery.flat == ("dead_units (every value is 0.000)",)


def test_curves_keep_the_last_point_and_few_between():
    history = {"samples": list(range(0, 100_000, 7)), "loss": [1.0 / (1 + i) for i in range(14_286)]}
    fit = {"estimator": "sae", "instance": 0, "fit_seed": 0, "history": history}
    ((title, _, _, spec),) = curves([fit])
    assert title == "loss while fitting"
    (line,) = spec["data"]
    assert len(line["x"]) <= 102
    assert line["x"][-1] == float(f"{history['samples'][-1]:.5g}")


def test_no_history_no_curve():
    assert list(curves([{"estimator": "pca", "instance": 0, "fit_seed": 0, "history": {}}])) == []


def test_figures_beyond_the_budget_are_counted(hand, monkeypatch):
    monkeypatch.setattr("testbed.report.figures.BUDGET", 3000)
    found = galleries(hand, standing(hand, leaderboard(hand)))
    assert sum(gallery.left_out for gallery in found) > 0
