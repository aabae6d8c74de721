"""The transcoder reads one view, writes the other, and each in its own units."""

import pytest
import torch

from generators.selection.sparse import SparseConcepts
from testbed.contracts import InvalidInput, Observed, View
from testbed.estimators.sparse.transcoder import Transcoder
from testbed.numerics.matching import active, cosine, mean_correlation


def small(**params):
    return Transcoder(**{"n_codes": 24, "k": 4, "samples": 60_000, "input_view": "level_1", "view": "level_0", **params})


def observed(x, y):
    return Observed({"level_1": View(x), "level_0": View(y)})


@pytest.fixture(scope="module")
def instance():
    return SparseConcepts(levels=(8, 40), dimension=32, views="per_level").draw(1104)


@pytest.fixture(scope="module")
def rows(instance):
    return instance.sample(10_000, 0).observed


@pytest.mark.parametrize("params", [{}, {"encoder_depth": 2, "bias": "learned"}], ids=str)
def test_the_targets_atoms_are_found_from_the_input_alone(instance, rows, params):
    model = small(**params).fit(rows, seed=0)
    sample = instance.sample(4096, 0, "test").observed
    codes = model.encode(sample)
    x, y = sample.views["level_1"].values, sample.views["level_0"].values
    assert torch.equal(model.encode(x).values, codes.values)  # nothing else is read
    error = (model.decode(codes) - y).square().sum()
    assert error < 0.5 * (y - y.mean(dim=0)).square().sum()
    truth = instance.truth.dictionary("level_0")
    chance = cosine(truth, torch.randn(24, 32, generator=torch.Generator().manual_seed(0)))
    found = cosine(truth, model.dictionary_) * active(codes)
    assert mean_correlation(found, found) > mean_correlation(chance, chance) + 0.3
    torch.testing.assert_close(model.dictionary_.norm(dim=1), torch.ones(24))
    other = small(**params).set_state(*model.get_state())
    assert torch.equal(other.encode(sample).values, codes.values)
    assert torch.equal(other.decode(codes), model.decode(codes))


@pytest.mark.parametrize("params", [{}, {"encoder_depth": 2, "bias": "learned"}], ids=str)
def test_each_view_has_units_and_width_of_its_own(rows, params):
    x, y = (rows.views[name].values for name in ("level_1", "level_0"))
    x = x[:, :20]
    plain = small(samples=3000, **params).fit(observed(x, y), seed=0)
    other = small(samples=3000, **params).fit(observed(4 * x + 8, 16 * y - 16), seed=0)
    assert plain.encoder_.shape[0] == 24
    assert plain.dictionary_.shape == (24, 32)
    a, b = plain.encode(x), other.encode(4 * x + 8)
    assert float(b.values.sum() / a.values.sum()) == pytest.approx(16, rel=0.01)
    torch.testing.assert_close(other.decode(b), 16 * plain.decode(a) - 16, rtol=0.02, atol=0.3)


def test_a_linear_map_is_the_start():
    """Where y = M x the encoder starts at W_d M, whatever the direction of an atom."""
    g = torch.Generator().manual_seed(0)
    x, m = torch.randn(5000, 6, generator=g), torch.randn(4, 6, generator=g)
    model = small(n_codes=10)
    model.widths_ = [6, 4]
    atoms = torch.nn.functional.normalize(torch.randn(10, 4, generator=g), dim=1)
    start = model.initial(atoms, g, torch.cat([x, x @ m.T], dim=1))
    assert (cosine(start["encoder"], atoms @ m).diagonal() > 0.999).all()


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"view": None}, "set input_view"),
        ({"input_view": None}, "set input_view"),
        ({"view": "level_9"}, "level_9"),
        ({"tied": True}, "tied"),
        ({"inference": "pursuit"}, "one view only"),
    ],
)
def test_what_makes_no_sense_is_refused(rows, params, message):
    with pytest.raises(InvalidInput, match=message):
        small(**params).fit(rows, seed=0)


def test_plain_arrays_are_refused(rows):
    with pytest.raises(InvalidInput, match="give an Observed"):
        small().fit(rows.views["level_0"].values, seed=0)
    with pytest.raises(InvalidInput, match="give an Observed"):
        small().fit(iter([rows.views["level_0"].values]), seed=0)


def test_a_stream_that_can_be_read_once_is_read_from_its_first_row(rows):
    pieces = [rows[i : i + 1000] for i in range(0, 3000, 1000)]
    once = small(samples=3000).fit(iter(pieces), seed=0)
    again = small(samples=3000).fit(pieces, seed=0)
    assert torch.equal(once.dictionary_, again.dictionary_)
