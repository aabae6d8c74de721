"""What autoencoders share that another library trains."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Any, ClassVar, Self

from torch import Tensor

from testbed.contracts import Data, InvalidInput, seed_of
from testbed.estimators.peers.bridge import Peer, Trained, train
from testbed.estimators.peers.coded import CodedEstimator
from testbed.estimators.sparse.coder import SparseCoder
from testbed.numerics.batches import batches


class PeerSAE(CodedEstimator):
    """An autoencoder trained by the library that published it, on the batches that our own would see; encoded by us, with its weights.

    The library runs in a process of its own, in whatever interpreter has it (`bridge.interpreter`), so its version is no part of a
    trial's key: `peer_` holds it.

    Attributes
    ----------
    history_ : dict of lists
        ``samples`` and ``loss`` now and then, where the library tells its loss.
    peer_ : dict
        Versions, and the seconds that training took without imports.
    """

    peer: ClassVar[Peer]
    choices: ClassVar[tuple[str, ...]]

    n_codes: int
    k: int
    samples: int
    batch_size: int
    lr: float | None
    options: dict[str, Any] | None
    python: str | None

    def fit(self, data: Data, *, seed: int) -> Self:
        """Let the library train.

        Raises
        ------
        InvalidInput
            If a parameter is out of range, the library is not installed, or it stops.
        """
        trained = self.trained(data, seed)
        self._take(trained.coder)
        self.history_ = trained.history
        self.peer_ = {"versions": trained.versions, "seconds": trained.seconds}
        return self

    def trained(self, data: Data, seed: int, probe: Tensor | None = None) -> Trained:
        """What `fit` learns from, with the library's own codes of the rows `probe`."""
        self._check()
        steps = self.samples // self.batch_size
        rows_read = (steps + self._extra(steps)) * self.batch_size
        spec = {
            "kind": self._kind(),
            "n_codes": self.n_codes,
            "k": self.k,
            "steps": steps,
            "batch_size": self.batch_size,
            "seed": seed_of("peer", seed) % 2**31,
            "normalise": getattr(self, "normalise", False),
            "options": {**self._defaults(steps), **(self.options or {})},
        }
        source = batches(data, self.view, self.batch_size, seed_of("batches", seed), rows_read)
        return train(self.peer, spec, source, self._read, python=self.python, probe=probe)

    @abstractmethod
    def _kind(self) -> str:
        """Which of the library's autoencoders."""

    @abstractmethod
    def _defaults(self, steps: int) -> dict[str, Any]:
        """Options of the library that follow from the parameters."""

    @abstractmethod
    def _read(self, folder: Path) -> SparseCoder:
        """The coder in the folder that the library wrote."""

    def _extra(self, steps: int) -> int:
        """Batches that the library reads before it trains."""
        return 0

    def _check(self) -> None:
        if self._kind() not in self.choices:
            raise InvalidInput(f"{self.peer.title} has no autoencoder {self._kind()!r} here: it is one of {', '.join(self.choices)}")
        if not 1 <= self.k <= self.n_codes:
            raise InvalidInput(f"k must lie between 1 and n_codes = {self.n_codes}, not be {self.k}")
        if self.batch_size < 1 or self.samples < self.batch_size:
            raise InvalidInput(
                f"samples must be at least batch_size, and that at least 1, not {self.samples} and {self.batch_size}: "
                "peers train on whole batches"
            )
        if self.lr is not None and not self.lr > 0:
            raise InvalidInput(f"lr must be above 0, or None for the peer's own, not {self.lr}")
