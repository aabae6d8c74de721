import runpy
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from evaluators.verdict import COMPONENTS, NOTHING, PART, SUBSPACE, Verdict
from testbed.contracts import NotApplicable

BENCH = runpy.run_path(str(Path(__file__).parents[1] / "bench" / "verdicts.py"))
CHEAP = [kind for kind in BENCH["KINDS"] if not kind.world and kind.codes.get("amount", 0) <= 1]


def judged(law, codes, seed=1, world=()):
    outcome, _ = BENCH["outcome_of"](law, codes, seed, world)
    return outcome, Verdict().score(outcome, seed=seed)


@pytest.mark.parametrize("law", BENCH["LAWS"])
@pytest.mark.parametrize("kind", CHEAP, ids=lambda kind: kind.name)
def test_the_verdict_is_the_one_that_was_written_down(kind, law):
    outcome, estimator = BENCH["outcome_of"](law, kind.codes, 7, kind.world)
    found = Verdict().score(outcome, seed=7)
    assert BENCH["is_right"](kind, law, found, estimator, 12), found.details


def test_of_many_concepts_those_that_were_copied_are_recovered():
    _outcome, found = judged("correlation 0.9", {"kind": "copy_some", "amount": 8}, world=(("concepts", 128),))
    assert found.details["verdict"] == PART
    assert found.details["recovered"] == list(range(8))
    assert found.value == 8 / 128


@pytest.mark.parametrize("concepts", [2, 3, 40])
def test_the_number_of_concepts_does_not_matter(concepts):
    world = (("concepts", concepts),)
    assert judged("correlation 0.9", {"kind": "perfect"}, world=world)[1].details["verdict"] == COMPONENTS
    assert judged("correlation 0.9", {"kind": "sheared", "amount": 0.9}, world=world)[1].value == 0


def test_dead_codes_copies_and_splits_are_remarked_on():
    def remarks(kind):
        return " ".join(judged("correlation 0.5", {"kind": kind})[1].details["remarks"])

    assert "36 of 48 codes are dead" in remarks("dead_laden")
    assert "12 more codes copy" in remarks("duplicated")
    assert "one concept each" in remarks("split")
    assert "12 codes follow how far" in remarks("sign_even")
    assert not remarks("perfect")
    assert not remarks("rotation")


def test_merged_pairs_carry_half_as_many_directions():
    assert judged("correlation 0.9", {"kind": "merged"})[1].parts["rank"] == 6


def test_single_precision_noise_on_every_code_is_not_held_against_it():
    outcome, _ = judged("correlation 0.9", {"kind": "perfect"})
    noise = torch.randn(outcome.codes.shape, generator=torch.Generator().manual_seed(0))
    slightly = replace(outcome, codes=outcome.codes + 0.05 * outcome.codes.std(dim=0) * noise)
    much = replace(outcome, codes=outcome.codes + outcome.codes.std(dim=0) * noise)
    assert Verdict().score(slightly, seed=0).details["verdict"] == COMPONENTS
    assert Verdict().score(much, seed=0).value == 0


def test_no_codes_and_dead_codes_are_nothing():
    outcome, _ = judged("correlation 0", {"kind": "perfect"})
    for codes in (outcome.codes[:, :0], torch.zeros_like(outcome.codes)):
        assert Verdict().score(replace(outcome, codes=codes), seed=0).details["verdict"] == NOTHING


def test_few_rows_are_refused():
    outcome, _ = judged("correlation 0", {"kind": "perfect"})
    with pytest.raises(NotApplicable, match="at least 80 rows"):
        Verdict().score(replace(outcome, codes=outcome.codes[:60], sample=outcome.sample[:60]), seed=0)


def test_between_the_ends_of_the_path_fewer_and_fewer_concepts_are_recovered():
    shares = [judged("correlation 0.5", {"kind": "path", "amount": amount})[1].value for amount in (0.0, 0.15, 0.5)]
    assert shares[0] == 1
    assert shares[2] == 0
    assert 0 < shares[1] < 1
    assert judged("correlation 0.5", {"kind": "path", "amount": 0.5})[1].details["verdict"] == SUBSPACE
