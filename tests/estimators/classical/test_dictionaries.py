"""K-means, mini-batch dictionary learning and K-SVD find what they are for, and refuse what they cannot use."""

import pytest
import torch
from torch.nn.functional import normalize

from testbed.contracts import InvalidInput
from testbed.estimators.classical.dictionary_learning import DictionaryLearning
from testbed.estimators.classical.k_means import KMeans
from testbed.estimators.classical.ksvd import KSVD, improved
from testbed.numerics.matching import cosine, cross_correlation, mean_correlation
from testbed.numerics.pursuit import orthogonal_matching_pursuit


def score(similarity):
    return mean_correlation(similarity, similarity)


def overcomplete(n=3000, m=24, d=16, rate=0.08, noise=0.02, seed=0, signed=False):
    g = torch.Generator().manual_seed(seed)
    atoms = normalize(torch.randn(m, d, generator=g), dim=1)
    codes = (torch.rand(n, m, generator=g) + 0.5) * (torch.rand(n, m, generator=g) < rate)
    if signed:
        codes = codes * torch.where(torch.rand(n, m, generator=g) < 0.5, -1, 1)
    return codes @ atoms + noise * torch.randn(n, d, generator=g) + 3, atoms, codes


def test_k_means_finds_clusters_and_codes_are_the_nearest():
    g = torch.Generator().manual_seed(0)
    centres = 10 * torch.randn(5, 3, generator=g)
    x = centres[torch.arange(1000) % 5] + torch.randn(1000, 3, generator=g)
    fitted = KMeans(n_codes=5).fit(x, seed=0)
    codes = fitted.encode(x)
    assert torch.equal(codes.dense().sum(dim=1), torch.ones(1000))
    distance = torch.cdist(fitted.dictionary_ + fitted.mean_, centres)
    assert distance.min(dim=0).values.max() < 0.5
    nearest = torch.cdist(x, fitted.dictionary_ + fitted.mean_).argmin(dim=1)
    assert torch.equal(codes.indices, nearest)
    assert (fitted.decode(codes) - x).square().mean() < 1.2


@pytest.mark.parametrize(("estimator", "bar"), [(KSVD(n_codes=24, k=3), 0.8), (DictionaryLearning(n_codes=24, samples=15_000), 0.85)])
def test_an_overcomplete_dictionary_and_its_codes_are_found(estimator, bar):
    x, atoms, codes = overcomplete()
    fitted = estimator.fit(x, seed=0)
    assert score(cosine(atoms, fitted.dictionary_)) > 0.9
    found = fitted.encode(x)
    assert (found.values > 0).all()
    assert score(cross_correlation(codes, found)) > bar
    assert (fitted.decode(found) - x).square().sum() < 0.2 * (x - x.mean(dim=0)).square().sum()


def test_signed_codes_are_for_signed_data():
    x, atoms, codes = overcomplete(signed=True)
    fitted = DictionaryLearning(n_codes=24, positive=False, samples=15_000).fit(x, seed=0)
    found = fitted.encode(x)
    assert (found.values < 0).any()
    assert (found.indices.diff()[found.row_of_entry().diff() == 0] > 0).all()
    assert score(cosine(atoms, fitted.dictionary_)) > 0.85
    assert score(cross_correlation(codes, found)) > 0.8


def test_the_penalty_has_the_units_of_the_data():
    x, _, _ = overcomplete(n=1000)
    plain, scaled = (DictionaryLearning(n_codes=24, samples=2000).fit(c * x, seed=0) for c in (1.0, 1e4))
    torch.testing.assert_close(plain.dictionary_, scaled.dictionary_, rtol=0, atol=1e-3)
    assert scaled.penalty_ == pytest.approx(1e4 * plain.penalty_, rel=1e-4)


def test_ksvd_errors_fall_and_no_round_of_updates_raises_them():
    x, _, _ = overcomplete(n=1500)
    fitted = KSVD(n_codes=24, k=3, max_iter=12, tol=0.0).fit(x, seed=1)
    curve = fitted.history_["error"]
    assert curve[-1] < 0.6 * curve[0]
    assert fitted.encode(x).indptr.diff().max() <= 3
    off = x - fitted.bias_
    codes = orthogonal_matching_pursuit(off, fitted.dictionary_, max_active=3, threshold=0.0)
    residual = off - codes.dense() @ fitted.dictionary_
    before = float(residual.square().sum())
    updated = improved(fitted.dictionary_, codes, residual, off)  # leaves the residual of the updated atoms and codes
    assert float(residual.square().sum()) <= before * (1 + 1e-5)
    torch.testing.assert_close(updated.norm(dim=1), torch.ones(24))


def test_ksvd_replaces_what_is_unused_and_what_is_a_twin():
    g = torch.Generator().manual_seed(0)
    x = torch.cat([torch.rand(100, 1, generator=g) @ torch.tensor([[1.0, 0, 0, 0]]), torch.tensor([[0, 0, 5.0, 0]])])
    dictionary = torch.tensor([[1.0, 0, 0, 0], [1.0, 0, 0, 0], [0, 1.0, 0, 0]])
    codes = orthogonal_matching_pursuit(x, dictionary, max_active=1, threshold=0.0)
    updated = improved(dictionary, codes, x - codes.dense() @ dictionary, x)
    assert (updated @ torch.tensor([0, 0, 1.0, 0])).max() == 1  # the row that nothing described
    assert (updated @ torch.tensor([1.0, 0, 0, 0])).max() == 1


def test_one_shot_ksvd_is_converged_only_if_it_says_so():
    x, _, _ = overcomplete(n=500)
    assert not KSVD(n_codes=24, k=3, max_iter=1).fit(x, seed=0).converged_
    assert KSVD(n_codes=24, k=3, tol=0.5).fit(x, seed=0).converged_


@pytest.mark.parametrize("estimator", [KSVD(30, 3), DictionaryLearning(30), KMeans(30)], ids=lambda e: type(e).__name__)
def test_fewer_rows_than_atoms_are_refused(estimator):
    x, _, _ = overcomplete(n=29)
    with pytest.raises(InvalidInput, match=r"29 rows, but .* at least 30"):
        estimator.clone().fit(x, seed=0)
    with pytest.raises(InvalidInput, match="samples = 20 rows are fewer"):
        estimator.clone().set_params(samples=20).fit(torch.cat([x, x]), seed=0)
    with pytest.raises(InvalidInput, match=r"at least 1|between 1 and"):
        estimator.clone().set_params(n_codes=0).fit(x, seed=0)


@pytest.mark.parametrize("estimator", [KSVD(20, 3), DictionaryLearning(20, samples=300), KMeans(20)], ids=lambda e: type(e).__name__)
@pytest.mark.parametrize(
    "x",
    [
        torch.ones(40, 6),
        torch.zeros(40, 6),
        torch.linspace(-1, 1, 40)[:, None],
        torch.linspace(-1, 1, 40)[:, None] * torch.ones(1, 6),
        1e6 + torch.randn(40, 6, generator=torch.Generator().manual_seed(0)),
        1e-12 * torch.randn(40, 6, generator=torch.Generator().manual_seed(0)),
    ],
    ids=["constant", "zero", "d = 1", "rank 1", "far away", "tiny"],
)
def test_hard_data_give_finite_codes_and_rows(estimator, x):
    fitted = estimator.clone().fit(x, seed=0)
    codes = fitted.encode(x)
    assert codes.values.isfinite().all()
    assert fitted.dictionary_.shape == (20, x.shape[1])
    assert fitted.dictionary_.isfinite().all()
    assert fitted.decode(codes).isfinite().all()


@pytest.mark.parametrize("estimator", [KSVD(20, 3), DictionaryLearning(20), KMeans(20)], ids=lambda e: type(e).__name__)
def test_endless_streams_will_do_and_views_are_learned_by_name(estimator):
    x, _, _ = overcomplete(n=400)

    def endless():
        while True:
            yield x

    fitted = estimator.clone().set_params(samples=1000).fit(endless(), seed=0)
    assert fitted.encode(x).shape == (400, 20)
    with pytest.raises(InvalidInput, match="fit was on 16"):
        fitted.encode(x[:, :3])
