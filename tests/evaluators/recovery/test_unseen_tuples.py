from dataclasses import replace

import pytest
import torch

from evaluators.recovery.unseen_tuples import UnseenTuples
from generators.controls.held_out_tuples import HeldOutTuples
from generators.selection.discrete.family import DiscreteHierarchy
from testbed.contracts import NotApplicable, Outcome, SparseRows
from testbed.numerics.unseen import FACT, unseen

SPARSE = {"levels": [2, 6], "branching": 3, "dimension": 16, "rule": "any", "rate": 0.3, "lone_firing": 0.5}


def outcome(family, n=4000):
    params = SPARSE if family == "sparse" else {"synonyms": 3, "label": True}
    instance = HeldOutTuples(family, params, 0.25).draw(3)
    sample = instance.sample(n, 5, "test")
    dense = [v.dense() if isinstance(v, SparseRows) else v for _, v in sorted(sample.latents.items())]
    return Outcome(torch.cat(dense, dim=1), sample, sample.observed.name_of(None), truth=instance.truth, instance=instance)


def memorised(given):
    """Codes by lookup of the tuples of training: right where all were seen, and one and the same where any was not."""
    new = unseen(given.sample.latents, given.truth).any(dim=1)
    return replace(given, codes=torch.where(new[:, None], torch.zeros_like(given.codes[:1]), given.codes))


@pytest.mark.parametrize("family", ["sparse", "discrete"])
def test_the_truth_is_as_good_on_unseen_tuples(family):
    found = UnseenTuples().score(outcome(family), seed=0)
    assert found.value == pytest.approx(1)
    assert found.parts["seen"] == pytest.approx(1)
    assert found.parts["gap"] == pytest.approx(0)


@pytest.mark.parametrize(("family", "least"), [("sparse", 0.0), ("discrete", 0.25)])
def test_a_memory_of_seen_tuples_is_perfect_on_them_and_worthless_on_others(family, least):
    found = UnseenTuples().score(memorised(outcome(family)), seed=0)
    assert found.parts["seen"] == pytest.approx(1)
    assert found.value <= least + 0.2
    assert found.parts["gap"] == pytest.approx(1 - found.value)


def test_a_line_fitted_on_seen_rows_is_what_unseen_rows_are_explained_by():
    given = outcome("sparse")
    moved = UnseenTuples().score(replace(given, codes=3 - 2 * given.codes.flip(1)), seed=0)
    assert moved.value == pytest.approx(1)
    half = given.codes.clone()
    half[:, 2:] = 0  # constituents have no code: what is left is the composite, of four concepts
    assert 0 <= UnseenTuples().score(replace(given, codes=half), seed=0).value < 0.6


def test_only_concepts_of_the_unseen_tuple_count():
    instance = HeldOutTuples("sparse", SPARSE, 0.25, composites=1).draw(3)
    sample = instance.sample(4000, 5, "test")
    ((level, i, _),) = instance.truth.facts[FACT]
    codes = torch.cat([sample.latents[0].dense(), sample.latents[1].dense()], dim=1)
    others = [2 + j for j in range(6) if j not in instance.truth.constituents[level][i]]
    codes[:, others] = 0
    assert UnseenTuples().score(Outcome(codes, sample, "mixed", truth=instance.truth), seed=0).value == pytest.approx(1)


def test_unseen_rows_of_states_do_not_name_them():
    """Other names on unseen rows are wrong there, though they would be right up to a relabelling of their own."""
    given = outcome("discrete")
    new = unseen(given.sample.latents, given.truth).any(dim=1)
    codes = torch.where(new[:, None], (given.codes + 1) % 4, given.codes)
    found = UnseenTuples().score(replace(given, codes=codes), seed=0)
    assert (found.parts["seen"], found.value) == (1, 0)


@pytest.mark.parametrize("family", ["sparse", "discrete"])
def test_the_oracle_is_the_ceiling_and_permuted_codes_are_chance(family):
    given = outcome(family)
    value = {one.name: UnseenTuples().score(one.make(given, 3), seed=0).value for one in (UnseenTuples.ceiling, UnseenTuples.chance)}
    assert value["oracle"] > 0.9
    assert value["permuted_codes"] < (0.05 if family == "sparse" else 0.45)


def test_an_instance_that_holds_nothing_out_or_too_few_rows_are_told():
    instance = DiscreteHierarchy().draw(0)
    sample = instance.sample(100, 1, "test")
    with pytest.raises(NotApplicable, match="holds no tuples out"):
        UnseenTuples().score(Outcome(sample.latents[2], sample, "tokens", truth=instance.truth), seed=0)
    given = outcome("sparse")
    seen = (~unseen(given.sample.latents, given.truth).any(dim=1)).nonzero()[0, 0]
    one = slice(int(seen), int(seen) + 1)
    with pytest.raises(NotApplicable, match="takes 4, not 1"):
        UnseenTuples().score(replace(given, sample=given.sample[one], codes=given.codes[one]), seed=0)
