"""dictionary_learning's folders: ``ae.pt``, a state dict, and ``config.json``, which names its class [1]_.

.. [1] dictionary_learning, https://github.com/saprmarks/dictionary_learning, ``training.trainSAE`` and ``dictionary``.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from testbed.contracts import InvalidInput
from testbed.estimators.peers.formats.tensors import Tensors, read_checkpoint, read_json, write_json
from testbed.estimators.sparse.coder import SparseCoder

CONFIG, WEIGHTS = "config.json", "ae.pt"
CLASSES = (
    "AutoEncoder",
    "AutoEncoderNew",
    "GatedAutoEncoder",
    "JumpReluAutoEncoder",
    "AutoEncoderTopK",
    "BatchTopKSAE",
    "MatryoshkaBatchTopKSAE",
)


def read(path: Path) -> SparseCoder:
    """Read a folder, or the ``.pt`` file in it.

    Raises
    ------
    InvalidInput
        If a file is missing or damaged, or the class is none of `CLASSES`.
    """
    file = path / WEIGHTS if path.is_dir() else path
    tensors = read_checkpoint(file)
    name = _class_name(file, tensors)
    if name not in CLASSES:
        raise InvalidInput(f"{file} is a {' '.join(name.split())}: only {', '.join(CLASSES)} can be read")
    if name in ("JumpReluAutoEncoder", "MatryoshkaBatchTopKSAE"):
        encoder, bias, dictionary = tensors.take("W_enc").T.contiguous(), tensors.take("b_enc"), tensors.take("W_dec")
    else:
        encoder, dictionary = tensors.take("encoder.weight"), tensors.take("decoder.weight").T.contiguous()
        bias = tensors.take("gate_bias" if name == "GatedAutoEncoder" else "encoder.bias")
    match name:
        case "AutoEncoder":
            return SparseCoder(encoder, bias, dictionary, tensors.take("bias"))
        case "AutoEncoderNew":
            return SparseCoder(encoder, bias, dictionary, tensors.take("decoder.bias"), subtract_bias=False)
        case "GatedAutoEncoder":
            gain, magnitude = tensors.take("r_mag").exp(), tensors.take("mag_bias")
            return SparseCoder(encoder, bias, dictionary, tensors.take("decoder_bias"), "gated", gain=gain, magnitude_bias=magnitude)
        case "AutoEncoderTopK":
            return SparseCoder(encoder, bias, dictionary, tensors.take("b_dec"), "topk", k=tensors.number("k"))
    threshold = tensors.take("threshold").reshape(-1).expand(len(dictionary)).clone()
    subtract = name != "JumpReluAutoEncoder"
    return SparseCoder(encoder, bias, dictionary, tensors.take("b_dec"), "jump_relu", threshold=threshold, subtract_bias=subtract)


def write(coder: SparseCoder, folder: Path) -> None:
    """Write a folder that the class's ``from_pretrained`` reads.

    Raises
    ------
    InvalidInput
        If dictionary_learning has no class for the coder.
    """
    if coder.activation == "pursuit" or coder.normalisation != "none":
        what = "a pursuit" if coder.activation == "pursuit" else f"normalisation {coder.normalisation!r}"
        raise InvalidInput(f"dictionary_learning has no class for {what}: export to format 'safetensors'")
    name, values = _state(coder)
    m, d = coder.dictionary.shape
    folder.mkdir(parents=True, exist_ok=True)
    torch.save({key: value.detach().cpu().contiguous().clone() for key, value in values.items()}, folder / WEIGHTS)
    trainer: dict[str, Any] = {"dict_class": name, "activation_dim": d, "dict_size": m}
    if coder.k is not None:
        trainer["k"] = coder.k
    write_json(folder / CONFIG, {"trainer": trainer})


def _state(coder: SparseCoder) -> tuple[str, dict[str, Tensor]]:
    """Class and state dict that give the coder's codes."""
    if coder.activation == "jump_relu":
        theta, coder = coder.threshold, coder.subtracting(False)
        assert theta is not None
        weights = {"W_enc": coder.encoder.T, "b_enc": coder.encoder_bias, "W_dec": coder.dictionary, "b_dec": coder.bias}
        return "JumpReluAutoEncoder", weights | {"threshold": theta}
    if coder.activation == "relu" and not coder.subtract_bias:
        affine = {"encoder.weight": coder.encoder, "encoder.bias": coder.encoder_bias}
        return "AutoEncoderNew", {**affine, "decoder.weight": coder.dictionary.T, "decoder.bias": coder.bias}
    coder = coder.subtracting(True)
    layers = {"encoder.weight": coder.encoder, "decoder.weight": coder.dictionary.T}
    if coder.activation == "gated":
        assert coder.gain is not None
        assert coder.magnitude_bias is not None
        biases = {"decoder_bias": coder.bias, "gate_bias": coder.encoder_bias, "mag_bias": coder.magnitude_bias}
        return "GatedAutoEncoder", {**layers, **biases, "r_mag": coder.gain.log()}
    layers["encoder.bias"] = coder.encoder_bias
    if coder.activation == "topk":
        numbers = {"k": torch.tensor(coder.k, dtype=torch.int32), "threshold": torch.tensor(-1.0)}
        return "AutoEncoderTopK", {**layers, "b_dec": coder.bias, **numbers}
    return "AutoEncoder", {**layers, "bias": coder.bias}


def _class_name(file: Path, tensors: Tensors) -> str:
    """The class that ``config.json`` names, else the only one with these tensors."""
    config = file.parent / CONFIG
    if config.is_file():
        trainer = read_json(config).get("trainer")
        name = trainer.get("dict_class") if isinstance(trainer, dict) else None
        if not isinstance(name, str):
            raise InvalidInput(f"{config} names no trainer.dict_class: it is of another format")
        return name
    marks = {
        "group_sizes": "MatryoshkaBatchTopKSAE",
        "gate_bias": "GatedAutoEncoder",
        "W_enc": "JumpReluAutoEncoder",
        "decoder.bias": "AutoEncoderNew",
        "bias": "AutoEncoder",
    }
    for mark, name in marks.items():
        if mark in tensors:
            return name
    raise InvalidInput(f"{file} may be a TopK or a BatchTopK: put the {CONFIG} that was written with it beside it")
