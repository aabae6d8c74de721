"""How sparse autoencoders are trained: many at once on one stream, in bounded memory, with checkpoints, learning curves and revival."""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from threadpoolctl import threadpool_limits
from torch import Tensor

from testbed.contracts import Data, InvalidInput, seed_of
from testbed.estimators.sparse.autoencoder import SparseAutoencoder, require
from testbed.estimators.sparse.framing import Frame
from testbed.estimators.sparse.rows_of import held_out_rows, training_rows
from testbed.estimators.sparse.steps import Stepper, stepper_for
from testbed.numerics.batches import batches, require_rows

HEAD_ROWS = 8192
"""Rows read ahead of training, from which mean and scale of the data are taken."""
LAST_REVIVAL = 0.75
"""Share of training after which dead latents are left dead: what is revived later has no time to learn."""
CURVE = 30
"""Entries of a learning curve where no revival asks for more."""
CHECKPOINT_SECONDS = 30.0
"""Seconds between checkpoints, at least."""


def fit_together(
    models: Sequence[SparseAutoencoder],
    data: Data,
    seeds: Sequence[int],
    *,
    checkpoint: str | Path | None = None,
    threads: int | None = None,
    stack: bool | None = None,
) -> None:
    """Fit several autoencoders on one stream of batches, each with a seed of its own.

    All see the same batches in the same order, that of the first seed. On CUDA models with equal parameters are stacked into one; on the
    CPU they share the batches and are spread over threads.

    Parameters
    ----------
    models : sequence of SparseAutoencoder
        They must agree in view, samples, batch_size, held_out, scale, bias mode and precision; all else may differ.
    data : Observed, array of shape (n, d), or iterable of either
    seeds : sequence of int
        One per model: of its initialisation and revival.
    checkpoint : path, optional
        File to write now and then, and to go on from if it is there.
    threads : int, optional
        Most threads on the CPU; as many as torch may use unless given.
    stack : bool, optional
        Whether to stack models with equal parameters; on CUDA unless given.

    Raises
    ------
    InvalidInput
        If models and seeds do not fit together, a parameter is out of range, the data are bad, or the checkpoint is of other models.
    """
    require(len(models) == len(seeds) >= 1, f"give one seed per model and at least one model, not {len(models)} and {len(seeds)}")
    for model in models:
        model.check()
    lead = models[0]
    for name in ("view", "samples", "batch_size", "held_out", "scale", "precision"):
        values = {repr(getattr(model, name)) for model in models}
        require(len(values) == 1, f"models that are trained together must have one {name}, not {' and '.join(sorted(values))}")
    readings = {json.dumps(model.reading()) for model in models}
    require(len(readings) == 1, "models that are trained together must read the same views")
    stream = training_rows(data, lead.reading(), lead.held_out)
    least = max(model.least_rows() for model in models)
    require_rows(stream, None, least, f"{type(lead).__name__} (a dictionary is not learned from fewer rows than it must explain)")
    source = batches(stream, None, lead.batch_size, seed_of("batches", seeds[0]), lead.samples)
    head: list[Tensor] = []
    while sum(map(len, head)) < min(HEAD_ROWS, lead.samples):
        head.append(next(source))
    first = torch.cat(head)
    _require_varied(first)
    frame = Frame(first, lead)
    held = held_out_rows(data, lead.reading(), lead.held_out)
    groups = _groups(models, first.device, stack)
    scaled = frame.scaled(first)
    steppers = [stepper_for([models[i] for i in group], [seeds[i] for i in group], scaled) for group in groups]
    run = _Run(models, seeds, steppers, groups, frame, frame.scaled(held.to(first.device)) if len(held) else None)
    if checkpoint is not None:
        run.resume(Path(checkpoint))
    run.train(_after(head, source, run.done), None if checkpoint is None else Path(checkpoint), threads)
    run.finish(scaled)
    if checkpoint is not None:
        Path(checkpoint).unlink(missing_ok=True)


class _Run:
    """One training run: the steppers, how far they are, and what is written down on the way."""

    def __init__(
        self,
        models: Sequence[SparseAutoencoder],
        seeds: Sequence[int],
        steppers: list[Stepper],
        groups: list[list[int]],
        frame: Frame,
        held: Tensor | None,
    ) -> None:
        self.models, self.steppers, self.groups, self.frame, self.held = models, steppers, groups, frame, held
        self.steps = math.ceil(models[0].samples / models[0].batch_size)
        self.done = self.seen = 0
        self.history: list[dict[str, list[float]]] = [{n: [] for n in CURVES[: len(CURVES) - (held is None)]} for _ in models]
        self.best, self.since = math.inf, 0
        self.stopped = False
        self.window = max(1, round(LAST_REVIVAL * self.steps / (max(m.revivals for m in models) or CURVE)))
        about = [{"class": type(m).__qualname__, "params": {k: repr(v) for k, v in m.get_params().items()}} for m in models]
        self.spec = json.dumps({"models": about, "seeds": list(seeds), "columns": len(frame.centre)}, sort_keys=True)

    def train(self, source: Iterator[Tensor], checkpoint: Path | None, threads: int | None) -> None:
        clock = time.monotonic()
        workers = min(len(self.steppers), threads or torch.get_num_threads())
        with ExitStack() as stack:
            every: Callable[..., Any] = map
            if workers > 1:
                stack.enter_context(threadpool_limits(1))
                every = stack.enter_context(ThreadPoolExecutor(workers)).map
            for batch in source:
                if self.stopped:
                    break
                share = self.done / self.steps
                x = self.frame.scaled(batch)
                weight = self.frame.weights(x)
                self.done += 1
                self.seen += len(batch)
                closes = self.done % self.window == 0 or self.done == self.steps
                list(every(lambda s, x=x, w=weight, t=share, c=closes: s.step(x, w, t, self.done, c), self.steppers))
                if closes:
                    self._close(x, weight)
                    if checkpoint is not None and (time.monotonic() - clock > CHECKPOINT_SECONDS):
                        self.save(checkpoint)
                        clock = time.monotonic()

    def _close(self, x: Tensor, weight: Tensor) -> None:
        """End a window: write the curves, revive, look at the held-out loss."""
        total = 0.0
        for group, stepper in zip(self.groups, self.steppers, strict=True):
            _, target = stepper.models[0].split(x)
            variance = float((weight * target.square().sum(dim=1)).mean())
            held = [math.nan] * len(group) if self.held is None else stepper.evaluate(self.held, self.frame.weights(self.held))
            for place, i in enumerate(group):
                loss, active, dead = stepper.report(place)
                explained = 1 - loss / variance if variance > 0 else 0.0
                for name, value in zip(CURVES, (self.seen, active, loss, explained, dead, held[place]), strict=True):
                    if name in self.history[i]:
                        self.history[i][name].append(float(value))
                total += held[place]
            stepper.close(revive=self.done <= LAST_REVIVAL * self.steps)
        patience = self.models[0].patience
        if patience:
            better = total < self.best
            self.best, self.since = min(total, self.best), 0 if better else self.since + 1
            self.stopped = self.since >= patience

    def finish(self, head: Tensor) -> None:
        for group, stepper in zip(self.groups, self.steppers, strict=True):
            for place, i in enumerate(group):
                self.models[i].set_fitted(stepper.parameters(place), self.frame.centre, self.frame.scale, self.history[i])
                self.models[i].calibrate(head * self.frame.scale + self.frame.centre)

    # ------------------------------------------------------------------------------------------------------ checkpoints

    def save(self, path: Path) -> None:
        """Write the state of all steppers to one file: whole or not at all."""
        arrays: dict[str, Tensor] = {}
        for place, stepper in enumerate(self.steppers):
            arrays |= {f"{place}/{name}": value.detach().cpu().contiguous() for name, value in stepper.state().items()}
        plain = {"done": self.done, "seen": self.seen, "history": self.history, "best": self.best, "since": self.since}
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_name(f".{path.name}.{os.getpid()}")
        try:
            save_file(arrays, temporary, metadata={"spec": self.spec, "plain": json.dumps(plain | {"stopped": self.stopped})})
            with temporary.open("rb") as file:
                os.fsync(file.fileno())
            temporary.replace(path)
        finally:
            temporary.unlink(missing_ok=True)

    def resume(self, path: Path) -> None:
        """Go on from a checkpoint, if there is one.

        Raises
        ------
        InvalidInput
            If it cannot be read, or is of other models, seeds or data.
        """
        if not path.exists():
            return
        try:
            with safe_open(path, framework="pt") as file:
                about = file.metadata() or {}
                arrays = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
            plain = json.loads(about["plain"])
        except (SafetensorError, OSError, KeyError, ValueError) as error:
            raise InvalidInput(f"checkpoint {path} cannot be read ({error}): delete it to train from the start") from None
        if about.get("spec") != self.spec:
            raise InvalidInput(f"checkpoint {path} is of another training (parameters, seeds or columns differ): give another file")
        self.done, self.seen, self.history = plain["done"], plain["seen"], plain["history"]
        self.best, self.since, self.stopped = plain["best"], plain["since"], plain["stopped"]
        for place, stepper in enumerate(self.steppers):
            mine = {name.partition("/")[2]: value for name, value in arrays.items() if name.startswith(f"{place}/")}
            stepper.load(mine)


CURVES = ("samples", "k", "loss", "explained_variance", "dead", "held_out")


def _after(head: list[Tensor], source: Iterator[Tensor], done: int) -> Iterator[Tensor]:
    """Batches from the one after `done`: those before are drawn again and passed over, so that the order is that of an undisturbed run."""
    place = 0
    while head:
        batch = head.pop(0)
        if place >= done:
            yield batch
        place += 1
    for batch in source:
        if place >= done:
            yield batch
        place += 1


def _groups(models: Sequence[SparseAutoencoder], device: torch.device, stack: bool | None) -> list[list[int]]:
    """Indices of models that are trained as one stack."""
    if not (device.type == "cuda" if stack is None else stack):
        return [[i] for i in range(len(models))]
    found: dict[str, list[int]] = {}
    for i, model in enumerate(models):
        alone = "" if model.stackable() else str(i)
        found.setdefault(f"{type(model)} {model.get_params()} {alone}", []).append(i)
    return list(found.values())


def _require_varied(head: Tensor) -> None:
    if len(head) > 1 and bool((head == head[0]).all()):
        raise InvalidInput(f"all {len(head)} rows looked at are equal, so there is nothing to learn: give data that vary")
