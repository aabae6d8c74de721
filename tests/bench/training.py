"""Training of sparse autoencoders beside SAELens: ``python tests/bench/training.py``; what is learned per CPU second: ``--recovery``.

One thread, CPU seconds, both sides of every ratio in one run and in turn. Steps are timed on the steady part of training: each side takes
its steps on the same batches of the SynthSAEBench miniature (or of random sparse rows at d = 768). Writes ``training.json`` and claims
into ``claims.json``. Steps need the package sae-lens (``make bench`` makes an environment that has it); ``--recovery`` does not.
"""

from __future__ import annotations

import argparse
import importlib
import json
import platform
import time
from collections.abc import Callable, Sequence
from importlib.metadata import version
from pathlib import Path
from statistics import mean
from typing import Any

import numpy as np
import torch
from claims import claim, interleaved, merge
from rich.console import Console
from rich.table import Table
from threadpoolctl import threadpool_limits
from torch import Tensor
from torch.nn.functional import normalize

from evaluators.dictionary.decoder_mcc import DecoderMCC
from evaluators.recovery.activation_f1 import ActivationF1
from generators.peers.synth_sae_bench import SynthSAEBench
from testbed.contracts import Instance, Outcome
from testbed.estimators.sparse.autoencoder import SparseAutoencoder
from testbed.estimators.sparse.batch_topk_sae import BatchTopKSAE
from testbed.estimators.sparse.framing import Frame
from testbed.estimators.sparse.jump_relu_sae import JumpReLUSAE
from testbed.estimators.sparse.matryoshka_sae import MatryoshkaSAE
from testbed.estimators.sparse.minimal_dictionary import MinimalDictionary
from testbed.estimators.sparse.steps import stepper_for
from testbed.estimators.sparse.topk_sae import TopKSAE
from testbed.estimators.sparse.training import fit_together
from testbed.numerics.matching import cosine, matched_similarity
from testbed.store import write_json

BATCH, REPEATS = 1024, 5
START = 1536
"""Atoms that `minimal_dictionary` starts with on the miniature."""
FIRST = {128: 300, 768: 20}
"""Per width, steps before the clock starts: thresholds have found their level, and the number of active codes its own."""
FRESH = (20_101, 20_102, 20_103, 20_104, 20_105)
"""Instances of the recovery bars, which no setting was chosen on."""


def miniature_rows(n: int) -> Tensor:
    return SynthSAEBench.miniature().draw(10_001).sample(n, 0).observed.views["mixed"].values


def wide_rows(n: int, d: int = 768, concepts: int = 4096, active: int = 20) -> Tensor:
    g = torch.Generator().manual_seed(0)
    atoms = normalize(torch.randn(concepts, d, generator=g), dim=1)
    places = torch.randint(concepts, (n, active), generator=g)
    sizes = 1 + torch.rand(n, active, generator=g)
    return torch.stack([(sizes[i, :, None] * atoms[places[i]]).sum(dim=0) for i in range(n)])


def ours(model: SparseAutoencoder, x: Tensor, steps: int) -> Callable[[], Any]:
    """`steps` steps of training on batches of `x`, after `first` of them."""
    frame = Frame(x[:8192], model)
    stepper = stepper_for([model], [0], frame.scaled(x[:8192]))
    done = 0

    def step() -> None:
        nonlocal done
        start = done * BATCH % (len(x) - BATCH + 1)
        scaled = frame.scaled(x[start : start + BATCH])
        done += 1
        stepper.step(scaled, frame.weights(scaled), 0.6, done, False)

    for _ in range(FIRST[x.shape[1]]):
        step()
    return lambda: [step() for _ in range(steps)]


def product(m: int, x: Tensor, steps: int) -> Callable[[], Any]:
    """The encoder's product alone, as the compiled loop calls it."""
    encoder, out = np.random.default_rng(0).standard_normal((m, x.shape[1])).astype(np.float32), np.empty((BATCH, m), np.float32)
    batches = [part.numpy() for part in x.split(BATCH) if len(part) == BATCH]
    return lambda: [np.matmul(batches[i % len(batches)], encoder.T, out=out) for i in range(steps)]


def theirs(stem: str, options: dict[str, Any], m: int, x: Tensor, steps: int) -> Callable[[], Any]:
    """As many steps of SAELens's own trainer on the same batches, after as many first ones."""
    saes, configs = importlib.import_module("sae_lens.saes"), importlib.import_module("sae_lens.config")
    trainers = importlib.import_module("sae_lens.training.sae_trainer")
    config = getattr(saes, f"{stem}TrainingSAEConfig")(d_in=x.shape[1], d_sae=m, device="cpu", **options)
    training = configs.SAETrainerConfig(
        total_training_samples=10**7,
        train_batch_size_samples=BATCH,
        device="cpu",
        logger=configs.LoggingConfig(log_to_wandb=False),
        lr=3e-3,
        lr_end=3e-4,
    )
    trainer = trainers.SAETrainer(cfg=training, sae=getattr(saes, f"{stem}TrainingSAE")(config), data_provider=iter(()))
    done = 0

    def step() -> None:
        nonlocal done
        start = done * BATCH % (len(x) - BATCH + 1)
        done += 1
        trainer.step(x[start : start + BATCH].clone())
        trainer.n_training_steps += 1

    for _ in range(FIRST[x.shape[1]]):
        step()
    return lambda: [step() for _ in range(steps)]


def steps() -> list[dict[str, Any]]:
    """Claims about the speed of a step."""
    saelens = f"SAELens {version('sae-lens')}"
    x, wide = miniature_rows(32_768), wide_rows(8192)
    shared = {"n_codes": 1024, "batch_size": BATCH, "samples": 10**7}
    sets: list[tuple[str, str, Tensor, int, SparseAutoencoder, str, dict[str, Any], tuple[float, float]]] = [
        ("topk_128", "TopK step, d 128, m 1,024, k 7", x, 40, TopKSAE(k=7, k_start=1, **shared), "TopK", {"k": 7}, (7, 10)),
        (
            "topk_768",
            "TopK step, d 768, m 4,096, k 25",
            wide,
            4,
            TopKSAE(k=25, k_start=1, **{**shared, "n_codes": 4096}),
            "TopK",
            {"k": 25},
            (5, 6.5),
        ),
        (
            "batch_topk_128",
            "BatchTopK step, d 128, m 1,024, k 7",
            x,
            40,
            BatchTopKSAE(k=7, k_start=1, **shared),
            "BatchTopK",
            {"k": 7},
            (4, 8),
        ),
        ("jump_relu_128", "JumpReLU step, d 128, m 1,024, L0 about 7", x, 40, JumpReLUSAE(k=7, **shared), "JumpReLU", {}, (4, 8)),
        (
            "matryoshka_128",
            "Matryoshka step, d 128, m 1,024, k 7, 5 prefixes",
            x,
            40,
            MatryoshkaSAE(k=7, k_start=1, prefixes=5, **shared),
            "MatryoshkaBatchTopK",
            {"k": 7, "matryoshka_widths": [64, 128, 256, 512, 1024]},
            (4, 8),
        ),
    ]
    claims = []
    roofline = {"topk_128": (0.45, 0.60), "topk_768": (0.60, 0.70)}
    for name, what, rows, count, model, stem, options, (bar, aim) in sets:
        m = model.n_codes
        calls = {"ours": ours(model, rows, count), "theirs": theirs(stem, options, m, rows, count), "product": product(m, rows, count)}
        found = interleaved(calls, REPEATS)
        rate = count * BATCH / mean(found["ours"])
        ratios = [t / o for t, o in zip(found["theirs"], found["ours"], strict=True)]
        note = f"{rate:,.0f} samples per CPU second"
        claims.append(claim(f"training/{name}", f"{what}: samples per CPU second over those of {saelens}", ratios, bar, aim, note=note))
        if name in roofline:
            shares = [p / o for p, o in zip(found["product"], found["ours"], strict=True)]
            statement = f"{what}: share of a step that the encoder's product alone takes"
            claims.append(claim(f"training/{name}_product", statement, shares, *roofline[name]))
    return claims


def together(repeats: int = 5) -> list[dict[str, Any]]:
    """Eight seeds at once against one after another, in wall seconds, on all cores."""
    x = miniature_rows(65_536)
    kwargs: dict[str, Any] = {"n_codes": 1024, "k": 7, "k_start": 1.0, "batch_size": BATCH, "samples": 65_536}
    ratios = []
    for repeat in range(repeats + 1):
        clock = time.perf_counter()
        for seed in range(8):  # with one thread: two make a fit of this size slower, not faster
            TopKSAE(**kwargs).fit(x, seed=seed)
        alone = time.perf_counter() - clock
        clock = time.perf_counter()
        fit_together([TopKSAE(**kwargs) for _ in range(8)], x, list(range(8)), threads=2)
        if repeat:
            ratios.append(alone / (time.perf_counter() - clock))
    statement = "Eight seeds at once, on two cores, over one after another (TopK, d 128, m 1,024): ratio of wall times"
    return [claim("training/eight_seeds", statement, ratios, 1.5, 2)]


def scores(model: Any, instance: Instance) -> tuple[float, float]:
    """Decoder MCC over all true concepts, and one-to-one F1 of codes, on 16,384 fresh rows."""
    sample = instance.sample(16_384, 1, "test")
    outcome = Outcome(model.encode(sample.observed), sample, "mixed", truth=instance.truth, dictionary=model.dictionary_)
    return DecoderMCC().score(outcome, seed=0).value, ActivationF1().score(outcome, seed=0).value


def recovery(instances: Sequence[int] = FRESH) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Claims about what is learned in how many CPU seconds on fresh instances of the miniature.

    The share of gradient steps goes with the budget, so that 75,000 to 150,000 rows are left for refinement: with more of them parents and
    children that nearly always fire together merge again (found on a tuning instance, seed 910,001).
    """
    budgets = {512_000: (12, 0.76, 0.82, 0.7), 1_500_000: (30, 0.82, 0.88, 0.95)}
    found: list[dict[str, Any]] = []
    MinimalDictionary(start_codes=64, samples=4000).fit(miniature_rows(4096), seed=0)  # compile
    for seed in instances:
        instance = SynthSAEBench.miniature().draw(seed)
        x = instance.sample(max(budgets), 0).observed.views["mixed"].values
        for budget in budgets:
            clock = time.process_time()
            model = MinimalDictionary.preset("small", start_codes=START, samples=budget, warm_up=budgets[budget][-1])
            model.fit(x[:budget], seed=0)
            seconds = time.process_time() - clock
            mcc, f1 = scores(model, instance)
            found.append(
                {"instance": seed, "samples": budget, "cpu_seconds": seconds, "mcc": mcc, "f1": f1, "atoms": len(model.dictionary_)}
            )
            print(json.dumps(found[-1]), flush=True)
    claims = []
    for budget, (limit, bar, aim, _) in budgets.items():
        rows = [row for row in found if row["samples"] == budget]
        what = f"minimal_dictionary on the miniature, {budget:,} samples, {len(rows)} fresh instances"
        claims.append(claim(f"recovery/mcc_{budget}", f"{what}: decoder MCC", [row["mcc"] for row in rows], bar, aim))
        seconds = [row["cpu_seconds"] for row in rows]
        claims.append(claim(f"recovery/seconds_{budget}", f"{what}: CPU seconds of the fit", seconds, limit, test="below"))
        f1 = [row["f1"] for row in rows]
        claims.append(claim(f"recovery/f1_{budget}", f"{what}: one-to-one F1 of codes", f1, 0.80, 0.88))
    return claims, found


def alone(instances: Sequence[int] = (20_021, 20_022), budget: int = 512_000) -> list[dict[str, Any]]:
    """Cosine of each true atom with the one matched to it, by level, where parents hardly ever fire alone and where they mostly do."""
    found = []
    for seed in instances:
        for compensate in (True, False):
            instance = SynthSAEBench.miniature(compensate=compensate).draw(seed)
            truth = instance.truth
            assert truth is not None
            sample = instance.sample(16_384, 1, "test")
            on = {level: torch.as_tensor(rows.dense() > 0) for level, rows in sample.latents.items()}
            lonely = [
                1 - float(on[level + 1][on[level][:, parent]][:, list(children)].any(dim=1).float().mean())
                for level, tuples in truth.constituents.items()
                for parent, children in enumerate(tuples)
                if children and bool(on[level][:, parent].any())
            ]
            model = MinimalDictionary.preset("small", start_codes=START, samples=budget).fit(instance.sample(budget, 0).observed, seed=0)
            mcc, f1 = scores(model, instance)
            similarity = cosine(truth.dictionary("mixed"), model.dictionary_)
            best = matched_similarity(similarity, similarity).double()
            sizes = [level.size for level in truth.levels]
            about = {"instance": seed, "compensate": compensate, "parents_alone": mean(lonely), "mcc": mcc, "f1": f1}
            found.append({**about, "by_level": [float(part.mean()) for part in best.split(sizes)], "atoms": len(model.dictionary_)})
            print(json.dumps(found[-1]), flush=True)
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", type=Path, default=Path("results/speed"), help="folder for training.json and claims.json")
    parser.add_argument("--recovery", action="store_true", help="only what is learned per CPU second; needs no sae-lens")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    with threadpool_limits(1):
        if arguments.recovery:
            claims, found = recovery()
            about = {
                "command": "make bench",
                "python": platform.python_version(),
                "torch": torch.__version__,
                "machine": platform.machine(),
            }
            write_json(arguments.out / "recovery.json", {**about, "fits": found, "parents_alone": alone()})
        else:
            claims = steps()
    if not arguments.recovery:
        claims += together()
    merge(arguments.out, claims)
    table = Table("claim", "value [95 %]", "bar", "verdict", "note")
    for entry in claims:
        interval = f"{entry['value']:.3g} [{entry['low']:.3g}, {entry['high']:.3g}]"
        table.add_row(entry["statement"], interval, f"{entry['bar']:g}", entry["verdict"], entry["note"])
    Console(width=160).print(table)


if __name__ == "__main__":
    main()
