"""The core that caches on disk and generators share: texts cut into windows of tokens, windows run through a model, rows out.

A *window* is up to `context` consecutive tokens of one document. It gives a row for every position but the first, where language models
park attention (at layer 15 of SmolLM2 its norm is some 140 times the median: one such row would outweigh a whole window), and the
last, whose next token lies outside. So every row has a next token that the model could have been asked for.
"""

from __future__ import annotations

import random
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from typing import Any

import torch
from torch import Tensor

from testbed.activations.hooks import collect, resolve
from testbed.activations.models import LanguageModel
from testbed.activations.text import Document
from testbed.contracts import InvalidInput, Observed, Sample, Shows, View

EDGES = 2
"""Positions of a window that give no row: its first and its last."""


@dataclass(frozen=True, slots=True)
class Window:
    """Consecutive tokens of a document.

    Attributes
    ----------
    document : int
        Place of the document in the list of documents.
    index : int
        Place of the window in the document.
    tokens : tuple of int
    """

    document: int
    index: int
    tokens: tuple[int, ...]

    @property
    def rows(self) -> int:
        return len(self.tokens) - EDGES


def cut(tokenizer: Any, documents: Sequence[Document], context: int) -> list[list[Window]]:
    """Windows of each document, from its first token to its last; a rest of less than three tokens is left out.

    If the tokenizer starts texts with a special token, every window starts with it, as the model was trained.

    Raises
    ------
    InvalidInput
        If `context` leaves no room for a row.
    """
    start = _start(tokenizer)
    step = context - len(start)
    if step < EDGES + 1 - len(start):
        raise InvalidInput(f"context {context} leaves no row: a window drops its first and its last token, so give 3 or more")
    found = []
    for number, (_, text) in enumerate(documents):
        tokens = tokenizer(text, add_special_tokens=False, verbose=False)["input_ids"]
        windows = (tuple(start + tokens[first : first + step]) for first in range(0, len(tokens), step))
        found.append([Window(number, index, window) for index, window in enumerate(windows) if len(window) > EDGES])
    return found


def _start(tokenizer: Any) -> list[int]:
    first = tokenizer("a", verbose=False)["input_ids"][:1]
    return list(first) if first and first[0] == tokenizer.bos_token_id else []


def ordered(windows: Sequence[Sequence[Window]], seed: int) -> list[Window]:
    """Windows of all documents in a random order that takes one of each document before it takes the second of any.

    So the beginning of the order covers as many documents as it can. Windows within a document are shuffled too: they would otherwise
    all be beginnings.
    """
    generator = random.Random(seed)
    shuffled = [generator.sample(list(own), len(own)) for own in windows]
    generator.shuffle(shuffled)
    return [window for turn in zip_longest(*shuffled) for window in turn if window is not None]


def batches(windows: Sequence[Window], batch: int, start: int = 0, stop: int | None = None) -> Iterator[tuple[int, list[Window]]]:
    """Fixed groups of `batch` windows, with the number of each group's first row, from the group with row `start` on.

    The same windows always run together, so that no value depends on where a reader starts or how much it asks for.

    Parameters
    ----------
    start, stop : int
        First row wanted, and first row that is not (None: to the end); groups are whole all the same.
    """
    row = 0
    for first in range(0, len(windows), batch):
        group = list(windows[first : first + batch])
        rows = sum(window.rows for window in group)
        if stop is not None and row >= stop:
            return
        if row + rows > start:
            yield row, group
        row += rows


def padded(group: Sequence[Window], device: torch.device | str) -> Tensor:
    """Token ids, shape (batch, length), padded on the right with whatever token: a causal model never looks at it."""
    length = max(len(window.tokens) for window in group)
    return torch.tensor([[*window.tokens, *[0] * (length - len(window.tokens))] for window in group], device=device)


def is_row(group: Sequence[Window], length: int, device: torch.device | str) -> Tensor:
    """Which positions give a row, shape (batch, length), bool."""
    positions = torch.arange(length, device=device)
    rows = torch.tensor([window.rows for window in group], device=device)
    return (positions >= 1) & (positions <= rows[:, None])


def samples(lm: LanguageModel, module: str, windows: Sequence[Window], batch: int, start: int = 0) -> Iterator[Sample]:
    """Activations of `module` at the rows of `windows`, from row `start` on, one chunk per group of `batch` windows.

    The view bears the name `module`. The row table holds group (the document), window (in the document), position (in the window), token
    and next (the token after it).
    """
    device = next(lm.model.parameters()).device
    shows = Shows(layer=resolve(lm.model, module)[0])
    for row, group in batches(windows, batch, start):
        ids = padded(group, device)
        hidden = collect(lm.model, ids, [module])[module]  # (batch, length, d)
        values = hidden[is_row(group, ids.shape[1], device)].float()
        sample = Sample(Observed({module: View(values, shows)}, {k: v.to(device) for k, v in table(group).items()}))
        yield sample[start - row :] if start > row else sample


def table(group: Sequence[Window]) -> dict[str, Tensor]:
    """The row table of some windows, each column of shape (rows,), int64."""
    rows = [
        (window.document, window.index, position, window.tokens[position], window.tokens[position + 1])
        for window in group
        for position in range(1, len(window.tokens) - 1)
    ]
    columns = torch.tensor(rows, dtype=torch.int64).reshape(-1, 5).unbind(1)
    return {k: column.contiguous() for k, column in zip(("group", "window", "position", "token", "next"), columns, strict=True)}
