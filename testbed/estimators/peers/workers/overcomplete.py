"""Training by Overcomplete."""

from __future__ import annotations

import importlib
import inspect
import json
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import save_file
from torch import Tensor

from .protocol import Batches, History, Probe, Spec, settings_for, shell, stand_in


def train(spec: Spec, data: Batches, folder: Path, history: History) -> Probe:
    """Train by ``train_sae``; the fused dictionary and the encoder are written as one safetensors file."""
    shell("overcomplete")
    stand_in("PIL", "Image")
    sae, losses = importlib.import_module("overcomplete.sae"), importlib.import_module("overcomplete.sae.losses")
    kind, k, d, m = spec["kind"], spec["k"], spec["d"], spec["n_codes"]
    options = dict(spec["options"])
    penalty, points, lr = options.pop("penalty"), options.pop("points", 4 * m), options.pop("lr")
    model_class = {
        "standard": sae.SAE,
        "topk": sae.TopKSAE,
        "batch_topk": sae.BatchTopKSAE,
        "jump_relu": sae.JumpSAE,
        "matching_pursuit": sae.MpSAE,
        "archetypal": sae.RATopKSAE,
    }[kind]
    fixed = {"self", "input_shape", "nb_concepts", "encoder_module", "dictionary_params", "device", "top_k", "k", "points", "kwargs"}
    known = set(inspect.signature(model_class.__init__).parameters) - fixed
    options = settings_for(known, options, f"overcomplete's {model_class.__name__}")
    source: Iterator[Tensor] = data
    match kind:
        case "topk":
            options["top_k"] = k
        case "batch_topk":
            options["top_k"] = k * spec["batch_size"]  # theirs counts the whole batch's active codes
        case "matching_pursuit":
            options["k"] = k
        case "archetypal":
            head: list[Tensor] = []
            while sum(map(len, head)) < points and (batch := next(data, None)) is not None:
                head.append(batch)
            options |= {"top_k": k, "points": torch.cat(head)[:points]}
            source = chain(head, data)
    model = model_class(d, m, device=spec["device"], **options)
    adam = torch.optim.Adam(model.parameters(), lr=lr)

    def criterion(x: Tensor, x_hat: Tensor, pre_codes: Tensor, codes: Tensor, dictionary: Tensor) -> Any:
        if kind in ("standard", "jump_relu"):
            return losses.mse_l1(x, x_hat, pre_codes, codes, dictionary, penalty=penalty)
        return (x - x_hat).square().mean()

    logs = sae.train_sae(model, source, criterion, adam, nb_epochs=1, device=spec["device"])
    for loss in logs["step_loss"]:
        history.add(spec["batch_size"], lambda loss=loss: loss)  # type: ignore[misc]
    model.eval()
    with torch.no_grad():
        save(model, kind, k, folder / "weights.safetensors")

    def probe(x: Tensor) -> tuple[Tensor, Tensor]:
        model.to("cpu")
        _, codes = model.encode(x)
        return codes, model.decode(codes)

    return probe


def save(model: Any, kind: str, k: int, path: Path) -> None:
    dictionary = model.get_dictionary().detach().cpu().contiguous()
    m, d = dictionary.shape
    values = {"dictionary": dictionary, "bias": torch.zeros(d)}
    coding: dict[str, Any] = {"activation": "relu", "k": None, "subtract_bias": False, "normalisation": "none"}
    if kind == "matching_pursuit":
        values |= {"encoder": dictionary.clone(), "encoder_bias": torch.zeros(m)}
        coding |= {"activation": "pursuit", "k": k}
    else:
        linear = model.encoder.final_block[0]
        values |= {"encoder": linear.weight.detach().cpu().contiguous(), "encoder_bias": linear.bias.detach().cpu().clone()}
    if kind in ("topk", "archetypal"):
        coding |= {"activation": "topk", "k": k}
    if kind in ("jump_relu", "batch_topk"):
        at = model.thresholds.exp() if kind == "jump_relu" else model.running_threshold.expand(m)
        # Theirs keeps what is at the threshold, ours what is above: so the number just below.
        values["threshold"] = torch.nextafter(at.detach().cpu().float(), torch.tensor(-torch.inf)).clone()
        coding["activation"] = "jump_relu"
    save_file(values, path, metadata={"sparse_coder": json.dumps(coding)})
