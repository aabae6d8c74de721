"""Sparse autoencoders trained by Overcomplete."""

from __future__ import annotations

from pathlib import Path
from typing import Any, ClassVar, Self

from testbed.estimators.peers.bridge import Peer
from testbed.estimators.peers.formats import plain
from testbed.estimators.peers.peer_sae import PeerSAE
from testbed.estimators.sparse.coder import SparseCoder

LR = 5e-4
"""Adam's learning rate in the library's README."""


class OvercompleteSAE(PeerSAE):
    """A sparse autoencoder of Overcomplete [1]_ with a linear encoder, trained by its ``train_sae``.

    Number of codes, k and budget are as for our own. The library leaves loss and optimiser to its user: as in its README the loss is the
    mean squared error and the optimiser Adam at 5e-4; ``standard`` and ``jump_relu`` add its ``mse_l1``'s penalty. It has no decoder
    bias.

    Parameters
    ----------
    kind : {"topk", "batch_topk", "jump_relu", "standard", "matching_pursuit", "archetypal"}
        ``archetypal`` is its relaxed archetypal TopK [2]_, whose atoms stay near mixtures of data points.
    n_codes : int
    k : int
        Active codes per row (in ``batch_topk`` on average), or steps of the pursuit.
    penalty : float
        Of ``standard`` and ``jump_relu``; the library's default is 1.
    samples : int
        Budget in rows, rounded down to whole batches.
    batch_size : int
        1,024, as in its README.
    lr : float, optional
        None for 5e-4.
    options : dict, optional
        Further arguments of the autoencoder's class; for ``archetypal`` also ``points``, the number of first rows that atoms are mixed
        from (4 per code).
    python : str, optional
        Interpreter that has the library; see `testbed.estimators.peers.bridge.interpreter`.
    view : str, optional

    References
    ----------
    .. [1] Fel (2025), Overcomplete, https://github.com/KempnerInstitute/overcomplete.
    .. [2] Fel et al. (2025), Archetypal SAE, arXiv 2502.12892, equation 4.
    """

    peer: ClassVar[Peer] = Peer("overcomplete", "overcomplete", "Overcomplete")
    choices: ClassVar[tuple[str, ...]] = ("topk", "batch_topk", "jump_relu", "standard", "matching_pursuit", "archetypal")

    def __init__(
        self,
        kind: str = "topk",
        n_codes: int = 256,
        k: int = 16,
        penalty: float = 1.0,
        samples: int = 400_000,
        batch_size: int = 1024,
        lr: float | None = None,
        options: dict[str, Any] | None = None,
        python: str | None = None,
        view: str | None = None,
    ) -> None:
        self.kind = kind
        self.n_codes = n_codes
        self.k = k
        self.penalty = penalty
        self.samples = samples
        self.batch_size = batch_size
        self.lr = lr
        self.options = options
        self.python = python
        self.view = view

    @classmethod
    def small(cls) -> Self:
        return cls(n_codes=32, k=4, samples=8_192, batch_size=256)

    def _kind(self) -> str:
        return self.kind

    def _defaults(self, steps: int) -> dict[str, Any]:
        return {"penalty": self.penalty, "lr": LR if self.lr is None else self.lr}

    def _read(self, folder: Path) -> SparseCoder:
        return plain.read(folder / "weights.safetensors")
