"""Top-down trees of states: what they share with the selected law, what they break, and what doing does to them."""

import itertools

import pytest
import torch

from generators.controls.classic_states import ClassicStates
from generators.controls.joint_emission_states import JointEmissionStates
from generators.saving import load_instance, same_state, save_instance
from generators.selection.discrete.family import DiscreteHierarchy
from generators.selection.discrete.law import joint
from testbed.contracts import InvalidInput

SPEC = {
    "depth": 2,
    "states": [2, [3, 2], 3],
    "branching": [2, [2, 1]],
    "synonyms": [[1, 3], [2, 1]],
    "leaf_concentration": 2.0,
    "preference": 1.0,
}
PLACES = [(0, 0), (1, 0), (1, 1), (2, 0), (2, 1), (2, 2)]


def law(instance):
    """Probability of every configuration, from the instance's law."""
    return joint(instance.law, PLACES)


def given(p, place, other):
    """P(other | place), shape (states, states)."""
    a, b = PLACES.index(place), PLACES.index(other)
    table = p.sum(dim=[d for d in range(p.ndim) if d not in (a, b)])
    table = table if a < b else table.T
    return table / table.sum(dim=1, keepdim=True)


@pytest.fixture(scope="module")
def worlds():
    return {cls: cls(**SPEC).draw(3) for cls in (DiscreteHierarchy, ClassicStates, JointEmissionStates)}


def test_joint_emission_is_the_selected_law_to_the_bit(worlds):
    selected, twin = worlds[DiscreteHierarchy], worlds[JointEmissionStates]
    assert law(twin).equal(law(selected))
    a, b = selected.sample(5000, 7), twin.sample(5000, 7)
    assert a.observed.views["tokens"].values.equal(b.observed.views["tokens"].values)
    assert all(a.latents[level].equal(b.latents[level]) for level in a.latents)
    assert twin.truth.facts["direction_class"] == ["selection", "joint_emission"]
    assert not any(key.startswith("potential") for key in twin.truth.facts)


def test_emission_tables_times_the_root_are_the_law(worlds):
    twin = worlds[JointEmissionStates]
    facts, found = twin.truth.facts, torch.zeros(2, 3, 2, 3, 3, 3, dtype=torch.float64)
    for v, a, b, x, y, z in itertools.product(range(2), range(3), range(2), *[range(3)] * 3):
        low = facts["emission/1"][a, x * 3 + y] * facts["emission/1"][3 + b, z]
        found[v, a, b, x, y, z] = facts["marginals/0"][0, v] * facts["emission/0"][v, a * 2 + b] * low
    assert torch.allclose(found, law(twin), atol=1e-12)


def test_classic_keeps_marginals_and_tables_of_a_composite_and_a_constituent(worlds):
    p, q = law(worlds[DiscreteHierarchy]), law(worlds[ClassicStates])
    assert not torch.allclose(p, q, atol=1e-3)
    for a in range(6):
        rest = [d for d in range(6) if d != a]
        assert torch.allclose(p.sum(dim=rest), q.sum(dim=rest), atol=1e-12)
    for above, below in (((0, 0), (1, 0)), ((0, 0), (1, 1)), ((1, 0), (2, 0)), ((1, 0), (2, 1)), ((1, 1), (2, 2))):
        assert torch.allclose(given(p, above, below), given(q, above, below), atol=1e-12)


def test_classic_children_are_independent_given_their_parent(worlds):
    p, q = law(worlds[DiscreteHierarchy]), law(worlds[ClassicStates])

    def gap(p):
        triple = p.sum(dim=(0, 2, 5))  # (1, 0) and its two leaves
        triple = triple / triple.sum(dim=(1, 2), keepdim=True)
        return float((triple - triple.sum(dim=2, keepdim=True) * triple.sum(dim=1, keepdim=True)).abs().max())

    assert gap(q) < 1e-12 < 0.05 < gap(p)


def test_rows_follow_the_law_and_the_oracle_is_bayes_rule(worlds):
    classic = worlds[ClassicStates]
    sample = classic.sample(40_000, 5)
    leaves, codes = sample.latents[2], classic.truth.oracle(sample.observed, "tokens")
    assert codes[:, 3:].equal(leaves)
    p = law(classic)
    share = torch.zeros(3, 3, 3, dtype=torch.float64).index_put_(
        tuple(leaves.T), torch.ones(len(leaves), dtype=torch.float64), accumulate=True
    )
    assert torch.allclose(share / len(leaves), p.sum(dim=(0, 1, 2)), atol=0.01)
    for place, column in enumerate(((0, 0), (1, 0), (1, 1))):
        table = p.sum(dim=[d for d in range(3) if d != PLACES.index(column)])  # (state, x, y, z)
        assert codes[:, place].equal(table.argmax(dim=0)[tuple(leaves.T)])


@pytest.mark.parametrize("cls", [ClassicStates, JointEmissionStates])
def test_conditioning_is_bayes_rule_and_doing_cuts_the_arrow_from_above(cls, worlds):
    instance, p = worlds[cls], law(worlds[cls])
    wanted = torch.zeros_like(p)
    wanted[:, :, :, 1] = p[:, :, :, 1]
    assert torch.allclose(law(instance.condition({(2, 0): 1})), wanted / wanted.sum(), atol=1e-12)
    done = law(instance.do_then_select({(1, 0): 2}))
    above = p.sum(dim=(1, 3, 4))  # all that is not below (1, 0): v, b, z
    below = p.sum(dim=(0, 2, 5))[2]
    expected = torch.zeros_like(p)
    expected[:, 2] = above[:, :, None, None, :] * (below / below.sum())[None, None, :, :, None]
    assert torch.allclose(done, expected, atol=1e-12)
    root = law(instance.select_then_do({(0, 0): 1}))
    assert torch.allclose(root[1], p[1] / p[1].sum(), atol=1e-12)
    assert root[0].sum() == 0


@pytest.mark.parametrize("cls", [ClassicStates, JointEmissionStates])
def test_steered_trees_are_saved(cls, worlds, tmp_path):
    for name, one in (("c", worlds[cls].condition({(2, 0): 1})), ("d", worlds[cls].do_then_select({(1, 0): 2}))):
        again = load_instance(save_instance(one, tmp_path / name))
        assert same_state(one, again)
        assert law(again).equal(law(one))


def test_what_cannot_be_is_refused(worlds):
    with pytest.raises(InvalidInput, match="forest"):
        ClassicStates(depth=2, states=2, concepts=[2, 2, 3], synonyms=2).draw(0)
    with pytest.raises(InvalidInput, match="do_then_select"):
        worlds[ClassicStates].condition({(2, 0): 1}).do_then_select({(1, 0): 2})
    with pytest.raises(InvalidInput, match="but has 1"):
        worlds[ClassicStates].condition({(2, 0): 1}).condition({(2, 0): 0})
