"""A dial moves its own assumption from holding to failing, and what it does not speak of stays as it is."""

import pytest

from generators.assumptions.dials import DIALS, find, moved
from generators.assumptions.table import ALL, Row
from generators.selection.continuous.family import ContinuousHierarchy
from generators.selection.sparse import SparseConcepts
from testbed.contracts import InvalidInput

SPEC = {"levels": (2, 6, 24), "views": "per_level", "dimension": 32}
FEW = {"levels": (2, 6), "views": "per_level", "dimension": 64, "rate": 0.01, "rate_floor": 0.01}
"""Rare enough for the bound by coherence, which allows one active concept or two."""


@pytest.mark.parametrize("name", [name for name, dial in DIALS.items() if dial.family == "sparse"])
def test_a_dial_breaks_what_it_says_and_nothing_it_does_not_say(name):
    dial = find(name)
    assert set(dial.breaks) | set(dial.moves) <= set(ALL)
    sweep = dial.sweep(SparseConcepts(**SPEC if name != "coherence" else FEW), [0, 0.3, 0.6, 1], seed=3)
    tables = [{row.assumption: row for row in rows} for rows in sweep.values()]
    for broken in dial.breaks:
        rows = [table[broken] for table in tables]
        if name == "coherence":  # k = 1 is within the bound as long as no two atoms are parallel
            assert rows[-1].margin == pytest.approx(0, abs=1e-3)
        else:
            assert rows[-1].verdict == "fails"
        assert rows[0].verdict == "holds"
        margins = [row.margin for row in rows if row.margin is not None]  # spark: bounds may leave it open on the way
        assert margins == sorted(margins, reverse=True)
    for later in list(sweep.values())[1:]:
        assert moved(sweep[0], later) <= set(dial.moves) | set(dial.breaks)


@pytest.mark.parametrize("name", [name for name, dial in DIALS.items() if dial.family == "continuous"])
def test_a_continuous_dial_breaks_what_it_says_and_nothing_it_does_not_say(name):
    dial = find(name)
    generator = ContinuousHierarchy(levels=(2, 6), mixing="mlp", row_support=1 if name == "density" else 2, dimension=16, cells=64)
    sweep = dial.sweep(generator, [0, 0.5, 1], seed=1)
    tables = [{row.assumption: row for row in rows} for rows in sweep.values()]
    for broken in dial.breaks:
        assert [table[broken].verdict for table in (tables[0], tables[-1])] == ["holds", "fails"]
        assert tables[0][broken].margin >= (tables[1][broken].margin or 0.0) >= tables[2][broken].margin
    for later in list(sweep.values())[1:]:
        assert moved(sweep[0], later) <= set(dial.moves) | set(dial.breaks)


def test_at_0_a_dial_changes_nothing_but_what_it_fixes():
    for dial in [dial for dial in DIALS.values() if dial.family == "sparse"]:
        base = SparseConcepts(**SPEC).get_params()
        ends = {"coherence": {"cluster_cosine": 0.0}, "dependence": {"all_on": 1.0, "lone_firing": 1.0}}  # these two start elsewhere
        assert dial.params(base, 0) == {**base, **dial.start, **ends.get(dial.name, {})}


def test_law_and_geometry_are_apart():
    """Turning what speaks of the law leaves every number about atoms alone to the last digit, and the reverse."""
    law = find("selection").sweep(SparseConcepts(**SPEC), [0, 1], seed=0)
    geometry = find("superposition").sweep(SparseConcepts(**SPEC), [0, 1], seed=0)
    tables = [[{row.assumption: row.margin for row in rows} for rows in sweep.values()] for sweep in (law, geometry)]
    assert tables[0][0]["injective"] == tables[0][1]["injective"]
    for name in ("not_void", "faithful", "no_twins", "separated_supports"):
        assert tables[1][0][name] == tables[1][1][name]


def test_wrong_amounts_and_parameters_are_refused():
    with pytest.raises(InvalidInput, match="in \\[0, 1\\]"):
        find("selection").params(SparseConcepts().get_params(), 1.5)
    with pytest.raises(InvalidInput, match="for all levels"):
        find("selection").params({**SparseConcepts().get_params(), "all_on": [1.0, 2.0]}, 0.5)
    with pytest.raises(InvalidInput, match="continuous specifications"):
        find("curvature").params(SparseConcepts().get_params(), 0.5)
    with pytest.raises(InvalidInput, match="row_support between 1 and 9"):
        find("density").params(ContinuousHierarchy().get_params(), 0.5)
    with pytest.raises(InvalidInput, match="did you mean 'selection'"):
        find("selections")


def test_moved_sees_verdicts_and_margins_beyond_a_tolerance():
    def row(verdict, margin):
        return [Row("injective", verdict, margin, "")]

    assert moved(row("holds", 1.0), row("holds", 1.0 + 1e-9)) == set()
    assert moved(row("holds", 1.0), row("holds", 1.1)) == {"injective"}
    assert moved(row("holds", 2e-9), row("fails", 0.0)) == {"injective"}
    assert moved(row("cannot be told", None), row("cannot be told", None)) == set()
    assert moved(row("cannot be told", None), row("holds", 1.0)) == {"injective"}


def test_a_dial_of_another_family_is_refused():
    with pytest.raises(InvalidInput, match="choose a dial of its family"):
        find("strength").params(SparseConcepts().get_params(), 0.5)
