"""Codes of the truth, and codes with a known share of errors."""

import pytest
import torch

from generators.selection.continuous.family import ContinuousHierarchy
from generators.selection.discrete.family import DiscreteHierarchy
from generators.selection.sparse import SparseConcepts
from testbed.contracts import InvalidInput, NotExpressible, Observed
from testbed.estimators.baselines.oracle_codes import OracleCodes, hashed
from testbed.numerics.matching import dense

WORLD = SparseConcepts(levels=(4, 12), dimension=24, views="per_level").draw(3)
ROWS = WORLD.sample(8_192, 1).observed


def fitted(world=WORLD, observed=ROWS, seed=0, **params):
    return OracleCodes(**params).fit(observed, seed=seed, truth=world.truth)


def test_codes_of_several_views_are_the_oracles_side_by_side():
    codes = dense(fitted().encode(ROWS))
    wanted = [dense(WORLD.truth.oracle(ROWS, view)) for view in ("level_0", "level_1")]
    assert torch.equal(codes, torch.cat(wanted, dim=1))
    assert torch.equal(dense(fitted(view="level_1").encode(ROWS)), wanted[1])
    assert torch.equal(dense(fitted(levels=[1]).encode(ROWS)), wanted[1])


@pytest.mark.parametrize(("dropped", "added"), [(0.15, 0.02), (0.5, 0.0), (0.0, 0.1)])
def test_the_shares_of_errors_are_those_that_were_asked_for(dropped, added):
    clean = dense(fitted(view="level_1").encode(ROWS)) > 0
    spoiled = dense(fitted(view="level_1", dropped=dropped, added=added).encode(ROWS)) > 0
    for found, share, n in (
        ((clean & ~spoiled).sum() / clean.sum(), dropped, clean.sum()),
        ((~clean & spoiled).sum() / (~clean).sum(), added, (~clean).sum()),
    ):
        assert abs(float(found) - share) <= 4 * (share * (1 - share) / float(n)) ** 0.5


def test_errors_follow_from_the_row_and_the_seed_alone():
    noisy = {"view": "level_1", "dropped": 0.3, "added": 0.1}
    whole = dense(fitted(**noisy).encode(ROWS))
    assert torch.equal(whole[5:9], dense(fitted(**noisy).encode(ROWS[5:9])))
    assert not torch.equal(whole, dense(fitted(seed=1, **noisy).encode(ROWS)))


def test_false_codes_have_magnitudes_that_occur():
    model = fitted(view="level_1", added=0.2)
    clean, spoiled = dense(fitted(view="level_1").encode(ROWS)), dense(model.encode(ROWS))
    false = (clean == 0) & (spoiled > 0)
    for j in range(clean.shape[1]):
        on = clean[:, j][clean[:, j] > 0]
        assert abs(float(spoiled[:, j][false[:, j]].mean() / on.mean()) - 1) < 0.1


def test_hashes_are_uniform_and_independent_between_concepts():
    word = hashed(torch.randn(20_000, 3, generator=torch.Generator().manual_seed(0)), torch.arange(4), 5)
    bits = ((word[..., None] >> torch.arange(64)) & 1).double()  # (n, 4, 64)
    assert float((bits.mean(dim=0) - 0.5).abs().max()) < 5 * 0.5 / 20_000**0.5
    assert float((torch.corrcoef(bits[:, :, 40].T) - torch.eye(4)).abs().max()) < 5 / 20_000**0.5
    assert len(word[:, 0].unique()) == 20_000


def test_real_concepts_and_states_are_read_and_decoded():
    real = ContinuousHierarchy(levels=(2, 4), branching=2, dimension=8, noise=0.01).draw(0)
    rows = real.sample(4_096, 0).observed
    model = fitted(real, rows)
    x = rows.views["leaves"].values
    assert float((model.decode(model.encode(rows)) - x).square().mean()) < 0.01 * float(x.var())
    assert torch.equal(model.encode(x), model.encode(rows))
    states = DiscreteHierarchy().draw(0)
    rows = states.sample(512, 0).observed
    codes = fitted(states, rows).encode(rows)
    assert codes.shape[1] == sum(level.size for level in states.truth.levels)


def test_the_truth_cannot_be_stored():
    with pytest.raises(NotExpressible):
        fitted().get_state()


@pytest.mark.parametrize(
    "params",
    [
        {"dropped": 1.5},
        {"added": -0.1},
        {"view": "level_0", "views": ["level_1"]},
        {"view": "level_7"},
        {"levels": [5]},
        {"levels": []},
    ],
)
def test_bad_settings_are_refused(params):
    with pytest.raises(InvalidInput):
        fitted(**params)


def test_errors_of_real_codes_a_missing_truth_and_arrays_of_several_views_are_refused():
    real = ContinuousHierarchy.small().draw(0)
    with pytest.raises(InvalidInput, match="sparse"):
        fitted(real, real.sample(100, 0).observed, dropped=0.1)
    with pytest.raises(InvalidInput, match="no truth"):
        OracleCodes().fit(ROWS, seed=0)
    with pytest.raises(InvalidInput, match="plain arrays"):
        fitted(observed=ROWS.views["level_0"].values)
    with pytest.raises(InvalidInput, match="columns"):
        fitted().encode(Observed(dict.fromkeys(("level_0", "level_1"), ROWS.views["level_0"])).views["level_0"].values)
