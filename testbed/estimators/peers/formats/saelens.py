"""SAELens's folders: ``cfg.json`` and ``sae_weights.safetensors`` [1]_.

.. [1] SAELens, https://github.com/decoderesearch/SAELens, ``SAE.save_model``, ``SAE.load_from_disk``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from testbed.contracts import InvalidInput
from testbed.estimators.peers.formats.tensors import Tensors, read_json, read_tensors, write_json, write_tensors
from testbed.estimators.sparse.coder import Normalisation, SparseCoder

CONFIG, WEIGHTS = "cfg.json", "sae_weights.safetensors"
VERSION = "6.0.0"
"""Version of the layout that is written."""
ARCHITECTURES = ("standard", "topk", "jumprelu", "gated", "batchtopk", "matryoshka_batchtopk")
NORMALISATIONS: Mapping[str, Normalisation] = {
    "none": "none",
    "expected_average_only_in": "none",  # folded into the weights when training ends; SAELens does nothing to rows either
    "covariance_whitening": "none",  # the same
    "constant_norm_rescale": "constant_norm",
    "layer_norm": "layer_norm",
}
NAMES = {"relu": "standard", "topk": "topk", "jump_relu": "jumprelu", "gated": "gated"}


def read(folder: Path) -> SparseCoder:
    """Read a folder, of version 6 or before: standard, TopK, JumpReLU, gated, and BatchTopK as it is while training.

    Raises
    ------
    InvalidInput
        If a file is missing or damaged, or the architecture is none of these.
    """
    config = read_json(folder / CONFIG)
    architecture = _architecture(config)
    if architecture not in ARCHITECTURES:
        raise InvalidInput(f"{folder / CONFIG} is of architecture {architecture!r}: only {', '.join(ARCHITECTURES)} can be read")
    tensors = read_tensors(folder / WEIGHTS)
    if "scaling_factor" in tensors and not torch.allclose(tensors.take("scaling_factor"), torch.ones(())):
        raise InvalidInput(f"{folder / WEIGHTS} holds a fine-tuning scaling factor, which is not supported: fold it into W_dec")
    name = config.get("normalize_activations") or "none"
    normalisation = NORMALISATIONS.get("none" if name is True else str(name))
    if normalisation is None:
        raise InvalidInput(f"{folder / CONFIG} normalises activations by {name!r}: only {', '.join(NORMALISATIONS)} can be computed")
    coder = _coder(architecture, config, tensors)
    coder = replace(coder, subtract_bias=bool(config.get("apply_b_dec_to_input", True)), normalisation=normalisation)
    shape = (config.get("d_sae"), config.get("d_in"))
    if None not in shape and tuple(coder.dictionary.shape) != shape:
        raise InvalidInput(f"{folder / CONFIG} says (d_sae, d_in) = {shape}, but W_dec is {tuple(coder.dictionary.shape)}")
    return coder


def write(coder: SparseCoder, folder: Path) -> None:
    """Write a folder that ``SAE.load_from_disk`` reads.

    Raises
    ------
    InvalidInput
        If SAELens has no architecture for the coder's activation.
    """
    if coder.activation not in NAMES:
        raise InvalidInput(f"SAELens has nothing that computes activation {coder.activation!r}: export to format 'safetensors'")
    m, d = coder.dictionary.shape
    config: dict[str, Any] = {
        "architecture": NAMES[coder.activation],
        "d_in": d,
        "d_sae": m,
        "dtype": "float32",
        "device": "cpu",
        "apply_b_dec_to_input": coder.subtract_bias,
        "normalize_activations": next(k for k, v in NORMALISATIONS.items() if v == coder.normalisation),
        "reshape_activations": "none",
        "metadata": {"sae_lens_version": VERSION, "sae_lens_training_version": None},
    }
    values = {"W_enc": coder.encoder.T, "W_dec": coder.dictionary, "b_dec": coder.bias}
    if coder.activation == "gated":
        assert coder.gain is not None
        assert coder.magnitude_bias is not None
        values |= {"b_gate": coder.encoder_bias, "r_mag": coder.gain.log(), "b_mag": coder.magnitude_bias}
    else:
        values["b_enc"] = coder.encoder_bias
    if coder.activation == "topk":
        config |= {"k": coder.k, "rescale_acts_by_decoder_norm": False}
    if coder.threshold is not None:
        values["threshold"] = coder.threshold
    folder.mkdir(parents=True, exist_ok=True)
    write_tensors(folder / WEIGHTS, {name: value.float() for name, value in values.items()})
    write_json(folder / CONFIG, config)


def _architecture(config: Mapping[str, Any]) -> str:
    """Named in the file; before version 6 a TopK was a standard one with another activation function."""
    if config.get("activation_fn_str", config.get("activation_fn")) == "topk":
        return "topk"
    return str(config.get("architecture", "standard"))


def _coder(architecture: str, config: Mapping[str, Any], tensors: Tensors) -> SparseCoder:
    encoder, dictionary, bias = tensors.take("W_enc").T.contiguous(), tensors.take("W_dec"), tensors.take("b_dec")
    if architecture == "gated":
        gain, magnitude = tensors.take("r_mag").exp(), tensors.take("b_mag")
        return SparseCoder(encoder, tensors.take("b_gate"), dictionary, bias, "gated", gain=gain, magnitude_bias=magnitude)
    coder = SparseCoder(encoder, tensors.take("b_enc"), dictionary, bias)
    if config.get("rescale_acts_by_decoder_norm"):  # z |w_j| selects, and a_j w_j / |w_j| is written: the same as unit rows
        norm = dictionary.norm(dim=1)
        coder = replace(
            coder, encoder=encoder * norm[:, None], encoder_bias=coder.encoder_bias * norm, dictionary=dictionary / norm[:, None]
        )
    if architecture == "topk":
        return replace(coder, activation="topk", k=_k(config, tensors.source))
    if architecture == "jumprelu":
        threshold = tensors.take("log_threshold").exp() if "log_threshold" in tensors else tensors.take("threshold")
        return replace(coder, activation="jump_relu", threshold=threshold)
    if architecture in ("batchtopk", "matryoshka_batchtopk"):
        return replace(coder, activation="jump_relu", threshold=tensors.take("topk_threshold").reshape(-1).expand(len(dictionary)).clone())
    return coder


def _k(config: Mapping[str, Any], source: Path) -> int:
    k = config.get("k", (config.get("activation_fn_kwargs") or {}).get("k"))
    if not isinstance(k, int | float) or k != int(k):
        raise InvalidInput(f"the {CONFIG} beside {source} has k = {k!r}: a TopK needs a whole number")
    return int(k)
