"""Each setting of training does what it says, many models together are many models alone, and bad input is refused in a sentence."""

import warnings

import psutil
import pytest
import torch
from threadpoolctl import threadpool_limits
from torch.nn.functional import normalize

from testbed.contracts import InvalidInput
from testbed.estimators.sparse import training
from testbed.estimators.sparse.batch_topk_sae import BatchTopKSAE
from testbed.estimators.sparse.gated_sae import GatedSAE
from testbed.estimators.sparse.jump_relu_sae import JumpReLUSAE
from testbed.estimators.sparse.matryoshka_sae import MatryoshkaSAE
from testbed.estimators.sparse.relu_sae import ReLUSAE
from testbed.estimators.sparse.steps import CompiledStepper, TorchStepper, starting_atoms, stepper_for
from testbed.estimators.sparse.topk_sae import TopKSAE
from testbed.estimators.sparse.training import fit_together

D = 12


@pytest.fixture(autouse=True)
def _one_thread():
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        yield
    torch.set_num_threads(before)


def make(n=4000, seed=0, shift=1.0):
    g = torch.Generator().manual_seed(seed)
    atoms = normalize(torch.randn(20, D, generator=g), dim=1)
    codes = (torch.rand(n, 20, generator=g) < 0.1) * (0.5 + torch.rand(n, 20, generator=g))
    return codes @ atoms + 0.01 * torch.randn(n, D, generator=g) + shift


X = make()


def sae(kind=TopKSAE, **params):
    own = {"k": 3} if issubclass(kind, TopKSAE | JumpReLUSAE) else {}
    return kind(**{"n_codes": 32, "samples": 6400, "batch_size": 64, **own, **params})


def explained(model, x):
    error = (model.decode(model.encode(x)) - x).square().sum() / (x - x.mean(dim=0)).square().sum()
    return 1 - float(error)


def tensors(model):
    return model.get_state()[0]


def same(a, b):
    assert tensors(a).keys() == tensors(b).keys()
    return all(torch.equal(value, tensors(b)[name]) for name, value in tensors(a).items())


class Again:
    """A stream that can be read again."""

    def __init__(self, x, size=300):
        self.x, self.size = x, size

    def __iter__(self):
        return iter(torch.split(self.x, self.size))


def spied(monkeypatch, kind):
    """Batches that a kind of stepper is given."""
    original, seen = kind.step, []
    monkeypatch.setattr(kind, "step", lambda self, x, *rest: (seen.append(x.clone()), original(self, x, *rest))[1])
    return seen


# ------------------------------------------------------------------------------------------------------ seeds and data


@pytest.mark.parametrize("kind", [TopKSAE, BatchTopKSAE, MatryoshkaSAE, JumpReLUSAE, ReLUSAE, GatedSAE])
def test_a_seed_fixes_everything_and_another_changes_it(kind):
    one, again, other = (sae(kind).fit(X, seed=seed) for seed in (0, 0, 1))
    assert same(one, again)
    assert one.history_ == again.history_
    assert not torch.equal(one.dictionary_, other.dictionary_)


def test_streams_and_arrays_are_learned_equally_well():
    array, stream, once = sae().fit(X, seed=0), sae().fit(Again(X), seed=0), sae(samples=4000).fit(iter(Again(X)), seed=0)
    assert explained(array, X) > 0.7
    assert abs(explained(array, X) - explained(stream, X)) < 0.1
    assert explained(once, X) > 0.6
    assert same(stream, sae().fit(Again(X), seed=0))


@pytest.mark.parametrize("form", [lambda x: x, Again])
def test_held_out_rows_are_never_trained_on(form, monkeypatch):
    x = X.clone()
    x[:500, 0] += 100  # a mark
    seen = spied(monkeypatch, CompiledStepper)
    model = sae(held_out=500).fit(form(x), seed=0)
    assert torch.cat(seen)[:, 0].max() < 30
    assert len(torch.cat(seen)) == 6400
    assert model.bias_[0] < 3
    assert all(loss > 1 for loss in model.history_["held_out"])  # nothing was learned of them


def test_held_out_loss_is_that_of_the_model_on_those_rows():
    x = make(600)
    model = sae(BatchTopKSAE, held_out=5000, batch_size=32, samples=32 * 40, revivals=1)
    big = torch.cat([x.repeat(9, 1)[:5000], X])
    model.fit(big, seed=0)
    held = big[:5000]
    scale = (big[5000:] - model.bias_).norm(dim=1).median()
    loss = ((model.decode(model.encode(held)) - held).square().sum(dim=1) / scale.square()).mean()
    assert model.history_["held_out"][-1] == pytest.approx(float(loss), rel=0.1)


def test_patience_ends_training_when_the_held_out_loss_no_longer_falls():
    patient, hasty = (sae(samples=64_000, lr=0.05, decay=0.0, held_out=500, patience=p).fit(X, seed=0) for p in (0, 2))
    assert patient.history_["samples"][-1] == 64_000
    losses = hasty.history_["held_out"]
    assert hasty.history_["samples"][-1] < 64_000
    assert min(losses) not in losses[-2:]
    assert all(min(losses[: i + 1]) in losses[max(0, i - 1) : i + 1] for i in range(len(losses) - 1))
    assert len({len(curve) for curve in hasty.history_.values()}) == 1


def test_the_learning_rate_moves_parameters_as_warm_up_and_decay_say(monkeypatch):
    """Adam's steps are about as long as the rate: far at the top of the ramp, hardly at its ends."""

    def lengths(**params):
        original, out = TorchStepper.step, []

        def step(self, x, *rest):
            before = self.params["encoder_bias"].clone()
            original(self, x, *rest)
            out.append(float((self.params["encoder_bias"] - before).abs().mean()))

        with monkeypatch.context() as patch:
            patch.setattr(TorchStepper, "step", step)
            sae(encoder_depth=2, revival="none", **params).fit(X, seed=0)
        return out

    warm, cold = lengths(warm_up=0.5, decay=0.0), lengths(warm_up=0.0, decay=0.0)
    assert warm[0] < 0.1 * cold[0]
    assert lengths(warm_up=0.0, decay=0.5)[-1] < 0.2 * cold[-1]


# ------------------------------------------------------------------------------------------------------------ the start


def test_random_atoms_have_norm_1_and_orthogonal_ones_are_orthogonal_in_groups_of_d():
    for initialisation in ("random", "orthogonal", "data"):
        atoms, _ = starting_atoms(sae(initialisation=initialisation), X, 0)
        assert atoms.shape == (32, D)
        torch.testing.assert_close(atoms.norm(dim=1), torch.ones(32))
    atoms, _ = starting_atoms(sae(initialisation="orthogonal"), X, 0)
    for group in torch.split(atoms, D):
        torch.testing.assert_close(group @ group.T, torch.eye(len(group)), atol=1e-5, rtol=0)


def test_atoms_from_data_are_rows_of_the_data():
    centred = X - X.mean(dim=0)
    atoms, _ = starting_atoms(sae(initialisation="data"), centred, 0)
    cosine = (atoms @ normalize(centred, dim=1).T).max(dim=1)
    torch.testing.assert_close(cosine.values, torch.ones(32), atol=1e-4, rtol=0)
    assert len(cosine.indices.unique()) == 32


def test_as_many_rows_are_looked_at_as_atoms_are_made_of(monkeypatch):
    monkeypatch.setattr(training, "HEAD_ROWS", 10)
    assert explained(sae(initialisation="data").fit(X, seed=0), X) > 0.6
    with pytest.raises(InvalidInput, match="needs as many rows as codes, 32, but there are 20: give more rows"):
        sae(initialisation="data", samples=20, batch_size=5).fit(X, seed=0)


# ----------------------------------------------------------------------------------------------------- bias and scale


def test_the_bias_is_the_mean_or_learned_or_nothing():
    mean, learned, none = (sae(bias=bias).fit(X, seed=0) for bias in ("mean", "learned", "none"))
    torch.testing.assert_close(mean.bias_, X.mean(dim=0), atol=0.05, rtol=0)
    assert torch.equal(none.bias_, torch.zeros(D))
    assert (learned.bias_ - mean.bias_).abs().max() > 0.02
    assert min(explained(mean, X), explained(learned, X)) > explained(none, X)


def test_a_learned_bias_is_learned_by_both_steppers():
    compiled, torch_ = sae(bias="learned").fit(X, seed=0), sae(GatedSAE, bias="learned").fit(X, seed=0)
    for model in (compiled, torch_):
        assert (model.bias_ - X.mean(dim=0)).abs().max() > 1e-3


@pytest.mark.parametrize("params", [{}, {"encoder_depth": 2}, {"encoder_depth": 3}, {"tied": True}, {"bias": "learned"}])
def test_scaled_data_give_the_same_dictionary_and_scaled_codes(params):
    """By a power of 2, so that not a bit is lost."""
    one, eight = sae(**params).fit(X, seed=0), sae(**params).fit(8 * X, seed=0)
    assert torch.equal(one.dictionary_, eight.dictionary_)
    torch.testing.assert_close(8 * one.encode(X).dense(), eight.encode(8 * X).dense())
    assert explained(one, X) > 0.5


def test_without_scaling_the_size_of_data_matters():
    one, eight = (sae(scale="none").fit(c * X, seed=0) for c in (1, 8))
    assert not torch.equal(one.dictionary_, eight.dictionary_)


# ---------------------------------------------------------------------------------------------------------- the encoder


def test_a_tied_encoder_is_the_dictionary():
    model = sae(tied=True).fit(X, seed=0)
    assert "encoder_" not in tensors(model)
    pre = (X - model.bias_) @ model.dictionary_.T + model.encoder_bias_
    torch.testing.assert_close(model.encode(X).dense().amax(dim=1), pre.amax(dim=1).relu())


@pytest.mark.parametrize("depth", [1, 2, 3])
def test_a_deep_encoder_has_its_layers_and_uses_them(depth):
    model = sae(encoder_depth=depth).fit(X, seed=0)
    names = sorted(n for n in tensors(model) if n.startswith("layer"))
    assert names == sorted(f"layer{i}{end}" for i in range(depth - 1) for end in ("_", "_bias_"))
    hidden = X - model.bias_
    for i in range(depth - 1):
        hidden = (hidden @ getattr(model, f"layer{i}_").T + getattr(model, f"layer{i}_bias_")).relu()
    pre = hidden @ model.encoder_.T + model.encoder_bias_
    torch.testing.assert_close(model.encode(X).dense().amax(dim=1), pre.amax(dim=1).relu())
    start = model.initial(starting_atoms(model, X, 0)[0], torch.Generator().manual_seed(0), X)
    assert all((getattr(model, f"{n}_") != start[n]).any() for n in start if n.startswith("layer"))


def test_deep_and_tied_at_once_is_refused():
    with pytest.raises(InvalidInput, match="a tied encoder has one layer"):
        sae(tied=True, encoder_depth=2).fit(X, seed=0)


# -------------------------------------------------------------------------------------------------------------- revival


@pytest.mark.parametrize("encoder_depth", [1, 2])
@pytest.mark.parametrize("revival", ["residual", "data", "none"])
def test_dead_latents_are_pointed_at_residuals_at_rows_or_left(revival, encoder_depth):
    model = sae(revival=revival, encoder_depth=encoder_depth, precision="double")
    x = (X - X.mean(dim=0)).double()[:64]
    stepper = stepper_for([model], [0], x)
    stepper.step(x, torch.ones(64, dtype=torch.float64), 0.0, 1, True)
    dead = torch.tensor([1, 8, 20])
    stepper.fired[0] += 1
    stepper.fired[0, dead] = 0
    before = {n: v[0].clone() for n, v in stepper.params.items()}
    residual = stepper.last[1].reshape(64, D)
    stepper.close(revive=True)
    after = {n: v[0] for n, v in stepper.params.items()}
    living = torch.ones(32, dtype=torch.bool)
    living[dead] = False
    for name in ("decoder", "encoder", "encoder_bias"):
        assert torch.equal(before[name][living], after[name][living]), name
    if revival == "none":
        assert all(torch.equal(before[n], after[n]) for n in before)
        return
    towards = normalize(residual if revival == "residual" else x, dim=1)
    assert torch.allclose((after["decoder"][dead] @ towards.T).max(dim=1).values, torch.ones(3, dtype=torch.float64))
    assert torch.equal(after["encoder_bias"][dead], torch.zeros(3, dtype=torch.float64))
    size = after["encoder"][living].norm(dim=1).mean()
    assert torch.allclose(after["encoder"][dead].norm(dim=1), size.expand(3))
    assert not stepper.moments["decoder/first"][0, dead].any()


def test_revival_leaves_fewer_latents_dead():
    params = {"n_codes": 128, "k": 2, "k_start": 1.0, "samples": 20_000}
    dead = {r: sae(revival=r, **params).fit(X, seed=0).history_["dead"][-1] for r in ("residual", "data", "none")}
    assert dead["residual"] < dead["none"]
    assert dead["data"] <= dead["none"]


# ------------------------------------------------------------------------------------------------------------ inference


@pytest.mark.parametrize("kind", [TopKSAE, BatchTopKSAE, ReLUSAE])
def test_codes_by_pursuit_or_regression_are_of_the_same_dictionary_and_pursuit_is_no_worse(kind):
    own, pursuit, regression = (sae(kind, inference=how).fit(X, seed=0) for how in ("encoder", "pursuit", "regression"))
    assert torch.equal(own.dictionary_, pursuit.dictionary_)
    assert torch.equal(own.dictionary_, regression.dictionary_)
    for model in (pursuit, regression):
        codes = model.encode(X)
        assert (codes.values > 0).all()
        assert not torch.equal(codes.dense(), own.encode(X).dense())
    assert pursuit.encode(X).indptr.diff().max() <= own.encode(X).indptr.diff().max()
    assert regression.encode(X).indptr.diff().float().mean() < D
    if kind is not ReLUSAE:  # an L1 penalty shrinks its own codes and allows many
        assert explained(pursuit, X) > explained(own, X) - 0.02


# ------------------------------------------------------------------------------------------------------------- together


def test_models_that_are_trained_together_are_those_trained_alone():
    models = [sae(), sae(GatedSAE), sae(BatchTopKSAE, n_codes=40), sae(JumpReLUSAE, lr=3e-3)]
    fit_together(models, X, [5, 5, 5, 5], threads=1)
    for model in models:
        assert same(model, model.clone().fit(X, seed=5)), model
    spread = [m.clone() for m in models]
    fit_together(spread, X, [5, 5, 5, 5], threads=4)
    assert all(same(a, b) for a, b in zip(models, spread, strict=True))


def test_seeds_differ_in_their_start_and_share_their_batches():
    models = [sae(), sae(), sae()]
    fit_together(models, X, [5, 6, 5], threads=1)
    assert same(models[0], sae().fit(X, seed=5))
    assert same(models[0], models[2])
    assert not torch.equal(models[0].dictionary_, models[1].dictionary_)


def test_a_stack_is_its_models_to_tolerance():
    kinds = [TopKSAE, TopKSAE, GatedSAE, GatedSAE, BatchTopKSAE]
    apart, stacked = ([sae(kind, precision="double", samples=1280) for kind in kinds] for _ in range(2))
    fit_together(apart, X, [0, 1, 2, 3, 4], threads=1, stack=False)
    fit_together(stacked, X, [0, 1, 2, 3, 4], threads=1, stack=True)
    for a, b in zip(apart, stacked, strict=True):
        for name, value in tensors(a).items():
            torch.testing.assert_close(value, tensors(b)[name], atol=1e-5, rtol=1e-4)
        assert a.history_["loss"] == pytest.approx(b.history_["loss"], rel=1e-6)


@pytest.mark.parametrize("name", ["samples", "batch_size", "held_out", "scale", "precision"])
def test_models_that_cannot_share_a_stream_are_refused(name):
    value = {"samples": 100, "batch_size": 32, "held_out": 7, "scale": "none", "precision": "double"}[name]
    with pytest.raises(InvalidInput, match=f"must have one {name}"):
        fit_together([sae(), sae(**{name: value})], X, [0, 0])
    with pytest.raises(InvalidInput, match="one seed per model"):
        fit_together([sae()], X, [0, 1])


@pytest.mark.slow
def test_a_stream_of_any_length_is_learned_in_bounded_memory():
    def stream():
        g = torch.Generator().manual_seed(0)
        for _ in range(500):
            yield torch.randn(4000, 32, generator=g)

    model = sae(n_codes=16, k=2, batch_size=4096, samples=2_000_000)
    process, peaks = psutil.Process(), []

    def watched():
        for i, chunk in enumerate(stream()):
            if i % 50 == 49:
                peaks.append(process.memory_info().rss)
            yield chunk

    model.fit(watched(), seed=0)
    assert model.history_["samples"][-1] == 2_000_000
    assert max(peaks) - peaks[0] < 60e6  # all rows are 256 MB


# ------------------------------------------------------------------------------------------------------------ bad input


@pytest.mark.parametrize("form", [lambda x: x, Again])
@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_data_that_are_not_finite_are_refused_by_place(form, bad):
    x = X.clone()
    x[3210, 5] = bad
    with pytest.raises(InvalidInput, match=r"row 3210, column 5 of the data is (nan|inf): check the data"):
        sae().fit(form(x), seed=0)


def test_data_that_say_nothing_are_refused():
    with pytest.raises(InvalidInput, match="all 4000 rows looked at are equal, so there is nothing to learn: give data that vary"):
        sae(samples=4000, batch_size=50).fit(torch.ones(4000, 3), seed=0)


@pytest.mark.parametrize("kind", [TopKSAE, BatchTopKSAE, GatedSAE, JumpReLUSAE])
def test_constant_columns_are_told_of_once_and_do_no_harm(kind):
    x = torch.cat([X, torch.full((len(X), 2), 7.0)], dim=1)
    with pytest.warns(UserWarning, match=r"2 of 14 columns are constant in the \d+ rows looked at \(12, 13\)") as told:
        model = sae(kind).fit(x, seed=0)
    assert len(told) == 1
    assert "\n" not in str(told[0].message)
    assert all(value.isfinite().all() for value in tensors(model).values())
    decoded = model.decode(model.encode(x))
    assert decoded.isfinite().all()
    assert (decoded - x)[:, 12:].abs().mean() < 0.1
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        sae(kind).fit(X, seed=0)


@pytest.mark.parametrize("form", [lambda x: x, Again])
def test_fewer_rows_than_atoms_are_refused(form):
    with pytest.raises(InvalidInput, match=r"31 rows, but TopKSAE .* needs at least 32: give more rows"):
        sae().fit(form(X[:31]), seed=0)


def test_a_stream_that_ends_too_early_says_so():
    with pytest.raises(InvalidInput, match="ended after 4000 of the 6400 rows"):
        sae().fit(iter(Again(X)), seed=0)
    with pytest.raises(InvalidInput, match="held-out rows need data that can be read again"):
        sae(held_out=5).fit(iter(Again(X)), seed=0)


@pytest.mark.parametrize("kind", [ReLUSAE, TopKSAE, GatedSAE])
def test_training_that_diverges_says_what_to_lower(kind):
    with pytest.raises(InvalidInput, match=rf"{kind.__name__} diverged: after \d+ rows its loss is (nan|inf): lower lr, which is 1e\+30"):
        sae(kind, lr=1e30, warm_up=0.0, decay=0.0, bias="learned").fit(X, seed=0)


def test_a_row_at_the_centre_is_no_atom():
    """Revival by whole rows meets rows of zeros where no bias is taken off."""
    x = X.clone()
    x[::2] = 0
    model = sae(bias="none", revival="data", n_codes=64).fit(x, seed=0)
    torch.testing.assert_close(model.dictionary_.norm(dim=1), torch.ones(64))


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"k": 33}, "k must lie between 1 and n_codes = 32, not be 33"),
        ({"initialisation": "best"}, "initialisation must be one of 'random', 'orthogonal', 'data', not 'best'"),
        ({"bias": "median"}, "bias must be one of"),
        ({"scale": 2}, "scale must be one of"),
        ({"revival": True}, "revival must be one of"),
        ({"inference": "magic"}, "inference must be one of"),
        ({"precision": "half"}, "precision must be one of"),
        ({"encoder_depth": 4}, "encoder_depth must be 1, 2 or 3, not 4"),
        ({"warm_up": 1.5}, "are shares"),
        ({"beta2": 1.0}, "beta2"),
        ({"patience": 3}, "patience needs held-out rows: set held_out"),
        ({"held_out": 4000}, "4000 rows and 4000 are held out, so none is left"),
    ],
)
def test_settings_out_of_range_are_refused(params, message):
    with pytest.raises(InvalidInput, match=message):
        sae(**params).fit(X, seed=0)


def test_what_is_not_fitted_or_of_another_width_is_refused():
    for use in (lambda model: model.encode(X), lambda model: model.decode(torch.zeros(3, 32))):
        with pytest.raises(InvalidInput, match="TopKSAE is not fitted yet: call fit first"):
            use(sae())
    with pytest.raises(InvalidInput, match="11 columns, but the fit was on 12"):
        sae(samples=64).fit(X, seed=0).encode(X[:, :11])


# ------------------------------------------------------------------------------------------------------------ precision


def test_double_precision_is_single_to_its_precision():
    single, double = (sae(precision=p, samples=640).fit(X, seed=0) for p in ("single", "double"))
    assert double.dictionary_.dtype == torch.float32
    torch.testing.assert_close(single.dictionary_, double.dictionary_, atol=1e-3, rtol=0)
    assert not torch.equal(single.dictionary_, double.dictionary_)


def test_mixed_precision_is_for_cuda():
    with pytest.raises(InvalidInput, match="precision 'mixed' is for CUDA, and the data are on the CPU: set precision to 'single'"):
        sae(precision="mixed").fit(X, seed=0)


@pytest.mark.parametrize("kind", [TopKSAE, GatedSAE, ReLUSAE])
def test_products_in_bfloat16_leave_parameters_and_loss_in_single_precision(kind):
    """The step of mixed precision, which the CPU can take too, slowly."""
    x = X - X.mean(dim=0)
    losses = {}
    for precision in ("single", "mixed"):
        model = sae(kind, precision=precision)
        atoms, generator = starting_atoms(model, x, 0)
        stepper = TorchStepper([model], [model.initial(atoms, generator, x)], [generator])
        for i in range(50):
            stepper.step(x[64 * i : 64 * i + 64], torch.ones(64), i / 100, i + 1, i == 49)
        assert all(v.dtype == torch.float32 and v.isfinite().all() for v in stepper.params.values())
        losses[precision] = stepper.report(0)[0]
    assert losses["mixed"] == pytest.approx(losses["single"], rel=0.05)
    assert losses["mixed"] != losses["single"]


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
@pytest.mark.parametrize("precision", ["single", "mixed"])
def test_cuda_learns_what_the_cpu_learns(precision):
    here = sae().fit(X, seed=0)
    models = [sae(precision=precision) for _ in range(3)]
    fit_together(models, X.cuda(), [0, 1, 2])
    for model in models:
        assert model.dictionary_.device.type == "cuda"
        assert abs(explained(model, X.cuda()) - explained(here, X)) < 0.1
