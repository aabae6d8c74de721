import pytest
import torch

from testbed.contracts import SparseRows
from testbed.numerics.normal_scores import normal_scores


def some(n, k, kind):
    g = torch.Generator().manual_seed(n + k)
    x = torch.randn(n, k, generator=g)
    return {"spread": x, "tied": x.round(), "sparse": x * (torch.rand(n, k, generator=g) < 0.1), "constant": torch.full((n, k), -2.0)}[kind]


@pytest.mark.parametrize("kind", ["spread", "tied", "sparse", "constant"])
@pytest.mark.parametrize("n", [1, 2, 5, 300])
def test_sparse_rows_have_the_scores_of_the_same_rows_written_out(n, kind):
    x = some(n, 4, kind)
    torch.testing.assert_close(normal_scores(SparseRows.from_dense(x)), normal_scores(x), rtol=0, atol=1e-6)


def test_a_zero_that_is_stored_is_a_zero_like_all_others():
    stored = SparseRows.from_entries(torch.tensor([0, 1, 3]), torch.zeros(3, dtype=torch.long), torch.tensor([-1.0, 0.0, 2.0]), (5, 1))
    torch.testing.assert_close(normal_scores(stored), normal_scores(stored.dense()), rtol=0, atol=1e-6)


def test_scores_are_quantiles_of_the_gaussian_with_variance_one():
    n = 9
    quantiles = torch.distributions.Normal(0.0, 1.0).icdf((torch.arange(n) + 0.5) / n)
    found = normal_scores(torch.arange(n)[:, None].float() ** 3)
    torch.testing.assert_close(found[:, 0], quantiles / quantiles.std(correction=0))


def test_no_rows_and_no_columns_have_no_scores():
    assert normal_scores(torch.zeros(0, 3)).shape == (0, 3)
    assert normal_scores(torch.zeros(3, 0)).shape == (3, 0)
