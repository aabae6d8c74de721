"""The picture of a hierarchy has every concept and every edge, once."""

import xml.etree.ElementTree as ET

from generators.selection.sparse import SparseConcepts
from testbed.report.hierarchy import hierarchy_svg, placed

SVG = "{http://www.w3.org/2000/svg}"


def test_every_concept_and_every_edge_is_drawn_once():
    truth = SparseConcepts(levels=[2, 6, 20], dimension=8).draw(3).truth
    tree = ET.fromstring(hierarchy_svg(truth, "a <forest>"))
    assert len(tree.findall(f"{SVG}circle")) == 28
    assert len(tree.findall(f"{SVG}line")) == 2 * 3 + 6 * 3
    assert tree.find(f"{SVG}title").text == "a <forest>"
    assert len({(c.get("cx"), c.get("cy")) for c in tree.findall(f"{SVG}circle")}) == 28


def test_a_more_frequent_concept_is_larger():
    truth = SparseConcepts(levels=[1, 6], dimension=8).draw(3).truth
    radii = [float(c.get("r")) for c in ET.fromstring(hierarchy_svg(truth)).findall(f"{SVG}circle")]
    order = placed(truth.constituents, [1, 6])[1]
    rates = [float(truth.rates[1][c]) for c in order]
    assert sorted(range(6), key=lambda i: radii[1 + i]) == sorted(range(6), key=lambda i: rates[i])


def test_constituents_of_one_composite_stand_together():
    assert placed({0: ((3, 1), (0, 4))}, [2, 6]) == [[0, 1], [3, 1, 0, 4, 2, 5]]
