"""Moments of three views give classes back."""

from __future__ import annotations

import numpy as np
import pytest

from testbed.contracts import InvalidInput
from testbed.numerics.multi_view import indicators, log_tables, mixture_of_views, power_method


def test_the_power_method_finds_orthogonal_components() -> None:
    generator = np.random.default_rng(0)
    vectors = np.linalg.qr(generator.standard_normal((4, 4)))[0]
    values = np.array([3.0, 2.0, 1.5, 1.0])
    found, directions = power_method(np.einsum("h,ih,jh,kh->ijk", values, vectors, vectors, vectors), generator)
    order = np.argsort(-found)
    assert found[order] == pytest.approx(values)
    assert directions[:, order] == pytest.approx(vectors)


def test_exact_moments_give_exact_tables() -> None:
    """Every combination of states as often as the law says, so that sample moments are the law's."""
    weights = np.array([0.5, 0.25, 0.25])
    tables = [np.array([[8, 1, 1], [1, 8, 1], [2, 2, 6]]) / 10, np.array([[6, 2, 2], [2, 6, 2], [1, 1, 8]]) / 10]
    tables.append(tables[0][::-1])
    law = np.einsum("h,ha,hb,hc->abc", weights, *tables)
    counts = np.rint(law * 4000).astype(int)
    assert counts / 4000 == pytest.approx(law)
    states = np.repeat(np.argwhere(counts > 0), counts[counts > 0], axis=0)
    views = [indicators(states[:, [j]], np.array([3])) for j in range(3)]
    found = mixture_of_views((views[0], views[1], views[2]), 3, np.random.default_rng(1))
    assert found.weights == pytest.approx(weights, abs=1e-6)
    assert found.eigenvalues**-2 == pytest.approx(weights, abs=1e-6)
    for means, table in zip(found.means, tables, strict=True):
        order = np.argsort(means[0])  # of the two equally likely classes either may come first
        assert means[:, order] == pytest.approx(table.T[:, np.argsort(table.T[0])], abs=1e-6)


def test_more_classes_than_show_are_refused() -> None:
    generator = np.random.default_rng(2)
    hidden = generator.integers(0, 2, 5000)
    views = [indicators((hidden ^ (generator.random(5000) < 0.2))[:, None], np.array([2])) for _ in range(3)]
    with pytest.raises(InvalidInput, match="ask for fewer"):
        mixture_of_views((views[0], views[1], views[2]), 3, generator)


def test_tables_are_laws() -> None:
    out = np.exp(log_tables(np.array([[1.2, 0.3], [-0.2, 0.7], [0.5, 0.5], [0.5, 0.5]]), np.array([2, 2])))
    assert out.reshape(2, 2, 2).sum(axis=1) == pytest.approx(np.ones((2, 2)))
    assert (out > 0).all()
