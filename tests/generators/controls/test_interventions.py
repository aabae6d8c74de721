"""Doing and conditioning on controls, against the truncated factorisation of their graphs and Bayes' rule, by enumeration."""

import itertools

import pytest
import torch
from scipy.stats import chi2, multivariate_normal

from generators.controls.classic_hierarchy import ClassicHierarchy
from generators.controls.correlated import CorrelatedConcepts
from generators.controls.independent import IndependentConcepts
from generators.controls.joint_emission import JointEmissionTwin
from generators.controls.pure_noise import PureNoise
from generators.controls.shuffled_levels import ShuffledLevels
from generators.controls.twins import TwinConcepts
from generators.selection.sparse import SparseConcepts
from testbed.contracts import Intervenable, InvalidInput, NotApplicable

PARAMS = {"levels": (1, 2, 5), "branching": 2, "rate": 0.5, "rate_floor": 0.3, "dimension": 12, "k": 1, "rule": "k_of_n"}
N = 40_960
STATES = torch.tensor(list(itertools.product([0, 1], repeat=8)))
CONTROLS = [ClassicHierarchy, JointEmissionTwin, IndependentConcepts, CorrelatedConcepts, ShuffledLevels, TwinConcepts]


def drawn(cls, **params):
    return cls(**{**PARAMS, **params}).draw(0)


def on(sample):
    return torch.cat([rows.dense() > 0 for rows in sample.latents.values()], dim=1).double()


def all_rates(instance):
    return torch.cat(list(instance.truth.rates.values()))


def node(instance, place):
    return instance.world.forest.start(place[0]) + place[1]


def tuple_chances(instance, level, i):
    """P(tuple | composite off), P(tuple | composite on), shape (2, 4), bit j of a tuple's number being constituent j."""
    if isinstance(instance.truth.facts.get("emission/0"), torch.Tensor):
        return instance.truth.facts[f"emission/{level}"][i]
    given = instance.truth.facts[f"constituent_rates/{level}"][:, i]  # (2, s)
    bits = torch.arange(4)[:, None] >> torch.arange(2) & 1
    return torch.where(bits.bool(), given[:, None], 1 - given[:, None]).prod(dim=-1)


def mutilated(instance, done):
    """Law of all 256 configurations when arrows into the concepts of `done` are cut, from the instance before anything was done."""
    forest, rates = instance.world.forest, instance.truth.rates
    forced = {node(instance, place): int(value > 0) for place, value in done.items()}
    law = torch.ones(len(STATES), dtype=torch.float64)
    for level in range(len(forest.sizes)):
        for root in forest.roots(level).tolist():
            at = forest.start(level) + root
            if at not in forced:
                law *= torch.where(STATES[:, at] == 1, rates[level][root], 1 - rates[level][root])
    for level, lower in enumerate(forest.constituents):
        for i, below in enumerate((lower + forest.start(level + 1)).tolist()):
            table = tuple_chances(instance, level, i).reshape(2, 2, 2)  # state, constituent 1, constituent 0
            for j in range(2):
                if below[j] in forced:
                    table = table.sum(dim=2 - j, keepdim=True).expand(2, 2, 2)
            law *= table[STATES[:, forest.start(level) + i], STATES[:, below[1]], STATES[:, below[0]]]
    for at, state in forced.items():
        law *= (STATES[:, at] == state).double()
    return law


def given(instance, law, setting):
    for place, value in setting.items():
        law = law * (STATES[:, node(instance, place)] == int(value > 0)).double()
    return law / law.sum()


def follows(instance, law):
    """Rates of the truth are those of the law, and the sampler's configurations pass a chi-square test at level 1e-4."""
    torch.testing.assert_close(all_rates(instance), law @ STATES.double(), rtol=1e-9, atol=1e-12)
    code = (on(instance.sample(N, 1)).long() @ (2 ** torch.arange(7, -1, -1))).bincount(minlength=256).double()
    assert code[law == 0].sum() == 0
    common = law * N >= 5
    expected = torch.cat([law[common] * N, (law[~common].sum() * N)[None]])
    found = torch.cat([code[common], code[~common].sum()[None]])
    kept = expected > 1e-9
    statistic = float(((found - expected).square() / expected)[kept].sum())
    assert chi2.sf(statistic, int(kept.sum()) - 1) > 1e-4 if kept.sum() > 1 else statistic < 1e-9


DONE = [{(0, 0): 1.0}, {(1, 0): 0.0}, {(1, 1): 2.0, (2, 0): 1.0}, {(0, 0): 0.0, (1, 0): 1.5}, {(2, 3): 1.0}]
GIVEN = [{(0, 0): 1.0}, {(2, 1): 0.0}, {(1, 0): 1.0, (2, 4): 1.0}]


@pytest.mark.parametrize("cls", [ClassicHierarchy, JointEmissionTwin])
@pytest.mark.parametrize("done", DONE)
def test_doing_is_the_truncated_factorisation_of_the_top_down_tree(cls, done):
    instance = drawn(cls)
    law = mutilated(instance, done)
    assert float(law.sum()) == pytest.approx(1)
    follows(instance.do_then_select(done), law)
    again = instance.select_then_do(done).sample(100, 1)
    assert torch.equal(on(again), on(instance.do_then_select(done).sample(100, 1)))  # nothing is selected


@pytest.mark.parametrize("cls", [ClassicHierarchy, JointEmissionTwin])
@pytest.mark.parametrize("setting", GIVEN)
def test_conditioning_is_bayes_rule_before_and_after_doing(cls, setting):
    instance = drawn(cls)
    follows(instance.condition(setting), given(instance, mutilated(instance, {}), setting))
    done = {(1, 1): 1.0}
    follows(instance.do_then_select(done).condition(setting), given(instance, mutilated(instance, done), setting))


def test_conditioning_cannot_tell_the_twin_from_selection_and_doing_can():
    twin, selected = drawn(JointEmissionTwin), drawn(SparseConcepts)
    for setting in GIVEN:
        torch.testing.assert_close(all_rates(twin.condition(setting)), all_rates(selected.condition(setting)), rtol=1e-9, atol=0)
    composite = {(1, 0): 1.0}
    lower = [3 + j for j in twin.truth.constituents[1][0]]
    there = all_rates(selected.select_then_do(composite))
    here = all_rates(twin.select_then_do(composite))
    assert torch.equal(there[lower], all_rates(selected)[lower])  # selection: nothing below a composite changes
    assert ((here - all_rates(twin)).abs()[lower] > 0.01).all()  # joint emission: another tuple is emitted
    assert here[0] == pytest.approx(float(all_rates(twin)[0]))  # what is above stays here
    assert abs(float(there[0] - all_rates(selected)[0])) > 0.01  # and is composed anew there


def test_a_constituent_that_is_set_leaves_its_composite_and_its_siblings_alone_in_the_twin():
    twin = drawn(JointEmissionTwin)
    before, after = twin.sample(4000, 3), twin.do_then_select({(2, 0): 3.0}).sample(4000, 3)
    for level in (0, 1):
        assert torch.equal(before.latents[level].dense(), after.latents[level].dense())
    assert torch.equal(before.latents[2].dense()[:, 1:], after.latents[2].dense()[:, 1:])
    assert (after.latents[2].dense()[:, 0] == 3).all()
    change = after.observed.views["mixed"].values - before.observed.views["mixed"].values
    moved = (3 - before.latents[2].dense()[:, :1]) * twin.truth.dictionaries["mixed"][2][:1]
    torch.testing.assert_close(change, moved, rtol=1e-4, atol=1e-4)


def test_the_twin_keeps_all_rows_above_and_beside_what_is_done():
    twin = drawn(JointEmissionTwin)
    below = list(twin.truth.constituents[1][0])
    before, after = twin.sample(4000, 3), twin.do_then_select({(1, 0): 1.0}).sample(4000, 3)
    stays = [j for j in range(5) if j not in below]
    assert torch.equal(before.latents[0].dense(), after.latents[0].dense())
    assert torch.equal(before.latents[2].dense()[:, stays], after.latents[2].dense()[:, stays])
    assert not torch.equal(before.latents[2].dense()[:, below], after.latents[2].dense()[:, below])


def test_children_of_a_classic_concept_follow_the_magnitude_that_it_is_given():
    instance = ClassicHierarchy(levels=(2, 6), tie=1.0, jitter=0.0, rate=0.5, dimension=8).draw(0)
    for steered in (instance.condition({(0, 0): 4.0}), instance.do_then_select({(0, 0): 4.0})):
        latents = steered.sample(500, 1).latents
        children = latents[1].dense()[:, list(instance.truth.constituents[0][0])]
        assert (latents[0].dense()[:, 0] == 4).all()
        assert (children[children > 0] == 4).all()


@pytest.mark.parametrize("cls", [IndependentConcepts, CorrelatedConcepts])
def test_without_hierarchy_doing_changes_one_concept_alone(cls):
    instance = drawn(cls, correlation=0.5 if cls is CorrelatedConcepts else 0.0)
    before, after = instance.sample(4000, 3), instance.do_then_select({(1, 0): 2.5}).sample(4000, 3)
    assert (after.latents[1].dense()[:, 0] == 2.5).all()
    x, y = on(before), on(after)
    x[:, 1] = 1
    assert torch.equal(x, y)


def test_conditioning_on_an_independent_concept_tells_nothing():
    instance = drawn(IndependentConcepts)
    steered = instance.condition({(0, 0): 0.0})
    assert torch.equal(all_rates(steered)[1:], all_rates(instance)[1:])
    assert steered.truth.rates[0][0] == 0


@pytest.mark.parametrize("rank", [1, 3])
@pytest.mark.parametrize("setting", [{(0, 0): 1.0}, {(1, 1): 0.0, (2, 0): 1.0, (2, 4): 1.0}])
def test_conditioning_correlated_concepts_is_conditioning_normals(rank, setting):
    """Against orthant probabilities of the joint normal, and the states of rows drawn."""
    instance = drawn(CorrelatedConcepts, correlation=0.6, correlation_rank=rank)
    loadings, edge = instance.truth.facts["loadings"], -torch.special.ndtri(all_rates(instance))
    nodes = [node(instance, place) for place in setting]
    signs = torch.tensor([-1.0 if value > 0 else 1.0 for value in setting.values()], dtype=torch.float64)
    steered = instance.condition(setting)
    found = all_rates(steered)
    states = on(steered.sample(N, 2))
    error = steered.truth.facts.get("rates_error", 0.0)
    assert (rank == 1) == (error == 0)

    def orthant(indices, sign):
        cov = loadings[indices] @ loadings[indices].T
        cov.fill_diagonal_(1.0)
        cov = sign[:, None] * cov * sign
        return float(multivariate_normal(cov=cov.numpy(), allow_singular=True).cdf((sign * edge[indices]).numpy()))

    below = orthant(nodes, signs)
    for i in range(8):
        if i in nodes:
            wanted = float(signs[nodes.index(i)] < 0)
        else:
            wanted = orthant([*nodes, i], torch.cat([signs, signs.new_tensor([-1.0])])) / below
        assert float(found[i]) == pytest.approx(wanted, abs=5 * error + 2e-4)
        spread = (max(wanted * (1 - wanted), 1e-9) / N) ** 0.5
        assert abs(float(states[:, i].mean()) - wanted) < 4.5 * spread + 2e-4


def test_states_that_are_too_improbable_together_are_refused_before_sampling():
    instance = CorrelatedConcepts(levels=(3, 12), dimension=16, correlation=0.1, correlation_rank=1).draw(0)
    with pytest.raises(InvalidInput, match="condition on fewer concepts"):
        instance.condition({(1, i): 1.0 for i in range(8)})


def test_labels_are_steered_as_the_concepts_that_they_stand_for():
    selected, shuffled = drawn(SparseConcepts), drawn(ShuffledLevels)
    order = shuffled.truth.facts["concept_of_label"]
    concept = int(order[0])
    place = next((level, concept - start) for level, start in ((2, 3), (1, 1), (0, 0)) if concept >= start)
    for what in ("condition", "do_then_select", "select_then_do"):
        a, b = (getattr(i, what)({at: 1.5}) for i, at in ((selected, place), (shuffled, (0, 0))))
        x, y = a.sample(500, 1), b.sample(500, 1)
        assert torch.equal(x.observed.views["mixed"].values, y.observed.views["mixed"].values)
        assert torch.equal(all_rates(a)[order], all_rates(b))


def test_a_twin_follows_its_original_and_is_followed_by_nothing():
    instance = drawn(TwinConcepts, twins=2, ratio=0.5)
    original, twin = instance.truth.facts["twins"][0]
    leaves = instance.do_then_select({(2, original): 2.0}).sample(500, 1).latents[2].dense()
    assert (leaves[:, original] == 2).all()
    assert (leaves[:, twin] == 1).all()
    before, after = instance.sample(500, 1).latents[2].dense(), instance.select_then_do({(2, twin): 3.0})
    leaves = after.sample(500, 1).latents[2].dense()
    assert (leaves[:, twin] == 3).all()
    assert torch.equal(leaves[:, :5], before[:, :5])
    assert after.truth.rates[2][twin] == 1
    for place, value in ((original, 0.8), (twin, 0.4)):
        leaves = instance.condition({(2, place): value}).sample(500, 1).latents[2].dense()
        torch.testing.assert_close(leaves[:, original], torch.full((500,), 0.8))
        torch.testing.assert_close(leaves[:, twin], torch.full((500,), 0.4))
    with pytest.raises(InvalidInput, match="give one of them"):
        instance.condition({(2, original): 1.0, (2, twin): 3.0})
    with pytest.raises(InvalidInput, match="by force"):
        after.condition({(2, twin): 0.0})


def test_pure_noise_has_nothing_to_steer():
    instance = drawn(PureNoise)
    for steer in (instance.condition, instance.do_then_select, instance.select_then_do):
        with pytest.raises(NotApplicable, match="no concepts"):
            steer({(0, 0): 1.0})


@pytest.mark.parametrize("cls", CONTROLS)
def test_every_control_is_steered_and_refuses_settings_that_are_none(cls):
    more = {CorrelatedConcepts: {"correlation": 0.4}, TwinConcepts: {"twins": 2}}
    instance = drawn(cls, **more.get(cls, {}))
    assert isinstance(instance, Intervenable)
    for what in ("condition", "do_then_select", "select_then_do"):
        steer = getattr(instance, what)
        for setting, words in (
            ({(3, 0): 1.0}, "no concept 0 of level 3"),
            ({(0, 0): -1.0}, "cannot be"),
            ({(0, 0): float("nan")}, "cannot be"),
        ):
            with pytest.raises(InvalidInput, match=words):
                steer(setting)
    with pytest.raises(InvalidInput, match=r"one value|together"):
        instance.condition({(0, 0): 1.0}).condition({(0, 0): 0.0})
    with pytest.raises(InvalidInput, match="first"):
        instance.condition({(0, 0): 1.0}).do_then_select({(0, 0): 0.0})


def test_impossible_states_are_refused():
    """A composite that is on whenever a constituent is, under joint emission."""
    with pytest.raises(InvalidInput, match="together"):
        drawn(JointEmissionTwin, rule="any").condition({(1, 0): 0.0, (2, drawn(JointEmissionTwin).truth.constituents[1][0][0]): 1.0})
