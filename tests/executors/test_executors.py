"""Executors run jobs and know nothing of them; a dead worker is told apart from a failed job."""

import os
import time

import psutil
import pytest

from testbed.executors import Processes, Serial, WorkerDied


def work(argument):
    if argument == "die":
        os._exit(3)
    if argument == "raise":
        raise ValueError("no")
    if argument == "sleep":
        time.sleep(30)
    return os.environ.get("OMP_NUM_THREADS"), os.getcwd(), argument


@pytest.fixture(params=[Serial, lambda: Processes(2, threads=1)], ids=["serial", "processes"])
def executor(request):
    made = request.param()
    yield made
    made.close()


def test_results_and_errors_come_back_by_name(executor):
    found = {}
    for name in ("a", "raise", "b"):
        executor.submit(name, work, name)
        key, result = executor.wait()
        found[key] = result
    assert found["a"][1:] == (os.getcwd(), "a")
    assert isinstance(found["raise"], ValueError)
    assert found["b"][2] == "b"


def test_a_dead_worker_is_replaced():
    executor = Processes(2, threads=1)
    try:
        executor.submit("die", work, "die")
        executor.submit("live", work, "live")
        found = dict(executor.wait() for _ in range(2))
        assert isinstance(found["die"], WorkerDied)
        assert found["live"][0] == "1"
        executor.submit("next", work, "next")
        assert executor.wait()[1][2] == "next"
    finally:
        executor.close()


class Interrupted(dict):
    def __setitem__(self, key, value):
        raise KeyboardInterrupt


def test_an_interrupt_while_a_job_is_handed_over_leaves_no_worker():
    before = {child.pid for child in psutil.Process().children(recursive=True)}
    executor = Processes(1, threads=1)
    executor._busy = Interrupted()
    with pytest.raises(KeyboardInterrupt):
        executor.submit("sleep", work, "sleep")
    started = [child for child in psutil.Process().children(recursive=True) if child.pid not in before]
    workers = [child for child in started if "resource_tracker" not in " ".join(child.cmdline())]
    assert workers
    executor.close()
    _, alive = psutil.wait_procs(workers, timeout=15)
    assert not alive


def test_a_job_over_its_time_is_killed_with_its_worker():
    executor = Processes(1, seconds=2)
    try:
        executor.submit("sleep", work, "sleep")
        name, error = executor.wait()
        assert name == "sleep"
        assert isinstance(error, WorkerDied)
        assert "2 seconds" in str(error)
    finally:
        executor.close()
