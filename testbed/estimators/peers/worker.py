"""Trains one sparse autoencoder with the library that published it, in an interpreter that has that library.

    python -I worker.py FOLDER < batches

FOLDER holds ``spec.json``; batches come as an 8-byte count of rows and then the rows, float32, until the end of input. What was learned
is written to FOLDER in the library's own format, what happened to ``result.json``, what went wrong to ``error.json``. It stands alone:
nothing but numpy, torch, safetensors and the library is imported, and nothing is pickled.
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import json
import struct
import sys
import time
import traceback
import types
from collections.abc import Callable, Iterator, Mapping
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec
from itertools import chain
from pathlib import Path
from typing import IO, Any

import numpy as np
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

LOG_EVERY = 50
"""Steps between two entries of the learning curve."""


class Unusable(Exception):
    """What was asked for cannot be done; the message is a sentence."""


class Missing(Unusable):
    """The library is not installed here."""


class Batches:
    """The batches that come on standard input, each once."""

    def __init__(self, source: IO[bytes], width: int, device: str) -> None:
        self.source, self.width, self.device = source, width, device
        self.started: tuple[float, float] | None = None  # wall and CPU clock when the first was asked for: imports are over

    def __iter__(self) -> Iterator[Tensor]:
        return self

    def __next__(self) -> Tensor:
        self.started = self.started or (time.perf_counter(), time.process_time())
        header = self.source.read(8)
        if len(header) < 8:
            raise StopIteration
        size = struct.unpack("<q", header)[0] * self.width * 4
        payload = self.source.read(size)
        if len(payload) < size:
            raise StopIteration
        return torch.from_numpy(np.frombuffer(payload, dtype="<f4").reshape(-1, self.width).copy()).to(self.device)


class History:
    """Losses now and then."""

    def __init__(self) -> None:
        self.step = self.seen = 0
        self.samples: list[int] = []
        self.loss: list[float] = []

    def add(self, rows: int, loss: Callable[[], float | None]) -> None:
        self.step += 1
        self.seen += rows
        if self.step % LOG_EVERY == 0:
            value = loss()
            if value is not None:
                self.samples.append(self.seen)
                self.loss.append(float(value))

    def json(self) -> dict[str, list[Any]]:
        return {"samples": self.samples, "loss": self.loss}


Spec = Mapping[str, Any]
Probe = Callable[[Tensor], tuple[Tensor, Tensor]]
"""The library's own codes and reconstruction of rows, by what it has written."""


def settings_for(known: set[str], options: Mapping[str, Any], what: str) -> dict[str, Any]:
    """The options, if `what` takes them all."""
    if unknown := sorted(set(options) - known):
        raise Unusable(f"{what} takes no option {', '.join(unknown)}: it takes {', '.join(sorted(known))}")
    return dict(options)


# ------------------------------------------------------------------------------------------------------------------ SAELens


SAELENS = {
    "standard": "Standard",
    "topk": "TopK",
    "batchtopk": "BatchTopK",
    "matryoshka_batchtopk": "MatryoshkaBatchTopK",
    "jumprelu": "JumpReLU",
    "gated": "Gated",
}


def train_saelens(spec: Spec, data: Batches, folder: Path, history: History) -> Probe:
    """Train by ``SAETrainer.fit``, save by ``save_inference_model``."""
    saes = importlib.import_module("sae_lens.saes")
    base = importlib.import_module("sae_lens.saes.sae")
    configs = importlib.import_module("sae_lens.config")
    trainers = importlib.import_module("sae_lens.training.sae_trainer")
    stem = SAELENS[spec["kind"]] + "TrainingSAE"
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


# -------------------------------------------------------------------------------------------------------- dictionary_learning


DICTIONARY_LEARNING = {
    "standard": ("standard", "StandardTrainer"),
    "standard_april": ("standard", "StandardTrainerAprilUpdate"),
    "p_anneal": ("p_anneal", "PAnnealTrainer"),
    "gated": ("gdm", "GatedSAETrainer"),
    "top_k": ("top_k", "TopKTrainer"),
    "batch_top_k": ("batch_top_k", "BatchTopKTrainer"),
    "matryoshka_batch_top_k": ("matryoshka_batch_top_k", "MatryoshkaBatchTopKTrainer"),
    "jump_relu": ("jumprelu", "JumpReluTrainer"),
}


def train_dictionary_learning(spec: Spec, data: Batches, folder: Path, history: History) -> Probe:
    """Train and save by ``trainSAE``."""
    stand_in("nnsight", "LanguageModel")
    stand_in("wandb")
    training = importlib.import_module("dictionary_learning.training")
    module, name = DICTIONARY_LEARNING[spec["kind"]]
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


# ---------------------------------------------------------------------------------------------------------------- overcomplete


def train_overcomplete(spec: Spec, data: Batches, folder: Path, history: History) -> Probe:
    """Train by ``train_sae``; the fused dictionary and the encoder are written as one safetensors file."""
    shell("overcomplete")
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
        save_overcomplete(model, kind, k, folder / "weights.safetensors")

    def probe(x: Tensor) -> tuple[Tensor, Tensor]:
        model.to("cpu")
        _, codes = model.encode(x)
        return codes, model.decode(codes)

    return probe


def save_overcomplete(model: Any, kind: str, k: int, path: Path) -> None:
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


# ------------------------------------------------------------------------------------------------------------------------ run


PEERS: Mapping[str, tuple[str, Callable[[Spec, Batches, Path, History], Probe]]] = {
    "sae-lens": ("sae_lens", train_saelens),
    "dictionary-learning": ("dictionary_learning", train_dictionary_learning),
    "overcomplete": ("overcomplete", train_overcomplete),
}


def stand_in(module: str, *names: str) -> None:
    """An empty module in place of one that is not installed, for imports of what training does not use."""
    if find_spec(module) is None:
        sys.modules[module] = empty = types.ModuleType(module)
        for name in names:
            setattr(empty, name, object)


def shell(package: str) -> None:
    """A package without its ``__init__``, which would import vision models that training does not use."""
    spec = find_spec(package)
    assert spec is not None
    sys.modules[package] = module = types.ModuleType(package)
    module.__path__ = list(spec.submodule_search_locations or ())


def run(folder: Path, source: IO[bytes]) -> None:
    with (folder / "spec.json").open(encoding="utf-8") as file:
        spec: Spec = json.load(file)
    module, train = PEERS[spec["peer"]]
    if find_spec(module) is None:
        raise Missing(f"{spec['peer']} is not installed in {sys.prefix}")
    if spec["device"] != "cpu" and not torch.cuda.is_available():
        raise Unusable(f"the data are on {spec['device']}, but torch in {sys.prefix} sees no CUDA device: give data on the CPU")
    torch.set_num_threads(spec["threads"])
    torch.manual_seed(spec["seed"])
    np.random.seed(spec["seed"] % 2**32)  # noqa: NPY002 - the libraries draw from the global generators of this process
    out, history, data = folder / "out", History(), Batches(source, spec["d"], spec["device"])
    out.mkdir()
    probe = train(spec, data, out, history)
    wall, cpu = data.started or (0.0, 0.0)
    seconds = {"wall": time.perf_counter() - wall, "cpu": time.process_time() - cpu}
    rows = folder / "probe.safetensors"
    if rows.exists():
        with torch.no_grad():
            codes, decoded = probe(load_file(rows)["rows"])
        save_file({"codes": codes.contiguous(), "decoded": decoded.contiguous()}, folder / "probed.safetensors")
    result = {"history": history.json(), "seconds": seconds, "versions": {name: _version(name) for name in (spec["peer"], "torch")}}
    write(folder / "result.json", result)


def write(path: Path, content: Mapping[str, Any]) -> None:
    path.write_text(json.dumps(content), encoding="utf-8")


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return "unknown"


def main() -> int:
    folder = Path(sys.argv[1])
    try:
        run(folder, sys.stdin.buffer)
    except Unusable as error:
        write(folder / "error.json", {"kind": type(error).__name__, "message": str(error)})
        return 2
    except Exception as error:
        said = str(error).strip().split("\n", 1)[0]
        at = traceback.extract_tb(error.__traceback__)[-1]
        message = f"{type(error).__name__}{': ' + said if said else ''} in {Path(at.filename).name}, line {at.lineno}"
        write(folder / "error.json", {"kind": "Failed", "message": message})
        raise
    return 0


if __name__ == "__main__":
    sys.exit(main())
