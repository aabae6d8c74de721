"""What all estimators of this package share, beyond what `testbed check` runs: hard data, state, streams."""

import json

import pytest
import torch

from generators.selection.sparse import SparseConcepts
from testbed.conformance import check_estimator
from testbed.contracts import InvalidInput, Observed, SparseRows, View
from testbed.estimators.baselines.identity import Identity
from testbed.estimators.baselines.oracle_dictionary import OracleDictionary
from testbed.estimators.baselines.random_data_points import RandomDataPoints
from testbed.estimators.baselines.random_dictionary import RandomDictionary
from testbed.estimators.baselines.raw_neurons import RawNeurons
from testbed.estimators.baselines.supervised_probe import SupervisedProbe
from testbed.estimators.classical.dictionary_learning import DictionaryLearning
from testbed.estimators.classical.fast_ica import FastICA
from testbed.estimators.classical.k_means import KMeans
from testbed.estimators.classical.ksvd import KSVD
from testbed.estimators.classical.nmf import NMF
from testbed.estimators.classical.pca import PCA
from testbed.estimators.classical.promax import Promax
from testbed.estimators.classical.sparse_pca import SparsePCA
from testbed.estimators.classical.varimax import Varimax
from testbed.estimators.sparse.autoencoder import SparseAutoencoder
from testbed.estimators.sparse.topk_sae import TopKSAE

SMALL = [
    PCA.small(),
    FastICA.small(),
    NMF.small(),
    Varimax.small(),
    Promax.small(),
    SparsePCA.small(),
    RandomDictionary.small(),
    RawNeurons.small(),
    TopKSAE(n_codes=32, k=4, samples=4000, batch_size=128),
]
PARTICULAR = [Identity(), RandomDataPoints.small(), KMeans.small(), DictionaryLearning.small(), KSVD.small()]
"""Those that read no number of rows, or refuse data with too few different ones."""
names = pytest.mark.parametrize("estimator", SMALL, ids=lambda e: type(e).__name__)


@pytest.fixture(scope="module")
def instance():
    return SparseConcepts.small().draw(1000)


def dense(codes):
    return codes.dense() if isinstance(codes, SparseRows) else codes


@pytest.mark.parametrize("estimator", [*SMALL, *PARTICULAR, OracleDictionary(), SupervisedProbe.small()], ids=lambda e: type(e).__name__)
def test_promises_are_kept(estimator):
    assert [str(check) for check in check_estimator(estimator) if check.problem] == []


@names
@pytest.mark.parametrize(
    "x",
    [
        torch.ones(40, 6),
        torch.zeros(40, 6),
        torch.linspace(-1, 1, 40)[:, None],
        torch.linspace(-1, 1, 40)[:, None] * torch.ones(1, 6),
        torch.randn(5, 6, generator=torch.Generator().manual_seed(0)),
        1e6 + torch.randn(40, 6, generator=torch.Generator().manual_seed(0)),
        1e-12 * torch.randn(40, 6, generator=torch.Generator().manual_seed(0)),
    ],
    ids=["constant", "zero", "d = 1", "rank 1", "5 rows", "far away", "tiny"],
)
def test_hard_data_give_finite_codes_and_rows(estimator, x):
    if isinstance(estimator, SparseAutoencoder) and (len(x) < estimator.n_codes or bool((x == x[0]).all())):
        with pytest.raises(InvalidInput, match=r"give more rows|give data that vary"):
            estimator.clone().fit(x, seed=0)
        return
    fitted = estimator.clone().fit(x, seed=0)
    codes = fitted.encode(x)
    assert dense(codes).isfinite().all()
    decoded = fitted.decode(codes)
    assert decoded.shape == x.shape
    assert decoded.isfinite().all()
    arrays, plain = fitted.get_state()
    assert fitted.dictionary_.shape == (codes.shape[1], x.shape[1])
    assert all(torch.isfinite(torch.as_tensor(a)).all() for a in arrays.values())
    json.dumps(plain, allow_nan=False)


@names
def test_one_view_of_several_is_learned_by_name(estimator):
    g = torch.Generator().manual_seed(0)
    two = Observed({"a": View(torch.randn(300, 3, generator=g)), "b": View(torch.randn(300, 5, generator=g))})
    fitted = estimator.clone().set_params(view="b").fit(two, seed=0)
    assert fitted.dictionary_.shape[1] == 5
    assert torch.equal(dense(fitted.encode(two)), dense(fitted.encode(two.views["b"].values)))
    with pytest.raises(InvalidInput, match="'a', 'b'"):
        estimator.clone().fit(two, seed=0)
    with pytest.raises(InvalidInput, match="fit was on 5"):
        fitted.encode(two.views["a"].values)


@names
def test_endless_streams_will_do(estimator, instance):
    stream = (sample.observed for sample in instance.stream(1000, 3))
    fitted = estimator.clone().set_params(samples=5000).fit(stream, seed=0)
    assert dense(fitted.encode(instance.sample(100, 4, "test").observed)).isfinite().all()


@names
def test_a_bad_number_is_refused(estimator):
    with pytest.raises(InvalidInput, match="samples"):
        estimator.clone().set_params(samples=0).fit(torch.randn(50, 3), seed=0)


def test_the_oracle_gives_the_codes_of_the_truth_and_needs_it(instance):
    sample = instance.sample(500, 0)
    fitted = OracleDictionary().fit(sample.observed, seed=0, truth=instance.truth)
    expected = instance.truth.oracle(sample.observed, "mixed")
    assert torch.equal(fitted.encode(sample.observed).dense(), expected.dense())
    arrays, plain = fitted.get_state()
    again = OracleDictionary().set_state(arrays, json.loads(json.dumps(plain)))
    assert torch.equal(again.encode(sample.observed).dense(), expected.dense())
    with pytest.raises(InvalidInput, match="no truth"):
        OracleDictionary().fit(sample.observed, seed=0)
    with pytest.raises(InvalidInput, match="'nowhere'"):
        OracleDictionary(view="nowhere").fit(sample.observed, seed=0, truth=instance.truth)
