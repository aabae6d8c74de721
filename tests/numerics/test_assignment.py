"""Assignment: the same total as scipy's dense solver, and prices that prove it, on easy, tied and hard matrices."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import linear_sum_assignment

from testbed.contracts import InvalidInput
from testbed.numerics.assignment import assign

KINDS = {
    "uniform": lambda r, c, m: r.random((c, m)),
    "normal, of either sign": lambda r, c, m: r.standard_normal((c, m)),
    "single precision": lambda r, c, m: r.random((c, m), dtype=np.float32),
    "ties": lambda r, c, m: r.integers(0, 3, (c, m)).astype(float),
    "mostly 0": lambda r, c, m: r.random((c, m)) * (r.random((c, m)) < 0.02),
    "dead codes": lambda r, c, m: r.random((c, m)) * (r.random(m) < 0.5),
    "every code wants the same concept": lambda r, c, m: np.outer(r.random(c), r.random(m)),
    "nearly so": lambda r, c, m: np.outer(r.random(c), r.random(m)) + 0.01 * r.random((c, m)),
    "better columns": lambda r, c, m: r.random(m) + 0.1 * r.random((c, m)),
    "a permutation in noise": lambda r, c, m: np.eye(c, m)[r.permutation(c)] + 0.1 * np.abs(r.standard_normal((c, m))),
    "constant": lambda r, c, m: np.full((c, m), 0.3),
}


def proven(similarity):
    """The assignment, after checking that it is one to one and that its prices prove it optimal."""
    found = assign(similarity)
    k = min(similarity.shape)
    assert len(set(found.row)) == len(set(found.column)) == len(found.row) == k
    low = float(similarity.min()) if similarity.size else 0.0
    scale = max(1.0, float(np.abs(similarity).max())) if similarity.size else 1.0
    assert (found.row_price >= 0).all()
    assert (found.column_price >= 0).all()
    assert (found.row_price[:, None] + found.column_price >= similarity.astype(float) - low - 1e-14 * scale).all()
    assert found.row_price.sum() + found.column_price.sum() + k * low == pytest.approx(found.total, rel=1e-12, abs=1e-12 * scale)
    return found


@pytest.mark.parametrize(("c", "m"), [(300, 300), (400, 150), (150, 400)])
@pytest.mark.parametrize("kind", KINDS)
def test_the_total_is_that_of_the_dense_solver(kind, c, m):
    similarity = KINDS[kind](np.random.default_rng(c), c, m)
    expected = similarity[linear_sum_assignment(similarity, maximize=True)].sum(dtype=float)
    assert proven(similarity).total == pytest.approx(expected, rel=1e-12)


@given(
    arrays(
        np.float64,
        st.tuples(st.integers(0, 12), st.integers(0, 12)),
        elements=st.floats(-1e3, 1e3) | st.sampled_from([0.0, 1.0, 0.5]),
    )
)
@settings(deadline=None, max_examples=150)
def test_small_matrices_of_any_numbers(similarity):
    expected = similarity[linear_sum_assignment(similarity, maximize=True)].sum()
    assert proven(similarity).total == pytest.approx(expected, rel=1e-12, abs=1e-11)


def test_ties_are_exact_whatever_the_scale():
    similarity = np.random.default_rng(0).integers(0, 5, (200, 200)) * 2.0**-40
    expected = similarity[linear_sum_assignment(similarity, maximize=True)].sum()
    assert proven(similarity).total == expected


def test_differences_next_to_nothing_are_differences():
    assert assign(np.array([[1e-280, 0.0, 2e-280]])).column.tolist() == [2]


def test_the_same_matrix_gives_the_same_pairs_and_is_left_alone():
    similarity = np.random.default_rng(1).random((100, 120))
    before = similarity.copy()
    one, two = assign(similarity), assign(similarity)
    assert (one.column == two.column).all()
    assert (similarity == before).all()


def test_few_pairs_are_looked_at_closely_in_a_large_matrix():
    similarity = np.abs(np.random.default_rng(2).standard_normal((2000, 2000))).astype(np.float32)
    assert proven(similarity).candidates < 0.05 * similarity.size


@pytest.mark.parametrize("wrong", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_are_refused(wrong):
    similarity = np.zeros((3, 3))
    similarity[1, 2] = wrong
    with pytest.raises(InvalidInput, match="NaN or infinity"):
        assign(similarity)
