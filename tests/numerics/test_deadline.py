"""Code without a deadline of its own is stopped, and nothing is raised afterwards."""

from __future__ import annotations

import time

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
