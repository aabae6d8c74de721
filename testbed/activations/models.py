"""Load a language model by name: a built-in one, a local folder, or an id of the Hugging Face hub. Never a pickle, never its code."""

from __future__ import annotations

import difflib
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, TypeVar

import torch

from testbed.activations.builtin import BUILT_IN, converted, quiet, transformers_with
from testbed.contracts import InvalidInput
from testbed.store import digest_of

__all__ = ["BUILT_IN", "LanguageModel", "Source", "load_model", "load_tokenizer", "locate"]

DTYPES = {"float32": torch.float32, "float16": torch.float16, "bfloat16": torch.bfloat16}

Loaded = TypeVar("Loaded")


@dataclass(frozen=True)
class LanguageModel:
    """A causal language model and its tokenizer.

    Attributes
    ----------
    model : transformers.PreTrainedModel
        In evaluation mode; no parameter asks for a gradient.
    tokenizer : transformers.PreTrainedTokenizerBase
    name : str
        As it was asked for.
    revision : str or None
        Commit of the hub that it came from; None for built-in models and folders.
    note : str
        What a reader of results should know about the weights.
    fingerprint : str
        SHA-256 of the weights (built-in models, folders) or the commit (hub).
    """

    model: Any
    tokenizer: Any
    name: str
    revision: str | None
    note: str
    fingerprint: str


@dataclass(frozen=True)
class Source:
    """Where the files of a model are: `place` is a folder, or a repository of the hub at the commit `revision`."""

    name: str
    place: str
    revision: str | None
    note: str
    fingerprint: str
    downloaded: bool


def load_model(name: str | Path | Source, *, revision: str | None = None, dtype: str = "float32", device: str = "cpu") -> LanguageModel:
    """Load a model and its tokenizer.

    Parameters
    ----------
    name : str, path or Source
        A built-in name (see `BUILT_IN`), a folder that `save_pretrained` wrote, an id of the Hugging Face hub, or what `locate` gave.
    revision : str, optional
        Branch, tag or commit of the hub; the newest commit by default.
    dtype : {"float32", "float16", "bfloat16"}
    device : str

    Raises
    ------
    InvalidInput
        If there is no such model, it has no safetensors weights, or a package that it needs is missing.
    """
    if dtype not in DTYPES:
        raise InvalidInput(f"dtype {dtype!r} is not one of {', '.join(DTYPES)}")
    transformers = transformers_with()
    source = name if isinstance(name, Source) else locate(name, revision)

    def read() -> tuple[Any, dict[str, Any]]:
        with torch.random.fork_rng(devices=[]):  # initialising draws from the global generator, which is not ours to move
            model, report = transformers.AutoModelForCausalLM.from_pretrained(
                source.place,
                revision=source.revision,
                dtype=DTYPES[dtype],
                use_safetensors=True,
                trust_remote_code=False,
                local_files_only=source.downloaded,
                output_loading_info=True,
            )
            return model, report

    model, found = _read(source.name, read)
    if found["missing_keys"]:
        some = ", ".join(sorted(found["missing_keys"])[:3])
        raise InvalidInput(f"model {source.name!r} lacks weights ({some} ...): it is not a causal language model of transformers")
    model = model.eval().requires_grad_(False).to(device)
    return LanguageModel(model, load_tokenizer(source), source.name, source.revision, source.note, source.fingerprint)


def load_tokenizer(name: str | Path | Source, *, revision: str | None = None) -> Any:
    """Load a model's tokenizer alone, which costs neither the memory nor the time of the weights."""
    transformers = transformers_with()
    source = name if isinstance(name, Source) else locate(name, revision)
    return _read(
        source.name,
        lambda: transformers.AutoTokenizer.from_pretrained(
            source.place, revision=source.revision, trust_remote_code=False, local_files_only=source.downloaded
        ),
    )


def locate(name: str | Path, revision: str | None = None) -> Source:
    """Find a model without loading it. A built-in name comes before a folder, a folder before an id of the hub.

    Raises
    ------
    InvalidInput
        If there is no such model.
    """
    name = str(name)
    if name in BUILT_IN:
        _no_revision(name, revision)
        transformers_with()
        about = BUILT_IN[name]
        return Source(name, str(converted(name)), None, about.note, about.sha256, True)
    folder = Path(name).expanduser()
    if folder.is_dir():
        _no_revision(name, revision)
        return Source(name, str(folder), None, "weights of a local folder", _fingerprint(folder.resolve()), True)
    near = difflib.get_close_matches(name.lower(), BUILT_IN, n=1, cutoff=0.7)
    hint = f"did you mean {near[0]!r}?" if near else f"built in: {', '.join(BUILT_IN)}"
    if name.count("/") > 1 or name.startswith((".", "~", "/")):
        raise InvalidInput(f"there is no folder {name!r} that a model could be read from; {hint}")
    if near and "/" not in name:  # a slip of the keyboard should not have to wait for the network
        raise InvalidInput(f"there is no model {name!r}: {hint}")
    transformers_with()
    return _on_hub(name, revision, hint)


def _no_revision(name: str, revision: str | None) -> None:
    if revision is not None:
        raise InvalidInput(f"model {name!r} has no revision {revision!r}: only models of the hub have revisions")


def _on_hub(name: str, revision: str | None, hint: str) -> Source:
    """The commit that a hub id stands for: asked once and quickly, else taken from what was downloaded before."""
    from huggingface_hub import HfApi, snapshot_download

    try:
        commit = str(HfApi().model_info(name, revision=revision, timeout=10).sha)
        return Source(name, name, commit, "weights from the Hugging Face hub", commit, False)
    except Exception as error:  # the library raises what its HTTP client does, which changes between its versions
        reason = _first_line(error)
    try:
        commit = Path(snapshot_download(name, revision=revision, local_files_only=True, allow_patterns="config.json")).name
    except (OSError, ValueError):
        raise InvalidInput(
            f"there is no model {name!r}: it is neither built in nor a folder, was not downloaded before, and the hub gave none "
            f"({reason}); {hint}"
        ) from None
    return Source(name, name, commit, "weights from the Hugging Face hub", commit, True)


def _read(name: str, read: Callable[[], Loaded]) -> Loaded:
    """What `read` gives, with what goes wrong in one sentence; library errors here run over many lines and name no remedy."""
    try:
        with quiet():
            return read()
    except (KeyboardInterrupt, SystemExit):
        raise
    except BaseException as error:  # a damaged folder ends in any of a dozen exceptions; a panic in Rust is not even an Exception
        raise InvalidInput(
            f"model {name!r} cannot be read ({_first_line(error)}): it must hold config.json, safetensors weights and a tokenizer"
        ) from error


def _fingerprint(folder: Path) -> str:
    """SHA-256 over the files of a folder that decide what the model computes, by name and content."""
    files = sorted(path for pattern in ("*.safetensors", "config.json", "tokenizer*.json") for path in folder.glob(pattern))
    return _digest(tuple((path, path.stat().st_size, path.stat().st_mtime_ns) for path in files))


@lru_cache(maxsize=16)
def _digest(files: tuple[tuple[Path, int, int], ...]) -> str:
    digest = hashlib.sha256()
    for path, _, _ in files:
        digest.update(f"{path.name}\0{digest_of(path)}\0".encode())
    return digest.hexdigest()


def _first_line(error: BaseException) -> str:
    lines = str(error).strip().splitlines()
    return lines[0].rstrip(".:") if lines else type(error).__name__
