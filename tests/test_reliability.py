"""What docs/reliability.md says a run survives, once each; ``tests/bench/reliability.py`` tries it often and writes that page."""

import importlib
import sys
from pathlib import Path

import pytest

BENCH = str(Path(__file__).parent / "bench")
sys.path.insert(0, BENCH)  # it imports what lies beside it
reliability = importlib.import_module("reliability")
sys.path.remove(BENCH)
NAMES = tuple(reliability.attempts(1, reliability.whole))


@pytest.mark.slow
@pytest.mark.parametrize("name", [name for name in NAMES if name != "bad-input"])  # which is a test of its own
def test_a_run_survives(name, undisturbed):
    tried = reliability.attempts(1, lambda: undisturbed)[name]()
    if tried.times == 0:
        pytest.skip(f"{tried.what}: {tried.seen}")
    assert tried.good == tried.times, tried


@pytest.fixture(scope="module")
def undisturbed():
    return reliability.whole()


def test_the_page_has_a_line_for_everything_that_is_tried():
    page = Path(__file__).parents[1] / "docs" / "reliability.md"
    assert len(reliability.lines_in(page)) == len(NAMES)


def test_a_line_is_renewed_and_the_others_stay(tmp_path, monkeypatch):
    page = tmp_path / "page.md"
    rows = [reliability.Tried(f"what {i}", 3, 3, "seen") for i in range(3)]
    page.write_text(reliability.page([reliability.line(row) for row in rows], 30))
    monkeypatch.setattr(sys, "argv", ["reliability.py", "--out", str(page), "--only", "read-only"])
    monkeypatch.setattr(reliability, "read_only", lambda: reliability.Tried("what 1", 4, 4, "more"))
    reliability.main()
    assert reliability.lines_in(page) == {
        "what 0": "| what 0 | 3 | 3 | seen |",
        "what 1": "| what 1 | 4 | 4 | more |",
        "what 2": "| what 2 | 3 | 3 | seen |",
    }
