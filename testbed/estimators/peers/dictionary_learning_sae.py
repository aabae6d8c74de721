"""Sparse autoencoders trained by dictionary_learning."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

from testbed.estimators.peers.bridge import Peer
from testbed.estimators.peers.formats import dictionary_learning
from testbed.estimators.peers.peer_sae import PeerSAE
from testbed.estimators.sparse.coder import SparseCoder

GROUPS = (1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2 + 1 / 32)
"""Shares of Matryoshka's groups where none are given: those of the library's demonstration."""
NORM_BATCHES = 102
"""Batches that ``trainSAE`` reads to find the norm."""


class DictionaryLearningSAE(PeerSAE):
    """A sparse autoencoder of dictionary_learning [1]_, trained by its ``trainSAE``.

    Number of codes, k and budget are as for our own; every other default is the trainer's own, but for lengths in steps: learning rates
    warm up over the library's 1,000 steps or a tenth of all, whichever is less, penalties over 2,000 or a fifth, BatchTopK's threshold
    is learned from step 1,000 or from half of all, p-annealing starts at step 15,000 or a quarter (its trainers refuse to run shorter
    than their warm-up); and p-annealing ends at p = 0.2 of Lp^p, since the library's own end, 0, divides by 0.

    Parameters
    ----------
    trainer : {"top_k", "batch_top_k", "matryoshka_batch_top_k", "jump_relu", "standard", "standard_april", "p_anneal", "gated"}
    n_codes : int
    k : int
        Active codes per row; for ``jump_relu`` the target of its L0 penalty (the library's own is 20).
    l1_penalty : float
        Of ``standard``, ``standard_april``, ``gated``, and at first of ``p_anneal``.
    samples : int
        Budget in rows, rounded down to whole batches.
    batch_size : int
        The library has no default; ours is that of its demonstration, 2,048.
    lr : float, optional
        None for the trainer's own.
    normalise : bool
        Whether rows are scaled to a mean squared norm of 1 while training, by its ``normalize_activations``.
    options : dict, optional
        Further arguments of the trainer.
    python : str, optional
        Interpreter that has the library; see `testbed.estimators.peers.bridge.interpreter`.
    view : str, optional

    References
    ----------
    .. [1] Marks, Karvonen & Mueller (2024), dictionary_learning, https://github.com/saprmarks/dictionary_learning.
    """

    peer: ClassVar[Peer] = Peer("dictionary-learning", "dictionary_learning", "dictionary_learning")
    choices: ClassVar[tuple[str, ...]] = (
        "top_k",
        "batch_top_k",
        "matryoshka_batch_top_k",
        "jump_relu",
        "standard",
        "standard_april",
        "p_anneal",
        "gated",
    )

    def __init__(
        self,
        trainer: str = "top_k",
        n_codes: int = 256,
        k: int = 16,
        l1_penalty: float = 0.1,
        samples: int = 400_000,
        batch_size: int = 2048,
        lr: float | None = None,
        normalise: bool = False,
        options: dict[str, Any] | None = None,
        python: str | None = None,
        view: str | None = None,
    ) -> None:
        self.trainer = trainer
        self.n_codes = n_codes
        self.k = k
        self.l1_penalty = l1_penalty
        self.samples = samples
        self.batch_size = batch_size
        self.lr = lr
        self.normalise = normalise
        self.options = options
        self.python = python
        self.view = view

    @classmethod
    def small(cls) -> Self:
        return cls(n_codes=32, k=4, samples=8_192, batch_size=256)

    def _kind(self) -> str:
        return self.trainer

    def _defaults(self, steps: int) -> dict[str, Any]:
        found: dict[str, Any] = {"warmup_steps": min(1000, steps // 10)}
        if self.lr is not None:
            found["lr"] = self.lr
        if "top_k" in self.trainer:
            found |= {"k": self.k, "threshold_start_step": min(1000, steps // 2 - 1)}
        else:
            found["sparsity_warmup_steps"] = min(2000, steps // 5)
        if self.trainer == "matryoshka_batch_top_k":
            found["group_fractions"] = list(GROUPS)
        if self.trainer == "jump_relu":
            found["target_l0"] = float(self.k)
        if self.trainer in ("standard", "standard_april", "gated"):
            found["l1_penalty"] = self.l1_penalty
        if self.trainer == "p_anneal":
            # The library's own p_end = 0 ends in a division by 0: these two are its demonstration's.
            found |= {"p_end": 0.2, "sparsity_function": "Lp^p"}
            found |= {"initial_sparsity_penalty": self.l1_penalty, "anneal_start": min(15_000, steps // 4)}
        return found

    def _extra(self, steps: int) -> int:
        return NORM_BATCHES if self.normalise else 0

    def _read(self, folder: Path) -> SparseCoder:
        return dictionary_learning.read(folder / "trainer_0")
