"""Code without a deadline of its own is stopped, and nothing is raised afterwards."""

from __future__ import annotations

import subprocess
import sys
import time
from contextlib import suppress

import pytest

from testbed.numerics.deadline import OutOfTime, limited


def _endless() -> None:
    with limited(0.2):
        while True:
            try:
                sum(range(100))
            except Exception:  # what is stopped may catch what it likes
                continue


def test_endless_code_is_stopped() -> None:
    clock = time.process_time()
    with pytest.raises(OutOfTime):
        _endless()
    assert 0.2 <= time.process_time() - clock < 2.0


def test_what_ends_in_time_is_left_alone() -> None:
    for _ in range(20):
        with limited(60.0):
            total = sum(range(1000))
        assert total == 499_500


def test_errors_of_the_body_come_through() -> None:
    with pytest.raises(KeyError), limited(60.0):
        raise KeyError("own")


def test_a_tracer_goes_on_after_what_ended_in_time() -> None:
    # A debugger, or coverage: an exception that is taken back without having been asked for makes them loop for ever.
    script = (
        "import sys\nfrom testbed.numerics.deadline import limited\n"
        "def tracer(frame, event, arg):\n    return tracer\n"
        "sys.settrace(tracer)\nwith limited(60.0):\n    pass\nprint(sum(range(10)))\n"
    )
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, timeout=60)
    assert done.stdout == "45\n"


def test_nothing_is_raised_after_the_body() -> None:
    for seconds in (0.0, 0.05, 0.1):
        with suppress(OutOfTime), limited(seconds):
            sum(range(2_000_000))  # ends about when the clock is looked at
        assert sum(range(100_000)) == 4_999_950_000
