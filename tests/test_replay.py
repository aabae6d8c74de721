"""A trial is computed again from nothing and comes out as recorded, unless something that it depends on has changed."""

import json
from pathlib import Path

import pytest

from testbed.contracts import InvalidInput
from testbed.replay import replay
from testbed.runner import execute, plan_suite
from testbed.store import Store, seal_of

TRIAL = "gauss/1/random/0"


@pytest.fixture
def run(toys):
    (plan,) = plan_suite("toy.toml", preset="tiny")
    execute(plan, "out")
    return toys


def test_a_trial_comes_out_as_recorded_and_the_run_is_not_touched(run, records):
    before = records("out")
    found = replay("out", TRIAL)
    assert [stage.stage for stage in found] == ["sample", "fit", "encode", "score score", "score size"]
    assert {stage.verdict for stage in found} == {"the same"}
    assert not any(stage.changed or stage.note for stage in found)
    assert records("out") == before


def test_stages_are_kept_where_that_is_wanted(run, records):
    replay("out", TRIAL, "again")
    kept, before = records("again"), records("out")
    assert len(kept) >= 5
    assert all(before[stage] == kept[stage] for stage in kept)


def test_what_has_changed_since_is_named_and_what_came_of_it(run):
    text = (run / "toys.py").read_text()
    (run / "toys.py").write_text(text.replace("class ToyScore(Evaluator):", "class ToyScore(Evaluator):  # changed", 1))
    found = replay("out", TRIAL)
    assert {stage.verdict for stage in found} == {"the same"}
    assert any("component.source" in stage.changed for stage in found)


def test_a_record_that_was_tampered_with_so_that_its_hash_fits_shows(run):
    key = next(t for t in Store("out").read_run()["trials"] if t["id"] == TRIAL)["scores"]["score"]
    path = Store("out").folder("score", key) / "record.json"
    record = json.loads(path.read_text())
    record["result"]["value"] += 0.25
    path.write_text(json.dumps({**record, "digest": seal_of(record)}))
    (found,) = [stage for stage in replay("out", TRIAL) if stage.verdict != "the same"]
    assert found.stage == "score score"
    assert "0.25 apart" in found.note


def test_stages_that_are_there_already_would_be_compared_with_themselves(run):
    replay("out", TRIAL, "again")
    for place in ("again", "out"):
        with pytest.raises(InvalidInput, match=f"--out {place} holds stages already"):
            replay("out", TRIAL, place)


def test_a_run_of_one_generator_of_several_is_replayed(toys):
    text = (toys / "toy.toml").read_text().replace('label = "random"', 'label = "random"\non = ["gauss", "other"]')
    (toys / "two.toml").write_text(text + '\n[[generator]]\nname = "toys:ToyGenerator"\nlabel = "other"\n')
    (plan,) = plan_suite("two.toml", preset="tiny", only=["gauss"])
    execute(plan, "out")
    assert {stage.verdict for stage in replay("out", TRIAL)} == {"the same"}


def test_a_stage_that_is_not_there_is_told(run):
    key = next(t for t in Store("out").read_run()["trials"] if t["id"] == TRIAL)["fit"]
    (Store("out").folder("fit", key) / "record.json").unlink()
    assert {stage.stage: stage.verdict for stage in replay("out", TRIAL)}["fit"] == "not on record"


def test_a_trial_or_a_run_that_is_not_there_is_refused(run):
    with pytest.raises(InvalidInput, match="did you mean 'gauss/1/random/0'"):
        replay("out", "gauss/1/randon/0")
    with pytest.raises(InvalidInput, match="holds no run"):
        replay(Path("nowhere"), TRIAL)
