"""Figures of dials: units are taken out, and what is broken stands out."""

from testbed.report.dialing import dialing


def entry(instance, estimator="rows"):
    margins = {"injective": [4.0, -2.0], "anchors": [3.0, 3.0], "spark_exceeds": [None, 1.0]}
    dial = {"amounts": [0.0, 1.0], "margins": margins, "breaks": ["injective"], "outside": ["anchors"], "stray": []}
    return {"estimator": estimator, "instance": instance, "details": {"dial": dial}}


def test_margins_are_drawn_over_amounts_in_their_own_scale():
    ((_, note, _, spec),) = dialing([entry(0), entry(1), entry(0, "other estimator")])
    assert "Dashed: all others" in note
    assert len(spec["data"]) == 6  # three assumptions, two instances, one estimator
    lines = {line["name"]: line for line in spec["data"]}
    assert lines["injective"]["y"] == [1.0, -0.5]
    assert lines["injective"]["mode"] == "lines+markers"
    assert lines["others"]["y"] == [1.0, 1.0]
    assert lines["related"]["y"] == [None, 1.0]


def test_other_details_give_no_figure():
    assert list(dialing([])) == []
    assert list(dialing([{"estimator": "rows", "instance": 0, "details": {"codes": []}}])) == []
