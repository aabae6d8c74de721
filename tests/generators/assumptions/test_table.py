"""Tables of whole instances: verdicts that follow from how the instance was built."""

import json
from dataclasses import asdict

import pytest
import torch

from generators.assumptions import read
from generators.assumptions.finding import Finding, everywhere, worst
from generators.assumptions.table import ALL, assumption_table, find, listing
from generators.selection.continuous.family import ContinuousHierarchy
from generators.selection.discrete.family import DiscreteHierarchy
from generators.selection.sparse import SparseConcepts
from testbed.contracts import InvalidInput, NotApplicable


def table(generator, seed=0, names=()):
    return {row.assumption: row for row in assumption_table(generator.draw(seed), names)}


def test_one_row_per_assumption_with_source_and_unit():
    rows = table(SparseConcepts.small())
    assert list(rows) == list(ALL) == [line["name"] for line in listing()]
    for row in rows.values():
        assert row.source
        assert row.unit
        assert (row.margin is None) == (row.verdict == "cannot be told")
        assert row.margin is None or (row.margin > 0) == (row.verdict == "holds")
        assert "reason" in row.witness or "where" in row.witness
    with pytest.raises(InvalidInput, match="did you mean 'no_twins'"):
        find("no_twin")


@pytest.mark.parametrize(
    "generator",
    [SparseConcepts(levels=(2, 6, 24), dimension=16), DiscreteHierarchy(depth=2, ambiguity=0.1), ContinuousHierarchy.small()],
    ids=lambda generator: type(generator).__name__,
)
def test_rows_are_json_and_the_same_for_the_same_instance(generator):
    rows = [asdict(row) for row in assumption_table(generator.draw(0))]
    assert json.loads(json.dumps(rows, allow_nan=False)) == rows
    assert [asdict(row) for row in assumption_table(generator.draw(0))] == rows


def test_a_dense_linear_view_is_honest_about_structural_sparsity():
    rows = table(SparseConcepts(levels=(3, 12), dimension=24))
    for name in ("structural_sparsity", "rows_span_support", "no_nested_effects"):
        assert rows[name].verdict == "fails"
    assert rows["injective"].verdict == "holds"
    assert rows["pure_constituents"].margin == 2
    assert rows["sufficient_variability"].verdict == "cannot be told"


def test_superposition_gives_up_injectivity():
    assert table(SparseConcepts(levels=(3, 12), dimension=12))["injective"].verdict == "fails"


def test_a_composite_and_its_constituents_in_one_view_are_never_apart_and_one_view_each_is():
    names = ("separated_supports",)
    mixed = table(SparseConcepts(levels=(3, 12), dimension=16), names=names)["separated_supports"]
    apart = table(SparseConcepts(levels=(3, 12), dimension=16, views="per_level"), names=names)["separated_supports"]
    never_alone = table(SparseConcepts(levels=(3, 12), dimension=16, views="per_level", lone_firing=0.0, zipf=0.0), names=names)
    assert mixed.verdict == "fails"
    assert apart.verdict == "holds"
    assert never_alone["separated_supports"].verdict == "fails"


def test_without_selection_leaves_are_independent_and_selection_is_void():
    free = {"levels": (3, 12), "dimension": 16, "views": "per_level", "all_on": 1.0, "lone_firing": 1.0}
    rows = table(SparseConcepts(**free))
    assert rows["not_void"].verdict == "fails"
    assert rows["independent"].verdict == "holds"
    assert rows["faithful"].verdict == "holds"
    rows = table(SparseConcepts(levels=(3, 12), dimension=16, views="per_level"))
    assert rows["not_void"].verdict == "holds"
    assert rows["independent"].verdict == "fails"


def test_states_of_composites_are_told_apart_by_their_co_constituents():
    rows = table(SparseConcepts(levels=(2, 6, 24)))
    assert rows["no_twins"].verdict == "holds"
    assert rows["states_are_context_laws"].margin == pytest.approx(rows["no_twins"].margin)
    two = table(SparseConcepts(levels=(2, 6)))
    assert two["no_twins"].verdict == "cannot be told"
    assert "level 0" in two["no_twins"].witness["reason"]


@pytest.mark.parametrize("rule", ["and", "k_of_n", "exclusive", "any"])
def test_margins_agree_with_a_large_sample(rule):
    """Total correlation and the smallest state probability of the deciding composite, from 200,000 rows."""
    instance = SparseConcepts(levels=(2, 8), dimension=4, rule=rule, rate=0.3).draw(1)
    n = 204_800
    latents = {level: rows.dense() > 0 for level, rows in instance.sample(n, 0).latents.items()}
    tables = read.tuple_laws(instance)
    for i, lower in enumerate(instance.truth.constituents[0]):
        exact, states = tables[f"level 0 composite {i}"]
        index = (latents[1][:, list(lower)].long() * torch.tensor([4, 2, 1])).sum(dim=1)
        seen = index.bincount(minlength=8).double() / n
        spread = (exact.flatten() * (1 - exact.flatten()) / n).sqrt().clamp_min(1 / n)
        assert ((seen - exact.flatten()).abs() / spread).max() < 4.5
        assert torch.equal(states.flatten()[index] > 0, latents[0][:, i])


def test_a_random_hierarchy_without_constraint_is_void_and_its_states_are_twins():
    """m = v^(s-1): every tuple is admissible, laws are uniform, nothing tells states apart."""
    rows = table(DiscreteHierarchy(depth=2, states=3, synonyms=3))
    assert rows["not_void"].verdict == "fails"
    assert rows["no_twins"].verdict == "fails"
    assert rows["states_are_context_laws"].witness["context_laws"] == 1
    assert rows["not_degenerate"].verdict == "holds"
    assert rows["pure_constituents"].margin == 1
    assert rows["injective"].verdict == "cannot be told"


def test_one_synonym_each_makes_every_state_a_context_law_of_its_own():
    """m = 1: a state determines its tuple, and with it its sibling up to the root."""
    rows = table(DiscreteHierarchy(depth=2, states=3, synonyms=1, leaf_concentration=2.0), seed=1)
    assert rows["not_void"].verdict == "holds"
    assert rows["no_twins"].margin == pytest.approx(1)
    assert rows["states_by_rank"].verdict == "cannot be told"


def test_discrete_tables_are_those_of_a_sample():
    instance = DiscreteHierarchy(depth=2, states=[3, 3, 2], synonyms=[2, 1], leaf_concentration=2.0).draw(3)
    n = 81_920
    latents = instance.sample(n, 0).latents
    for name, joint in read.context_laws(instance).items():
        i = int(name.split()[-1])
        other = next(j for below in instance.truth.constituents[0] if i in below for j in below if j != i)
        index = latents[1][:, i] * joint.shape[1] + latents[1][:, other]
        seen = index.bincount(minlength=joint.numel()).double() / n
        assert ((seen - joint.flatten()).abs() / (joint.flatten() * (1 - joint.flatten()) / n).sqrt().clamp_min(1 / n)).max() < 4.5


def test_stochastic_rules_are_judged_by_rank_alone():
    rows = table(DiscreteHierarchy(depth=2, states=3, synonyms=2, ambiguity=0.2))
    assert rows["states_are_context_laws"].verdict == "cannot be told"
    assert rows["not_void"].verdict in ("holds", "fails")
    assert "stochastic" in rows["faithful"].witness["reason"]


def test_a_failure_somewhere_outweighs_what_cannot_be_told_elsewhere():
    def decide(value):
        if value is None:
            raise NotApplicable("unknown")
        return Finding.of(value)

    assert everywhere(decide)({"a": 1.0, "b": 0.5}).witness["where"] == "b"
    assert not everywhere(decide)({"a": None, "b": -1.0}).holds
    with pytest.raises(NotApplicable, match="a: unknown"):
        everywhere(decide)({"a": None, "b": 1.0})
    with pytest.raises(NotApplicable):
        worst({})
    with pytest.raises(NotApplicable, match="NaN"):
        Finding.of(float("nan"))


def test_assumptions_say_whether_they_apply():
    instance = SparseConcepts.small().draw(0)
    assert ALL["injective"].applies(instance)
    assert not ALL["sufficient_variability"].applies(instance)


def test_mixtures_of_rules_and_unequal_branching_are_judged_like_any_forest():
    generator = SparseConcepts(levels=(2, 6, 18), branching=[2, 3], rule=["and", "k_of_n"], dimension=32)
    instance = generator.draw(2)
    tables = read.tuple_laws(instance)
    assert {table.dim() for table, _ in tables.values()} == {2, 3}
    for level in (0, 1):
        for i in range(instance.truth.levels[level].size):
            table, states = tables[f"level {level} composite {i}"]
            assert float(table[states == 1].sum()) == pytest.approx(float(instance.truth.rates[level][i]), abs=1e-6)
    assert {row.verdict for row in assumption_table(instance, ["not_void", "faithful", "no_twins"])} == {"holds"}


def test_correlated_trees_are_not_independent_and_their_tuples_are_as_before():
    spec = {"levels": (3, 12), "dimension": 16, "views": "per_level"}
    apart, together = (table(SparseConcepts(**spec, correlation=c, all_on=1.0, lone_firing=1.0)) for c in (0.0, 0.5))
    assert apart["independent"].verdict == "holds"
    assert together["independent"].verdict == "fails"
    for name in ("not_void", "faithful", "not_degenerate", "dependent_given_composite"):
        assert together[name].margin == pytest.approx(apart[name].margin, abs=1e-9)


def test_a_steered_instance_is_not_taken_for_the_one_it_was():
    instance = SparseConcepts.small().draw(0).condition({(0, 0): 1.0})
    rows = {row.assumption: row for row in assumption_table(instance)}
    assert rows["not_void"].verdict == "cannot be told"
    assert "steered" in rows["not_void"].witness["reason"]
    assert rows["injective"].verdict == "holds"


def test_shared_constituents_are_impure():
    generator = DiscreteHierarchy(depth=1, roots=2, states=[2, 2], constituents=[[[0, 1, 2], [1, 2, 3]]], concepts=[2, 4], synonyms=2)
    rows = table(generator)
    assert rows["pure_constituents"].verdict == "fails"
    assert rows["pure_constituents"].witness["shared"] == [1, 2]
    assert rows["not_void"].verdict in ("holds", "fails")


def test_sparse_concepts_that_share_constituents_are_judged_from_enumeration():
    generator = SparseConcepts(levels=(3, 10), branching=3, shared=2, dimension=16, views="per_level")
    instance = generator.draw(0)
    rows = {row.assumption: row for row in assumption_table(instance)}
    assert rows["not_void"].verdict == rows["faithful"].verdict == rows["separated_supports"].verdict == "holds"
    assert rows["pure_constituents"].margin <= 1
    tables = read.tuple_laws(instance)
    for i, rate in enumerate(instance.truth.rates[0]):
        table, states = tables[f"level 0 composite {i}"]
        assert float(table[states == 1].sum()) == pytest.approx(float(rate), abs=1e-6)
