"""Injectivity, coherence and spark against closed forms and enumeration."""

import itertools
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from generators.assumptions.dictionaries import coherence_of, injective, spark, spark_exceeds, sparse_enough
from testbed.contracts import InvalidInput, NotApplicable


def random(c, d, seed=0):
    return torch.randn(c, d, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def simplex(c):
    """c atoms in c - 1 dimensions (embedded in c) with all cosines -1 / (c - 1)."""
    return torch.eye(c, dtype=torch.float64) - 1 / c


@given(st.integers(2, 6), st.integers(0, 2**31))
def test_scale_and_order_of_atoms_and_rotations_change_nothing_that_should_not_change(c, seed):
    g = torch.Generator().manual_seed(seed)
    atoms = random(c, 4, seed)
    q = torch.linalg.qr(torch.randn(4, 4, generator=g, dtype=torch.float64))[0]
    scaled = (atoms * (0.5 + torch.rand(c, 1, generator=g, dtype=torch.float64)))[torch.randperm(c, generator=g)] @ q
    assert coherence_of(scaled)[0] == pytest.approx(coherence_of(atoms)[0], abs=1e-12)
    assert spark(scaled)[:2] == spark(atoms)[:2]
    assert injective(atoms @ q).margin == pytest.approx(injective(atoms).margin, abs=1e-12)


def test_the_smallest_singular_value_of_two_unit_atoms_is_known():
    angle = math.pi / 3
    atoms = torch.tensor([[1.0, 0.0], [math.cos(angle), math.sin(angle)]], dtype=torch.float64)
    assert injective(atoms).margin == pytest.approx(math.sqrt(1 - math.cos(angle)))  # of the Gram matrix: 1 - cosine
    assert coherence_of(atoms) == (pytest.approx(0.5), (0, 1))


def test_injectivity_fails_with_the_codes_that_are_written_as_nothing():
    atoms = torch.tensor([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [1.0, 1.0, 0.0]], dtype=torch.float64)
    finding = injective(atoms)
    assert not finding.holds
    assert finding.margin == 0
    null = torch.tensor([finding.witness["written_as_nothing"][str(i)] for i in range(3)], dtype=torch.float64)
    torch.testing.assert_close(null @ atoms, torch.zeros(3, dtype=torch.float64), atol=1e-12, rtol=0)
    assert not injective(random(5, 3)).holds
    assert injective(random(3, 5).float()).holds


@pytest.mark.parametrize("c", [3, 4, 6])
def test_a_simplex_has_spark_c_and_meets_the_welch_bound(c):
    mu, _ = coherence_of(simplex(c))
    assert mu == pytest.approx(1 / (c - 1))
    assert spark(simplex(c))[:2] == (c, c)
    assert sparse_enough(simplex(c), 1).margin == pytest.approx((1 + (c - 1)) / 2 - 1)


@given(st.integers(0, 2**31))
def test_spark_is_what_enumeration_of_ranks_finds_and_at_least_its_coherence_bound(seed):
    g = torch.Generator().manual_seed(seed)
    atoms = torch.randint(-1, 2, (6, 3), generator=g).double()
    atoms[(atoms == 0).all(dim=1)] = 1.0
    low, high, found = spark(atoms)
    sets = (s for size in range(2, 5) for s in itertools.combinations(range(6), size))
    first = next(s for s in sets if torch.linalg.matrix_rank(atoms[list(s)]) < len(s))
    assert low == high == len(first)
    assert found is None or torch.linalg.matrix_rank(atoms[found]) < len(found)
    mu, _ = coherence_of(atoms)
    assert low >= 1 + 1 / mu - 1e-9


def test_a_dictionary_too_large_to_enumerate_has_bounds_and_an_open_question():
    atoms = random(30, 12)
    low, high, found = spark(atoms, enough=2000)
    assert (low, high, found) == (3, 13, None)  # 435 pairs are looked at (or excluded by coherence), 4,060 triples are too many
    assert spark_exceeds(atoms, 1, enough=2000).holds
    fails = spark_exceeds(atoms, 7, enough=2000)
    assert not fails.holds
    assert fails.margin == 13 - 14
    with pytest.raises(NotApplicable, match="between 3 and 13"):
        spark_exceeds(atoms, 4, enough=2000)


def test_a_hidden_dependence_of_three_atoms_is_found():
    atoms = random(12, 8)
    atoms[7] = atoms[2] - 2 * atoms[5]
    assert spark(atoms) == (3, 3, [2, 5, 7])
    assert spark(atoms.float())[:2] == (3, 3)
    assert spark_exceeds(atoms, 1).holds
    assert not spark_exceeds(atoms, 2).holds


def test_two_codes_of_k_non_zeros_agree_on_the_border_that_spark_draws():
    """Spark 4 lets two 2-sparse codes write the same x: the uniqueness bound 2k < spark is tight."""
    atoms = simplex(4)
    a = torch.tensor([1.0, 1.0, 0.0, 0.0], dtype=torch.float64)
    b = torch.tensor([0.0, 0.0, -1.0, -1.0], dtype=torch.float64)
    torch.testing.assert_close(a @ atoms, b @ atoms)
    assert not spark_exceeds(atoms, 2).holds
    assert spark_exceeds(atoms, 1).holds
    border = sparse_enough(atoms, 2)  # (1 + 3) / 2 = 2: k < 2 is wanted
    assert not border.holds
    assert border.margin == pytest.approx(0)


def test_orthogonal_atoms_are_sparse_enough_for_any_k():
    assert sparse_enough(torch.eye(5), 5).holds
    assert spark(torch.eye(5)) == (6, 6, None)
    assert coherence_of(torch.ones(1, 3))[0] == 0


def test_atoms_that_write_nothing_are_refused():
    with pytest.raises(InvalidInput, match="written nowhere"):
        injective(torch.zeros(2, 3))
    with pytest.raises(InvalidInput, match="shape"):
        coherence_of(torch.ones(3))
