"""Where identifiability is lost there are two truths with one observed law; where it is not, the same recipe gives two laws."""

import dataclasses
import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from generators.assumptions import breaking, read
from generators.assumptions.selection import not_void
from generators.assumptions.states import no_twins
from generators.assumptions.witnesses import absorbed, joint_emission, merged_twins, resplit, rotated_gaussians, void_selection
from generators.selection.sparse import SparseConcepts
from testbed.contracts import InvalidInput

STATES = torch.tensor([0, 0, 1, 2])


def joint(seed=0):
    """Four tuples of three states, those of state 0 with one context law."""
    g = torch.Generator().manual_seed(seed)
    law = torch.rand(4, 5, generator=g, dtype=torch.float64) + 0.05
    law[1] = 2 * law[0]
    return law / law.sum()


def test_twins_are_one_state_or_two_and_others_are_not():
    law = joint()
    twins = breaking.twins(law, 2, 3, 1.0)
    assert not no_twins(torch.stack([twins[:2].sum(dim=0), twins[2], twins[3]])).holds
    assert merged_twins(twins, STATES, 1, 2).verified
    assert not merged_twins(twins, STATES, 0, 1).verified
    gaps = [merged_twins(breaking.twins(law, 2, 3, a), STATES, 1, 2).gap for a in (0.0, 0.5, 0.9, 1.0)]
    assert gaps == sorted(gaps, reverse=True)
    assert gaps[2] == pytest.approx(0.1 * gaps[0])


@given(st.integers(2, 6), st.integers(0, 2**31))
def test_gaussian_concepts_can_be_rotated_under_a_dense_linear_map(c, seed):
    g = torch.Generator().manual_seed(seed)
    dictionary = torch.randn(c, 8, generator=g, dtype=torch.float64)
    witness = rotated_gaussians(dictionary, g)
    assert witness.gap < 1e-12
    assert 0 <= witness.apart < 1


def test_a_rotation_of_many_gaussians_leaves_no_concept_as_it_was():
    witness = rotated_gaussians(torch.eye(64, dtype=torch.float64), torch.Generator().manual_seed(0))
    assert witness.verified
    assert witness.apart > 0.6  # matched |correlation| of a random rotation


def never_alone(lone_firing=0.0):
    return SparseConcepts(levels=(2, 8), dimension=12, zipf=0.0, lone_firing=lone_firing, spread=0.0, jitter=0.0).draw(0)


def test_without_lone_firing_a_composite_and_its_constituent_can_be_split_anew():
    shift = torch.randn(12, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
    for lone_firing, one_law in ((0.0, True), (0.1, False)):
        instance = never_alone(lone_firing)
        atoms = instance.truth.dictionaries["mixed"]
        table, states = read.tuple_laws(instance)["level 0 composite 0"]
        below = atoms[1][list(instance.truth.constituents[0][0])]
        witness = resplit(atoms[0][0], below, table, states, shift)
        assert witness.verified is one_law
        assert witness.apart > 0.1


def test_the_new_split_samples_the_same_rows_up_to_rounding():
    """Two instances with different dictionaries, row by row the same x: no data tell them apart."""
    instance = never_alone()
    shift = torch.randn(12, generator=torch.Generator().manual_seed(1))
    first = instance.truth.constituents[0][0][0]
    atoms = {level: a.clone() for level, a in instance.truth.dictionaries["mixed"].items()}
    atoms[0][0] += shift
    atoms[1][first] -= shift
    other = type(instance).of(dataclasses.replace(instance.world, dictionaries={"mixed": atoms}))
    a, b = instance.sample(5000, 3), other.sample(5000, 3)
    assert torch.equal(a.latents[0].dense(), b.latents[0].dense())
    torch.testing.assert_close(a.observed.views["mixed"].values, b.observed.views["mixed"].values, atol=1e-5, rtol=1e-5)
    assert (a.latents[0].dense()[:, 0] > 0).any()


def test_sparsity_and_sign_cannot_place_an_and_composites_atom():
    """Even with lone firing: a composite is never on without its constituents, so that its atom can take up a share of theirs."""
    instance = SparseConcepts(levels=(2, 8), dimension=12).draw(0)
    latents = instance.sample(20_000, 0).latents
    values = torch.cat([latents[0].dense(), latents[1].dense()], dim=1)
    atoms = instance.truth.dictionary("mixed")
    constituent = 2 + instance.truth.constituents[0][0][0]
    ratio = values[:, constituent] / values[:, 0]
    share = 0.9 * float(ratio[values[:, 0] > 0].min())
    witness = absorbed(values, atoms, 0, constituent, share)
    assert witness.verified
    with pytest.raises(InvalidInput, match="lower share"):
        absorbed(values, atoms, constituent, 0, 0.1)  # the constituent fires alone


@given(st.integers(0, 2**31))
def test_selection_and_joint_emission_have_one_law(seed):
    g = torch.Generator().manual_seed(seed)
    bases = [torch.rand(k, generator=g, dtype=torch.float64) + 0.1 for k in (2, 3)]
    potential = torch.rand(2, 3, generator=g, dtype=torch.float64) + 0.01
    witness = joint_emission(bases, potential, torch.tensor([[0, 0, 1], [1, 2, 2]]))
    assert witness.verified
    selected, _ = witness.truths
    assert float(selected.sum()) == pytest.approx(1)
    assert not_void(selected.sum(dim=0)).margin >= 0


def test_rejection_alone_selects_nothing():
    bases = [torch.tensor([0.5, 0.5]), torch.tensor([0.2, 0.3, 0.5])]
    factors = [torch.tensor([1e-3, 1.0]), torch.tensor([0.0, 0.5, 0.1])]
    witness = void_selection(bases, factors)
    assert witness.verified
    assert witness.apart == pytest.approx(1 - (0.5 * 1.001) * (0.15 + 0.05), rel=1e-6)
    assert math.isclose(witness.gap, 0, abs_tol=1e-12)
