"""States to a budget."""

import numpy as np
import pytest

from testbed.numerics.budgets import held_out_likelihoods, laws, merged_path

STARTS = np.array([0, 3])


def table(seed, n=2000, rows=4):
    """Rows of three laws over two contexts, `rows` of each law."""
    law = np.array([[0.8, 0.1, 0.1, 0.5, 0.5], [0.1, 0.8, 0.1, 0.5, 0.5], [0.1, 0.1, 0.8, 0.9, 0.1]])
    generator = np.random.default_rng(seed)
    law = np.repeat(law, rows, axis=0)
    return np.array([np.concatenate([generator.multinomial(n, p[:3]), generator.multinomial(n, p[3:])]) for p in law]).astype(float)


def test_the_true_number_gives_the_true_groups_and_every_number_is_kept():
    path = merged_path(table(0), STARTS, 12)
    assert [int(labels.max()) + 1 for k, labels in sorted(path.items())] == list(range(1, 13))
    assert path[3].reshape(3, 4).std(axis=1).max() == 0
    assert len(set(path[3])) == 3


def test_likelihood_of_other_rows_peaks_at_the_true_number():
    peaks = [int(held_out_likelihoods([table(s), table(s + 100)], STARTS, 12).argmax()) + 1 for s in range(10)]
    assert peaks == [3] * 10


def test_laws_are_laws():
    law = laws(table(0), STARTS)
    assert law[:, :3].sum(axis=1) == pytest.approx(np.ones(12))
    assert law[:, 3:].sum(axis=1) == pytest.approx(np.ones(12))


def test_more_rows_than_are_merged_pairwise_go_with_frequent_ones():
    many = np.concatenate([table(0, rows=60), table(1, n=10, rows=60)])
    labels = merged_path(many, STARTS, 3)[3]
    true = np.tile(np.repeat([0, 1, 2], 60), 2)
    assert all(len(set(labels[:180][true[:180] == k])) == 1 for k in range(3))
