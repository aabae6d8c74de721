"""The Jacobian of codes is that of autograd, its penalty makes it smaller, and both views' atoms are found."""

import pytest
import torch

from generators.selection.sparse import SparseConcepts
from testbed.contracts import InvalidInput, Observed, View
from testbed.estimators.sparse.jacobian_sae import JacobianSAE, jacobian
from testbed.numerics.matching import active, cosine, mean_correlation


def small(**params):
    return JacobianSAE(**{"n_codes": 64, "k": 5, "samples": 40_000, "hidden": 64, "view": "level_1", "output_view": "level_0", **params})


@pytest.fixture(scope="module")
def instance():
    return SparseConcepts(levels=(8, 40), dimension=32, views="per_level").draw(1106)


@pytest.fixture(scope="module")
def rows(instance):
    return instance.sample(10_000, 0).observed


@pytest.fixture(scope="module")
def fitted(rows):
    return small().fit(rows, seed=0)


def test_the_small_block_is_what_autograd_finds():
    g = torch.Generator().manual_seed(0)
    shapes = {"decoder": (9, 5), "output_encoder": (9, 4), "map_in": (7, 5), "map_in_bias": (7,), "map_out": (4, 7), "map_out_bias": (4,)}
    p = {name: torch.randn(shape, generator=g, dtype=torch.float64) for name, shape in shapes.items()}
    codes = torch.rand(9, generator=g, dtype=torch.float64)

    def outputs(codes):
        x = codes @ p["decoder"]
        return p["output_encoder"] @ (p["map_out"] @ (p["map_in"] @ x + p["map_in_bias"]).relu() + p["map_out_bias"])

    whole = torch.autograd.functional.jacobian(outputs, codes)  # (9, 9)
    inputs, out = torch.tensor([[1, 4, 8]]), torch.tensor([[0, 7, 2]])
    on, off = torch.ones(1, 3, dtype=torch.float64), torch.tensor([[1.0, 0.0, 1.0]], dtype=torch.float64)
    found = jacobian(p, (codes @ p["decoder"])[None], (inputs, on), (out, off))
    torch.testing.assert_close(found[0], whole[out[0]][:, inputs[0]] * off.T)


def test_atoms_of_both_views_are_found_and_state_returns(instance, fitted):
    sample = instance.sample(4096, 0, "test").observed
    both = {"level_1": (fitted.dictionary_, fitted.encode(sample)), "level_0": (fitted.output_dictionary_, fitted.encode_output(sample))}
    for name, (atoms, codes) in both.items():
        truth = instance.truth.dictionary(name)
        chance = cosine(truth, torch.randn(64, 32, generator=torch.Generator().manual_seed(0)))
        found = cosine(truth, atoms) * active(codes)
        assert mean_correlation(found, found) > mean_correlation(chance, chance) + 0.15, name
        torch.testing.assert_close(atoms.norm(dim=1), torch.ones(64))
    codes = both["level_1"][1]
    x = sample.views["level_1"].values
    assert torch.equal(fitted.encode(x).values, codes.values)  # the output is not read
    assert (fitted.decode(codes) - x).square().sum() < 0.4 * (x - x.mean(dim=0)).square().sum()
    other = small().set_state(*fitted.get_state())
    assert torch.equal(other.encode(sample).values, codes.values)
    assert torch.equal(other.encode_output(sample).values, both["level_0"][1].values)


def test_the_penalty_makes_the_jacobian_smaller_at_little_cost(rows, fitted):
    free, dear = small(jacobian=0.0).fit(rows, seed=0), small(jacobian=3.0).fit(rows, seed=0)
    assert fitted.jacobian_.shape == (64, 64)
    assert dear.jacobian_.sum() < fitted.jacobian_.sum() < free.jacobian_.sum()
    assert dear.jacobian_.sum() < 0.6 * free.jacobian_.sum()
    x = rows.views["level_1"].values
    lost = [(m.decode(m.encode(rows)) - x).square().sum() / (x - x.mean(dim=0)).square().sum() for m in (free, dear)]
    assert lost[1] < lost[0] + 0.15


def test_the_map_predicts_the_output_and_is_not_moved_by_the_penalty(rows, fitted):
    x, y = rows.views["level_1"].values, rows.views["level_0"].values
    inside = ((x - fitted.bias_[:32]) @ fitted.map_in_.T + fitted.map_in_bias_).relu()
    predicted = inside @ fitted.map_out_.T + fitted.map_out_bias_ + fitted.bias_[32:]
    assert (predicted - y).square().sum() < 0.5 * (y - y.mean(dim=0)).square().sum()
    model = small()
    model.widths_ = [32, 32]
    both = torch.cat([x, y], dim=1)[:64]
    atoms = torch.nn.functional.normalize(torch.randn(64, 32, generator=torch.Generator().manual_seed(0)), dim=1)
    start = model.initial(atoms, torch.Generator().manual_seed(0), both)
    slopes = []
    for price in (0.0, 5.0):
        model.jacobian = price
        slopes.append(torch.func.grad(lambda p: model.loss(p, both, both[:, :32], torch.ones(64), 1.0)[0])(start))
    moved = {name for name in start if not torch.equal(slopes[0][name], slopes[1][name])}
    assert moved == {"decoder", "output_encoder"}


def test_each_view_has_units_of_its_own(rows):
    x, y = (rows.views[name].values for name in ("level_1", "level_0"))
    plain, scaled = Observed({"level_1": View(x), "level_0": View(y)}), Observed({"level_1": View(4 * x + 8), "level_0": View(16 * y - 16)})
    a, b = (small(samples=3000).fit(data, seed=0) for data in (plain, scaled))
    assert float(b.encode(scaled).values.sum() / a.encode(plain).values.sum()) == pytest.approx(4, rel=0.01)
    assert float(b.encode_output(scaled).values.sum() / a.encode_output(plain).values.sum()) == pytest.approx(16, rel=0.01)
    assert float(b.jacobian_.sum() / a.jacobian_.sum()) == pytest.approx(4, rel=0.02)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"output_view": None}, "output_view"),
        ({"jacobian": -1.0}, "jacobian"),
        ({"hidden": 0}, "hidden"),
        ({"bias": "learned"}, "bias"),
        ({"encoder_depth": 2}, "encoder_depth"),
        ({"k": 65}, "n_codes = 64"),
    ],
)
def test_what_makes_no_sense_is_refused(rows, params, message):
    with pytest.raises(InvalidInput, match=message):
        small(**params).fit(rows, seed=0)
