"""A dictionary of random directions: what a method scores that has learned nothing but mean and scale."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from testbed.contracts import BLOCK, Codes, Data, Estimator, InvalidInput, SparseRows, seed_of
from testbed.numerics.batches import chunks, rows
from testbed.numerics.matching import dense


class RandomDictionary(Estimator):
    r"""Random unit directions, read as a TopK sparse autoencoder with tied weights would read them before training.

    .. math:: a = g \cdot \mathrm{ReLU}(\mathrm{TopK}(W (x - b)))

    with b the mean of the data and one gain g for all codes, the least-squares fit of :math:`\hat x = W^\top a + b`.

    Parameters
    ----------
    n_codes : int
    k : int
        Most active codes per row.
    samples : int
        Most rows to read for mean and gain, the first ones.
    view : str, optional

    Attributes
    ----------
    dictionary_ : Tensor, shape (m, d)
    bias_ : Tensor, shape (d,)
    gain_ : float
    """

    def __init__(self, n_codes: int = 256, k: int = 16, samples: int = 20_000, view: str | None = None) -> None:
        self.n_codes = n_codes
        self.k = k
        self.samples = samples
        self.view = view

    @classmethod
    def small(cls) -> RandomDictionary:
        return cls(n_codes=32, k=4)

    def fit(self, data: Data, *, seed: int) -> RandomDictionary:
        """Draw the directions from `seed`.

        Raises
        ------
        InvalidInput
            If a parameter is out of range.
        """
        if not 1 <= self.k <= self.n_codes or self.samples < 1:
            raise InvalidInput(
                f"k must lie between 1 and n_codes = {self.n_codes} and samples be at least 1, not {self.k} and {self.samples}"
            )
        x = torch.cat(list(chunks(data, self.view, limit=self.samples))).float()
        self.bias_ = x.mean(dim=0)
        self.dictionary_ = self._directions(x, torch.Generator().manual_seed(seed_of("init", seed)))
        self.gain_ = 1.0
        described = self.decode(self.encode(x)) - self.bias_
        power = float(described.square().sum())
        self.gain_ = float((described * (x - self.bias_)).sum()) / power if power > 0 else 1.0
        return self

    def encode(self, observed: Any) -> Codes:
        x = rows(observed, self.view, columns=len(self.bias_)).float()
        return SparseRows.cat([SparseRows.from_dense(self._codes(part)) for part in torch.split(x, BLOCK)])

    def decode(self, codes: Codes) -> Tensor:
        return torch.cat([dense(codes[i : i + BLOCK]) @ self.dictionary_ for i in range(0, len(codes), BLOCK)]) + self.bias_

    def _directions(self, x: Tensor, generator: torch.Generator) -> Tensor:
        """Unit directions, shape (m, d); only the width of `x` matters."""
        return normalize(torch.randn(self.n_codes, x.shape[1], generator=generator), dim=1).to(x.device)

    def _codes(self, x: Tensor) -> Tensor:
        value, index = ((x - self.bias_) @ self.dictionary_.T).topk(self.k, dim=1, sorted=False)
        return x.new_zeros(len(x), self.n_codes).scatter(1, index, self.gain_ * value.relu())
