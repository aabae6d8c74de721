"""Activations on disk: computed once, resumed after a kill, read as a stream by any estimator."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from testbed.activations.hooks import resolve
from testbed.activations.models import LanguageModel, load_model
from testbed.activations.text import documents, fingerprint
from testbed.activations.windows import cut, ordered, samples
from testbed.contracts import BLOCK, InvalidInput
from testbed.shards import DTYPES, ShardReader, ShardWriter


def cache_activations(
    folder: str | Path,
    *,
    model: str | Path | LanguageModel = "smollm2-135m",
    module: str = "residual.15",
    text: str | Path | Sequence[str | Path] | None = None,
    tokens: int | None = None,
    context: int = 128,
    revision: str | None = None,
    dtype: str = "float32",
    batch: int = 1,
    device: str = "cpu",
    seed: int = 0,
    shard_rows: int = BLOCK,
) -> ShardReader:
    """Run a model over texts and keep the activations of one module.

    Killed at any moment and called again with the same arguments, it goes on after the last whole shard; called once more when all is
    there, it only reads.

    Parameters
    ----------
    folder : path
        Where the shards go.
    model : str, path or LanguageModel
        A name for `load_model`, or a loaded model (then `revision` and `device` are its own).
    module : str
        Dotted name, or ``residual.N`` for the output of block N.
    text
        See `testbed.activations.documents`.
    tokens : int, optional
        Rows to keep; by default as many as the texts give. Windows are taken in a random order over all documents.
    context : int
        Tokens per window; its first and its last give no row.
    dtype : {"float32", "float16", "bfloat16"}
        Of the stored values. float16 halves the space; a value of more than 65,504 would overflow and is refused.
    batch : int
        Windows that run together: 1 is fastest on a CPU, more on a GPU.
    seed : int
        Of the order of the windows.
    shard_rows : int
        Rows per shard: what a kill can lose.

    Returns
    -------
    ShardReader
        Iterate it, or hand it to an estimator's ``fit``.

    Raises
    ------
    InvalidInput
        If `folder` holds rows of another source, the texts have too few tokens, or an argument cannot be used.
    """
    if batch < 1 or shard_rows < 1 or (tokens is not None and tokens < 1):
        raise InvalidInput(f"batch {batch}, tokens {tokens} and shard_rows {shard_rows} must be at least 1")
    lm = model if isinstance(model, LanguageModel) else load_model(model, revision=revision, device=device)
    texts = documents(text)
    windows = ordered(cut(lm.tokenizer, texts, context), seed)
    there = sum(window.rows for window in windows)
    wanted = there if tokens is None else tokens
    if wanted > there or there == 0:
        raise InvalidInput(f"{wanted} tokens were asked for, but the texts give {there} rows: ask for fewer or give more text")
    source: dict[str, Any] = {
        "model": lm.name,
        "revision": lm.revision,
        "fingerprint": lm.fingerprint,
        "note": lm.note,
        "precision": str(lm.model.dtype).removeprefix("torch."),
        "device": lm.model.device.type,
        "module": resolve(lm.model, module)[0],
        "view": module,
        "text": fingerprint(texts),
        "documents": len(texts),
        "context": context,
        "tokens": wanted,
        "batch": batch,
        "seed": seed,
    }
    with ShardWriter(folder, source, dtype=dtype, shard_rows=shard_rows) as writer:
        rows = writer.rows
        chunks = samples(lm, module, windows, batch, rows) if rows < wanted else iter(())
        for chunk in chunks:
            piece = chunk[: wanted - rows]
            _check(piece.observed.views[module].values, dtype, module)
            writer.append(piece)
            rows += len(piece)
            if rows == wanted:
                break
    return ShardReader(folder)


def _check(values: Any, dtype: str, module: str) -> None:
    if dtype in DTYPES and not bool(values.to(DTYPES[dtype]).isfinite().all()):
        raise InvalidInput(f"activations of {module!r} hold values that are not finite in {dtype}: store them as float32")
