"""Processes times threads never exceed the cores: seen from inside the trials of a run, whose estimator counts what is busy."""

import json
import os
import subprocess
import sys

import pytest

from testbed import device
from testbed.executors import Processes, Serial
from testbed.runner import _executor, plan_suite

COUNTING = '''
import os, time
import numpy as np
import psutil
import torch
from threadpoolctl import threadpool_info
from toys import ToyEstimator


class Counting(ToyEstimator):
    """Multiplies matrices for a while, by torch, by numpy, and by scipy, which nothing has loaded before."""

    def fit(self, data, *, seed):
        from joblib import cpu_count
        from scipy.linalg.blas import sgemm

        def seconds():
            return {thread.id: thread.user_time + thread.system_time for thread in psutil.Process().threads()}

        a = torch.ones(600, 600)
        ways = (lambda: a @ a, lambda: a.numpy() @ a.numpy(), lambda: sgemm(1.0, a.numpy(), a.numpy()))
        busy = []
        for way in ways:
            time.sleep(0.2)  # pools wait for more work at full speed for a moment
            before, clock = seconds(), time.perf_counter()
            while time.perf_counter() - clock < 0.3:
                way()
            spent = [after - before.get(thread, 0.0) for thread, after in seconds().items()]
            busy.append(sum(one > 0.2 * max(spent) for one in spent))
        self.seen_ = {
            "pid": os.getpid(),
            "busy": busy,
            "torch": [torch.get_num_threads(), torch.get_num_interop_threads()],
            "pools": [pool["num_threads"] for pool in threadpool_info()],
            "joblib": cpu_count(),
        }
        return super().fit(data, seed=seed)
'''

SUITE = """
name = "threads"
instances = 3
data = { train = 100, test = 100, reference = 100 }
generator = [{ name = "toys:ToyGenerator" }]
estimator = [{ name = "counting:Counting" }]
evaluator = [{ name = "toys:ToySize" }]
"""

CORES = device.cores()


@pytest.fixture
def counted(toys):
    """Runs the suite by the command line; gives what its trials saw, and what was said."""
    (toys / "counting.py").write_text(COUNTING)
    (toys / "suite.toml").write_text(SUITE)

    def run(*options, **variables):
        environment = {k: v for k, v in os.environ.items() if k not in device.CONFINED} | variables
        command = [sys.executable, "-m", "testbed", "run", "suite.toml", "--out", "out", *options]
        done = subprocess.run(command, env=environment, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr
        states = sorted((toys / "out" / "stages" / "fit").glob("*/*/state.json"))
        keys = [json.loads(path.with_name("record.json").read_text())["material"]["threads"] for path in states]
        return [{**json.loads(path.read_text())["plain"]["seen_"], "key": key} for path, key in zip(states, keys, strict=True)], done.stderr

    return run


@pytest.mark.slow
@pytest.mark.parametrize("jobs", [1, 2, CORES + 2])
def test_one_thread_each_however_many_jobs(counted, jobs):
    seen, _ = counted("--jobs", str(jobs))
    assert len(seen) == 3
    for trial in seen:
        assert trial["torch"] == [1, 1]
        assert set(trial["pools"]) == {1}
        assert trial["busy"] == [1, 1, 1]
        assert trial["joblib"] == trial["key"] == 1
    assert len({trial["pid"] for trial in seen}) <= jobs


@pytest.mark.slow
@pytest.mark.skipif(CORES < 2, reason="one core has no two threads")
@pytest.mark.parametrize("jobs", [1, 2, CORES + 2])
def test_trials_of_several_threads_leave_no_core_with_two(counted, jobs):
    seen, said = counted("--jobs", str(jobs), "--set", "threads=2")
    for trial in seen:
        assert trial["torch"][0] == trial["key"] == 2
        assert max(trial["pools"]) == 2
        assert max(trial["busy"]) == 2  # the limit lets through what it should
    assert len({trial["pid"] for trial in seen}) * 2 <= max(CORES, 2)
    assert ("run 1 at a time on" in said) == (CORES // 2 == 1 and jobs > 1)


@pytest.mark.slow
def test_a_user_who_lets_libraries_have_fewer_is_heeded_and_keys_say_so(counted):
    seen, said = counted("--jobs", "2", "--set", "threads=2", OMP_NUM_THREADS="1")
    assert {tuple(trial["busy"]) for trial in seen} == {(1, 1, 1)}
    assert {trial["key"] for trial in seen} == {1}
    assert CORES < 2 or "the suite wants 2 threads a trial and gets 1" in said


def test_threads_are_as_many_as_wanted_or_as_there_are(monkeypatch):
    for name in device.CONFINED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(device, "cores", lambda: 8)
    assert [device.threads(wanted) for wanted in (1, 4, 64)] == [1, 4, 8]
    monkeypatch.setenv("OPENBLAS_NUM_THREADS", "3,2")
    assert [device.threads(wanted) for wanted in (1, 4, 64)] == [1, 3, 3]
    monkeypatch.setenv("OMP_NUM_THREADS", "none of your business")
    assert device.threads(4) == 3


@pytest.mark.parametrize(("text", "cores"), [("max 100000", None), ("150000 100000", 2), ("10000 100000", 1), ("", None)])
def test_cores_are_those_that_a_container_may_use(tmp_path, monkeypatch, text, cores):
    bound = len(os.sched_getaffinity(0))
    (tmp_path / "cpu.max").write_text(text)
    monkeypatch.setattr(device, "QUOTA", tmp_path / "cpu.max")
    assert device.cores() == (bound if cores is None else min(bound, cores))


@pytest.mark.parametrize(
    ("threads", "jobs", "slots"), [(1, 1, 1), (1, 2, 2), (1, 99, 99), (2, 4, 4), (2, 5, 4), (3, 4, 2), (8, 4, 1), (9, 4, 1)]
)
def test_jobs_are_as_many_as_have_cores_for_their_threads(toys, monkeypatch, recwarn, threads, jobs, slots):
    for name in device.CONFINED:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(device, "cores", lambda: 8)
    (plan,) = plan_suite("toy.toml", settings=[f"threads={threads}"])
    executor = _executor(plan, jobs)
    assert executor.slots == slots
    assert isinstance(executor, Serial if slots == 1 else Processes)
    assert bool(recwarn.list) == (slots < jobs or threads > 8)
