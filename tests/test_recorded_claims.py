"""Claims that a folder keeps without a run: written and merged as `make bench` does, and printed by `testbed claims`."""

import importlib.util
import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from testbed.claims import recorded
from testbed.cli import app
from testbed.contracts import InvalidInput

BENCH = Path(__file__).parent / "bench" / "claims.py"


@pytest.fixture(scope="module")
def bench():
    spec = importlib.util.spec_from_file_location("bench_claims", BENCH)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_bar_is_shown_only_where_the_whole_interval_passes_it(bench):
    assert bench.claim("a", "", [90, 92, 91, 95, 93], 80)["verdict"] == "shown"
    assert bench.claim("a", "", [70, 72, 71, 75, 73], 80)["verdict"] == "not shown"
    assert bench.claim("a", "", [60, 110, 71, 95, 73], 80)["verdict"] == "undecided"
    assert bench.claim("a", "", [90.0], 80)["verdict"] == "undecided"
    assert bench.claim("a", "", [1.0, 1.1, 1.05], 2, test="below")["verdict"] == "shown"
    assert bench.claim("a", "", [2.2, 2.3, 2.25], 2, test="below")["verdict"] == "not shown"


def test_the_interval_is_students_and_an_aim_is_noted_and_not_asserted(bench):
    found = bench.claim("a", "", [90, 92, 91, 95, 92], 80, aim=150)
    deviation = (sum((x - 92) ** 2 for x in (90, 92, 91, 95, 92)) / 4) ** 0.5
    assert found["high"] - found["value"] == pytest.approx(2.7764451 * deviation / 5**0.5, rel=1e-6)
    assert (found["verdict"], found["aim"], found["note"]) == ("shown", 150, "aim 150: not reached")


def test_claims_merge_by_id_and_keep_their_place(bench, tmp_path):
    one, two, other = (bench.claim(id, "", [v, v + 1, v + 2], 1) for id, v in (("one", 5), ("two", 6), ("one", 9)))
    bench.merge(tmp_path, [one, two])
    bench.merge(tmp_path, [other])
    assert [(v.id, v.value) for v in recorded(tmp_path)] == [("one", 10), ("two", 7)]


def test_interleaved_calls_take_turns(bench):
    order = []
    seconds = bench.interleaved({"a": lambda: order.append("a"), "b": lambda: order.append("b")}, 2)
    assert "".join(order) == "ababab"
    assert {name: len(taken) for name, taken in seconds.items()} == {"a": 2, "b": 2}


def test_the_command_prints_recorded_claims_and_is_strict_about_them(bench, tmp_path):
    bench.merge(tmp_path, [bench.claim("fast", "", [5, 6, 7], 1, aim=9), bench.claim("slow", "", [5, 6, 7], 100)])
    run = CliRunner()
    shown = run.invoke(app, ["claims", str(tmp_path), "--json"])
    assert shown.exit_code == 0
    assert [(c["id"], c["verdict"], c["bar"], c["n"]) for c in json.loads(shown.stdout)] == [
        ("fast", "shown", 1, 3),
        ("slow", "not shown", 100, 3),
    ]
    assert run.invoke(app, ["claims", str(tmp_path), "--strict"]).exit_code == 1


def test_a_folder_with_a_run_is_judged_anew_and_a_damaged_file_is_refused(tmp_path):
    assert recorded(tmp_path) == []
    (tmp_path / "claims.json").write_text('[{"id": "a"}]')
    with pytest.raises(InvalidInput, match="not a list of claims"):
        recorded(tmp_path)
    (tmp_path / "run.json").write_text("{}")
    assert recorded(tmp_path) == []
