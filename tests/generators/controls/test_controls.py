"""Controls of the sparse family: what each shares with the selected instance, exactly, and what it breaks."""

import itertools
import math

import pytest
import torch
from scipy.stats import chi2, multivariate_normal

from generators.controls.classic_hierarchy import ClassicHierarchy, constituent_rates
from generators.controls.correlated import CorrelatedConcepts
from generators.controls.independent import IndependentConcepts
from generators.controls.joint_emission import JointEmissionTwin, emission_tables
from generators.controls.pure_noise import PureNoise
from generators.controls.shuffled_levels import ShuffledLevels
from generators.controls.twins import TwinConcepts
from generators.controls.unselected import Unselected
from generators.saving import load_instance, save_instance
from generators.selection.sparse import SparseConcepts
from testbed.contracts import InvalidInput

RULES = ["and", "k_of_n", "exclusive", "any"]
PARAMS = {"levels": (1, 2, 5), "branching": 2, "rate": 0.5, "rate_floor": 0.3, "dimension": 12, "k": 1}
N = 81_920


def selected(**params):
    return SparseConcepts(**{**PARAMS, **params}).draw(0)


def control(cls, **params):
    return cls(**{**PARAMS, **params}).draw(0)


def on(sample):
    return torch.cat([rows.dense() > 0 for rows in sample.latents.values()], dim=1).double()


def enumerate_law(instance):
    """All configurations of all nodes with their probability, from the definition: base law of the leaves x phi of every tuple."""
    world = instance.world
    sizes, last = world.forest.sizes, len(world.forest.sizes) - 1
    tilts = torch.split(world.tilts, list(sizes))
    configurations, weights = [], []
    for leaves in itertools.product([0, 1], repeat=sizes[last]):
        states, weight = [list(leaves)], math.exp(sum(t * v for t, v in zip(tilts[last].tolist(), leaves, strict=True)))
        for level in reversed(range(last)):
            above = []
            for i, lower in enumerate(world.forest.constituents[level].tolist()):
                one = world.compositions[level][i]
                count = sum(states[0][j] for j in lower)
                above.append(int(one.holds()[count]))
                weight *= float(one.potential()[count]) * math.exp(float(tilts[level][i]) * above[-1])
            states.insert(0, above)
        configurations.append([v for level in states for v in level])
        weights.append(weight)
    law = torch.tensor(weights, dtype=torch.float64)
    return torch.tensor(configurations, dtype=torch.float64), law / law.sum()


def top_down(instance, emit):
    """Law of all configurations of a top-down tree; ``emit(level, composite, state, tuple)`` is the probability of the tuple."""
    forest, rates = instance.world.forest, instance.truth.rates
    nodes = sum(forest.sizes)
    states = torch.tensor(list(itertools.product([0, 1], repeat=nodes)))
    law = torch.ones(len(states), dtype=torch.float64)
    for level in range(len(forest.sizes)):
        start = forest.start(level)
        for root in forest.roots(level).tolist():
            r = rates[level][root]
            law *= torch.where(states[:, start + root] == 1, r, 1 - r)
        if level:
            for i, lower in enumerate(forest.constituents[level - 1].tolist()):
                above = states[:, forest.start(level - 1) + i]
                own = states[:, [start + j for j in lower]]
                law *= torch.tensor([emit(level - 1, i, int(a), t) for a, t in zip(above, own.tolist(), strict=True)], dtype=torch.float64)
    return states.double(), law


@pytest.mark.parametrize("rule", RULES)
def test_the_twin_has_the_very_law_of_selection(rule):
    """Root rates times emission tables, top-down, against base x potentials: the same probability for every configuration."""
    twin = control(JointEmissionTwin, rule=rule)
    tables = [twin.truth.facts["emission/0"], twin.truth.facts["emission/1"]]

    def emit(level, i, state, own):
        return float(tables[level][i, state, sum(v << j for j, v in enumerate(own))])

    states, law = top_down(twin, emit)
    configurations, exact = enumerate_law(twin)
    code = (configurations @ 2.0 ** torch.arange(8, dtype=torch.float64)).long()
    wanted = torch.zeros(256, dtype=torch.float64).index_add(0, code, exact)
    found = torch.zeros(256, dtype=torch.float64).index_add(0, (states @ 2.0 ** torch.arange(8, dtype=torch.float64)).long(), law)
    torch.testing.assert_close(found, wanted, rtol=1e-9, atol=1e-14)


def test_the_twin_gives_the_very_rows_of_selection_and_only_the_truth_differs():
    a, b = selected(), control(JointEmissionTwin)
    first, second = a.sample(5000, 3), b.sample(5000, 3)
    assert torch.equal(first.observed.views["mixed"].values, second.observed.views["mixed"].values)
    assert torch.equal(on(first), on(second))
    assert b.truth.facts["direction"] == "joint_emission"
    assert b.truth.facts["direction_class"] == ["selection", "joint_emission"]
    assert not {"tilts", "potential", "potentials"} & set(b.truth.facts)
    assert b.truth.constituents == a.truth.constituents


def test_a_twin_comes_back_from_disk_as_a_twin(tmp_path):
    twin = load_instance(save_instance(control(JointEmissionTwin), tmp_path))
    assert twin.truth.facts["direction"] == "joint_emission"
    assert "tilts" not in twin.truth.facts


@pytest.mark.parametrize("cls", [ClassicHierarchy, JointEmissionTwin])
def test_what_is_told_from_the_top_down_needs_a_forest(cls):
    with pytest.raises(InvalidInput, match="set shared to 0"):
        cls(levels=(4, 12), branching=2, shared=2).draw(0)


def test_twins_have_every_parameter_of_the_selected_generator():
    assert set(TwinConcepts.parameter_names()) == {*SparseConcepts.parameter_names(), "twins", "ratio"}
    defaults = SparseConcepts().get_params()
    assert {key: value for key, value in TwinConcepts().get_params().items() if key in defaults} == defaults


def test_emission_tables_of_wide_composites_are_refused():
    world = SparseConcepts(levels=(1, 17), branching=17).draw(0).world
    with pytest.raises(InvalidInput, match="17 constituents"):
        emission_tables(world.forest, world.compositions, world.tilts)


@pytest.mark.parametrize("rule", RULES)
def test_the_classic_hierarchy_matches_marginals_and_parent_child_tables(rule):
    """P(parent, child) of the top-down law, against enumeration of the selected one."""
    classic = control(ClassicHierarchy, rule=rule)
    base = selected(rule=rule)
    configurations, exact = enumerate_law(base)
    wanted = (configurations * exact[:, None]).T @ configurations  # P(both on)
    given = [classic.truth.facts["constituent_rates/0"], classic.truth.facts["constituent_rates/1"]]

    def emit(level, i, state, own):
        p = given[level][state, i]
        return float(torch.where(torch.tensor(own) == 1, p, 1 - p).prod())

    states, law = top_down(classic, emit)
    assert float(law.sum()) == pytest.approx(1)
    found = (states * law[:, None]).T @ states
    torch.testing.assert_close(found.diagonal(), wanted.diagonal(), rtol=1e-9, atol=0)
    forest = base.world.forest
    for level, lower in enumerate(forest.constituents):
        for i, tuple_ in enumerate(lower.tolist()):
            for j in tuple_:
                pair = forest.start(level) + i, forest.start(level + 1) + j
                assert float(found[pair]) == pytest.approx(float(wanted[pair]), rel=1e-9)


def phi_coefficients(configurations, law):
    """Correlations of all states, shape (N, N)."""
    mean = law @ configurations
    centred = configurations - mean
    covariance = (centred * law[:, None]).T @ centred
    scale = covariance.diagonal().sqrt()
    return covariance / scale[:, None] / scale


@pytest.mark.parametrize("rule", RULES)
def test_how_well_the_classic_hierarchy_matches_pairwise_correlations(rule):
    """Exactly for a composite and its constituents and for concepts of different trees; for siblings it is what selection adds."""
    classic, base = control(ClassicHierarchy, rule=rule), selected(rule=rule)
    given = [classic.truth.facts["constituent_rates/0"], classic.truth.facts["constituent_rates/1"]]

    def emit(level, i, state, own):
        p = given[level][state, i]
        return float(torch.where(torch.tensor(own) == 1, p, 1 - p).prod())

    gap = (phi_coefficients(*top_down(classic, emit)) - phi_coefficients(*enumerate_law(base))).abs()
    forest = base.world.forest
    edges, siblings, trees = set(), set(), forest.root_of_node()
    for level, lower in enumerate(forest.constituents):
        for i, below in enumerate((lower + forest.start(level + 1)).tolist()):
            edges |= {(forest.start(level) + i, j) for j in below}
            siblings |= set(itertools.combinations(sorted(below), 2))
    for pair in edges:
        assert float(gap[pair]) < 1e-9
    for a, b in itertools.combinations(range(8), 2):
        if trees[a] != trees[b]:
            assert float(gap[a, b]) < 1e-9
    # What cannot be matched, docs/controls.md: with rule "and" siblings are nearly settled by their composite, else they are not.
    worst = {"and": 0.001, "k_of_n": 0.713, "any": 0.713, "exclusive": 0.887}[rule]
    assert max(float(gap[pair]) for pair in siblings) == pytest.approx(worst, abs=1e-3)
    assert float(gap.max()) == pytest.approx(worst, abs=1e-3)  # and nothing is worse


@pytest.mark.parametrize("rule", RULES)
def test_entropies_of_classic_and_selected_states_are_those_of_enumeration(rule):
    classic, base = control(ClassicHierarchy, rule=rule), selected(rule=rule)
    given = [classic.truth.facts["constituent_rates/0"], classic.truth.facts["constituent_rates/1"]]

    def emit(level, i, state, own):
        p = given[level][state, i]
        return float(torch.where(torch.tensor(own) == 1, p, 1 - p).prod())

    for instance, (configurations, law) in ((classic, top_down(classic, emit)), (base, enumerate_law(base))):
        assert instance.truth.facts["entropy"] == pytest.approx(float(-torch.xlogy(law, law).sum()), rel=1e-9)
        each = torch.cat([instance.truth.facts[f"concept_entropies/{level}"] for level in range(3)])
        p = law @ configurations
        torch.testing.assert_close(each, -(torch.xlogy(p, p) + torch.xlogy(1 - p, 1 - p)))


def test_rates_of_constituents_follow_from_bayes_rule():
    """P(child) = P(parent) P(child | parent on) + P(parent off) P(child | parent off), with three constituents and lone firing."""
    instance = SparseConcepts(levels=(2, 7, 24), branching=3, rule="k_of_n").draw(3)
    world, rates = instance.world, instance.truth.rates
    for level, given in enumerate(constituent_rates(world.forest, world.compositions, world.tilts)):
        total = rates[level][:, None] * given[1] + (1 - rates[level][:, None]) * given[0]
        torch.testing.assert_close(total, rates[level + 1][world.forest.constituents[level]], rtol=1e-9, atol=0)


def test_children_are_independent_given_their_parent_on_classic_data_and_not_under_selection():
    """Chi-square of the sibling table given the parent off, at level 1e-4 and beyond any doubt."""
    params = {"levels": (2, 6), "branching": 3, "rule": "k_of_n", "k": 2}
    for cls, dependent in ((ClassicHierarchy, False), (SparseConcepts, True)):
        instance = cls(**{**PARAMS, **params}).draw(0)
        states = on(instance.sample(N, 1))
        worst = 0.0
        for i, tuple_ in enumerate(instance.truth.constituents[0]):
            rows = states[states[:, i] == 0]
            for a, b in itertools.combinations(tuple_, 2):
                x, y = rows[:, 2 + a], rows[:, 2 + b]
                r = float(((x - x.mean()) * (y - y.mean())).mean() / (x.std() * y.std()))
                worst = max(worst, len(rows) * r * r)
        assert (chi2.sf(worst, 1) * 6 > 1e-4) is not dependent
    assert instance.truth.rates[0].shape == (2,)


def test_constituents_of_classic_data_follow_their_parents_magnitude():
    tied, loose = (
        ClassicHierarchy(levels=(2, 6), spread=0.5, jitter=0.0, tie=tie, rate=0.5, dimension=8).draw(0).sample(N, 1).latents
        for tie in (1.0, 0.0)
    )
    for latents, same in ((tied, True), (loose, False)):
        parent, child = latents[0].dense(), latents[1].dense()
        constituents = ClassicHierarchy(levels=(2, 6), rate=0.5, dimension=8).draw(0).truth.constituents[0]
        rows = (parent[:, 0] > 0) & (child[:, constituents[0][0]] > 0)
        assert torch.allclose(parent[rows, 0], child[rows, constituents[0][0]]) is same


@pytest.mark.parametrize("cls", [ClassicHierarchy, IndependentConcepts])
def test_rates_and_dictionary_are_those_of_selection(cls):
    a, b = selected().truth, control(cls)
    for level in a.rates:
        torch.testing.assert_close(b.truth.rates[level], a.rates[level])
    assert torch.equal(a.dictionary("mixed"), b.truth.dictionary("mixed"))
    rates = torch.cat(list(a.rates.values()))
    found = on(b.sample(N, 2)).mean(dim=0)
    assert ((found - rates).abs() / (rates * (1 - rates) / N).sqrt()).max() < 4.5


def test_independent_concepts_are_independent():
    """Chi-square on all 256 configurations against the product of the rates, at level 1e-4."""
    instance = control(IndependentConcepts)
    rates = torch.cat(list(instance.truth.rates.values()))
    states = torch.tensor(list(itertools.product([0, 1], repeat=8)), dtype=torch.float64)
    expected = N * (states * rates + (1 - states) * (1 - rates)).prod(dim=1)
    power = 2.0 ** torch.arange(7, -1, -1, dtype=torch.float64)
    found = (on(instance.sample(N, 1)) @ power).long().bincount(minlength=256).double()
    common = expected >= 5
    pooled = torch.cat([expected[common], expected[~common].sum()[None]]), torch.cat([found[common], found[~common].sum()[None]])
    statistic = float(((pooled[1] - pooled[0]).square() / pooled[0].clamp_min(1e-9)).sum())
    assert chi2.sf(statistic, int(common.sum())) > 1e-4
    assert all(c == () for level in instance.truth.constituents.values() for c in level)


@pytest.mark.parametrize("rank", [1, 3])
def test_correlated_concepts_have_the_pairs_of_a_gaussian_copula(rank):
    instance = control(CorrelatedConcepts, correlation=0.6, correlation_rank=rank)
    rates = torch.cat(list(instance.truth.rates.values()))
    loadings = instance.truth.facts["loadings"]
    correlation = loadings @ loadings.T
    states = on(instance.sample(N, 1))
    together = states.T @ states / N
    assert ((together.diagonal() - rates).abs() / (rates * (1 - rates) / N).sqrt()).max() < 4.5
    for i, j in itertools.combinations(range(8), 2):
        rho = float(correlation[i, j])
        if rank == 1:
            assert rho == pytest.approx(0.6)
        both = multivariate_normal(cov=[[1, rho], [rho, 1]]).cdf(torch.special.ndtri(rates[[i, j]]).tolist())
        assert abs(float(together[i, j]) - both) < 4.5 * (both * (1 - both) / N) ** 0.5


def test_no_correlation_is_refused():
    with pytest.raises(InvalidInput, match="take IndependentConcepts"):
        control(CorrelatedConcepts, correlation=0.0)


def test_unselected_leaves_are_independent_with_the_base_laws_log_odds():
    base, instance = selected(), control(Unselected)
    leaves = base.world.tilts[3:].sigmoid()
    torch.testing.assert_close(instance.truth.rates[2], leaves, rtol=1e-9, atol=0)
    states = on(instance.sample(N, 1))[:, 3:]
    both = states.T @ states / N
    wanted = torch.outer(leaves, leaves)
    off = ~torch.eye(5, dtype=torch.bool)
    assert ((both - wanted).abs() / (wanted * (1 - wanted) / N).sqrt())[off].max() < 4.5
    assert torch.equal(instance.truth.dictionary("mixed"), base.truth.dictionary("mixed"))
    assert instance.truth.constituents == base.truth.constituents
    assert instance.truth.facts["total_correlation"] == pytest.approx(0, abs=1e-9)
    assert base.truth.facts["total_correlation"] > 0.01


def test_importance_weights_lead_from_the_unselected_to_the_selected_law():
    """Unselected rows weighted by phi x the tilts of composites have the selected rates."""
    base, instance = selected(rule="k_of_n"), control(Unselected, rule="k_of_n")
    states, world = on(instance.sample(N, 1)), base.world
    weight = torch.ones(N, dtype=torch.float64)
    for level, lower in enumerate(world.forest.constituents):
        below = states[:, world.forest.start(level + 1) + lower]  # (N, n_l, s)
        for i, one in enumerate(world.compositions[level]):
            weight *= one.potential()[below[:, i].sum(dim=1).long()]
            node = world.forest.start(level) + i
            weight *= (float(world.tilts[node]) * states[:, node]).exp()
    weight /= weight.sum()
    rates = torch.cat(list(base.truth.rates.values()))
    effective = 1 / float(weight.square().sum())
    assert ((weight @ states - rates).abs() / (rates * (1 - rates) / effective).sqrt()).max() < 4.5


def test_shuffled_labels_leave_the_rows_alone_and_move_everything_else_together():
    base, instance = selected(), control(ShuffledLevels)
    a, b = base.sample(9000, 1), instance.sample(9000, 1)
    assert torch.equal(a.observed.views["mixed"].values, b.observed.views["mixed"].values)
    order = instance.truth.facts["concept_of_label"]
    x, y = (torch.cat([rows.dense() for rows in s.latents.values()], dim=1) for s in (a, b))
    assert torch.equal(x[:, order], y)
    assert torch.equal(base.truth.dictionary("mixed")[order], instance.truth.dictionary("mixed"))
    torch.testing.assert_close(torch.cat(list(base.truth.rates.values()))[order], torch.cat(list(instance.truth.rates.values())))
    assert not torch.equal(order, torch.arange(8))
    assert instance.truth.facts["wrong_levels"]
    with pytest.raises(InvalidInput, match="views='mixed'"):
        control(ShuffledLevels, views="per_level")


@pytest.mark.parametrize("views", ["mixed", "per_level"])
def test_twins_fire_together_in_proportion_and_the_rest_is_the_selected_instance(views):
    base, instance = selected(views=views, noise=0.0), control(TwinConcepts, views=views, noise=0.0, twins=2, ratio=0.5)
    a, b = base.sample(6000, 1), instance.sample(6000, 1)
    leaves = b.latents[2].dense()
    assert torch.equal(leaves[:, :5], a.latents[2].dense())
    for original, twin in instance.truth.facts["twins"]:
        torch.testing.assert_close(leaves[:, twin], 0.5 * leaves[:, original])
        assert leaves[:, twin].any()
    for view, levels in instance.truth.dictionaries.items():
        x = sum(b.latents[level].dense() @ atoms for level, atoms in levels.items())
        torch.testing.assert_close(b.observed.views[view].values, x + instance.truth.facts[f"bias/{view}"], rtol=0, atol=1e-4)
    assert instance.truth.settings["concepts"] == 10
    assert instance.truth.settings["l0"] == pytest.approx(sum(float(r.sum()) for r in instance.truth.rates.values()))
    with pytest.raises(InvalidInput, match="twins must lie between 0 and the number of leaves"):
        control(TwinConcepts, twins=6)


def test_another_split_of_twins_has_the_same_rows():
    """The witness: a (d + r d') = a ((d + c d') + (r - c) d'), so that the pair's atoms are not determined."""
    instance = control(TwinConcepts, noise=0.0, twins=1, ratio=0.5)
    sample = instance.sample(2000, 1)
    (original, twin), atoms = instance.truth.facts["twins"][0], instance.truth.dictionaries["mixed"][2].clone()
    leaves, c = sample.latents[2].dense(), 0.2
    other = leaves.clone()
    other[:, twin] = (0.5 - c) * leaves[:, original]
    moved = atoms.clone()
    moved[original] = atoms[original] + c * atoms[twin]
    torch.testing.assert_close(leaves @ atoms, other @ moved, rtol=1e-5, atol=1e-5)


def test_noise_has_the_moments_of_the_selected_instance_and_no_truth():
    base, instance = selected(bias=2.0), control(PureNoise, bias=2.0)
    assert instance.truth is None
    x, y = (i.sample(N, 1).observed.views["mixed"].values.double() for i in (base, instance))
    assert not instance.sample(10, 1).latents
    error = ((x.var(dim=0) + y.var(dim=0)) * (1 / N + 1 / 65_536)).sqrt()
    assert ((x.mean(dim=0) - y.mean(dim=0)).abs() / error).max() < 4.5
    torch.testing.assert_close(torch.cov(y.T), torch.cov(x.T), rtol=0.05, atol=0.02 * float(x.var(dim=0).max()))
    whitened = (y - y.mean(dim=0)) @ torch.linalg.inv(torch.linalg.cholesky(torch.cov(y.T))).T
    assert whitened.pow(4).mean(dim=0).sub(3).abs().max() < 4.5 * (96 / N) ** 0.5  # Gaussian: no excess kurtosis


def test_noise_has_every_view_of_the_selected_instance():
    views = control(PureNoise, views="per_level").sample(100, 0).observed.views
    assert list(views) == ["level_0", "level_1", "level_2"]
    assert [view.shows.levels for view in views.values()] == [(0,), (1,), (2,)]


@pytest.mark.parametrize("cls", [ClassicHierarchy, IndependentConcepts, Unselected, TwinConcepts, JointEmissionTwin])
def test_the_oracle_finds_concepts_where_noise_and_overlap_are_small(cls):
    instance = cls(levels=(3, 9, 30), dimension=128, dictionary="orthogonalised", noise=0.01, spread=0.1, bias=1.0).draw(0)
    sample = instance.sample(2000, 0)
    truth = torch.cat([rows.dense() for rows in sample.latents.values()], dim=1)
    codes = instance.truth.oracle(sample.observed, "mixed").dense()
    assert ((codes > 0) == (truth > 0)).double().mean() > 0.995


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs CUDA")
@pytest.mark.parametrize(
    "cls", [ClassicHierarchy, IndependentConcepts, CorrelatedConcepts, JointEmissionTwin, ShuffledLevels, TwinConcepts, Unselected]
)
def test_rates_hold_on_cuda_too(cls):
    instance = cls.small().draw(0).to("cuda")
    sample = instance.sample(N, 0)
    for level, rows in sample.latents.items():
        rates = instance.truth.rates[level]
        found = (rows.dense() > 0).double().mean(dim=0).cpu()
        assert (((found - rates) / (rates * (1 - rates) / N).sqrt()).abs() < 4.5).all()
