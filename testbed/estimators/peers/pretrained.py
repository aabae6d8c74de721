"""A sparse autoencoder that was trained elsewhere."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

import torch
from torch.nn.functional import normalize

from testbed.activations.folders import cache_folder, made_once
from testbed.contracts import BLOCK, Data, InvalidInput
from testbed.estimators.peers.coded import CodedEstimator
from testbed.estimators.peers.weights import read_weights, write_weights
from testbed.estimators.sparse.coder import SparseCoder
from testbed.numerics.batches import rows

SMALL = (32, 16, 4)
"""Codes, columns and k of the untrained weights that the checks use."""


class PretrainedSAE(CodedEstimator):
    """Weights read from disk, so that an autoencoder trained elsewhere stands in any suite: `fit` learns nothing.

    Parameters
    ----------
    path : path
        A folder of SAELens or dictionary_learning, or a safetensors file; see `testbed.estimators.peers.weights.read_weights`. What is
        in it is part of a trial's key, so that changed weights are scored anew.
    format : {"auto", "saelens", "dictionary_learning", "safetensors"}
    view : str, optional
        Which view to encode; None where there is only one.

    Attributes
    ----------
    dictionary_ : Tensor, shape (m, d)
    encoder_, encoder_bias_, bias_, threshold_, gain_, magnitude_bias_, coding_
        See `CodedEstimator`.
    """

    def __init__(self, path: str | Path | None = None, format: str = "auto", view: str | None = None) -> None:
        self.path = path
        self.format = format
        self.view = view

    @classmethod
    def small(cls) -> Self:
        """Untrained weights of a TopK with 16 columns, made once in the user's cache."""
        folder = made_once(cache_folder() / "weights" / "-".join(map(str, ("random-topk", *SMALL))), _write_random)
        return cls(path=str(folder / "weights.safetensors"))

    def fit(self, data: Data, *, seed: int) -> Self:
        """Read the weights, and that they fit the data; `seed` changes nothing.

        Raises
        ------
        InvalidInput
            If there are no such weights, or they are for another number of columns than the data have.
        """
        if self.path is None:
            raise InvalidInput("PretrainedSAE has no weights: set path to a folder or file of weights")
        coder = read_weights(self.path, self.format)
        head = rows(data, self.view, limit=BLOCK)
        if head.shape[1] != coder.dictionary.shape[1]:
            raise InvalidInput(
                f"the weights at {self.path} are for {coder.dictionary.shape[1]} columns, but the data have {head.shape[1]}: "
                "choose the view that they were trained on"
            )
        self._take(coder.to(head.device))
        return self


def _write_random(folder: Path) -> None:
    m, d, k = SMALL
    generator = torch.Generator().manual_seed(0)
    atoms: Any = normalize(torch.randn(m, d, generator=generator), dim=1)
    write_weights(SparseCoder(atoms, torch.zeros(m), atoms, torch.zeros(d), "topk", k=k), folder / "weights.safetensors")
