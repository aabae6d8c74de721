"""How sparse autoencoders are trained: many at once on one stream, in bounded memory, with checkpoints, learning curves and revival."""

from __future__ import annotations

import json
import math
import warnings
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from itertools import chain
from pathlib import Path
from typing import Any

import torch
from threadpoolctl import threadpool_limits
from torch import Tensor

from testbed.contracts import Data, InvalidInput, UnusableCheckpoint, seed_of
from testbed.estimators.sparse.autoencoder import SparseAutoencoder, require
from testbed.estimators.sparse.checkpoints import Checkpoint
from testbed.estimators.sparse.framing import Frame
from testbed.estimators.sparse.rows_of import held_out_rows, training_rows
from testbed.estimators.sparse.steps import Stepper, stepper_for
from testbed.numerics.batches import Batches, batches, require_rows

HEAD_ROWS = 8192
"""Rows read ahead of training, from which mean and scale of the data are taken."""
LAST_REVIVAL = 0.75
"""Share of training after which dead latents are left dead: what is revived later has no time to learn."""
CURVE = 30
"""Entries of a learning curve where no revival asks for more."""


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
    wanted = max([HEAD_ROWS, *(model.n_codes for model in models if model.initialisation == "data")])
    while sum(map(len, head)) < min(wanted, lead.samples):
        head.append(next(source))
    first = torch.cat(head)
    _check_columns(first)
    require(
        lead.precision != "mixed" or first.device.type == "cuda",
        "precision 'mixed' is for CUDA, and the data are on the CPU: set precision to 'single', or give data on CUDA",
    )
    frame = Frame(first, lead)
    held = held_out_rows(data, lead.reading(), lead.held_out)
    groups = _groups(models, first.device, stack)
    scaled = frame.scaled(first)
    steppers = [stepper_for([models[i] for i in group], [seeds[i] for i in group], scaled) for group in groups]
    run = _Run(models, steppers, groups, frame, frame.scaled(held.to(first.device)) if len(held) else None, len(head))
    file = None if checkpoint is None else Checkpoint(checkpoint, _spec(models, seeds, groups, first.shape[1]))
    if file is not None:
        run.resume(file, source)
    run.train(head, source, file, threads)
    run.finish(scaled)
    if file is not None:
        file.remove()


class _Run:
    """One training run: the steppers, how far they are, and what is written down on the way."""

    def __init__(
        self,
        models: Sequence[SparseAutoencoder],
        steppers: list[Stepper],
        groups: list[list[int]],
        frame: Frame,
        held: Tensor | None,
        ahead: int,
    ) -> None:
        self.models, self.steppers, self.groups, self.frame, self.held = models, steppers, groups, frame, held
        self.ahead = ahead  # batches that were read before training, for the frame
        self.steps = math.ceil(models[0].samples / models[0].batch_size)
        self.done = self.seen = 0
        self.history: list[dict[str, list[float]]] = [{n: [] for n in CURVES[: len(CURVES) - (held is None)]} for _ in models]
        self.best, self.since = math.inf, 0
        self.stopped = False
        self.window = max(1, round(LAST_REVIVAL * self.steps / (max(m.revivals for m in models) or CURVE)))

    def train(self, head: list[Tensor], source: Batches, checkpoint: Checkpoint | None, threads: int | None) -> None:
        most = threads or torch.get_num_threads()
        workers = min(len(self.steppers), most)
        with ExitStack() as stack:
            every: Callable[..., Any] = map
            if workers > 1 or threads is not None:
                stack.enter_context(threadpool_limits(max(1, most // workers)))
            if workers > 1:
                every = stack.enter_context(ThreadPoolExecutor(workers)).map
            for batch in chain(head[self.done :], source):
                if self.stopped:
                    break
                share = self.done / self.steps
                x = self.frame.scaled(batch)
                weight = self.frame.weights(x)
                self.done += 1
                self.seen += len(batch)
                closes = self.done % self.window == 0 or self.done == self.steps
                try:
                    list(every(lambda s, x=x, w=weight, t=share, c=closes: s.step(x, w, t, self.done, c), self.steppers))
                except ZeroDivisionError:  # compiled loops meet NaN where a norm should be
                    raise self._diverged(self.models[0], math.nan) from None
                if closes:
                    self._close(x, weight)
                if checkpoint is not None and checkpoint.due():
                    self.save(checkpoint, source)

    def _close(self, x: Tensor, weight: Tensor) -> None:
        """End a window: write the curves, revive, look at the held-out loss."""
        total = 0.0
        for group, stepper in zip(self.groups, self.steppers, strict=True):
            _, target = stepper.models[0].split(x)
            variance = float((weight * target.square().sum(dim=1)).mean())
            held = [math.nan] * len(group) if self.held is None else stepper.evaluate(self.held, self.frame.weights(self.held))
            for place, i in enumerate(group):
                loss, active, dead = stepper.report(place)
                if not math.isfinite(loss):
                    raise self._diverged(self.models[i], loss)
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

    def _diverged(self, model: SparseAutoencoder, loss: float) -> InvalidInput:
        lead = f"{type(model).__name__} diverged: after {self.seen} rows its loss is {loss}"
        return InvalidInput(f"{lead}: lower lr, which is {model.lr:g}")

    def finish(self, head: Tensor) -> None:
        for group, stepper in zip(self.groups, self.steppers, strict=True):
            for place, i in enumerate(group):
                self.models[i].set_fitted(stepper.parameters(place), self.frame.centre, self.frame.scale, self.history[i])
                self.models[i].calibrate(head * self.frame.scale + self.frame.centre)

    # ------------------------------------------------------------------------------------------------------ checkpoints

    def save(self, checkpoint: Checkpoint, source: Batches) -> None:
        """Write the state of all steppers, of the curves, and where the source of batches is."""
        arrays = {f"source/{name}": value for name, value in source.place().items()} | self.frame.state()
        for place, stepper in enumerate(self.steppers):
            arrays |= {f"{place}/{name}": value for name, value in stepper.state().items()}
        plain = {"done": self.done, "seen": self.seen, "history": self.history, "best": self.best, "since": self.since}
        checkpoint.write(arrays, plain | {"stopped": self.stopped})

    def resume(self, checkpoint: Checkpoint, source: Batches) -> None:
        """Go on from a checkpoint, if there is one.

        Raises
        ------
        UnusableCheckpoint
            If it cannot be read, or is of other models, seeds or data.
        """
        found = checkpoint.read()
        if found is None:
            return
        arrays, plain = found

        def under(prefix: str) -> dict[str, Tensor]:
            return {name.removeprefix(prefix): value for name, value in arrays.items() if name.startswith(prefix)}

        try:
            if not self.frame.load(arrays):
                raise UnusableCheckpoint(f"checkpoint {checkpoint.path} is of other data (their centre or scale differs): delete it")
            for place, stepper in enumerate(self.steppers):
                stepper.load(under(f"{place}/"))
            self.done, self.seen, self.history = plain["done"], plain["seen"], plain["history"]
            self.best, self.since, self.stopped = plain["best"], plain["since"], plain["stopped"]
            if self.done > self.ahead:
                source.move_to(under("source/"))
        except KeyError as error:
            raise UnusableCheckpoint(f"checkpoint {checkpoint.path} lacks {error}: delete it to train from the start") from None


def _spec(models: Sequence[SparseAutoencoder], seeds: Sequence[int], groups: list[list[int]], columns: int) -> str:
    about = [{"class": type(m).__qualname__, "params": {k: repr(v) for k, v in m.get_params().items()}} for m in models]
    return json.dumps({"models": about, "seeds": list(seeds), "groups": groups, "columns": columns}, sort_keys=True)


CURVES = ("samples", "k", "loss", "explained_variance", "dead", "held_out")


def _groups(models: Sequence[SparseAutoencoder], device: torch.device, stack: bool | None) -> list[list[int]]:
    """Indices of models that are trained as one stack."""
    if not (device.type == "cuda" if stack is None else stack):
        return [[i] for i in range(len(models))]
    found: dict[str, list[int]] = {}
    for i, model in enumerate(models):
        alone = "" if model.stackable() else str(i)
        found.setdefault(f"{type(model)} {model.get_params()} {alone}", []).append(i)
    return list(found.values())


def _check_columns(head: Tensor) -> None:
    """Refuse data that say nothing; warn of columns that do not."""
    if len(head) < 2:
        return
    still = (head == head[0]).all(dim=0)
    if bool(still.all()):
        raise InvalidInput(f"all {len(head)} rows looked at are equal, so there is nothing to learn: give data that vary")
    if bool(still.any()):
        which = still.nonzero()[:, 0].tolist()
        named = ", ".join(map(str, which[:8])) + (" and others" if len(which) > 8 else "")
        warnings.warn(
            f"{len(which)} of {head.shape[1]} columns are constant in the {len(head)} rows looked at ({named}): "
            "codes say nothing about them, and leaving them out would change nothing else",
            stacklevel=3,
        )
