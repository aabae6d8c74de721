"""Weights of sparse autoencoders in and out, in the formats that people use."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal, TypeAlias

from testbed.contracts import InvalidInput
from testbed.estimators.peers.formats import dictionary_learning, plain, saelens
from testbed.estimators.sparse.coder import SparseCoder, coder_of

Format: TypeAlias = Literal["saelens", "dictionary_learning", "safetensors"]

MODULES: dict[str, Any] = {"saelens": saelens, "dictionary_learning": dictionary_learning, "safetensors": plain}


def read_weights(path: str | Path, format: str = "auto") -> SparseCoder:
    """Read a trained sparse autoencoder; nothing in the files is run.

    Parameters
    ----------
    path : path
        A folder of SAELens (``cfg.json``, ``sae_weights.safetensors``) or dictionary_learning (``ae.pt``, ``config.json``), or a
        ``.safetensors`` file.
    format : {"auto", "saelens", "dictionary_learning", "safetensors"}

    Raises
    ------
    InvalidInput
        If it is none of these, damaged, not finite, of shapes that do not fit together, or of an architecture that cannot be computed.
    """
    path = Path(path)
    if format != "auto" and format not in MODULES:
        raise InvalidInput(f"there is no format {format!r}: it is auto, {', '.join(MODULES)}")
    if not path.exists():
        raise InvalidInput(f"there is nothing at {path}: check the path")
    try:
        coder: SparseCoder = MODULES[_found(path) if format == "auto" else format].read(path)
    except InvalidInput as error:
        if str(path) in str(error):
            raise
        raise InvalidInput(f"{path} cannot be used: {error}") from None
    return coder


def write_weights(model: Any, path: str | Path, format: Format = "safetensors") -> None:
    """Write a coder or a fitted estimator so that another library (or `read_weights`) reads it, with the same codes.

    Parameters
    ----------
    model : SparseCoder, or Estimator
        An estimator has ``coder_``, or ``encoder_``, ``encoder_bias_``, ``dictionary_``, ``bias_`` and a threshold or k.
    path : path
        A folder for ``"saelens"`` and ``"dictionary_learning"``, a file for ``"safetensors"``.
    format : {"saelens", "dictionary_learning", "safetensors"}

    Raises
    ------
    InvalidInput
        If the estimator is no such autoencoder, or the library has none that computes the same.
    """
    if format not in MODULES:
        raise InvalidInput(f"there is no format {format!r}: it is {', '.join(MODULES)}")
    coder = model if isinstance(model, SparseCoder) else coder_of(model)
    MODULES[format].write(coder, Path(path))


def _found(path: Path) -> Format:
    if path.is_file() and path.suffix in (".pt", ".pth"):
        return "dictionary_learning"
    if path.is_file() and path.suffix == ".safetensors":
        return "safetensors"
    if path.is_dir() and (path / saelens.CONFIG).exists():
        return "saelens"
    if path.is_dir() and (path / dictionary_learning.WEIGHTS).exists():
        return "dictionary_learning"
    raise InvalidInput(
        f"{path} is no weights: give a folder with {saelens.CONFIG} or {dictionary_learning.WEIGHTS}, or a .safetensors file"
    )
