"""The crosscoder has one code for several views, each in its own units."""

import pytest
import torch

from generators.selection.sparse import SparseConcepts
from testbed.contracts import InvalidInput, Observed, View
from testbed.estimators.sparse.crosscoder import Crosscoder
from testbed.numerics.matching import active, cosine, mean_correlation

VIEWS = ("level_0", "level_1")
KINDS = ["topk", "batch_topk", "l1"]


def small(**params):
    return Crosscoder(**{"n_codes": 96, "k": 8, "samples": 80_000, "views": VIEWS, "view": "level_0", **params})


@pytest.fixture(scope="module")
def instance():
    return SparseConcepts(levels=(8, 40), dimension=32, views="per_level").draw(1105)


@pytest.fixture(scope="module")
def rows(instance):
    return instance.sample(10_000, 0).observed


@pytest.mark.parametrize("sparsify", KINDS)
def test_atoms_of_both_views_are_found_and_state_returns(instance, rows, sparsify):
    model = small(sparsify=sparsify).fit(rows, seed=0)
    sample = instance.sample(4096, 0, "test").observed
    codes = model.encode(sample)
    written = model.decode_views(codes)
    assert list(written) == list(VIEWS)
    assert torch.equal(written["level_0"], model.decode(codes))
    for name, atoms in zip(VIEWS, model.decoders_.split([32, 32], dim=1), strict=True):
        y = sample.views[name].values
        assert (written[name] - y).square().sum() < 0.5 * (y - y.mean(dim=0)).square().sum()
        truth = instance.truth.dictionary(name)
        chance = cosine(truth, torch.randn(96, 32, generator=torch.Generator().manual_seed(0)))
        found = cosine(truth, atoms) * active(codes)
        assert mean_correlation(found, found) > mean_correlation(chance, chance) + 0.15
    other = small(sparsify=sparsify).set_state(*model.get_state())
    assert torch.equal(other.encode(sample).values, codes.values)
    assert torch.equal(other.decode(codes), model.decode(codes))
    one = small(sparsify=sparsify, view="level_1").set_state(*model.get_state())
    assert torch.equal(one.decode(codes), written["level_1"])
    if sparsify != "l1":
        torch.testing.assert_close(model.norms_.square().sum(dim=1), torch.ones(96), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("params", [*({"sparsify": kind} for kind in KINDS), {"encoder_depth": 2}], ids=str)
def test_each_view_has_units_and_width_of_its_own(rows, params):
    x, y = (rows.views[name].values for name in VIEWS)
    y = y[:, :20]
    plain, scaled = Observed({"level_0": View(x), "level_1": View(y)}), Observed({"level_0": View(4 * x + 8), "level_1": View(y / 16 + 1)})
    a, b = (small(samples=3000, **params).fit(data, seed=0) for data in (plain, scaled))
    first, second = a.encode(plain), b.encode(scaled)
    assert float(second.values.sum() / first.values.sum()) == pytest.approx(4, rel=0.02)  # codes are in the unit of the first view
    before, after = a.decode_views(first), b.decode_views(second)
    torch.testing.assert_close(after["level_0"], 4 * before["level_0"] + 8, rtol=0.02, atol=0.1)
    torch.testing.assert_close(after["level_1"], before["level_1"] / 16 + 1, rtol=0.02, atol=0.02)


def test_the_penalty_weighs_codes_by_the_sum_of_their_atoms_norms():
    model = small(sparsify="l1", sparsity=0.5, sparsity_warm_up=0.0)
    model.widths_ = [2, 2]
    decoder = torch.tensor([[3.0, 4.0, 0.0, 1.0], [1.0, 0.0, 0.0, 0.0]])
    paid = model.penalty({"decoder": decoder}, torch.zeros(1, 2), torch.tensor([[2.0, 10.0]]), 1.0)
    assert float(paid) == pytest.approx(0.5 * (2 * (5 + 1) + 10 * 1), rel=1e-4)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"views": ("level_0",)}, "two different views"),
        ({"views": "level_0"}, "two different views"),
        ({"view": None}, "must be one of views"),
        ({"views": ("level_0", "level_9")}, "level_9"),
        ({"sparsify": "l0"}, "sparsify"),
        ({"sparsity": -1.0}, "sparsity"),
        ({"tied": True}, "tied"),
    ],
)
def test_what_makes_no_sense_is_refused(rows, params, message):
    with pytest.raises(InvalidInput, match=message):
        small(**params).fit(rows, seed=0)


def test_plain_arrays_are_refused(rows):
    x = rows.views["level_0"].values
    with pytest.raises(InvalidInput, match="plain array"):
        small().fit(x, seed=0)
    fitted = small(samples=2000).fit(rows, seed=0)
    with pytest.raises(InvalidInput, match="plain array"):
        fitted.encode(torch.cat([x, x], dim=1))
