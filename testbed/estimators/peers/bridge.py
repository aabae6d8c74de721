"""Runs a peer's own training in an interpreter that has the peer: rows go in through a pipe, weights come back as files."""

from __future__ import annotations

import json
import os
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from testbed.contracts import InvalidInput
from testbed.estimators.peers.workers import run
from testbed.estimators.sparse.coder import SparseCoder

VARIABLE = "TESTBED_PEERS_PYTHON"
HOME = Path(".venv-peers")
TELL_EVERY = 20.0
"""Seconds between two lines about how far a training is."""
START = """\
import sys, pathlib
sys.path.insert(0, sys.argv[1])
from workers import run
sys.path.pop(0)
sys.exit(run.main(pathlib.Path(sys.argv[2])))
"""
"""The workers are imported by their own name, since the testbed need not be installed where the peer is."""
QUIET = {"WANDB_MODE": "disabled", "WANDB_SILENT": "true", "TQDM_DISABLE": "1", "HF_HUB_OFFLINE": "1", "TRANSFORMERS_OFFLINE": "1"}


@dataclass(frozen=True)
class Peer:
    """A library: the name that it is installed by, the module that it is, and what people call it."""

    package: str
    module: str
    title: str


@dataclass(frozen=True)
class Trained:
    """What a peer has learned.

    Attributes
    ----------
    coder : SparseCoder
    history : dict of lists
        ``samples`` and ``loss``, where the peer tells its loss.
    seconds : dict
        ``wall`` and ``cpu`` of the training, without imports.
    versions : dict of str to str
    probed : mapping of str to Tensor
        The peer's own ``codes`` and ``decoded`` of the rows that were to be probed.
    """

    coder: SparseCoder
    history: dict[str, list[float]]
    seconds: dict[str, float]
    versions: dict[str, str]
    probed: Mapping[str, Tensor]


def interpreter(peer: Peer, python: str | None = None) -> Path:
    """The interpreter to run a peer in: `python`, else ``$TESTBED_PEERS_PYTHON``, else this one if it has the peer, else ``.venv-peers``.

    Raises
    ------
    InvalidInput
        If there is none.
    """
    chosen = python or os.environ.get(VARIABLE)
    if chosen:
        path = Path(chosen).expanduser()
        if not os.access(path, os.X_OK) or path.is_dir():
            raise InvalidInput(f"{path}, named by {'python' if python else VARIABLE}, is no interpreter: give the path of a python")
        return path.absolute()
    if find_spec(peer.module) is not None:
        return Path(sys.executable)
    path = HOME / ("Scripts/python.exe" if os.name == "nt" else "bin/python")
    if path.exists():
        return path.absolute()
    raise InvalidInput(f"{peer.package} is not installed: {_remedy()}")


def train(
    peer: Peer,
    spec: Mapping[str, Any],
    batches: Iterator[Tensor],
    read: Callable[[Path], SparseCoder],
    *,
    python: str | None = None,
    probe: Tensor | None = None,
) -> Trained:
    """Let a peer train on batches.

    Parameters
    ----------
    peer : Peer
    spec : mapping
        ``kind``, ``n_codes``, ``k``, ``steps``, ``batch_size``, ``seed``, ``normalise`` and ``options``, as the workers take them.
    batches : iterator of Tensor, shape (b, d)
        At least as many as the peer reads; it may leave some.
    read : callable
        From the folder that the peer wrote to the coder.
    python : str, optional
        See `interpreter`.
    probe : Tensor, shape (n, d), optional
        Rows for the peer to encode by itself, to compare.

    Raises
    ------
    InvalidInput
        If the peer is not installed, or stops before it is done: with what it said.
    """
    executable = interpreter(peer, python)
    first = next(batches)  # bad data are found before anything is started
    threads = torch.get_num_threads()
    full = {**spec, "peer": peer.package, "d": first.shape[1], "device": first.device.type, "threads": threads}
    with tempfile.TemporaryDirectory(prefix="testbed-peer-") as name:
        folder = Path(name)
        (folder / "spec.json").write_text(json.dumps(full), encoding="utf-8")
        if probe is not None:
            save_file({"rows": probe.float().cpu().contiguous()}, folder / "probe.safetensors")
        code = _run(
            executable, folder, chain([first], batches), f"{peer.title} {spec['kind']}", spec["steps"] * spec["batch_size"], threads
        )
        if code != 0 or not (folder / "result.json").exists():
            raise InvalidInput(_why(peer, executable, folder, code))
        result = json.loads((folder / "result.json").read_text(encoding="utf-8"))
        probed = load_file(folder / "probed.safetensors") if probe is not None else {}
        return Trained(read(folder / "out").to(first.device), result["history"], result["seconds"], result["versions"], probed)


def _run(executable: Path, folder: Path, batches: Iterator[Tensor], title: str, total: int, threads: int) -> int:
    """Start the worker, feed it, and wait for its end; killed with us, if we are interrupted."""
    environment = {**os.environ, **QUIET, "OMP_NUM_THREADS": str(threads)}
    command = [str(executable), "-I", "-c", START, str(Path(run.__file__).parent.parent), str(folder)]
    with (folder / "log").open("wb") as log:
        process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=log, stderr=log, env=environment)
        assert process.stdin is not None
        try:
            fed, told = 0, time.monotonic()
            try:
                for batch in batches:
                    process.stdin.write(struct.pack("<q", len(batch)) + batch.float().cpu().contiguous().numpy().astype("<f4").tobytes())
                    fed += len(batch)
                    if time.monotonic() - told > TELL_EVERY:
                        told = time.monotonic()
                        print(f"{title}: {min(fed, total):,} of {total:,} rows", file=sys.stderr, flush=True)
                process.stdin.close()
            except BrokenPipeError:
                pass  # it needs no more rows, or it has died: its exit code tells
            return process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()


def _why(peer: Peer, executable: Path, folder: Path, code: int) -> str:
    """One sentence about why the worker did not finish."""
    error = folder / "error.json"
    said = json.loads(error.read_text(encoding="utf-8")) if error.exists() else {}
    if said.get("kind") == "Missing":
        return f"{peer.package} is not installed for {executable}: {_remedy()}"
    if said.get("kind") == "Unusable":
        return str(said["message"])
    if "message" in said:
        return f"{peer.title} stopped with {said['message']}: change the parameters, or try it in {executable} by hand"
    lines = [line.strip() for line in (folder / "log").read_text(encoding="utf-8", errors="replace").splitlines() if line.strip()]
    how = f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
    return f"{executable}, running {peer.title}, {how}{': ' + lines[-1] if lines else ' and said nothing'}"


def _remedy() -> str:
    return f"`make bench` creates {HOME} with it; in another folder set {VARIABLE}, or the parameter python, to an interpreter that has it"
