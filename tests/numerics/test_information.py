"""Mutual information of tables: scikit-learn's values, closed forms of 2 x 2 tables, bias and its correction."""

import numpy as np
import pytest
import scipy.sparse
import torch
from sklearn.metrics import mutual_info_score

from testbed.contracts import InvalidInput
from testbed.numerics.discretise import States, discretise
from testbed.numerics.information import mutual_information


def states(columns):
    table = np.array(columns, np.int16).T
    return States(scipy.sparse.csr_array(table), table.max(axis=0).astype(np.int64) + 1)


def drawn(n, width, k, seed):
    table = np.random.default_rng(seed).integers(0, k, (n, width)).astype(np.int16)
    return States(scipy.sparse.csr_array(table), np.full(width, k))


def test_every_pair_agrees_with_scikit_learn():
    g = torch.Generator().manual_seed(0)
    z = torch.rand(400, 6, generator=g) * (torch.rand(400, 6, generator=g) < 0.2)
    concepts = discretise(z, bins=10, on_bins=3)
    codes = discretise(z[:, :4] + 0.1 * torch.randn(400, 4, generator=g), bins=7, on_bins=3)
    a, b = concepts.table.toarray(), codes.table.toarray()
    expected = [[mutual_info_score(a[:, i], b[:, j]) for j in range(4)] for i in range(6)]
    assert mutual_information(concepts, codes).plug_in == pytest.approx(np.array(expected), abs=1e-12)


def test_a_two_by_two_table_by_hand():
    # 30, 10 / 20, 40 rows
    z = [0] * 40 + [1] * 60
    a = [0] * 30 + [1] * 10 + [0] * 20 + [1] * 40
    found = mutual_information(states([z]), states([a]))
    n = np.array([[30, 10], [20, 40]])
    margins = np.outer(n.sum(1), n.sum(0))
    information = (n / 100 * np.log(100 * n / margins)).sum()
    assert found.plug_in.item() == pytest.approx(information)
    assert found.corrected.item() == pytest.approx(information - 1 / 200)
    assert found.concept_entropy.item() == pytest.approx(-0.4 * np.log(0.4) - 0.6 * np.log(0.6) + 1 / 200)
    assert found.freedom.item() == 1
    # Of two states, tau is the squared correlation, here adjusted for the fit.
    phi = (30 * 40 - 10 * 20) ** 2 / (40 * 60 * 50 * 50)
    assert found.tau.item() == pytest.approx(1 - (1 - phi) * 99 / 98)


def test_a_relabelled_copy_tells_everything_and_a_constant_nothing():
    z = drawn(500, 1, 4, 1).table.toarray()[:, 0]
    found = mutual_information(states([z]), states([(z + 1) % 4, np.zeros(500)]))
    assert found.normalised() == pytest.approx(np.array([[1.0, 0.0]]))
    assert found.tau == pytest.approx(np.array([[1.0, 0.0]]))
    assert not found.significant(0.01)[0, 1]


def test_independent_columns_have_information_0_once_the_bias_is_out():
    found = mutual_information(drawn(2000, 30, 5, 2), drawn(2000, 30, 5, 3))
    assert found.plug_in.mean() == pytest.approx(16 / 4000, rel=0.05)  # (K - 1)^2 / 2n
    # What is left is the mean of the positive part of a chi-square about its mean of 16, over 2n.
    assert found.corrected.mean() < 0.4 * found.plug_in.mean()
    assert found.tau.mean() < 1e-3


def test_a_code_that_says_nothing_is_significant_at_the_rate_asked_for():
    found = mutual_information(drawn(3000, 40, 3, 4), drawn(3000, 400, 3, 5))
    assert found.significant(0.05).any(axis=0).mean() == pytest.approx(0.05, abs=0.03)


def test_other_rows_are_refused():
    with pytest.raises(InvalidInput, match="same rows"):
        mutual_information(drawn(10, 2, 2, 0), drawn(9, 2, 2, 0))
