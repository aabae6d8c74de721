"""Misfits are 0 where an explanation is right, whatever n; and the divergence where it is not."""

import numpy as np
import pytest
from sklearn.metrics import mutual_info_score

from testbed.numerics.compositions import (
    class_misfit,
    composition_misfit,
    conditional_information,
    fewest_classes,
    information,
    merged,
)

HOW = {"starts": 6, "rounds": 300, "seed": 0}
STATE = np.array([0, 1, 2, 1, 2, 0, 2, 0, 1])  # of 3 x 3 tuples: a Latin square, whose constituents are independent of its state


def selected(n, seed=0):
    """Counts, shape (1, 9, 3): tuples in a Latin square's states, contexts that follow from the state."""
    rng = np.random.default_rng(seed)
    law = np.full(9, 1 / 9)[:, None] * np.array([[0.8, 0.1, 0.1], [0.1, 0.8, 0.1], [0.1, 0.1, 0.8]])[STATE]
    return rng.multinomial(n, law.ravel()).reshape(1, 9, 3).astype(float), law


def caused(n, seed=0):
    rng = np.random.default_rng(seed)
    sharp = np.array([[0.7, 0.2, 0.1], [0.1, 0.7, 0.2], [0.2, 0.1, 0.7]])
    law = np.einsum("k,ka,kb,kx->abx", np.full(3, 1 / 3), sharp, sharp, sharp).reshape(9, 3)
    return rng.multinomial(n, law.ravel()).reshape(1, 9, 3).astype(float), law


@pytest.mark.parametrize("n", [1000, 100_000])
def test_the_right_explanation_leaves_nothing(n):
    found = [composition_misfit(selected(n, seed)[0], [STATE]) for seed in range(60)]
    nats, error = np.array([one.nats[0] for one in found]), np.array([one.error[0] for one in found])
    assert abs(nats.mean()) < 4 * error.mean() / 60**0.5 + 0.1 / n
    assert 0.6 < nats.std() / error.mean() < 1.5
    assert abs(class_misfit(caused(n)[0], (3, 3), [3], **HOW).nats[0]) < 6 / n**0.5 / 20


@pytest.mark.parametrize("n", [3000, 100_000])
def test_the_wrong_explanation_leaves_its_divergence_whatever_n(n):
    counts, law = caused(n)
    p_x = np.zeros((3, 3))
    np.add.at(p_x, STATE, law)
    p_x /= p_x.sum(axis=1, keepdims=True)
    divergence = (law * np.log(law / (law.sum(axis=1, keepdims=True) * p_x[STATE]))).sum()
    assert abs(composition_misfit(counts, [STATE]).nats[0] - divergence) < 0.02
    # Latin squares: given few classes constituents cannot be told from the context, so that nothing of its information is explained
    assert class_misfit(selected(n)[0], (3, 3), [3], **HOW).nats[0] > 0.1


def test_as_many_classes_as_tuples_explain_everything():
    assert class_misfit(selected(20_000)[0], (3, 3), [9], **HOW).nats[0] < 0.002
    assert fewest_classes(caused(20_000)[0], (3, 3), [9], 0.005, **HOW) == [3]


def test_information_is_that_of_scikit_learn_less_its_bias():
    counts, _ = selected(100_000)
    rows, columns = (np.repeat(index.ravel(), counts[0].astype(int).ravel()) for index in np.indices((9, 3)))
    assert abs(information(counts[0]) - mutual_info_score(rows, columns) + 16 / 200_000) < 1e-4
    null = [information(np.random.default_rng(s).multinomial(500, np.full(27, 1 / 27)).reshape(9, 3).astype(float)) for s in range(300)]
    assert abs(np.mean(null)) < 4 * np.std(null) / 300**0.5 + 5e-4


def test_dependence_of_siblings_given_a_state():
    assert abs(conditional_information(np.full(9, 1000.0), (3, 3), STATE) - np.log(3)) < 0.01  # a permutation, given the state
    assert abs(conditional_information(np.full(9, 1000.0), (3, 3), np.zeros(9, int))) < 0.01


def test_merging_joins_equal_laws_first():
    law = np.array([[0.9, 0.1], [0.88, 0.12], [0.1, 0.9], [0.12, 0.88]]) * 1000
    assert merged(law, np.arange(4), 2).tolist() == [0, 0, 1, 1]
    assert merged(law, np.arange(4), 1).tolist() == [0, 0, 0, 0]
    assert merged(law, np.array([0, 1, 0, 1]), 3).tolist() == [0, 1, 0, 1]
