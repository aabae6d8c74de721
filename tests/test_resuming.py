"""A run that is killed in the middle of a fit goes on from its checkpoint, and its records are those of an undisturbed run."""

import os
import signal

import pytest

from testbed.estimators.sparse import checkpoints, training
from testbed.estimators.sparse.steps import CompiledStepper
from testbed.runner import execute, plan_suite
from testbed.store import Store

SUITE = """
name = "resume"
instances = 1
data = { train = 3000, test = 500, reference = 500 }

[[generator]]
name = "toys:ToyGenerator"

[[estimator]]
name = "topk_sae"
params = { n_codes = 12, k = 2, batch_size = 64, samples = 12_800, held_out = 100 }

[[evaluator]]
name = "toys:ToySize"
"""
STEPS = 200
KILLED_AT = 150


@pytest.fixture
def suite(toys, monkeypatch):
    monkeypatch.setattr(training, "HEAD_ROWS", 1000)
    monkeypatch.setattr(checkpoints, "SECONDS", 0.0)
    monkeypatch.setattr(checkpoints, "SHARE", 1e9)
    (toys / "resume.toml").write_text(SUITE)
    return toys


def run(out):
    (plan,) = plan_suite("resume.toml")
    return execute(plan, out)


def killed(out):
    """Run in a child that dies by SIGKILL in step `KILLED_AT`."""
    child = os.fork()
    if child == 0:
        original = CompiledStepper.step

        def fatal(self, x, weight, share, number, closes):
            if number == KILLED_AT:
                os.kill(os.getpid(), signal.SIGKILL)
            original(self, x, weight, share, number, closes)

        CompiledStepper.step = fatal
        try:
            run(out)
        finally:
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGKILL


def steps_of(monkeypatch):
    original, steps = CompiledStepper.step, []
    monkeypatch.setattr(CompiledStepper, "step", lambda self, *args: (steps.append(args[3]), original(self, *args))[1])
    return steps


def checkpoint_in(out):
    (found,) = (out / "work").glob("fit-*/checkpoint/training")
    return found


def test_a_killed_run_goes_on_where_it_was_and_its_records_are_the_same(suite, records, monkeypatch):
    run("undisturbed")
    killed("out")
    work = checkpoint_in(suite / "out").parent.parent
    (work / ".state.json.1.draft").write_text("{")  # as a run leaves it that is killed while it writes
    steps = steps_of(monkeypatch)
    summary = run("out")
    assert steps == list(range(KILLED_AT, STEPS + 1))
    assert not summary.failed
    assert records("out") == records("undisturbed")
    (fit,) = (r for r in Store("out").records() if r.stage == "fit")
    assert sorted(fit.files) == ["state.json", "state.safetensors"]
    assert [str(p) for p in (suite / "out").rglob("*checkpoint*")] == []
    assert list((suite / "out" / "work").iterdir()) == []


def test_a_checkpoint_that_cannot_be_used_is_deleted_with_a_warning_and_the_trial_does_not_fail(suite, records, monkeypatch):
    run("undisturbed")
    killed("out")
    file = checkpoint_in(suite / "out")
    file.write_bytes(file.read_bytes()[:200])
    steps = steps_of(monkeypatch)
    with pytest.warns(UserWarning, match="this run deletes it and trains from the start"):
        summary = run("out")
    assert not summary.failed
    assert len(steps) == STEPS
    assert records("out") == records("undisturbed")
