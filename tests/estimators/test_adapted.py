"""Other people's classes are estimators without a wrapper class of anybody's."""

import sys

import numpy as np
import pytest
import torch
from sklearn.decomposition import PCA, FastICA
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import StandardScaler

from evaluators.unlabelled.explained_variance import ExplainedVariance
from testbed.conformance import check_component
from testbed.contracts import InvalidInput, NotApplicable, NotExpressible, Observed, Outcome, Sample, View
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
    with pytest.raises(NotApplicable, match="has no inverse_transform"):
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


STEPS = [
    ["centred", {"use": "sklearn.preprocessing:StandardScaler"}],
    ["turned", {"use": "sklearn.decomposition:FastICA", "n_components": 2}],
]


def test_a_pipeline_is_made_of_steps_that_are_named_and_every_step_takes_the_seed():
    x = data()
    fits = [construct("estimator", "sklearn.pipeline:Pipeline", {"steps": STEPS}).fit(x, seed=seed) for seed in (3, 3, 4)]
    theirs = Pipeline([("centred", StandardScaler()), ("turned", FastICA(n_components=2, random_state=3))]).fit(x.numpy())
    assert torch.allclose(fits[0].encode(x), torch.as_tensor(theirs.transform(x.numpy())).float(), atol=1e-4)
    assert torch.equal(fits[0].encode(x), fits[1].encode(x))
    assert not torch.equal(fits[0].encode(x), fits[2].encode(x))
    assert torch.allclose(fits[0].decode(fits[0].encode(x)), x, atol=1e-3)
    with pytest.raises(NotExpressible):
        fits[0].get_state()  # each step keeps its own


MINE = """
import torch


class Net(torch.nn.Module):
    def __init__(self, m=3):
        super().__init__()
        self.w = torch.nn.Parameter(torch.randn(8, m))

    def encode(self, x):
        return x @ self.w

    def decode(self, c):
        return c @ self.w.T


class Halves:
    def __init__(self, scale=2.0):
        self.scale = scale

    def fit(self, X):
        self.mean_ = X.mean(axis=0)
        return self

    def transform(self, X):
        return (X - self.mean_) / self.scale


class Chain:
    def __init__(self, steps):
        self.steps = steps
"""
THEIRS = {
    "pca": ("sklearn.decomposition:PCA", "{ n_components = 2 }"),
    "ica": ("sklearn.decomposition:FastICA", "{ n_components = 2, max_iter = 2000, tol = 0.01 }"),
    "pipeline": (
        "sklearn.pipeline:Pipeline",
        '{ steps = [["centred", { use = "sklearn.preprocessing:StandardScaler" }],'
        ' ["turned", { use = "sklearn.decomposition:PCA", n_components = { truth = "concepts" } }]] }',
    ),
    "halves": ("mine:Halves", "{ scale = 4.0 }"),
    "net": ("mine:Net", "{ m = 2 }"),
}


def test_what_is_wrong_with_a_step_is_found_before_anything_runs(toys):
    (toys / "mine.py").write_text(MINE)
    steps = '[["a", { use = "mine:Halves", scales = 2.0 }]]'
    chain = f'[[estimator]]\nname = "mine:Chain"\nparams = {{ steps = {steps} }}\n\n[[evaluator]]'
    (toys / "toy.toml").write_text((toys / "toy.toml").read_text().replace("[[evaluator]]", chain, 1))
    with pytest.raises(InvalidInput, match=r"mine:Halves has no parameter 'scales'; did you mean 'scale'\?"):
        plan_suite("toy.toml")


@pytest.mark.slow
def test_a_suite_names_them_by_module_and_class(toys):
    (toys / "mine.py").write_text(MINE)
    added = "".join(f'[[estimator]]\nname = "{path}"\nlabel = "{label}"\nparams = {params}\n\n' for label, (path, params) in THEIRS.items())
    (toys / "toy.toml").write_text((toys / "toy.toml").read_text().replace("[[evaluator]]", f"{added}[[evaluator]]", 1))
    (plan,) = plan_suite("toy.toml", preset="tiny", only=[*THEIRS, "score"])
    assert [use.label for use in plan.estimators.values() if use.from_truth] == ["pipeline"]
    assert {"steps[0]", "steps[1]"} == set(plan.estimators["pipeline"].inputs)  # their sources count, as that of a component does
    results = gather(execute(plan, "out").folder)
    assert not results.failures
    assert set(results.scores["estimator"]) == set(THEIRS)
    assert np.isfinite(results.scores["value"]).all()
    assert {fit["estimator"]: fit["state"] for fit in results.fits} == dict.fromkeys(THEIRS, "stored") | {"pipeline": None}
    del sys.modules["mine"]


def test_what_asks_for_rows_does_not_apply_to_a_class_that_describes_none():
    x = data()
    model = adapted(Halves, {}).fit(x, seed=0)
    sample = Sample(Observed({"x": View(x)}))
    with pytest.raises(NotApplicable, match="has no inverse_transform"):
        ExplainedVariance().score(Outcome(model.encode(x), sample, "x", decode=model.decode), seed=0)
