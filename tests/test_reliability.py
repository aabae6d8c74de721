"""What docs/reliability.md says a run survives, once each; ``tests/bench/reliability.py`` tries it often and writes that page."""

import importlib.util
import sys
from pathlib import Path

import pytest

SPEC = importlib.util.spec_from_file_location("reliability", Path(__file__).parent / "bench" / "reliability.py")
reliability = importlib.util.module_from_spec(SPEC)
sys.modules["reliability"] = reliability
SPEC.loader.exec_module(reliability)


@pytest.mark.slow
@pytest.mark.parametrize("number", range(11))
def test_a_run_survives(number, undisturbed):
    attempt = list(reliability.attempts(1, undisturbed))[number]
    tried = attempt()
    if tried.times == 0:
        pytest.skip(f"{tried.what}: {tried.seen}")
    assert tried.good == tried.times, tried


@pytest.fixture(scope="module")
def undisturbed():
    return reliability.whole()


def test_the_page_has_a_line_for_everything_that_is_tried():
    text = (Path(__file__).parents[1] / "docs" / "reliability.md").read_text()
    assert text.count("\n| ") == 1 + 11
