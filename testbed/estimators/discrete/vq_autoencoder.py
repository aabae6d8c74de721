"""A vector-quantised autoencoder per block: a tuple becomes one of K codebook entries, from which its surroundings are decoded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import one_hot

from testbed.contracts import InvalidInput
from testbed.estimators.discrete.layerwise import Array, Layerwise, States

COMMITMENT = 0.25
"""Weight of the encoder's pull towards its entry, as in the source."""
REVIVED = 20
"""Steps after which entries that no tuple has are moved to tuples that are decoded badly."""


@dataclass(kw_only=True, eq=False, repr=False)
class VQAutoencoder(Layerwise):
    r"""Encoder from tuples, codebook of K entries, decoder to contexts [1]_.

    An encoder with one hidden layer takes a tuple (one-hot constituents) to z(t); the nearest entry :math:`e_k` replaces it, gradients
    passing straight through; a linear decoder gives logits of the tuple of every other block (``"contexts"``), of the block's own
    constituents (``"leaves"``), or both. Full batches: a block has few tuples, weighed by how often each occurs with what. Entries without
    tuples are revived for the first three quarters of the steps. A state is an entry that some tuple has.

    Parameters
    ----------
    decodes : {"contexts", "leaves", "both"}
    width, dimension : int
        Of the hidden layer, and of entries.
    steps, lr : int, float
        Of Adam.
    n_states : int, optional
        K; None takes as many as the largest constituent has states.
    arity, tuples, depth, bins, samples, view
        See `testbed.estimators.discrete.layerwise.Layerwise`, also for attributes.

    References
    ----------
    .. [1] van den Oord, Vinyals & Kavukcuoglu (2017), Neural Discrete Representation Learning, arXiv 1711.00937.
    """

    decodes: Literal["contexts", "leaves", "both"] = "contexts"
    width: int = 64
    dimension: int = 8
    steps: int = 400
    lr: float = 1e-2

    @classmethod
    def small(cls) -> VQAutoencoder:
        return cls(depth=2, bins=2, steps=30)

    def grouped(self, beside: list[list[Array]], shapes: list[tuple[int, ...]], seed: int) -> list[States]:
        if self.decodes not in ("contexts", "leaves", "both"):
            raise InvalidInput(f"decodes must be 'contexts', 'leaves' or 'both', not {self.decodes!r}")
        if self.width < 1 or self.dimension < 1 or self.steps < 1 or not self.lr > 0:
            raise InvalidInput(
                f"width, dimension and steps must be at least 1 and lr above 0, not {self.width}, {self.dimension}, {self.steps} and "
                f"{self.lr}"
            )
        return [
            self._trained(tables, shape, torch.Generator().manual_seed((seed + i) % 2**63))
            for i, (tables, shape) in enumerate(zip(beside, shapes, strict=True))
        ]

    def _trained(self, tables: list[Array], shape: tuple[int, ...], generator: torch.Generator) -> States:
        tuples = torch.unravel_index(torch.arange(len(tables[0])), shape)
        hot = torch.cat([one_hot(column, k) for column, k in zip(tuples, shape, strict=True)], dim=1).float()  # (T, sum of shape)
        weight = torch.from_numpy(tables[0].sum(axis=1)).float()
        targets = [torch.from_numpy(table).float() for table in tables] if self.decodes != "leaves" else []
        if self.decodes != "contexts":
            targets += [weight[:, None] * part for part in torch.split(hot, list(shape), dim=1)]
        seen = weight > 0
        hot, n = hot[seen], float(weight.sum())
        targets = [target[seen] / n for target in targets]
        widths = [target.shape[1] for target in targets]
        k = min(self.n_states or max(shape), int(seen.sum()))

        def drawn(*size: int) -> Tensor:
            out: Tensor = torch.randn(*size, generator=generator) / float(size[0]) ** 0.5
            return out

        inner, outer = drawn(hot.shape[1], self.width), drawn(self.width, self.dimension)
        bias, decoder = torch.zeros(self.width), drawn(self.dimension, sum(widths)) * 0.1
        offset = torch.cat([(target.sum(dim=0) + 1e-6).log() for target in targets])
        with torch.no_grad():
            place = torch.relu(hot @ inner) @ outer
            book = place[torch.multinomial(weight[seen], k, generator=generator)].clone()
        params = [p.requires_grad_() for p in (inner, outer, bias, decoder, offset, book)]
        optimizer = torch.optim.Adam(params, lr=self.lr)
        entry = torch.zeros(len(hot), dtype=torch.int64)
        for step in range(self.steps):
            place = torch.relu(hot @ inner + bias) @ outer
            entry = torch.cdist(place.detach(), book.detach()).argmin(dim=1)
            chosen = book[entry]
            passed = place + (chosen - place).detach()
            logits = torch.split(passed @ decoder + offset, widths, dim=1)
            each = torch.stack([-(t * one.log_softmax(dim=1)).sum(dim=1) for t, one in zip(targets, logits, strict=True)]).sum(dim=0)
            pull = (weight[seen] / n * ((chosen - place.detach()) ** 2 + COMMITMENT * (chosen.detach() - place) ** 2).sum(dim=1)).sum()
            optimizer.zero_grad()
            (each.sum() + pull).backward()  # type: ignore[no-untyped-call]
            optimizer.step()
            if step % REVIVED == REVIVED - 1 and step < 0.75 * self.steps:
                self._revive(book, entry, place.detach(), each.detach(), generator)
        state = torch.zeros(len(weight), dtype=torch.int64)
        state[seen] = entry
        return np.asarray(state.numpy())

    @staticmethod
    def _revive(book: Tensor, entry: Tensor, place: Tensor, loss: Tensor, generator: torch.Generator) -> None:
        unused = (entry.bincount(minlength=len(book)) == 0).nonzero()[:, 0]
        if len(unused):
            at = torch.multinomial(loss.clamp_min(1e-9), len(unused), generator=generator)
            with torch.no_grad():
                book[unused] = place[at]
