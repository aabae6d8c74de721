"""One training, from the specification in a folder to the weights in it.

FOLDER holds ``spec.json``; batches come on standard input, as an 8-byte count of rows and then the rows, float32, until its end. What
was learned is written to FOLDER/out in the library's own format, what happened to ``result.json``, what went wrong to ``error.json``.
"""

from __future__ import annotations

import json
import sys
import time
import traceback
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file

from . import dictionary_learning, overcomplete, saelens
from .protocol import Batches, History, Missing, Probe, Spec, Unusable

PEERS: Mapping[str, tuple[str, Callable[[Spec, Batches, Path, History], Probe]]] = {
    "sae-lens": ("sae_lens", saelens.train),
    "dictionary-learning": ("dictionary_learning", dictionary_learning.train),
    "overcomplete": ("overcomplete", overcomplete.train),
}


def run(folder: Path, source: IO[bytes]) -> None:
    with (folder / "spec.json").open(encoding="utf-8") as file:
        spec: Spec = json.load(file)
    module, train = PEERS[spec["peer"]]
    if find_spec(module) is None:
        raise Missing(f"{spec['peer']} is not installed in {sys.prefix}")
    if spec["device"] != "cpu" and not torch.cuda.is_available():
        raise Unusable(f"the data are on {spec['device']}, but torch in {sys.prefix} sees no CUDA device: give data on the CPU")
    torch.set_num_threads(spec["threads"])
    torch.manual_seed(spec["seed"])
    np.random.seed(spec["seed"] % 2**32)  # noqa: NPY002 - the libraries draw from the global generators of this process
    out, history, data = folder / "out", History(), Batches(source, spec["d"], spec["device"])
    out.mkdir()
    probe = train(spec, data, out, history)
    wall, cpu = data.started or (0.0, 0.0)
    seconds = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    rows = folder / "probe.safetensors"
    if rows.exists():
        with torch.no_grad():
            codes, decoded = probe(load_file(rows)["rows"])
        save_file({"codes": codes.contiguous(), "decoded": decoded.contiguous()}, folder / "probed.safetensors")
    result = {"history": history.json(), "seconds": seconds, "versions": {name: _version(name) for name in (spec["peer"], "torch")}}
    write(folder / "result.json", result)


def write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def main(folder: Path) -> int:
    """Do it; the exit code."""
    try:
        run(folder, sys.stdin.buffer)
    except Unusable as error:
        write(folder / "error.json", {"kind": type(error).__name__, "message": str(error)})
        return 2
    except Exception as error:
        said = str(error).strip().split("\n", 1)[0]
        at = traceback.extract_tb(error.__traceback__)[-1]
        message = f"{type(error).__name__}{': ' + said if said else ''} in {Path(at.filename).name}, line {at.lineno}"
        write(folder / "error.json", {"kind": "Failed", "message": message})
        raise
    return 0
