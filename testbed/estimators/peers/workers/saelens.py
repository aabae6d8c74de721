"""Training by SAELens."""

from __future__ import annotations

import dataclasses
import importlib
from pathlib import Path
from typing import Any

from torch import Tensor

from .protocol import Batches, History, Probe, Spec, settings_for

STEMS = {
    "standard": "Standard",
    "topk": "TopK",
    "batchtopk": "BatchTopK",
    "matryoshka_batchtopk": "MatryoshkaBatchTopK",
    "jumprelu": "JumpReLU",
    "gated": "Gated",
}


def train(spec: Spec, data: Batches, folder: Path, history: History) -> Probe:
    """Train by ``SAETrainer.fit``, save by ``save_inference_model``."""
    saes = importlib.import_module("sae_lens.saes")
    base = importlib.import_module("sae_lens.saes.sae")
    configs = importlib.import_module("sae_lens.config")
    trainers = importlib.import_module("sae_lens.training.sae_trainer")
    stem = STEMS[spec["kind"]] + "TrainingSAE"
    config_class, model_class = getattr(saes, stem + "Config"), getattr(saes, stem)
    of_model = {field.name for field in dataclasses.fields(config_class)} - {"d_in", "d_sae", "device", "dtype", "metadata"}
    fixed = {"total_training_samples", "train_batch_size_samples", "device", "logger", "n_checkpoints", "checkpoint_path"}
    of_training = {field.name for field in dataclasses.fields(configs.SAETrainerConfig)} - fixed - {"save_final_checkpoint"}
    options = settings_for(of_model | of_training, spec["options"], f"SAELens's {spec['kind']}")
    model = model_class(
        config_class(
            d_in=spec["d"],
            d_sae=spec["n_codes"],
            device=spec["device"],
            **{name: value for name, value in options.items() if name in of_model},
        )
    )
    config = configs.SAETrainerConfig(
        total_training_samples=spec["steps"] * spec["batch_size"],
        train_batch_size_samples=spec["batch_size"],
        device=spec["device"],
        logger=configs.LoggingConfig(log_to_wandb=False),
        **{name: value for name, value in options.items() if name in of_training},
    )
    if config.lr_end is None:
        config.lr_end = config.lr / 10  # what their language-model configuration does; a constant rate does not use it

    class Recorded(trainers.SAETrainer):  # type: ignore[misc, name-defined]
        def step(self, batch: Tensor) -> Any:
            output = super().step(batch)
            history.add(len(batch), lambda: output.loss.item())
            return output

    Recorded(cfg=config, sae=model, data_provider=data).fit()
    model.save_inference_model(folder)

    def probe(x: Tensor) -> tuple[Tensor, Tensor]:
        theirs = base.SAE.load_from_disk(folder, device="cpu")
        codes = theirs.encode(x)
        return codes, theirs.decode(codes)

    return probe
