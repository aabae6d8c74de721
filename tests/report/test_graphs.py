"""Graphs are drawn with every edge called what it is."""

from xml.etree import ElementTree

import pandas as pd

from testbed.report.graphs import BUDGET, classified, draw, graphs
from testbed.results import COLUMNS, Results

GRAPH = {
    "levels": [0, 1, 1, 1],
    "edges": [[1, 0], [2, 0], [3, 0]],
    "matched": [True, True, True, False],
    "found": [[1, 0], [0, 2], [4, 0], [1, 2], [2, 1]],
    "strangers": {"4": 1},
}


def test_each_edge_is_one_thing_only():
    found = classified({(1, 0), (2, 0), (3, 0), (5, 0)}, {(1, 0), (0, 2), (4, 0), (5, 0), (0, 5), (6, 7), (7, 6)})
    assert found == {(1, 0): "hit", (2, 0): "turned", (3, 0): "missing", (5, 0): "loose", (4, 0): "false", (6, 7): "false"}


def test_a_graph_that_is_right_has_nothing_but_hits():
    assert set(classified({(1, 0), (2, 0)}, {(2, 0), (1, 0)}).values()) == {"hit"}


def test_a_pair_is_drawn_with_the_same_places():
    drawn = draw(GRAPH, "pc <b>", "0.5")
    true, found = ElementTree.fromstring(drawn.true), ElementTree.fromstring(drawn.found)
    place = [[(c.get("cx"), c.get("cy")) for c in svg.iter("circle")] for svg in (true, found)]
    assert place[0] == place[1][:4]
    assert [c.get("class") for c in found.iter("circle")] == ["node", "node", "node", "absent", "stranger"]
    assert sorted(p.get("class") for p in found.iter("path")) == ["false", "false", "hit", "missing", "turned"]
    assert found.get("aria-label") == "pc <b>: 1 of 3 edges found, 2 false"
    assert {kind: n for kind, _, n in drawn.counts} == {"hit": 1, "turned": 1, "missing": 1, "false": 2}


def results(sizes):
    details = [
        {"generator": "g", "instance": i, "estimator": e, "fit_seed": 0, "evaluator": "edge_recovery", "details": {"graph": graph}}
        for e, graph in sizes.items()
        for i in (1, 0)
    ]
    scores = pd.DataFrame([{**dict.fromkeys(COLUMNS), **d, "part": "", "value": 0.25} for d in details])
    return Results({}, scores, details, [], [], [], [], [])


def test_the_first_instance_stands_for_all_and_what_does_not_fit_is_named():
    many = {**GRAPH, "found": [[1, 0]] * BUDGET}
    (group,) = graphs(results({"a": GRAPH, "b": many}))
    assert [(d.name, d.score) for d in group.drawn] == [("a", "0.250")]
    assert group.left_out == ("b",)
