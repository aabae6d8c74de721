"""Runs compute what is missing and nothing else; failures stay, are shown and are tried again; jobs change no score."""

import json
import shutil
import subprocess
import sys
from types import SimpleNamespace

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from testbed.claims import judge
from testbed.contracts import InvalidInput
from testbed.results import gather
from testbed.runner import Watcher, _Waiting, execute, plan_suite, run
from testbed.shards import ShardReader


def toy(**options):
    (plan,) = plan_suite("toy.toml", **options)
    return plan


def test_a_run_is_complete_and_running_again_does_nothing(toys):
    first = execute(toy(), "out")
    assert first.computed == {"sample": 3, "fit": 12, "encode": 12, "score": 30, "reference": 3}
    assert not first.failed
    second = execute(toy(), "out")
    assert second.total_computed == 0
    assert "nothing to do: no stage computed" in second.sentence()
    assert second.found == 57


def test_a_run_with_nothing_to_do_loads_no_torch(toys):
    execute(toy(), "out")
    script = (
        "import sys\nfrom testbed.runner import execute, plan_suite\nfrom testbed.results import gather\nfrom testbed.claims import judge\n"
        "s = execute(plan_suite('toy.toml')[0], 'out')\nassert s.total_computed == 0\njudge(gather('out'))\n"
        "print([m for m in ('torch', 'sklearn') if m in sys.modules])"
    )
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_new_evaluator_refits_nothing_and_a_new_estimator_resamples_nothing(toys):
    execute(toy(), "out")
    text = (toys / "toy.toml").read_text()
    (toys / "toy.toml").write_text(
        text.replace("[[claim]]", '[[evaluator]]\nname = "toys:ToyScore"\nlabel = "squared"\nparams = {power = 2}\n\n[[claim]]', 1)
    )
    assert set(execute(toy(), "out").computed) == {"score", "reference"}
    text = (toys / "toy.toml").read_text()
    (toys / "toy.toml").write_text(
        text.replace("[[evaluator]]", '[[estimator]]\nname = "toys:ToyEstimator"\nlabel = "wide"\nparams = {m = 6}\n\n[[evaluator]]', 1)
    )
    assert set(execute(toy(), "out").computed) == {"fit", "encode", "score"}


def test_folders_and_jobs_change_nothing_but_provenance(toys, records):
    execute(toy(), "a")
    execute(toy(), "b", jobs=2)
    assert records("a") == records("b")
    assert len(records("a")) == 60


def test_one_failed_trial_is_stored_shown_and_tried_again(toys, records):
    marker = ["estimator.random.trouble=once", f"estimator.random.marker={toys / 'marker'}"]
    summary = execute(toy(settings=marker), "out")
    assert summary.failed == ["gauss/0/random/0", "gauss/0/random"]
    (failure,) = gather("out").failures
    assert failure["trial"] == "gauss/0/random/0"
    assert failure["error"] == "RuntimeError: the toy fails the first time"
    assert 'raise RuntimeError("the toy fails the first time")' in failure["traceback"]
    again = execute(toy(settings=marker), "out")
    assert again.computed == {"fit": 1, "encode": 1, "score": 3}
    assert not again.failed
    assert not gather("out").failures


@pytest.mark.parametrize(
    ("trouble", "stage", "message"),
    [
        ("raise", "fit", "the toy refuses to fit"),
        ("short", "encode", r"codes of shape \(1999, 3\) for 2000 rows"),
        ('"nan"', "encode", "NaN or infinity"),
    ],
)
def test_what_breaks_a_contract_is_charged_to_its_stage_and_the_others_go_on(toys, trouble, stage, message):
    summary = execute(toy(settings=[f"estimator.random.trouble={trouble}"]), "out")
    results = gather("out")
    assert len(summary.failed) == 9  # six trials, and three groups that need them
    assert {f["stage"] for f in results.failures} == {stage}
    assert all(pytest.importorskip("re").search(message, f["error"]) for f in results.failures)
    assert len(results.scores[(results.scores.estimator == "oracle") & (results.scores.part == "")]) == 6 * 2 + 3


def test_nan_from_a_generator_fails_its_instances_with_a_sentence(toys):
    text = (toys / "toy.toml").read_text().replace("toys:ToyGenerator", "toys:NanGenerator")
    (toys / "toy.toml").write_text(text)
    summary = execute(toy(), "out")
    assert len(summary.failed) == 3 + 12 + 6
    assert {f["error"] for f in gather("out").failures} == {"generator gauss: view 'x' holds NaN or infinity"}


def test_a_dead_worker_costs_its_trial_and_no_other(toys):
    plan = toy(settings=["estimator.random.trouble=die", f"estimator.random.marker={toys / 'marker'}"])
    summary = execute(plan, "out", jobs=2)
    results = gather("out")
    dead = [f for f in results.failures if "worker process died" in f["error"]]
    assert 1 <= len(dead) <= 2  # both workers may have reached the toy before its marker was there
    assert {f["trial"] for f in dead} == {name for name in summary.failed if name.count("/") == 3}
    again = execute(plan, "out", jobs=2)
    assert not again.failed
    assert again.computed["fit"] == len(dead)


def test_a_trial_over_its_time_is_stopped(toys):
    execute(toy(settings=["instances=1", "fit_seeds=1"]), "out")  # so that nothing else is left to do, however slow the machine
    plan = toy(settings=["estimator.random.trouble=sleep", "seconds=3", "instances=1", "fit_seeds=1"])
    summary = execute(plan, "out")
    assert summary.failed == ["gauss/0/random/0"]
    assert "longer than the 3 seconds" in gather("out").failures[0]["error"]


def test_state_that_cannot_be_stored_is_said_and_refitted_when_needed(toys):
    plan = toy(settings=["estimator.random.trouble=inexpressible"])
    execute(plan, "out")
    fits = [f for f in gather("out").fits if f["estimator"] == "random"]
    assert {f["state"] for f in fits} == {None}
    assert "lambda_" in fits[0]["reason"]
    for folder in (toys / "out" / "stages" / "encode").glob("*/*"):
        shutil.rmtree(folder)
    assert not execute(plan, "out").failed


def test_fresh_computes_everything_again(toys):
    execute(toy(), "out")
    assert execute(toy(), "out", fresh=True).computed["fit"] == 12


def test_a_spoiled_stage_is_noticed_and_computed_again_on_demand(toys):
    execute(toy(), "out")
    path = next((toys / "out" / "stages" / "encode").glob("*/*/record.json"))
    path.write_text("{")
    summary = execute(toy(), "out")
    assert summary.computed == {"encode": 1}
    assert not summary.failed


def test_settings_read_off_the_truth_are_resolved_and_marked(toys):
    text = (
        (toys / "toy.toml").read_text().replace('label = "random"', 'label = "random"\nparams = { m = { truth = "concepts", times = 2 } }')
    )
    (toys / "toy.toml").write_text(text)
    results = run("toy.toml", "out")
    assert {f["params"]["m"] for f in results.fits if f["estimator"] == "random"} == {6}
    assert results.run["estimators"][0]["from_truth"] == ["m"]


def test_a_setting_that_the_truth_does_not_have_fails_the_trial(toys):
    text = (toys / "toy.toml").read_text().replace('label = "random"', 'label = "random"\nparams = { m = { truth = "colour" } }')
    (toys / "toy.toml").write_text(text)
    results = run("toy.toml", "out")
    assert "asks the truth for 'colour'" in results.failures[0]["error"]


def test_an_oracle_on_data_without_truth_fails_with_the_remedy(toys):
    (toys / "blind.py").write_text(
        "from toys import ToyGenerator\nclass Blind(ToyGenerator):\n    def draw(self, seed):\n        i = super().draw(seed)\n"
        "        i.truth = None\n        return i\n"
    )
    (toys / "toy.toml").write_text((toys / "toy.toml").read_text().replace("toys:ToyGenerator", "blind:Blind"))
    results = run("toy.toml", "out")
    assert {f["trial"].split("/")[2] for f in results.failures} == {"oracle"}
    assert "restrict it with `on`" in results.failures[0]["error"]
    assert {s["reason"] for s in results.skipped} == {"there is no truth to recover"}


def test_an_interrupted_run_loses_nothing_that_was_finished(toys):
    class Impatient(Watcher):
        def finish(self, job, done):
            if job.id == "gauss/1/random/0":
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        execute(toy(), "out", watcher=Impatient())
    summary = execute(toy(), "out")
    assert summary.computed["sample"] == 0 if "sample" in summary.computed else True
    assert summary.computed["fit"] == 12 - 5


@pytest.mark.parametrize("jobs_before_the_kill", [1, 4, 9])
def test_a_run_killed_at_any_moment_ends_with_the_same_records(toys, records, jobs_before_the_kill):
    script = (
        "import os\nfrom testbed.runner import Watcher, execute, plan_suite\nclass Killer(Watcher):\n    left = %d\n"
        "    def finish(self, job, done):\n        self.left -= 1\n        if not self.left:\n            os.kill(os.getpid(), 9)\n"
        "execute(plan_suite('toy.toml')[0], 'killed', watcher=Killer())\n"
    )
    assert subprocess.run([sys.executable, "-c", script % jobs_before_the_kill]).returncode == -9
    summary = execute(toy(), "killed")
    assert 0 < summary.total_computed < 60
    execute(toy(), "whole")
    assert records("killed") == records("whole")


@given(st.data())
def test_jobs_come_when_what_they_need_has_ended_and_those_that_need_a_failed_one_never(data):
    n = data.draw(st.integers(1, 12))
    needs = [data.draw(st.sets(st.integers(0, i - 1))) if i else set() for i in range(n)]
    bad = data.draw(st.sets(st.integers(0, n - 1)))
    jobs = [SimpleNamespace(id=str(i), needs=tuple(map(str, needs[i]))) for i in range(n)]
    waiting, running, done, lost = _Waiting(jobs), [], [], []
    while (job := waiting.next()) is not None or running:
        if job is not None:
            assert needs[int(job.id)] <= set(done) - bad
            running.append(job)
            if data.draw(st.booleans()):
                continue
        ended = running.pop(data.draw(st.integers(0, len(running) - 1)))
        done.append(int(ended.id))
        if done[-1] in bad:
            lost += [int(other.id) for other in waiting.broken(ended)]
        else:
            waiting.ended(ended)
    out = set()
    for i in range(n):  # what needs something that failed, directly or not
        if needs[i] & (bad | out):
            out.add(i)
    assert sorted(lost) == sorted(out)
    assert sorted(done) == sorted(set(range(n)) - out)


def test_records_hold_provenance_apart(toys):
    execute(toy(), "out")
    record = json.loads(next((toys / "out" / "stages" / "fit").glob("*/*/record.json")).read_text())
    assert set(record) == {"schema", "stage", "key", "material", "result", "files", "provenance", "digest"}
    assert record["provenance"]["packages"]["torch"]
    assert "seconds" not in json.dumps(record["result"])


def test_a_folder_that_cannot_be_written_is_refused(toys):
    (toys / "file").write_text("")
    with pytest.raises(InvalidInput, match="choose another --out"):
        execute(toy(), toys / "file" / "out")
    with pytest.raises(InvalidInput, match="--jobs 0"):
        execute(toy(), "out", jobs=0)


def test_views_are_stored_in_the_type_that_the_suite_names(toys):
    execute(toy(settings=["dtype=float64"]), "out")
    (folder, *_) = (toys / "out" / "stages" / "sample").glob("*/*/train")
    sample = ShardReader(folder).sample()
    assert sample.observed.views["x"].values.dtype == torch.float64
    assert sample.latents[0].dtype == torch.float32


def test_claims_of_the_toy_suite_are_shown(toys):
    execute(toy(), "out")
    assert [v.verdict for v in judge(gather("out"))] == ["shown", "shown"]


def test_components_are_nested_by_name(toys):
    (toys / "nest.py").write_text(
        "from toys import ToyEstimator\nclass Nest(ToyEstimator):\n    trouble = ''\n"
        "    def __init__(self, base=None, m: int = 3):\n        self.base = base\n        self.m = m\n"
        "    def fit(self, data, *, seed):\n        assert self.base.m == 5\n        return super().fit(data, seed=seed)\n"
    )
    text = (toys / "toy.toml").read_text()
    old = 'name = "toys:ToyEstimator"\nlabel = "random"'
    new = 'name = "nest:Nest"\nlabel = "random"\nparams = { base = { use = "toys:ToyEstimator", m = 5 } }'
    (toys / "toy.toml").write_text(text.replace(old, new))
    assert not run("toy.toml", "out").failures
    assert sys.modules.pop("nest")
