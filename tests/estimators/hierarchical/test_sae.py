"""The whole procedure: codes per view, edges, pruning."""

import json

import numpy as np
import pytest
import torch

from generators.selection.sparse import SparseConcepts
from testbed.contracts import Estimator, InvalidInput, Observed, View
from testbed.estimators.baselines.oracle_codes import OracleCodes
from testbed.estimators.classical.pca import PCA
from testbed.estimators.graphs.causal_learn import CausalLearn
from testbed.estimators.graphs.pc import PC
from testbed.estimators.hierarchical.consensus_dictionary import ConsensusDictionary, consensus, rank
from testbed.estimators.hierarchical.mixed import MixedHierarchySAE, heights
from testbed.estimators.hierarchical.nested import distinct, learned
from testbed.estimators.hierarchical.ordering import best_order, explained_shares
from testbed.estimators.hierarchical.regression_edges import RegressionEdges
from testbed.estimators.hierarchical.sae import HierarchicalSAE, pruned_graph
from testbed.estimators.hierarchical.sizing import counted, fit_sized
from testbed.estimators.sparse.topk_sae import TopKSAE

ORACLE = {"rates": "uniform", "rate": 0.25, "rate_floor": 0.15, "all_on": 6.0, "lone_firing": 0.5, "noise": 0.02}


@pytest.fixture(scope="module")
def world():
    return SparseConcepts(levels=(2, 6, 14), branching=2, dimension=32, views="per_level", **ORACLE).draw(500_001)


@pytest.fixture(scope="module")
def rows(world):
    return world.sample(6_000, 1).observed


def edges(world, found, names=("level_0", "level_1", "level_2")):
    """F1 of found edges; oracle codes are in the order of the concepts."""
    size = {name: world.truth.levels[int(name[-1])].size for name in names}
    start = {int(name[-1]): sum(size[other] for other in names[:at]) for at, name in enumerate(names)}
    true = {
        (start[level] + i, start[level + 1] + j)
        for level, tuples in world.truth.constituents.items()
        for i, tuple_ in enumerate(tuples)
        for j in tuple_
    }
    told = {(i, j) for i, tuple_ in enumerate(found) for j in tuple_}
    return 2 * len(true & told) / (len(true) + len(told))


def test_edges_are_found_between_the_oracles_codes(world, rows):
    model = HierarchicalSAE(codes=OracleCodes()).fit(rows, seed=0, truth=world.truth)
    assert model.needs_truth
    assert not HierarchicalSAE().needs_truth
    assert edges(world, model.constituents_) == 1.0
    assert model.levels_ == [0] * 2 + [1] * 6 + [2] * 14
    assert model.encode(rows[:5]).shape == (5, 22)
    assert model.decode(model.encode(rows[:5])).shape == (5, 96)
    assert model.dictionary_.shape == (22, 96)
    assert not model.dictionary_[:2, 32:].any()


def test_nothing_is_found_between_shuffled_rows(world, rows):
    model = HierarchicalSAE(codes=OracleCodes(), shuffled=True).fit(rows, seed=0, truth=world.truth)
    assert not any(model.constituents_)


def test_the_order_of_views_is_found(world, rows):
    names = ("level_1", "level_2", "level_0")
    model = HierarchicalSAE(codes=OracleCodes(), views=names, order="found").fit(rows, seed=0, truth=world.truth)
    assert model.levels_ == [1] * 6 + [2] * 14 + [0] * 2
    assert edges(world, model.constituents_, names) == 1.0
    assert model.names_ == list(names)
    assert model.sizes_ == [6, 14, 2]


def test_codes_are_found_from_data_alone_and_survive_their_state(world, rows):
    model = HierarchicalSAE(codes=ConsensusDictionary(starts=4, samples=20_000)).fit(rows, seed=0)
    latents = world.sample(2_000, 2, "test")
    codes = model.encode(latents.observed).dense()
    best = [
        max(abs(float(np.corrcoef(z, a)[0, 1])) for a in codes.T.numpy() if a.std() > 0)
        for level in range(3)
        for z in latents.latents[level].dense().T.numpy()
    ]
    assert np.mean(best) > 0.9
    arrays, plain = model.get_state()
    again = model.clone().set_state(arrays, json.loads(json.dumps(plain)))
    assert torch.equal(again.encode(rows[:50]).dense(), model.encode(rows[:50]).dense())
    assert again.constituents_ == model.constituents_
    assert torch.equal(again.decode(codes[:5]), model.decode(codes[:5]))


@pytest.mark.parametrize(
    "learner", [PC(effect=0.1, max_depth=1), CausalLearn(method="ges", samples=1_000), CausalLearn(method="pc", max_depth=1)]
)
def test_searches_of_graphs_serve_as_learners(world, rows, learner):
    model = HierarchicalSAE(codes=OracleCodes(), edges=learner).fit(rows, seed=0, truth=world.truth)
    assert edges(world, model.constituents_) > 0.7
    levels = np.array(model.levels_)
    assert all(levels[j] == levels[i] + 1 for i, tuple_ in enumerate(model.constituents_) for j in tuple_)


class Pairs(Estimator):
    """Makes one hidden node of columns 0 and 1, and one of 2 and 3."""

    def fit(self, data, *, seed):
        self.constituents_ = [[2, 3], [4, 5], *[[] for _ in range(data.shape[1])]]
        return self

    def encode(self, observed):
        return torch.cat([observed[:, :2].sum(dim=1, keepdim=True), observed[:, 2:4].sum(dim=1, keepdim=True), observed], dim=1)

    def decode(self, codes):
        return codes[:, 2:]


def test_hidden_nodes_of_a_search_are_the_upper_codes_that_they_go_with():
    lower = np.random.default_rng(0).random((500, 5)) < 0.4
    on = np.column_stack([lower[:, 2] & lower[:, 3], lower[:, 0] & lower[:, 1], lower])
    assert learned(Pairs(), on, np.array([0, 0, 1, 1, 1, 1, 1]), 0)[0] == [[4, 5], [2, 3], [], [], [], [], []]


def test_constant_columns_and_copies_are_kept_from_searches():
    a, b = np.random.default_rng(0).random((2, 100)) < 0.5
    assert distinct(np.column_stack([a, np.ones(100, bool), ~a, b, a])).tolist() == [0, 3]


def test_pruning_leaves_the_smallest_graph_that_explains_every_composite(world, rows):
    loose = RegressionEdges(errors=64.0, halves=4)
    whole = HierarchicalSAE(codes=OracleCodes(), edges=loose, prune=False).fit(rows, seed=0, truth=world.truth)
    pruned = HierarchicalSAE(codes=OracleCodes(), edges=loose).fit(rows, seed=0, truth=world.truth)
    assert edges(world, pruned.constituents_) > edges(world, whole.constituents_)
    assert all(set(a) <= set(b) for a, b in zip(pruned.constituents_, whole.constituents_, strict=True))


def test_pruning_keeps_twins():
    a, b = np.random.default_rng(0).random((2, 2_000)) < 0.2
    on = np.column_stack([a, a, a, b])
    assert pruned_graph(on, np.array([0, 1, 1, 1]), [[1, 2, 3], [], [], []], 0.0, 0.0)[0] == [1, 2]


def test_order_comes_from_who_is_a_function_of_whom():
    lower = np.random.default_rng(0).random((3_000, 6)) < 0.4
    middle = lower[:, ::2] & lower[:, 1::2]
    upper = (middle[:, :2].sum(axis=1) >= 1)[:, None]
    shares = explained_shares([lower, upper, middle])
    assert shares[2, 0] > 0.9 > shares[0, 2]
    assert best_order(shares) == [1, 2, 0]
    with pytest.raises(InvalidInput, match="at most 12"):
        explained_shares([lower] * 13)


def test_rank_is_the_number_of_directions_above_the_noise():
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(4_000, 5, generator=generator) @ torch.randn(5, 20, generator=generator)
    assert rank(x + 0.1 * torch.randn(4_000, 20, generator=generator)) == 5
    assert rank(torch.randn(4_000, 20, generator=generator)) <= 3


def test_consensus_is_what_enough_dictionaries_have():
    atoms = torch.eye(4)
    found = consensus([atoms[[0, 1]], atoms[[0, 2]], atoms[[0, 1]]], 2)
    assert torch.allclose(found, atoms[[0, 1]])
    assert len(consensus([atoms[:1], atoms[1:2]], 2)) == 0


def test_many_starts_find_the_number_of_concepts(world, rows):
    model = ConsensusDictionary(view="level_0", starts=3, samples=10_000).fit(rows, seed=0)
    assert model.rank_ == 2
    assert len(model.dictionary_) == 2
    assert min(model.lengths_[1]) <= min(model.lengths_[0])
    true = world.truth.dictionary("level_0")
    assert (model.dictionary_ @ true.T).amax(dim=0).min() > 0.98


def test_width_and_k_of_an_autoencoder_are_found(rows):
    model = fit_sized(TopKSAE(n_codes=32, k=6, samples=10_000, view="level_1"), rows, 0, True, None)
    concepts, active = counted(TopKSAE(n_codes=32, k=6, samples=10_000, view="level_1").fit(rows, seed=0), rows)
    assert (model.n_codes, model.k) == (2 * concepts, min(active, 2 * concepts))
    assert concepts >= 4
    assert fit_sized(TopKSAE(n_codes=32, k=6, samples=4_000, view="level_1"), rows, 0, False, None).n_codes == 32


def test_levels_of_one_view_are_found_from_its_codes():
    world = SparseConcepts(levels=(2, 4, 10), branching=2, dimension=48, **ORACLE).draw(500_002)
    rows = world.sample(8_000, 1).observed
    model = MixedHierarchySAE(codes=OracleCodes()).fit(rows, seed=0, truth=world.truth)
    assert edges(world, model.constituents_) > 0.9
    assert model.levels_[:2] == [0, 0]
    assert np.mean(np.array(model.levels_[2:6]) == 1) > 0.5
    assert heights([[1, 2], [2], []]) == [2, 1, 0]


@pytest.mark.parametrize(
    ("params", "sentence"),
    [
        ({"order": "random"}, "order must be one of"),
        ({"size": "huge"}, "size must be one of"),
        ({"effect": 1.5}, "effect must lie between"),
        ({"views": ["level_0", "level_0"]}, "name each view once"),
        ({"views": ["level_9"]}, "there is no view 'level_9'"),
        ({"edges": "magic"}, "edges is 'magic'"),
        ({"codes": Pairs()}, "no parameter view"),
    ],
)
def test_what_cannot_be_used_is_refused(rows, params, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        HierarchicalSAE(**{"codes": PCA(n_components=2), **params}).fit(rows[:500], seed=0)


def test_plain_arrays_and_iterators_are_refused(rows):
    with pytest.raises(InvalidInput, match="plain arrays"):
        HierarchicalSAE().fit(torch.randn(100, 4), seed=0)
    with pytest.raises(InvalidInput, match="read again"):
        HierarchicalSAE().fit(iter([rows]), seed=0)
    constant = Observed({name: View(torch.ones_like(view.values)) for name, view in rows[:200].views.items()})
    with pytest.raises(InvalidInput):
        HierarchicalSAE().fit(constant, seed=0)
