"""Memory does not grow with the length of a stream: a tenth of what ``tests/bench/streams.py`` measures."""

import importlib.util
from pathlib import Path

import pytest

SPEC = importlib.util.spec_from_file_location("streams", Path(__file__).parent / "bench" / "streams.py")
streams = importlib.util.module_from_spec(SPEC)
SPEC.loader.exec_module(streams)


@pytest.mark.slow
@pytest.mark.parametrize("way", streams.WAYS)
def test_ten_times_the_rows_take_no_more_memory(way):
    short, long = streams.measure(way, 100_000), streams.measure(way, 1_000_000)
    assert long["peak"] < 1.1 * short["peak"]  # the rows that are more take 220 MiB, beside some 500
