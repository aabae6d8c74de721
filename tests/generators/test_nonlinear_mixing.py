"""Mixing: injective, with the support, the condition number and the inverse that it states."""

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from generators.mixing_maps import mixing_from
from generators.nonlinear_mixing import draw_mixing, structurally_sparse
from testbed.contracts import InvalidInput

CASES = {
    "linear": ("linear", 0, "leaky_relu"),
    "sparse linear": ("linear", 3, "leaky_relu"),
    "leaky perceptron": ("mlp", 0, "leaky_relu"),
    "tanh perceptron": ("mlp", 0, "tanh"),
    "sparse perceptron": ("mlp", 3, "tanh"),
    "flow": ("flow", 0, "leaky_relu"),
    "warped": ("warped", 0, "tanh"),
    "sparse warped": ("warped", 3, "tanh"),
}


def drawn(case, concepts=9, dimension=30, condition=5.0, curvature=0.6, seed=0, role=0):
    kind, row_support, activation = CASES[case]
    return draw_mixing(kind, concepts, dimension, row_support, condition, curvature, activation, seed, role)


def concepts(n=200, k=9, seed=0):
    return torch.randn(n, k, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


@pytest.mark.parametrize("case", CASES)
def test_the_inverse_is_exact(case):
    f, v = drawn(case), concepts()
    torch.testing.assert_close(f.inverse(f(v)), v, rtol=1e-8, atol=1e-8)


@pytest.mark.parametrize("case", CASES)
def test_the_condition_number_is_bounded_as_stated(case):
    f = drawn(case)
    measured = f.measured_condition(2 * concepts())
    if case == "flow":
        assert f.condition() != f.condition()  # no bound is known
        assert measured < 1e4
    else:
        assert measured <= f.condition() * (1 + 1e-9)
    if case == "linear":
        assert measured == pytest.approx(5)


@pytest.mark.parametrize("case", CASES)
def test_the_jacobian_has_the_stated_support(case):
    f = drawn(case)
    seen = (f.jacobian(concepts()).abs() > 1e-12).any(dim=0)
    assert torch.equal(seen, f.support)
    assert torch.equal(f.support.sum(dim=1), torch.full((30,), 3 if "sparse" in case else 9))
    assert structurally_sparse(f.support) == ("sparse" in case)


def test_a_sparse_perceptrons_jacobian_rows_span_their_support_and_a_linear_ones_never_do():
    v = concepts()
    for case, rank in (("sparse linear", 1), ("sparse perceptron", 3)):
        rows = drawn(case, curvature=0.8).jacobian(v)
        for i in range(30):
            assert torch.linalg.matrix_rank(rows[:, i], rtol=1e-6) == rank


@pytest.mark.parametrize("case", CASES)
def test_coordinates_have_variance_about_1(case):
    variance = drawn(case, condition=2.0)(concepts(5000)).var(dim=0).mean()
    assert 0.25 < variance < 2.5


def test_a_sparse_perceptron_is_nearly_linear_and_a_warped_one_is_not():
    v = concepts(5000)
    left = {}
    for case in ("sparse perceptron", "sparse warped"):
        x = drawn(case, curvature=0.9)(v)
        x = x - x.mean(dim=0)
        left[case] = float((x - v @ torch.linalg.lstsq(v, x).solution).square().sum() / x.square().sum())
    assert left["sparse perceptron"] < 0.02
    assert left["sparse warped"] > 0.1


def test_curvature_0_is_linear():
    for case in ("leaky perceptron", "tanh perceptron", "sparse perceptron", "flow", "warped", "sparse warped"):
        f, v = drawn(case, curvature=0.0), concepts()
        torch.testing.assert_close(f(v), v @ f.jacobian(v[:1])[0].T)


@pytest.mark.parametrize("case", CASES)
def test_state_and_back(case):
    f, v = drawn(case), concepts()
    assert torch.equal(mixing_from(*f.state())(v), f(v))
    arrays, plain = f.state()
    for broken in ((arrays, {**plain, "kind": "cubic"}), ({}, plain)):
        with pytest.raises(InvalidInput, match="not the state of a mixing"):
            mixing_from(*broken)


def test_seeds_and_roles_matter_and_dials_move_nothing_else():
    assert not torch.equal(drawn("linear", seed=1).matrix, drawn("linear").matrix)
    assert not torch.equal(drawn("linear", role=1).matrix, drawn("linear").matrix)
    assert torch.equal(drawn("sparse perceptron", curvature=0.1).matrix, drawn("sparse perceptron", curvature=0.2).matrix)
    assert torch.equal(drawn("flow", curvature=0.1).rotations, drawn("flow", curvature=0.2).rotations)


@given(st.lists(st.lists(st.booleans(), min_size=3, max_size=3), min_size=1, max_size=6))
def test_structural_sparsity_is_its_definition(rows):
    support = torch.tensor(rows)
    by_definition = True
    for k in range(3):
        seen = [set(row.nonzero()[:, 0].tolist()) for row in support if row[k]]
        by_definition &= bool(seen) and set.intersection(*seen) == {k}
    assert structurally_sparse(support) == by_definition


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("cubic", 3, 5, 0, 2.0, 0.5, "tanh"), "mixing must be"),
        (("linear", 6, 5, 0, 2.0, 0.5, "tanh"), "dimension"),
        (("linear", 3, 5, -1, 2.0, 0.5, "tanh"), "row_support"),
        (("linear", 3, 5, 0, 0.5, 0.5, "tanh"), "condition"),
        (("mlp", 3, 5, 0, 2.0, 1.0, "tanh"), "curvature"),
        (("mlp", 3, 5, 0, 2.0, 0.5, "relu"), "activation"),
        (("flow", 3, 5, 2, 2.0, 0.5, "tanh"), "a flow sees"),
        (("linear", 9, 9, 8, 1.1, 0.5, "tanh"), "raise dimension or condition"),
    ],
)
def test_bad_input_is_refused(arguments, words):
    with pytest.raises(InvalidInput, match=words):
        draw_mixing(*arguments, 0)
