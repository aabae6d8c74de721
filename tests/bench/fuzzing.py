"""What every reader makes of files that are not what was written: it takes them, or refuses them in one sentence.

``tests/test_fuzz.py`` draws such files with hypothesis; ``reliability.py`` tries thousands of them and writes what was seen.
"""

from __future__ import annotations

import copy
import hashlib
import json
import os
import shutil
import sys
import tomllib
from collections.abc import Callable, Iterator
from contextlib import contextmanager, redirect_stdout
from dataclasses import replace
from io import StringIO
from pathlib import Path
from random import Random
from typing import Any

import torch
from mutations import arrays_of, bytes_of, read, sealed, spoiled, text_of, tree_of

from generators.saving import load_instance, save_instance
from generators.selection.sparse import SparseConcepts
from testbed import stages, terminal
from testbed.activations.text import documents
from testbed.claims import judge, recorded
from testbed.contracts import InvalidInput, Observed, Sample, Shows, SparseRows, UnusableCheckpoint, View
from testbed.differences import differences
from testbed.estimators.classical.pca import PCA
from testbed.estimators.peers.weights import read_weights, write_weights
from testbed.estimators.sparse.checkpoints import Checkpoint
from testbed.estimators.sparse.coder import SparseCoder
from testbed.export import export
from testbed.replay import replay
from testbed.results import gather
from testbed.runner import execute, plan_suite
from testbed.shards import ShardReader, write_samples
from testbed.store import Damaged, Record, Store
from testbed.suite import from_tree, shipped_suites
from testbed.suite import read as read_suite
from testbed.upkeep import garbage, verify

TOYS = Path(__file__).resolve().parents[1] / "toys"
REFUSED = (InvalidInput, Damaged)
WORDS = (
    *("estimator", "generator", "random", "gauss", "params", "grid", "data", "train", "label", "name", "on", "m", "instances", "presets"),
    *(".", ".", ".", "=", "=", "[", "]", "{", "}", '"', "'", "#", "\n", ",", " ", "use", "truth", "1", "-1", "nan", "1e999", "9" * 5000),
    *("é", "\udcff", "\0", "pca", "true", "1979-05-27", "[" * 3000),
)
KEYS = ("", "estimator.random.", "estimator.random.m=", "generator.gauss.noise=", "data.train=", "data.", "fit_seeds=", "title=", "seed=")
"""What settings are put together from."""


class Ground:
    """A folder with one of everything that is read, as it should be; each attempt spoils a copy and puts it back.

    Parameters
    ----------
    root : path
        An empty folder, which becomes the working folder while attempts are made.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        for file in TOYS.glob("toy*"):
            shutil.copy(file, root)
        with self.here():
            (plan,) = plan_suite("toy.toml", preset="tiny", settings=["instances=1"])
            execute(plan, "out")
            self.results = gather("out")
            self.suites = [Path("toy.toml").read_bytes(), *(path.read_bytes() for path in sorted(shipped_suites().values())[:4])]
            verdicts = [verdict.as_json() for verdict in judge(self.results)]
            Path("bench").mkdir()
            Path("bench/claims.json").write_bytes(text_of(verdicts))
            x = torch.arange(40, dtype=torch.float32).reshape(20, 2)
            sample = Sample(
                Observed({"x": View(x, Shows(levels=(0,)))}, {"group": torch.arange(20)}),
                {0: SparseRows.from_dense(x * (x % 3 == 0)), 1: x},
            )
            write_samples(Path("cache"), {"from": "here"}, [sample])
            save_instance(SparseConcepts.small().draw(0), "instance")
            coder = SparseCoder(torch.eye(3, 2), torch.zeros(3), torch.eye(3, 2), torch.zeros(2), "topk", k=2)
            write_weights(coder, "weights.safetensors")
            write_weights(coder, "saelens", "saelens")
            write_weights(coder, "dictionary_learning", "dictionary_learning")
            Checkpoint("checkpoint", "training").write({"w": x, "n": torch.tensor(3)}, {"done": 1, "history": {"loss": [1.0]}})
            Path("text.txt").write_text("The cat sees a mouse. Ça va.")
            export(self.results, "exported")
            pca = PCA().fit(x, seed=0)
            self.states = [(PCA(), *pca.get_state())]

    @contextmanager
    def here(self) -> Iterator[None]:
        before, path = os.getcwd(), list(sys.path)
        sys.modules.pop("toys", None)
        os.chdir(self.root)
        sys.path.append(str(self.root))
        try:
            yield
        finally:
            os.chdir(before)
            sys.path[:] = path
            sys.modules.pop("toys", None)

    def one(self, pattern: str, chance: Random) -> Path:
        return chance.choice(sorted(Path().glob(pattern)))


def _json(data: bytes, chance: Random, seal: Callable[[Any], Any] = lambda tree: tree) -> bytes:
    """A JSON file with accidents, or with other values in it and the hash that these should have."""
    return bytes_of(data, chance) if chance.randint(0, 3) == 0 else text_of(seal(tree_of(json.loads(data), chance)))


def _arrays(data: bytes, chance: Random) -> bytes:
    return bytes_of(data, chance) if chance.randint(0, 3) == 0 else arrays_of(data, chance)


# ------------------------------------------------------------------------------------------------------------------- suites


def suite_files(ground: Ground, chance: Random) -> str:
    """A suite's TOML."""
    path = Path("toy.toml")
    with spoiled(path, bytes_of(chance.choice(ground.suites), chance)):
        return read(lambda: read_suite(path), ground.root, REFUSED)


def suite_trees(ground: Ground, chance: Random) -> str:
    """What a suite's TOML says, with other values in it."""
    tree = tree_of(tomllib.loads(chance.choice(ground.suites).decode()), chance)
    preset = chance.choice((None, "tiny", "quick"))
    return read(lambda: from_tree(tree, preset=preset), ground.root, REFUSED) if isinstance(tree, dict) else ""


def settings(ground: Ground, chance: Random) -> str:
    """Texts after ``--set``."""
    tree = tomllib.loads(ground.suites[0].decode())
    texts = ["".join(chance.choice(WORDS) for _ in range(chance.randint(1, 5))) for _ in range(chance.randint(1, 2))]
    texts = [chance.choice(KEYS) + text for text in texts]
    return read(lambda: from_tree(copy.deepcopy(tree), settings=texts), ground.root, REFUSED)


# ------------------------------------------------------------------------------------------------------------------- stores


def _quietly(show: Callable[..., None], *arguments: Any) -> None:
    """What a command prints, which must print, whatever is in it."""
    with redirect_stdout(StringIO()):
        show(*arguments)


def _told() -> None:
    """All that is read of a run without importing a component."""
    results = gather("out")
    _quietly(terminal.show_trials, results)
    _quietly(terminal.show_leaderboard, results)
    _quietly(terminal.show_claims, judge(results))
    for trial in results.run["trials"][:1]:
        _quietly(terminal.show_trial, results, Path("out"), trial["id"])


def _reader_of_runs(ground: Ground, chance: Random) -> Callable[[], object]:
    def compared() -> None:
        _quietly(terminal.show_differences, differences(ground.results, gather("out"), parts=True), True)

    return chance.choice((_told, _told, compared, lambda: verify("out"), lambda: garbage("out"), lambda: list(Store("out").records())))


def records(ground: Ground, chance: Random) -> str:
    """A stage's record, half of the time with the hash that it should have."""
    path = ground.one("out/stages/*/*/*/record.json", chance)
    with spoiled(path, _json(path.read_bytes(), chance, sealed if chance.randint(0, 1) else lambda tree: tree)):
        return read(_reader_of_runs(ground, chance), ground.root, REFUSED)


def swapped(ground: Ground, chance: Random) -> str:
    """Two files of a store in each other's place."""
    a, b = ground.one("out/stages/*/*/*/*.*", chance), ground.one("out/stages/*/*/*/*.*", chance)
    with spoiled(a, b.read_bytes()), spoiled(b, a.read_bytes()):
        return read(_reader_of_runs(ground, chance), ground.root, REFUSED)


def runs(ground: Ground, chance: Random) -> str:
    """``run.json``."""
    path = Path("out/run.json")
    with spoiled(path, _json(path.read_bytes(), chance)):
        entry = chance.choice((_reader_of_runs(ground, chance), lambda: replay("out", "nobody/0/at all/0")))
        return read(entry, ground.root, REFUSED)


def exports(ground: Ground, chance: Random) -> str:
    """A run with a changed record, or a changed ``run.json``, written as tables and figures."""
    path = chance.choice((Path("out/run.json"), ground.one("out/stages/score/*/*/record.json", chance)))
    with spoiled(path, _json(path.read_bytes(), chance, sealed if path.name == "record.json" else lambda tree: tree)):
        return read(lambda: export(gather("out"), "exported"), ground.root, REFUSED)


def failures(ground: Ground, chance: Random) -> str:
    """The report of a stage that failed."""
    store, key = Store("out"), ground.results.run["trials"][0]["fit"]
    store.fail("fit", key, {"error": "e", "traceback": "t"})
    path = ground.one(f"out/failures/fit-{key}/*.json", chance)
    record = store.folder("fit", key) / "record.json"
    try:
        with spoiled(path, _json(path.read_bytes(), chance)), spoiled(record, b"{"):
            return read(lambda: _quietly(terminal.show_failures, gather("out")), ground.root, REFUSED)
    finally:
        store.clear_failures("fit", key)


def claims(ground: Ground, chance: Random) -> str:
    """A ``claims.json`` without a run."""

    path = Path("bench/claims.json")
    with spoiled(path, _json(path.read_bytes(), chance)):
        return read(lambda: _quietly(terminal.show_claims, recorded(Path("bench"))), ground.root, REFUSED)


# ------------------------------------------------------------------------------------------------------------ rows and codes


def _rows() -> None:
    reader = ShardReader("cache")
    len(reader)
    list(reader)
    list(reader.starting_at(7))
    sample = reader.sample()
    for latents in sample.latents.values():
        if isinstance(latents, SparseRows) and latents.shape[1] < 10**6:
            latents.dense()


def manifests(ground: Ground, chance: Random) -> str:
    """The manifest of a folder of shards."""
    path = Path("cache/manifest.json")
    with spoiled(path, _json(path.read_bytes(), chance)):
        return read(_rows, ground.root, REFUSED)


def shards(ground: Ground, chance: Random) -> str:
    """A shard, with the hash that its manifest should have."""
    path, home = ground.one("cache/*.safetensors", chance), Path("cache/manifest.json")
    data = _arrays(path.read_bytes(), chance)
    manifest = json.loads(home.read_bytes())
    manifest["shards"][0]["sha256"] = hashlib.sha256(data).hexdigest()
    with spoiled(path, data), spoiled(home, text_of(manifest)):
        return read(_rows, ground.root, REFUSED)


def _resealed(record: Record, name: str, data: bytes) -> Record:
    return replace(record, files={**record.files, name: {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}})


def codes(ground: Ground, chance: Random) -> str:
    """Codes of a trial, with the hash that their record should have."""
    trial = chance.choice(ground.results.run["trials"])
    record = Store("out").record("encode", trial["encode"])
    assert record is not None
    path = record.folder / "codes.safetensors"
    data = _arrays(path.read_bytes(), chance)
    with spoiled(path, data):
        return read(lambda: stages._codes_in(_resealed(record, path.name, data)), ground.root, REFUSED)


def states(ground: Ground, chance: Random) -> str:
    """A fitted state: its files, and what an estimator takes of it."""
    from toys import ToyEstimator

    trial = chance.choice([t for t in ground.results.run["trials"] if t["estimator"] == "random"])
    record = Store("out").record("fit", trial["fit"])
    assert record is not None
    path = record.folder / chance.choice(("state.json", "state.safetensors"))
    data = (_json if path.suffix == ".json" else _arrays)(path.read_bytes(), chance)

    def taken() -> None:
        arrays, plain = stages._state_in(_resealed(record, path.name, data), "cpu")
        ToyEstimator().set_state(arrays, plain)

    with spoiled(path, data):
        return read(taken, ground.root, REFUSED)


def plain_states(ground: Ground, chance: Random) -> str:
    """The JSON of a fitted state, handed to the estimator itself."""
    estimator, arrays, plain = chance.choice(ground.states)
    told = tree_of({**plain, "nested": {"inner_": {"params": {}, "plain": {}}}, "a_": 1}, chance)
    if not isinstance(told, dict):
        return ""
    return read(lambda: estimator.clone().set_state(arrays, told), ground.root, (InvalidInput, stages.NotExpressible))


def checkpoints(ground: Ground, chance: Random) -> str:
    """The checkpoint of a training."""
    path = Path("checkpoint")
    with spoiled(path, _arrays(path.read_bytes(), chance)):
        return read(Checkpoint(path, "training").read, ground.root, (UnusableCheckpoint,))


def instances(ground: Ground, chance: Random) -> str:
    """A saved instance."""
    path = ground.one("instance/*", chance)
    with spoiled(path, (_json if path.suffix == ".json" else _arrays)(path.read_bytes(), chance)):
        return read(lambda: load_instance("instance"), ground.root, REFUSED)


def weights(ground: Ground, chance: Random) -> str:
    """Weights of sparse autoencoders, in the three formats."""
    home = chance.choice(("weights.safetensors", "saelens", "dictionary_learning"))
    path = ground.one(f"{home}/*" if Path(home).is_dir() else home, chance)
    change = {".json": _json, ".safetensors": _arrays}.get(path.suffix, bytes_of)
    with spoiled(path, change(path.read_bytes(), chance)):
        return read(lambda: read_weights(home), ground.root, REFUSED)


def texts(ground: Ground, chance: Random) -> str:
    """A text that a model is to read."""
    path = Path("text.txt")
    with spoiled(path, bytes_of(path.read_bytes(), chance)):
        return read(lambda: documents(path), ground.root, REFUSED)


READERS: dict[str, Callable[[Ground, Random], str]] = {
    **{reader.__name__: reader for reader in (suite_files, suite_trees, settings, records, swapped, runs, failures, claims)},
    **{reader.__name__: reader for reader in (manifests, shards, codes, states, plain_states, checkpoints, instances, weights, texts)},
    "exports": exports,
}
