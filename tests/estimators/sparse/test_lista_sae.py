"""The LISTA encoder starts as ISTA, which converges to the lasso, and learns to find atoms."""

from itertools import pairwise

import pytest
import torch
from torch.nn.functional import normalize

from generators.selection.sparse import SparseConcepts
from testbed.contracts import InvalidInput
from testbed.estimators.sparse.lista_sae import ListaSAE
from testbed.numerics.matching import active, cosine, mean_correlation
from testbed.numerics.regression import nonnegative_lasso

G = torch.Generator().manual_seed(0)
ATOMS = normalize(torch.randn(24, 12, generator=G, dtype=torch.float64), dim=1)
X = torch.randn(40, 12, generator=G, dtype=torch.float64)


def start(**params):
    model = ListaSAE(n_codes=24, k=4, **params)
    return model, model.initial(ATOMS, torch.Generator(), X)


@pytest.mark.parametrize("coupling", ["free", "dictionary"])
def test_many_steps_of_the_starting_encoder_solve_the_lasso(coupling):
    model, params = start(steps=4000, end="l1", sparsity=0.4, coupling=coupling)
    codes = model.codes(params, X, 1.0)
    error = X - codes @ ATOMS
    # Optimality of |x - a D|^2 + s sum a over a >= 0: 2 r . d = s where a code is active, and no more elsewhere.
    slope = 2 * error @ ATOMS.T - 0.4
    assert slope.max() < 1e-6
    assert (slope * codes).abs().max() < 1e-6
    objective = error.square().sum() + 0.4 * codes.sum()
    exact = nonnegative_lasso(X, ATOMS, penalty=0.2).dense()
    assert float(objective) == pytest.approx(float((X - exact @ ATOMS).square().sum() + 0.4 * exact.sum()), rel=1e-4)


def test_each_step_of_the_starting_encoder_lowers_the_objective():
    values = []
    for steps in range(1, 8):
        model, params = start(steps=steps, end="l1", sparsity=0.4)
        codes = model.codes(params, X, 1.0)
        values.append(float((X - codes @ ATOMS).square().sum() + 0.4 * codes.sum()))
    assert all(later < earlier for earlier, later in pairwise(values))


def test_one_step_is_a_plain_encoder():
    model, params = start(steps=1)
    torch.testing.assert_close(model.preactivations(params, X), X @ params["encoder"].T + params["encoder_bias"])


def test_a_revived_latent_stands_to_the_others_as_its_new_direction_says():
    model, params = start(coupling="free")
    dead = torch.tensor([3, 7])
    fresh = normalize(torch.randn(2, 12, generator=G, dtype=torch.float64), dim=1)
    params["decoder"][dead], params["encoder"][dead] = fresh, 0.1 * fresh
    kept = params["inhibition"].clone()
    model.reset(params, dead, torch.arange(24) > 8)
    expected = torch.eye(24, dtype=torch.float64) - params["encoder"] @ params["decoder"].T
    torch.testing.assert_close(params["inhibition"][dead], expected[dead])
    torch.testing.assert_close(params["inhibition"][:, dead], expected[:, dead])
    others = [j for j in range(24) if j not in (3, 7)]
    assert torch.equal(params["inhibition"][others][:, others], kept[others][:, others])


@pytest.mark.parametrize("params", [{}, {"coupling": "free"}, {"end": "l1"}], ids=str)
def test_atoms_are_found_and_state_returns(params):
    instance = SparseConcepts(levels=(8, 40), dimension=32, composite_rate=0.015).draw(1102)
    model = ListaSAE(n_codes=96, k=8, samples=80_000, **params).fit(instance.sample(10_000, 0).observed, seed=0)
    sample = instance.sample(4096, 0, "test").observed
    codes = model.encode(sample)
    truth = instance.truth.dictionary("mixed")
    chance = cosine(truth, torch.randn(96, 32, generator=torch.Generator().manual_seed(0)))
    found = cosine(truth, model.dictionary_) * active(codes)
    assert mean_correlation(found, found) > mean_correlation(chance, chance) + 0.25
    if model.end == "topk":
        assert codes.indptr.diff().max() <= 8
    other = model.clone().set_state(*model.get_state())
    assert torch.equal(other.encode(sample).values, codes.values)
    x = sample.views["mixed"].values
    scaled = ListaSAE(n_codes=96, k=8, samples=2000, **params)
    a, b = (scaled.clone().fit(c * x, seed=0).encode(c * x).values.sum() for c in (1.0, 8.0))
    assert float(b / a) == pytest.approx(8, rel=0.01)


@pytest.mark.parametrize(
    ("params", "message"),
    [
        ({"steps": 0}, "steps"),
        ({"coupling": "none"}, "coupling"),
        ({"end": "l0"}, "end"),
        ({"sparsity": -1}, "sparsity"),
        ({"tied": True}, "number of steps"),
    ],
)
def test_what_makes_no_sense_is_refused(params, message):
    with pytest.raises(InvalidInput, match=message):
        ListaSAE(n_codes=24, **params).fit(X, seed=0)
