"""What theorems promise, and when: instances that meet them, and instances that do not."""

import pytest

from generators.assumptions.table import ALL
from generators.assumptions.theorems import THEOREMS, check_theorems, theorem
from generators.selection.discrete.family import DiscreteHierarchy
from generators.selection.sparse import SparseConcepts
from testbed.contracts import InvalidInput


def status(generator, seed=0):
    return {result.theorem.name: result.status for result in check_theorems(generator.draw(seed))}


def test_every_theorem_names_known_assumptions_its_source_and_its_class():
    for name, one in THEOREMS.items():
        assert one.name == name
        assert one.source
        assert one.promises
        assert set(one.assumptions) <= set(ALL)
    assert {name for one in THEOREMS.values() for name in one.assumptions} == set(ALL) - {"states_by_rank"}
    with pytest.raises(InvalidInput, match="did you mean 'direction'"):
        theorem("directions")


def test_independent_leaves_on_a_basis_meet_the_square_dictionary_theorem_and_selected_ones_do_not():
    free = {"levels": (12,), "dimension": 16}
    assert status(SparseConcepts(**free))["sparse_basis"] == "applies"
    assert status(SparseConcepts(levels=(12,), dimension=8))["sparse_basis"] == "does not apply"
    assert status(SparseConcepts(levels=(3, 12), dimension=16))["sparse_basis"] == "does not apply"


def test_rare_concepts_on_nearly_orthogonal_atoms_meet_the_sparse_theorems():
    rare = SparseConcepts(levels=(2, 6), views="per_level", rate=0.01, rate_floor=0.01, dimension=64)
    found = status(rare)
    assert found["sparse_codes"] == "applies"
    assert found["sparse_dictionary"] == "applies"
    mixed = SparseConcepts(levels=(2, 6), rate=0.01, rate_floor=0.01, dimension=64)
    assert status(mixed)["sparse_dictionary"] == "does not apply"


def test_direction_is_a_class_and_fails_without_selection():
    result = theorem("direction").check(SparseConcepts.small().draw(0))
    assert result.status == "applies"
    assert "joint emission" in result.promise
    void = SparseConcepts(levels=(3, 12), dimension=16, all_on=1.0, lone_firing=1.0)
    assert theorem("direction").check(void.draw(0)).promise is None


def test_discrete_minimality_applies_where_states_have_laws_of_their_own_and_not_among_twins():
    generator = DiscreteHierarchy(depth=2, states=3, synonyms=1, leaf_concentration=2.0)
    result = theorem("discrete_minimality").check(generator.draw(1))
    assert {row.assumption: row.verdict for row in result.rows}["no_twins"] == "holds"
    assert status(DiscreteHierarchy(depth=2, states=3, synonyms=3))["discrete_minimality"] == "does not apply"
    assert status(SparseConcepts(levels=(2, 6, 24)))["discrete_minimality"] == "applies"
    assert status(SparseConcepts(levels=(2, 6)))["discrete_minimality"] == "cannot be told"


def test_a_linear_dense_view_never_meets_structural_sparsity():
    found = status(SparseConcepts(levels=(12,), dimension=16))
    assert found["structural_sparsity"] == "does not apply"
    assert found["continuous_minimality"] == "does not apply"
    assert found["auxiliary_variable"] == "cannot be told"
