"""Readers of files from anywhere take them, or refuse them in one sentence: no other exception, no hang, nothing run, nothing written."""

import importlib
import json
import resource
import sys
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

BENCH = str(Path(__file__).parent / "bench")


def bench(name):
    """A module of tests/bench, which finds those beside it."""
    sys.path.insert(0, BENCH)
    try:
        return importlib.import_module(name)
    finally:
        sys.path.remove(BENCH)


fuzzing, mutations = bench("fuzzing"), bench("mutations")
QUICK = {"exports": 3, "swapped": 6, "records": 8}
"""Examples of readers that take more than a few milliseconds."""
SLOW = {"exports": 200}


@pytest.fixture(scope="module")
def ground(tmp_path_factory):
    found = fuzzing.Ground(tmp_path_factory.mktemp("ground"))
    with found.here():
        yield found


def tried(reader, ground, examples):
    """Hand a reader files that hypothesis draws."""
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss

    @settings(max_examples=examples)
    @given(st.randoms(use_true_random=False))
    def attempt(chance):
        reader(ground, chance)

    attempt()
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - memory < 1 << 20  # a gigabyte


@pytest.mark.parametrize("name", fuzzing.READERS)
def test_what_is_not_as_it_was_written_is_taken_or_refused_in_a_sentence(name, ground):
    tried(fuzzing.READERS[name], ground, QUICK.get(name, 15))


@pytest.mark.slow
@pytest.mark.parametrize("name", fuzzing.READERS)
def test_thousands_that_are_not_as_they_were_written(name, ground):
    tried(fuzzing.READERS[name], ground, SLOW.get(name, 2000))


@pytest.mark.parametrize("name", fuzzing.READERS)
def test_a_reader_takes_what_is_as_it_was_written(name, ground, monkeypatch):
    """The readers themselves would pass the tests above if they refused everything."""

    for change in ("bytes_of", "arrays_of", "tree_of"):
        monkeypatch.setattr(fuzzing, change, lambda value, chance: value)
    monkeypatch.setattr(fuzzing, "WORDS", ("m=3",))
    said = fuzzing.READERS[name](ground, Random(1))
    asked = {"runs": "no trial 'nobody/0/at all/0'", "suite_trees": "no preset 'quick'", "plain_states": "by its method blank"}
    assert said == "" or asked.get(name, "nothing else") in said


def test_mutations_reach_what_they_are_meant_for():
    data = json.dumps({"a": [1, 2, {"b": "c"}]}).encode()
    seen = {mutations.bytes_of(data, Random(seed)) for seed in range(300)}
    assert len(seen) > 200
    assert any(len(other) < len(data) for other in seen)
    assert any(len(other) > len(data) for other in seen)
    trees = [mutations.tree_of(json.loads(data), Random(seed)) for seed in range(300)]
    assert any("a" not in tree for tree in trees)
    assert any(isinstance(tree.get("a"), int) for tree in trees if isinstance(tree, dict))


def test_the_watch_sees_what_is_started_and_what_is_written_elsewhere(tmp_path):
    import os

    with pytest.raises(AssertionError, match=r"os\.system"), mutations.watched(tmp_path):
        os.system("true")
    with pytest.raises(AssertionError, match="open"), mutations.watched(tmp_path / "in"):
        (tmp_path / "out").write_text("x")
    with mutations.watched(tmp_path):
        (tmp_path / "out").write_text("x")
