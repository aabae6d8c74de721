"""A score that tests another class than theorems promise is said to."""

import pytest

from testbed.report.classes import compared, mismatches

SCALE, OWN_MAP = ("permutation", "sign", "scale"), ("permutation", "sign", "monotone")


@pytest.mark.parametrize(
    ("promised", "claimed", "missing", "surplus"),
    [
        (SCALE, SCALE, (), ()),
        (SCALE, (*SCALE, "shift"), (), ()),  # a constant is no statement about a concept
        (OWN_MAP, (*SCALE, "shift"), ("monotone",), ()),  # Pearson correlation where maps are free
        (OWN_MAP, OWN_MAP, (), ()),
        (SCALE, OWN_MAP, (), ("monotone",)),  # rank correlation where maps are linear
        (SCALE, ("affine",), (), ("affine",)),  # R2 where concepts are told apart
        (OWN_MAP, ("affine",), ("monotone",), ("affine",)),
        (SCALE, ("permutation", "scale"), ("sign",), ()),  # a signed score
        (("permutation", "relabelling"), ("permutation", "relabelling"), (), ()),
        (("permutation", "relabelling"), SCALE, ("relabelling",), ()),
        (("permutation", "relabelling"), (*SCALE, "state relabelling"), (), ()),
        (SCALE, (*SCALE, "state relabelling"), (), ()),
        (SCALE, ("permutation", "relabelling"), (), ()),  # a graph's score looks at no values
        (("affine",), ("affine",), (), ()),
        (("affine",), SCALE, ("affine",), ()),
    ],
)
def test_a_class_is_narrower_or_wider_than_what_is_promised(promised, claimed, missing, surplus):
    assert compared(promised, claimed) == (missing, surplus)


def test_the_warning_says_which_change_and_what_not_to_conclude(hand):
    (warning,) = mismatches(hand, "known & true")
    assert warning.evaluator == "decoder_mcc"
    assert "identify these concepts up to permutation, sign and scale" in warning.text
    assert "stays the same under affine (an invertible affine map of all codes together): a high score does not show" in warning.text


def test_a_class_that_depends_on_parameters_is_the_recorded_one(hand):
    hand.tested["decoder_mcc"] = {"invariances": ["permutation", "sign", "scale"]}
    assert mismatches(hand, "known & true") == []


def test_nothing_is_said_without_a_promise_or_a_claim(hand):
    """No theorem, a record from before promises were recorded, a score that was not computed, an evaluator that needs no truth."""
    assert mismatches(hand, "language model") == []
    for sample in hand.samples:
        sample["truth"] = {k: v for k, v in (sample["truth"] or {}).items() if k != "identified"}
    assert mismatches(hand, "known & true") == []


def test_the_classes_of_generators_are_those_of_theorems():
    from generators.assumptions.theorems import THEOREMS
    from generators.peers.mechanism_sparsity import MechanismSparsity
    from generators.selection.continuous.family import ContinuousHierarchy
    from generators.selection.discrete.family import DiscreteHierarchy
    from generators.selection.sparse import SparseConcepts

    curved = ContinuousHierarchy(levels=(2, 5), branching=2, dimension=8, cells=64, mixing="mlp", views="per_level")
    for generator, view, theorem in (
        (SparseConcepts.small(), "mixed", "sparse_dictionary"),
        (DiscreteHierarchy.small(), "tokens", "discrete_minimality"),
        (curved, "level_1", "continuous_minimality"),
    ):
        assert set(generator.draw(0).truth.identified(view)) == set(THEOREMS[theorem].up_to)
    assert ContinuousHierarchy.small().draw(0).truth.identified("level_1") == SCALE
    assert MechanismSparsity(kind="action", concepts=4, dimension=6).draw(0).truth.identified("mixed") == OWN_MAP
    assert MechanismSparsity(kind="action_blocks", concepts=4, dimension=6).draw(0).truth.identified("mixed") == ()
