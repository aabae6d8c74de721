"""Other people's classes are estimators without a wrapper class of anybody's."""

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA

from testbed.conformance import check_component
from testbed.contracts import InvalidInput, NotExpressible
from testbed.estimators.adapted import FittedTransformer, TrainedModule, adapted
from testbed.estimators.classical.pca import PCA as OurPCA
from testbed.results import gather
from testbed.runner import execute, plan_suite
from testbed.stages import construct


class Halves:
    """fit and transform, numpy only, and nothing of scikit-learn."""

    def __init__(self, scale=2.0):
        self.scale = scale

    def fit(self, X, y=None):
        self.mean_ = X.mean(axis=0)
        return self

    def transform(self, X):
        return (X - self.mean_) / self.scale


class Autoencoder(torch.nn.Module):
    """encode and decode, and no word of training."""

    def __init__(self, d, m):
        super().__init__()
        self.into, self.out = torch.nn.Linear(d, m), torch.nn.Linear(m, d)

    def encode(self, x):
        return self.into(x)

    def decode(self, codes):
        return self.out(codes)

    def dictionary(self):
        return self.out.weight.T


class Explosive(Autoencoder):
    def loss(self, x):
        return self.encode(x).sum() / 0.0


def data(n=600, d=5, seed=0):
    g = torch.Generator().manual_seed(seed)
    return torch.randn(n, 2, generator=g) @ torch.randn(2, d, generator=g) + 1


def test_a_transformer_gives_its_own_codes_and_its_components_are_the_dictionary():
    x = data()
    model = construct("estimator", "sklearn.decomposition:PCA", {"n_components": 2}).fit(x, seed=3)
    theirs = PCA(n_components=2, random_state=3).fit(x.numpy())
    assert torch.allclose(model.encode(x), torch.as_tensor(theirs.transform(x.numpy())), atol=1e-4)
    assert torch.allclose(model.decode(model.encode(x)), x, atol=1e-3)
    assert torch.allclose(model.dictionary_, torch.as_tensor(theirs.components_))
    back = adapted(PCA, {"n_components": 2}).set_state(*model.get_state())
    assert torch.equal(back.encode(x), model.encode(x))


def test_a_class_of_numpy_alone_will_do():
    x = data()
    model = adapted(Halves, {"scale": 4.0}).fit(x, seed=0)
    assert isinstance(model, FittedTransformer)
    assert torch.allclose(model.encode(x), (x - x.mean(dim=0)) / 4, atol=1e-6)
    with pytest.raises(InvalidInput, match="has no inverse_transform"):
        model.decode(model.encode(x))
    assert model.get_params() == {"scale": 4.0}


def test_a_module_is_made_with_the_seed_and_trained():
    x = data()
    first, same, other = (adapted(Autoencoder, {"d": 5, "m": 2}).fit(x, seed=seed) for seed in (0, 0, 1))
    assert isinstance(first, TrainedModule)
    error = (first.decode(first.encode(x)) - x).square().sum() / (x - x.mean(dim=0)).square().sum()
    assert error < 0.01  # two dimensions are all there are
    assert torch.equal(first.encode(x), same.encode(x))
    assert not torch.equal(first.encode(x), other.encode(x))
    assert first.dictionary_.shape == (2, 5)
    assert torch.equal(adapted(Autoencoder, {"d": 5, "m": 2}).set_state(*first.get_state()).encode(x), first.encode(x))


def test_our_own_estimators_are_left_alone():
    assert type(adapted(OurPCA, {})) is OurPCA


@pytest.mark.parametrize(
    ("kind", "params", "x", "message"),
    [
        (Explosive, {"d": 5, "m": 2}, data(), "its loss is"),
        (Autoencoder, {"d": 5}, data(), "cannot be constructed"),
        (PCA, {"n_components": 50}, data(), "cannot be fitted to 600 rows of 5 columns"),
        (PCA, {}, torch.full((4, 2), float("nan")), "is nan"),
    ],
)
def test_what_goes_wrong_is_a_sentence(kind, params, x, message):
    with pytest.raises(InvalidInput, match=message):
        adapted(kind, params).fit(x, seed=0)


def test_what_keeps_its_state_elsewhere_is_not_stored():
    class Silent(Halves):
        def fit(self, X, y=None):
            self._mean = X.mean(axis=0)
            return self

    with pytest.raises(NotExpressible, match="do not end in _"):
        adapted(Silent, {}).fit(data(), seed=0).get_state()


def test_they_conform():
    assert not any(check.problem for check in check_component("sklearn.decomposition:PCA", {"n_components": 3}))


def test_a_suite_names_them_by_module_and_class(toys):
    text = (toys / "toy.toml").read_text()
    (toys / "mine.py").write_text(
        "import torch\n\n\nclass Net(torch.nn.Module):\n    def __init__(self, m=3):\n        super().__init__()\n"
        "        self.w = torch.nn.Parameter(torch.randn(8, m))\n\n    def encode(self, x):\n        return x @ self.w\n\n"
        "    def decode(self, c):\n        return c @ self.w.T\n"
    )
    added = '[[estimator]]\nname = "sklearn.decomposition:PCA"\nlabel = "sk"\nparams = { n_components = 2 }\n\n'
    added += '[[estimator]]\nname = "mine:Net"\nlabel = "net"\nparams = { m = 2 }\n\n[[evaluator]]'
    (toys / "toy.toml").write_text(text.replace("[[evaluator]]", added, 1))
    (plan,) = plan_suite("toy.toml", preset="tiny", only=["sk", "net", "score"])
    results = gather(execute(plan, "out").folder)
    assert not results.failures
    assert set(results.scores["estimator"]) == {"sk", "net"}
    assert np.isfinite(results.scores["value"]).all()
