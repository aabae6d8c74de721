"""What is on disk is held against its hashes: damage is found, named, and computed again."""

import fcntl
import json
import shutil
from pathlib import Path

import pytest

from testbed.contracts import InvalidInput
from testbed.runner import execute, plan_suite
from testbed.store import Store, seal_of
from testbed.upkeep import collect, garbage, repair, verify


def run(**options):
    (plan,) = plan_suite("toy.toml", **options)
    return execute(plan, "out")


def first(pattern):
    return sorted(Path("out/stages").glob(pattern))[0]


def flip(path, place=-1):
    data = bytearray(path.read_bytes())
    data[place] ^= 1
    path.write_bytes(data)


def truncate(path):
    path.write_bytes(path.read_bytes()[:-7])


def foreign(path):
    path.write_text('{"hello": 1}')


def swap(path):
    other = sorted(path.parent.parent.parent.glob("*/*/record.json"))[-1]
    path.write_bytes(other.read_bytes())


def edit(path):
    data = json.loads(path.read_bytes())
    data["material"]["seed"] = 1
    path.write_text(json.dumps(data))


def improve(path):
    data = json.loads(path.read_text())
    data["result"]["value"] = 1.0
    path.write_text(json.dumps(data))


def forge(path):
    data = json.loads(path.read_text())
    data["result"]["value"] = "high"
    path.write_text(json.dumps({**data, "digest": seal_of(data)}))


def lose(path):
    path.unlink()


DAMAGE = [
    ("sample/*/*/train/shard-00000.safetensors", flip, "its hash is another one"),
    ("sample/*/*/test/shard-00000.safetensors", truncate, "bytes, not"),
    ("sample/*/*/test/manifest.json", lose, "is missing"),
    ("fit/*/*/state.safetensors", flip, "its hash is another one"),
    ("encode/*/*/codes.safetensors", flip, "its hash is another one"),
    ("fit/*/*/record.json", truncate, "cannot be read"),
    ("encode/*/*/record.json", lose, "never finished"),
    ("score/*/*/record.json", foreign, "is no record"),
    ("fit/*/*/record.json", swap, "lies elsewhere"),
    ("fit/*/*/record.json", edit, "does not have the key that follows from its own material"),
    ("score/*/*/record.json", improve, "is not what was written: its hash is another one"),
    ("score/*/*/record.json", forge, "is not what a stage score leaves (result.value"),
]


@pytest.mark.parametrize(("pattern", "damage", "message"), DAMAGE, ids=lambda value: getattr(value, "__name__", str(value)))
def test_damage_is_found_named_and_repaired_to_the_same_records(toys, records, pattern, damage, message):
    run(preset="tiny")
    whole = records("out")
    assert verify("out") == []
    damage(first(pattern))
    problems = verify("out")
    assert len(problems) == 1
    assert message in problems[0].what
    assert len(repair(problems)) == 1
    shutil.rmtree("out/stages/score")  # samples are drawn again only where something needs them
    run(preset="tiny")
    assert verify("out") == []
    assert records("out") == whole


@pytest.mark.filterwarnings("ignore:.*is damaged")
@pytest.mark.parametrize("lost", [["score"], ["score", "encode"], ["score", "encode", "fit"]], ids=len)
@pytest.mark.parametrize(
    "pattern",
    [
        "sample/*/*/train/shard-00000.safetensors",
        "sample/*/*/test/shard-00000.safetensors",
        "sample/*/*/train/manifest.json",
        "fit/*/*/state.safetensors",
        "encode/*/*/codes.safetensors",
    ],
)
def test_a_run_computes_again_what_it_finds_damaged(toys, records, pattern, lost):
    run(preset="tiny")
    whole = records("out")
    for path in Path("out/stages").glob(pattern):
        truncate(path)
    for stage in lost:
        shutil.rmtree(Path("out/stages") / stage)
    assert not run(preset="tiny").failed
    repair(verify("out"))  # what was damaged and needed by nothing
    shutil.rmtree("out/stages/score")
    assert not run(preset="tiny").failed
    assert records("out") == whole


def test_damage_that_is_mended_is_told(toys):
    run(preset="tiny")
    truncate(first("encode/*/*/codes.safetensors"))
    shutil.rmtree("out/stages/score")
    with pytest.warns(UserWarning, match="is damaged: it is deleted and computed again"):
        run(preset="tiny")


def test_files_that_no_record_names_are_told_and_left_alone(toys):
    run(preset="tiny")
    stray = first("fit/*/*/record.json").with_name("evil.pkl")
    stray.write_bytes(b"\x80")
    Path("out/failures/x").mkdir(parents=True)
    Path("out/failures/x/000.json").write_text("{")
    found = verify("out")
    assert {problem.path.name for problem in found} == {"evil.pkl", "000.json"}
    assert repair(found) == []
    assert stray.exists()


def test_what_a_link_leads_to_is_told_and_left_alone(toys):
    run(preset="tiny")
    elsewhere = toys / "elsewhere"
    inner = elsewhere / "ab" / "0123"
    inner.mkdir(parents=True)
    (inner / "mine.txt").write_text("mine")
    Path("out/stages/fit/zz").symlink_to(elsewhere / "ab")
    Path("out/stages/score").rename("score")
    Path("out/stages/score").symlink_to(elsewhere)
    for name in ("work", "failures"):
        shutil.rmtree(Path("out") / name, ignore_errors=True)
        (Path("out") / name).symlink_to(elsewhere)
    assert [problem.what for problem in verify("out") if "link" in problem.what] == [
        "is a link out of the store: what it leads to is left alone"
    ] * 2
    assert all(not path.resolve().is_relative_to(elsewhere) for path in garbage("out").paths)
    repair(verify("out"))
    collect(garbage("out"))
    assert (inner / "mine.txt").read_text() == "mine"


def test_garbage_is_what_the_last_run_does_not_use(toys, records):
    run(preset="tiny", settings=["data.train=4500"])
    run(preset="tiny")
    kept = _used()
    Path("out/work/fit-abandoned").mkdir(parents=True)
    Path("out/.run.json.1.draft").write_text("half")
    found = garbage("out")
    assert found.size > 0
    assert Path("out/work/fit-abandoned") in found.paths
    collect(found)
    assert {record.key for record in Store("out").records()} == kept == _used()
    assert garbage("out").paths == ()
    assert run(preset="tiny").total_computed == 0


def _used():
    """Keys of the records that go back to a sample of the last run."""
    store = Store("out")
    samples = {sample["sample"] for sample in store.read_run()["samples"]}
    known = {record.key: record.material.get("inputs", []) for record in store.records()}

    def leads(key):
        return key in samples or any(leads(other) for other in known.get(key, []))

    return {key for key in known if leads(key)}


def test_work_that_a_process_holds_is_not_garbage(toys):
    run(preset="tiny")
    Path("out/work/fit-busy").mkdir(parents=True)
    with Path("out/work/fit-busy/record.json").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        assert Path("out/work/fit-busy") not in garbage("out").paths
    assert Path("out/work/fit-busy") in garbage("out").paths


def test_a_folder_without_a_run_is_refused(tmp_path):
    for look in (verify, garbage):
        with pytest.raises(InvalidInput, match="holds no run"):
            look(tmp_path)
