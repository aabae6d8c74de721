"""Distances add up along paths, whatever columns are; their errors are those of repeated samples."""

from __future__ import annotations

import numpy as np
import pytest

from testbed.numerics.information_distances import association, discrete_distances, gaussian_distances, standard_errors, states_that_show


def test_distances_of_states_add_up_along_paths() -> None:
    generator = np.random.default_rng(0)
    k, n = 3, 400_000
    moves = [0.7 * np.eye(k) + 0.3 * generator.dirichlet(np.ones(k), k) for _ in range(3)]
    column = generator.integers(0, k, n)
    chain = [column]
    for move in moves:
        column = (generator.random(n)[:, None] > move.cumsum(axis=1)[column]).sum(axis=1)
        chain.append(column)
    sigma = association(np.stack(chain, axis=1))
    assert states_that_show(sigma, n) == k
    d = discrete_distances(sigma, k)
    assert d[0, 3] == pytest.approx(d[0, 1] + d[1, 2] + d[2, 3], abs=0.02)
    joint = np.bincount(chain[0] * k + chain[1], minlength=k * k).reshape(k, k) / n
    formula = -np.log(abs(np.linalg.det(joint)) / np.sqrt(np.prod(joint.sum(axis=0)) * np.prod(joint.sum(axis=1))))
    assert d[0, 1] == pytest.approx(formula)


def test_states_beyond_those_of_hidden_nodes_do_not_matter() -> None:
    generator = np.random.default_rng(1)
    states = generator.integers(0, 2, (20_000, 2))
    states[:, 1] = np.where(generator.random(20_000) < 0.8, states[:, 0], states[:, 1])
    wide = states * 2 + generator.integers(0, 2, (20_000, 2))  # four values, of which two cannot be told apart
    assert discrete_distances(association(wide), 2)[0, 1] == pytest.approx(discrete_distances(association(states), 2)[0, 1], abs=0.01)


def test_standard_errors_are_those_of_repeated_samples() -> None:
    generator = np.random.default_rng(2)
    r = np.exp(-0.7)
    pairs = generator.standard_normal((400, 2000, 2)) @ np.array([[1, r], [0, np.sqrt(1 - r * r)]])
    found = np.array([gaussian_distances(pair)[0, 1] for pair in pairs])
    formula = standard_errors(np.full((1, 1, 1), np.exp(-0.7)), 2000)[0, 0]
    assert found.std() == pytest.approx(formula, rel=0.15)
