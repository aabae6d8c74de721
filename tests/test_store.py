"""Stages are whole or not there; keys are hashes of everything; failures are kept until a success."""

import json
import os
import signal
import subprocess
import sys
import textwrap

import pytest

from testbed.contracts import InvalidInput
from testbed.store import Damaged, Store, canonical, fault_of, key_of, read_json, seal_of, write_atomic, write_json

MATERIAL = {"stage": "fit", "params": {"k": 3}}
KEY = key_of(MATERIAL)


def commit(store, result=None, material=MATERIAL):
    key = key_of(material)
    with store.writing("fit", key) as work:
        (work / "state.bin").write_bytes(b"abc")
        return store.commit("fit", key, work, material, result or {"a": 1}, {"seconds": 0.1})


def test_canonical_json_does_not_depend_on_order_and_refuses_nan():
    assert canonical({"b": 1, "a": [1.5, None]}) == '{"a":[1.5,null],"b":1}'
    assert key_of({"a": 1, "b": 2}) == key_of({"b": 2, "a": 1})
    assert key_of({"a": 1}) != key_of({"a": 1.0001})
    with pytest.raises(ValueError):
        canonical(float("nan"))


def test_a_committed_stage_is_read_back_with_its_files(tmp_path):
    store = Store(tmp_path)
    assert store.record("fit", KEY) is None
    commit(store)
    record = store.record("fit", KEY)
    assert record.result == {"a": 1}
    assert record.path("state.bin").read_bytes() == b"abc"
    assert not list((tmp_path / "work").iterdir())
    assert [r.key for r in store.records()] == [KEY]


def test_a_file_that_changed_is_never_taken_for_valid(tmp_path):
    record = commit(Store(tmp_path))
    (record.folder / "state.bin").write_bytes(b"abd")
    with pytest.raises(Damaged, match="not what was written"):
        record.path("state.bin")
    with pytest.raises(Damaged, match="no file 'other'"):
        record.path("other")


@pytest.mark.parametrize("spoil", [lambda d: b"{", lambda d: b"[]", lambda d: json.dumps({**d, "schema": 0}).encode()])
def test_a_record_that_cannot_be_read_counts_as_not_there_and_can_be_written_again(tmp_path, spoil):
    store = Store(tmp_path)
    path = commit(store).folder / "record.json"
    path.write_bytes(spoil(json.loads(path.read_bytes())))
    assert store.record("fit", KEY) is None
    commit(store, {"a": 2})
    assert store.record("fit", KEY).result == {"a": 2}


@pytest.mark.parametrize("part", ["result", "provenance", "files"])
def test_a_record_in_which_anything_was_changed_counts_as_not_there(tmp_path, part):
    store = Store(tmp_path)
    path = commit(store).folder / "record.json"
    whole = path.read_text()
    data = json.loads(whole)
    data[part]["more"] = 1
    path.write_text(json.dumps(data))
    assert store.record("fit", KEY) is None
    path.write_text(whole)
    assert store.record("fit", KEY).result == {"a": 1}


def test_a_record_from_before_there_were_digests_is_read(tmp_path):
    path = commit(Store(tmp_path)).folder / "record.json"
    data = json.loads(path.read_text())
    del data["digest"]
    path.write_text(json.dumps(data))
    assert Store(tmp_path).record("fit", KEY).result == {"a": 1}


@pytest.mark.parametrize("name", ["../state.bin", "/etc/passwd", "a/../../b", "", "\0"])
def test_a_record_that_names_files_elsewhere_counts_as_not_there(tmp_path, name):
    path = commit(Store(tmp_path)).folder / "record.json"
    data = json.loads(path.read_text())
    data["files"] = {name: data["files"]["state.bin"]}
    path.write_text(json.dumps({**data, "digest": seal_of(data)}))
    assert "names a file outside its folder" in fault_of(json.loads(path.read_text()), "fit", KEY)
    assert Store(tmp_path).record("fit", KEY) is None


@pytest.mark.parametrize(
    "content",
    [
        b'{"a": NaN}',
        b"[1e999]",
        b'"\\ud800"',
        b"[" * 5000,
        b"[" * 101 + b"]" * 101,
        b"9" * 5000,
        b"\xff",
        b'{"a": 1}'.decode().encode("utf-16"),
    ],
    ids=lambda content: str(content[:12]),
)
def test_what_could_not_be_written_as_json_is_not_read(tmp_path, content):
    path = tmp_path / "x.json"
    path.write_bytes(content)
    with pytest.raises(ValueError):
        read_json(path)
    path.write_bytes(b"[" * 100 + b"1e30" + b"]" * 100)
    read_json(path)


def test_a_pipe_in_the_place_of_a_file_is_not_waited_for(tmp_path):
    os.mkfifo(tmp_path / "run.json")
    with pytest.raises(InvalidInput, match="holds no run"):
        Store(tmp_path).read_run()


@pytest.mark.parametrize("report", ["{", "[]", '{"error": 3, "traceback": ""}', "{}"])
def test_a_failure_report_that_is_none_is_told(tmp_path, report):
    store = Store(tmp_path)
    store.fail("fit", KEY, {"error": "first", "traceback": "t"})
    next((tmp_path / "failures").glob("*/*.json")).write_text(report)
    assert store.failure("fit", KEY) == {"error": "the failure report 000.json cannot be read", "traceback": "", "attempts": 1}


def test_a_result_that_could_not_be_read_again_is_not_written(tmp_path):
    deep = 1
    for _ in range(200):
        deep = [deep]
    with pytest.raises(InvalidInput, match="give flatter"):
        commit(Store(tmp_path), {"deep": deep})


def test_a_record_of_other_material_is_not_taken_for_this_one(tmp_path):
    store = Store(tmp_path)
    path = commit(store).folder / "record.json"
    data = json.loads(path.read_bytes())
    data["material"]["params"]["k"] = 4
    path.write_text(json.dumps(data))
    assert store.record("fit", KEY) is None
    with pytest.raises(InvalidInput), store.writing("fit", KEY) as work:
        store.commit("fit", KEY, work, {"stage": "fit"}, {}, {})


def test_what_a_killed_run_left_in_the_work_folder_is_still_there(tmp_path):
    store = Store(tmp_path)
    with pytest.raises(RuntimeError), store.writing("fit", KEY) as work:  # noqa: PT012
        (work / "half").write_text("x")
        raise RuntimeError
    with store.writing("fit", KEY) as work:
        assert (work / "half").read_text() == "x"


@pytest.mark.parametrize("seconds", [0.01, 5.0])
def test_every_file_of_a_stage_is_on_the_disk_before_it_counts_where_that_is_worth_it(tmp_path, monkeypatch, seconds):
    store, synced = Store(tmp_path), []
    monkeypatch.setattr(os, "fsync", lambda descriptor: synced.append(os.readlink(f"/proc/self/fd/{descriptor}")))
    with store.writing("fit", KEY) as work:
        (work / "deep").mkdir()
        for name in ("state.bin", "deep/more.bin"):
            (work / name).write_bytes(b"abc")
        record = store.commit("fit", KEY, work, MATERIAL, {"a": 1}, {"seconds": seconds})
    assert sorted(record.files) == ["deep/more.bin", "state.bin"]
    files = {str(work / name) for name in ("state.bin", "deep/more.bin", "record.json")}
    assert set(synced) == ({*files, str(work), str(record.folder.parent)} if seconds > 0.1 else set())


def test_two_processes_hold_a_stage_one_after_the_other(tmp_path):
    script = textwrap.dedent(
        f"""
        import time
        from testbed.store import Store
        store = Store({str(tmp_path)!r})
        with store.writing("fit", {KEY!r}) as work:
            if store.record("fit", {KEY!r}) is None:
                (work / "state.bin").write_bytes(b"abc")
                time.sleep(0.3)
                store.commit("fit", {KEY!r}, work, {MATERIAL!r}, {{}}, {{}})
                print("computed")
        """
    )
    running = [subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True) for _ in range(3)]
    assert sorted(process.communicate()[0] for process in running) == ["", "", "computed\n"]
    assert Store(tmp_path).record("fit", KEY) is not None


def test_a_holder_that_is_killed_lets_go(tmp_path):
    script = (
        f"from testbed.store import Store\nimport time\nwith Store({str(tmp_path)!r}).writing('fit', {KEY!r}):\n"
        "    print('in', flush=True)\n    time.sleep(60)"
    )
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, text=True)
    assert process.stdout.readline() == "in\n"
    process.send_signal(signal.SIGKILL)
    process.communicate()
    assert commit(Store(tmp_path)).key == KEY


def test_failures_are_counted_and_forgotten_on_success(tmp_path):
    store = Store(tmp_path)
    assert store.failure("fit", KEY) is None
    store.fail("fit", KEY, {"error": "first", "traceback": "t"})
    store.fail("fit", KEY, {"error": "second", "traceback": "t"})
    assert store.failure("fit", KEY) == {"error": "second", "traceback": "t", "attempts": 2}
    commit(store)
    assert store.failure("fit", KEY) is None


def test_forgetting_a_stage_leaves_nothing_of_it(tmp_path):
    store = Store(tmp_path)
    commit(store)
    store.forget("fit", KEY)
    assert store.record("fit", KEY) is None
    assert not list(store.records())


def test_an_atomic_write_replaces_all_or_nothing(tmp_path, monkeypatch):
    path = tmp_path / "a" / "file"
    write_atomic(path, b"old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OSError, match="No space"):
        write_atomic(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in path.parent.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("content", "message"),
    [(None, "holds no run"), ("{", "cannot be read"), ("[]", "another version"), ('{"schema": 99}', "another version")],
)
def test_a_folder_without_a_readable_run_is_refused(tmp_path, content, message):
    if content is not None:
        (tmp_path / "run.json").write_text(content)
    with pytest.raises(InvalidInput, match=message):
        Store(tmp_path).read_run()


def test_json_with_nan_is_never_written(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "x.json", {"a": float("inf")})
    assert not (tmp_path / "x.json").exists()
