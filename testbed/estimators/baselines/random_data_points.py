"""A dictionary of data points: what a method scores that has learned nothing but where data lie."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.functional import normalize

from testbed.contracts import InvalidInput
from testbed.estimators.baselines.random_dictionary import RandomDictionary


class RandomDataPoints(RandomDictionary):
    r"""Rows of the data drawn at random, about their mean and with norm 1, read as `RandomDictionary` reads its directions [1]_.

    Where concepts are sparse, a row is the sum of a few true atoms, so that its cosine with each is high without anything learned.

    Parameters
    ----------
    n_codes : int
        m, at most the number of rows that differ from the mean.
    k : int
        Most active codes per row.
    samples : int
        The first rows, from which points are drawn and mean and gain fitted.
    view : str, optional

    Attributes
    ----------
    dictionary_ : Tensor, shape (m, d)
    bias_ : Tensor, shape (d,)
    gain_ : float

    References
    ----------
    .. [1] Coates & Ng (2011), The importance of encoding versus training with sparse coding and vector quantization: "random patches".
    """

    @classmethod
    def small(cls) -> RandomDataPoints:
        return cls(n_codes=32, k=4)

    def _directions(self, x: Tensor, generator: torch.Generator) -> Tensor:
        off = x - self.bias_
        # What is left of a row that equals the mean is rounding, and no direction.
        usable = (off.norm(dim=1) > 2 * torch.finfo(x.dtype).eps * x.norm(dim=1).max()).nonzero()[:, 0]
        if len(usable) < self.n_codes:
            raise InvalidInput(
                f"{len(usable)} of {len(x)} rows differ from the mean, but n_codes = {self.n_codes} points are wanted: "
                "raise samples, or lower n_codes"
            )
        chosen = torch.randperm(len(usable), generator=generator)[: self.n_codes]
        return normalize(off[usable[chosen.to(x.device)]], dim=1)
