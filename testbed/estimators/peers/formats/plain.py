"""One safetensors file: ours, with the settings in its header, or anyone's with the usual four names."""

from __future__ import annotations

import json
from pathlib import Path

from testbed.contracts import InvalidInput
from testbed.estimators.peers.formats.tensors import Tensors, read_tensors, write_tensors
from testbed.estimators.sparse.coder import TENSORS, SparseCoder

HEADER = "sparse_coder"
"""Key of the file's metadata that holds the coder's settings as JSON."""


def read(path: Path) -> SparseCoder:
    """Read a file that `write` wrote, or one that holds ``W_enc`` (d, m), ``b_enc``, ``W_dec`` (m, d), ``b_dec``.

    Without our header, a tensor ``threshold`` makes it a JumpReLU, a metadata entry or tensor ``k`` a TopK, else it is a ReLU; the
    decoder's bias is subtracted first.
    """
    tensors = read_tensors(path)
    if HEADER not in tensors.metadata:
        return _foreign(tensors)
    try:
        settings = json.loads(tensors.metadata[HEADER])
    except (ValueError, RecursionError) as error:
        raise InvalidInput(f"the header of {path} is not JSON: copy the file again") from error
    return SparseCoder.from_state({name: tensors.take(name) for name in TENSORS if name in tensors}, settings)


def write(coder: SparseCoder, path: Path) -> None:
    """Write `coder` to one file; every coder can be."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_tensors(path, coder.arrays(), {HEADER: json.dumps(coder.settings())})


def _foreign(tensors: Tensors) -> SparseCoder:
    encoder, bias = tensors.take("W_enc").T.contiguous(), tensors.take("b_enc")
    dictionary, decoder_bias = tensors.take("W_dec"), tensors.take("b_dec")
    if "threshold" in tensors:
        theta = tensors.take("threshold").reshape(-1).expand(len(bias)).clone()
        return SparseCoder(encoder, bias, dictionary, decoder_bias, "jump_relu", threshold=theta)
    if "k" in tensors or "k" in tensors.metadata:
        try:
            k = tensors.number("k") if "k" in tensors else int(tensors.metadata["k"])
        except ValueError:
            raise InvalidInput(f"{tensors.source} has k = {tensors.metadata['k']!r}: it must be a whole number") from None
        return SparseCoder(encoder, bias, dictionary, decoder_bias, "topk", k=k)
    return SparseCoder(encoder, bias, dictionary, decoder_bias)
