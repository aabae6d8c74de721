"""Sparse autoencoders trained by SAELens."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

from testbed.estimators.peers.bridge import Peer
from testbed.estimators.peers.formats import saelens
from testbed.estimators.peers.peer_sae import PeerSAE
from testbed.estimators.sparse.coder import SparseCoder

FRACTIONS = (1 / 32, 3 / 32, 7 / 32, 15 / 32, 1.0)
"""Widths of Matryoshka's nested prefixes as shares of all codes, where none are given: those of Bussmann et al. (2025)."""
NORM_BATCHES = 1000


class SAELensSAE(PeerSAE):
    """A sparse autoencoder of SAELens [1]_, trained by its ``SAETrainer``.

    Number of codes, k and budget are as for our own; every other default is SAELens's: learning rate 3e-4 and constant, Adam's betas .9
    and .999, decoder started at norm .1, penalties of coefficient 1 and no warm-up. BatchTopK and Matryoshka are saved by SAELens as
    JumpReLU with one threshold, and encode so.

    Parameters
    ----------
    architecture : {"topk", "batchtopk", "matryoshka_batchtopk", "standard", "jumprelu", "gated"}
    n_codes : int
    k : int
        Active codes per row, of the three TopK kinds.
    l1_coefficient : float
        Of ``standard`` and ``gated``.
    l0_coefficient : float
        Of ``jumprelu``.
    widths : list of int, optional
        Nested prefixes of Matryoshka; None for 1/32, 3/32, 7/32, 15/32 and all of the codes (SAELens has no default).
    samples : int
        Budget in rows, rounded down to whole batches.
    batch_size : int
        1,024, as in SAELens's ``train_toy_sae``.
    lr : float, optional
        None for SAELens's own.
    normalise : bool
        Whether SAELens scales rows to a mean norm of sqrt(d) while it trains (``expected_average_only_in``).
    options : dict, optional
        Further fields of the architecture's training configuration or of ``SAETrainerConfig``.
    python : str, optional
        Interpreter that has SAELens; see `testbed.estimators.peers.bridge.interpreter`.
    view : str, optional

    References
    ----------
    .. [1] SAELens, https://github.com/decoderesearch/SAELens.
    """

    peer: ClassVar[Peer] = Peer("sae-lens", "sae_lens", "SAELens")
    choices: ClassVar[tuple[str, ...]] = ("topk", "batchtopk", "matryoshka_batchtopk", "standard", "jumprelu", "gated")

    def __init__(
        self,
        architecture: str = "topk",
        n_codes: int = 256,
        k: int = 16,
        l1_coefficient: float = 1.0,
        l0_coefficient: float = 1.0,
        widths: list[int] | None = None,
        samples: int = 400_000,
        batch_size: int = 1024,
        lr: float | None = None,
        normalise: bool = False,
        options: dict[str, Any] | None = None,
        python: str | None = None,
        view: str | None = None,
    ) -> None:
        self.architecture = architecture
        self.n_codes = n_codes
        self.k = k
        self.l1_coefficient = l1_coefficient
        self.l0_coefficient = l0_coefficient
        self.widths = widths
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
        return self.architecture

    def _defaults(self, steps: int) -> dict[str, Any]:
        found: dict[str, Any] = {} if self.lr is None else {"lr": self.lr}
        if "topk" in self.architecture:
            found["k"] = self.k
        if self.architecture == "matryoshka_batchtopk":
            found["matryoshka_widths"] = self.widths or sorted({max(1, int(share * self.n_codes)) for share in FRACTIONS})
        if self.architecture in ("standard", "gated"):
            found["l1_coefficient"] = self.l1_coefficient
        if self.architecture == "jumprelu":
            found["l0_coefficient"] = self.l0_coefficient
        if self.normalise:
            found |= {"normalize_activations": "expected_average_only_in", "n_batches_for_norm_estimate": self._extra(steps)}
        return found

    def _extra(self, steps: int) -> int:
        return min(NORM_BATCHES, steps) if self.normalise else 0

    def _read(self, folder: Path) -> SparseCoder:
        return saelens.read(folder)
