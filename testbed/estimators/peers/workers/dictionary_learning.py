"""Training by dictionary_learning."""

from __future__ import annotations

import importlib
import inspect
import json
from pathlib import Path
from typing import Any

from torch import Tensor

from .protocol import Batches, History, Probe, Spec, settings_for, stand_in

TRAINERS = {
    "standard": ("standard", "StandardTrainer"),
    "standard_april": ("standard", "StandardTrainerAprilUpdate"),
    "p_anneal": ("p_anneal", "PAnnealTrainer"),
    "gated": ("gdm", "GatedSAETrainer"),
    "top_k": ("top_k", "TopKTrainer"),
    "batch_top_k": ("batch_top_k", "BatchTopKTrainer"),
    "matryoshka_batch_top_k": ("matryoshka_batch_top_k", "MatryoshkaBatchTopKTrainer"),
    "jump_relu": ("jumprelu", "JumpReluTrainer"),
}


def train(spec: Spec, data: Batches, folder: Path, history: History) -> Probe:
    """Train and save by ``trainSAE``."""
    stand_in("nnsight", "LanguageModel")
    stand_in("wandb")
    training = importlib.import_module("dictionary_learning.training")
    module, name = TRAINERS[spec["kind"]]
    trainer_class = getattr(importlib.import_module(f"dictionary_learning.trainers.{module}"), name)
    known = set(inspect.signature(trainer_class.__init__).parameters) - {"self", "dict_class", "device", "seed", "steps"}
    options = settings_for(known - {"activation_dim", "dict_size", "layer", "lm_name"}, spec["options"], f"dictionary_learning's {name}")

    class Recorded(trainer_class):  # type: ignore[misc, valid-type]
        def update(self, step: int, x: Tensor) -> Any:
            loss = super().update(step, x)
            history.add(len(x), lambda: loss)
            return loss

    config = {
        "trainer": Recorded,
        "steps": spec["steps"],
        "activation_dim": spec["d"],
        "dict_size": spec["n_codes"],
        "layer": 0,
        "lm_name": "none",
        "device": spec["device"],
        "seed": spec["seed"] % 2**31,
        **options,
    }
    training.trainSAE(
        data,
        [config],
        steps=spec["steps"],
        save_dir=str(folder),
        normalize_activations=spec["normalise"],
        device=spec["device"],
    )
    home = folder / "trainer_0"

    def probe(x: Tensor) -> tuple[Tensor, Tensor]:
        with (home / "config.json").open() as file:
            kind = json.load(file)["trainer"]["dict_class"]
        holders = ("dictionary", "trainers.top_k", "trainers.batch_top_k", "trainers.matryoshka_batch_top_k")
        modules = [importlib.import_module(f"dictionary_learning.{holder}") for holder in holders]
        found = next(getattr(module, kind) for module in modules if hasattr(module, kind))
        raw = {"normalize_decoder": False} if kind == "AutoEncoder" else {}
        theirs = found.from_pretrained(str(home / "ae.pt"), **raw)
        codes = theirs.encode(x)
        return codes, theirs.decode(codes)

    return probe
