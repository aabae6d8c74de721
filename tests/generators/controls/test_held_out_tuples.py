import itertools
import math

import pytest
import torch

from generators.controls.held_out_tuples import HeldOutTuples
from generators.selection.discrete.family import DiscreteHierarchy
from generators.selection.sparse import SparseConcepts
from testbed.contracts import InvalidInput, concatenate
from testbed.numerics.unseen import FACT, unseen

SPARSE = {"levels": [1, 2, 6], "branching": [2, 3], "dimension": 16, "rule": "any", "rate": 0.3, "lone_firing": 0.5}
DISCRETE = {"synonyms": [[1, 3], [2, 4]], "leaf_concentration": 2.0}
CASES = {"sparse": SPARSE, "discrete": DISCRETE}
N = 40_000


def states(sample, truth, level):
    values = sample.latents[level]
    return (values.dense() != 0).long() if truth.levels[level].kind == "sparse" else values


def tuples_of(sample, truth, level, i):
    """The tuples themselves, row by row, without the numbering that the code uses."""
    return [tuple(row) for row in states(sample, truth, level + 1)[:, list(truth.constituents[level][i])].tolist()]


def written_out(truth, level, i, numbers):
    below = truth.levels[level + 1]
    values = [range(2) if below.kind == "sparse" else range(below.cardinalities[j]) for j in truth.constituents[level][i]]
    return {t for k, t in enumerate(itertools.product(*values)) if k in numbers}


@pytest.fixture(scope="module", params=CASES)
def drawn(request):
    family = {"sparse": SparseConcepts, "discrete": DiscreteHierarchy}[request.param]
    return HeldOutTuples(request.param, CASES[request.param], 0.25).draw(3), family(**CASES[request.param]).draw(3)


def test_no_training_row_has_a_held_out_tuple_and_test_rows_have_them_at_the_rate_of_the_whole_law(drawn):
    instance, whole = drawn
    train, test, reference = (instance.sample(N, 5, part) for part in ("train", "test", "reference"))
    assert instance.truth.facts[FACT]
    new = torch.zeros(N, dtype=torch.bool)
    for level, i, numbers in instance.truth.facts[FACT]:
        out = written_out(instance.truth, level, i, numbers)
        assert not out & set(tuples_of(train, instance.truth, level, i))
        assert out <= set(tuples_of(test, instance.truth, level, i))
        new |= torch.tensor([t in out for t in tuples_of(test, instance.truth, level, i)])
    rate = 1 - instance.truth.facts["held_out/acceptance"]
    assert 0 < rate < 1
    assert float(new.double().mean()) == pytest.approx(rate, abs=4.5 * math.sqrt(rate * (1 - rate) / N))
    assert unseen(test.latents, instance.truth).any(dim=1).equal(new)
    for sample, part in ((test, "test"), (reference, "reference")):
        there = whole.sample(N, 5, part)
        assert all(sample.observed.views[v].values.equal(there.observed.views[v].values) for v in there.observed.views)
        assert sample.observed.rows.keys() == there.observed.rows.keys()


def test_marginals_of_training_and_of_the_whole_law_are_those_of_their_rows(drawn):
    instance, whole = drawn
    facts, n = instance.truth.facts, N
    for part in ("train", "test"):
        sample = instance.sample(n, 7, part)
        for level, about in enumerate(instance.truth.levels):
            found = states(sample, instance.truth, level)
            if about.kind == "sparse":
                stated = (instance.truth.rates if part == "train" else {k: facts[f"held_out/test_rates/{k}"] for k in range(3)})[level]
                shares = found.double().mean(dim=0)
            else:
                stated = facts[f"held_out/train_marginals/{level}" if part == "train" else f"marginals/{level}"]
                shares = torch.stack([(found == v).double().mean(dim=0) for v in range(stated.shape[1])], dim=1)
            spread = (stated * (1 - stated) / n).clamp_min(0).sqrt()
            assert bool(((shares - stated).abs() <= 5 * spread + 1e-9).all())
    if instance.truth.rates:
        assert all(facts[f"held_out/test_rates/{k}"].equal(r) for k, r in whole.truth.rates.items())
        assert instance.truth.settings["l0"] == pytest.approx(float(sum(r.sum() for r in instance.truth.rates.values())))


def test_marginals_of_sparse_training_rows_are_those_of_an_enumeration():
    instance = HeldOutTuples("sparse", SPARSE, 0.25).draw(3)
    truth, world = instance.truth, instance.whole.world
    tilts = torch.split(world.tilts, list(world.forest.sizes))
    total, before, on = 0.0, 0.0, [torch.zeros(size, dtype=torch.float64) for size in world.forest.sizes]
    for leaves in itertools.product((0, 1), repeat=6):
        levels, weight, kept = [torch.tensor(leaves)], float((torch.tensor(leaves) * tilts[2]).sum()), True
        weight = math.exp(weight)
        for level in (1, 0):
            above = []
            for i, lower in enumerate(truth.constituents[level]):
                t = tuple(int(levels[0][j]) for j in lower)
                one = world.compositions[level][i]
                above.append(int(one.holds()[sum(t)]))
                weight *= float(one.potential()[sum(t)]) * math.exp(float(tilts[level][i]) * above[-1])
                numbers = {k: n for at, k, n in truth.facts[FACT] if at == level}.get(i, [])
                kept &= t not in written_out(truth, level, i, numbers)
            levels.insert(0, torch.tensor(above))
        before += weight
        if kept:
            total += weight
            for level, values in enumerate(levels):
                on[level] += weight * values
    assert truth.facts["held_out/acceptance"] == pytest.approx(total / before, abs=1e-9)
    for level in range(3):
        assert torch.allclose(truth.rates[level], on[level] / total, atol=1e-9)


def test_every_state_stays_in_training(drawn):
    instance, _ = drawn
    train, test = (instance.sample(N, 1, part) for part in ("train", "test"))
    for level, about in enumerate(instance.truth.levels):
        for i in range(about.size):
            of_train, of_test = (set(states(sample, instance.truth, level)[:, i].tolist()) for sample in (train, test))
            assert of_test <= of_train


def test_rows_are_reached_from_anywhere(drawn):
    instance, _ = drawn
    whole = instance.sample(9000, 2)
    for start in (10, 4096, 5000):
        piece = next(instance.chunks(2, "train", start))
        assert (
            piece.observed.views[name := next(iter(piece.observed.views))]
            .values[:500]
            .equal(whole.observed.views[name].values[start : start + 500])
        )
    batches = list(itertools.islice(instance.stream(3000, 2), 3))
    assert concatenate(batches).observed.views[name].values.equal(whole.observed.views[name].values)


def test_nothing_held_out_is_the_whole_instance():
    for share, composites in ((0, None), (0.3, 0)):
        instance = HeldOutTuples("discrete", DISCRETE, share, composites).draw(1)
        assert instance.truth.facts[FACT] == []
        assert instance.truth.facts["held_out/cost"] == pytest.approx(1)
        there = DiscreteHierarchy(**DISCRETE).draw(1).sample(100, 4)
        assert instance.sample(100, 4).observed.views["tokens"].values.equal(there.observed.views["tokens"].values)


def test_composites_limits_how_many_hold_tuples_out():
    assert len(HeldOutTuples("discrete", DISCRETE, 0.2, 1).draw(1).truth.facts[FACT]) == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"family": "real"}, "family is 'real'"),
        ({"share": 1.0}, "share must lie in"),
        ({"share": -0.1}, "share must lie in"),
        ({"composites": -1}, "composites must be at least 0"),
        ({"params": {"no_such": 1}}, "has no parameter 'no_such'"),
        ({"params": {"depth": 6, "states": 3}, "share": 0.5}, "lower share"),
        ({"family": "sparse", "params": {**SPARSE, "correlation": 0.5}}, "set shared and correlation to 0"),
        ({"params": {"concepts": [2, 2, 3], "roots": 2, "sampler": "markov_chain", "synonyms": 3}}, "Markov chains"),
    ],
)
def test_what_cannot_be_held_out_is_refused_in_a_sentence(change, message):
    with pytest.raises(InvalidInput, match=message):
        HeldOutTuples(**change).draw(0)
