"""Single neurons as codes that are off or on."""

from __future__ import annotations

from typing import Any, Literal

import torch
from torch import Tensor

from testbed.contracts import Codes, Data, Estimator, InvalidInput
from testbed.numerics.batches import chunks, rows
from testbed.numerics.decoding import linear_decode


class RawNeurons(Estimator):
    r"""Non-negative codes along the coordinate axes, which decode exactly.

    .. math:: a_{tj} = \max(0, s_j (x_{t c_j} - b_{c_j}))

    A coordinate that is never negative (a neuron after its ReLU) is one code, the neuron itself, as it is compared with sparse
    autoencoders in [1]_. A coordinate of both signs (of a residual stream, say) is two codes, its positive and its negative part: a code
    of a sparse autoencoder has one sign, and each side of an axis may mean something else.

    Parameters
    ----------
    parts : {"auto", "both", "positive"}
        ``"auto"`` as above; ``"both"`` gives every coordinate two codes; ``"positive"`` one, its ReLU, which no longer decodes exactly.
    about : {"zero", "mean"}
        Where signs change: b is 0, or the data's mean, for views with a large offset (no neuron is then left whole).
    samples : int
        Most rows to read signs and mean from, the first ones.
    view : str, optional

    Attributes
    ----------
    dictionary_ : Tensor, shape (m, d)
        :math:`s_j e_{c_j}`: first the positive parts of all coordinates, then the negative parts.
    bias_ : Tensor, shape (d,)

    References
    ----------
    .. [1] Bricken et al. (2023), Towards monosemanticity: decomposing language models with dictionary learning.
    """

    def __init__(
        self,
        parts: Literal["auto", "both", "positive"] = "auto",
        about: Literal["zero", "mean"] = "zero",
        samples: int = 20_000,
        view: str | None = None,
    ) -> None:
        self.parts = parts
        self.about = about
        self.samples = samples
        self.view = view

    def fit(self, data: Data, *, seed: int) -> RawNeurons:
        """Find out which coordinates have two signs; `seed` changes nothing.

        Raises
        ------
        InvalidInput
            If a parameter is out of range.
        """
        if self.parts not in ("auto", "both", "positive") or self.about not in ("zero", "mean") or self.samples < 1:
            raise InvalidInput(
                "parts is auto, both or positive, about is zero or mean, and samples at least 1, "
                f"not {self.parts!r}, {self.about!r} and {self.samples}"
            )
        seen = [(len(c), c.double().sum(dim=0), c.min(dim=0).values) for c in chunks(data, self.view, limit=self.samples)]
        least = torch.stack([lowest for _, _, lowest in seen]).min(dim=0).values
        mean = torch.stack([total for _, total, _ in seen]).sum(dim=0) / sum(count for count, _, _ in seen)
        eye = torch.eye(len(least), device=least.device)
        self.bias_ = (mean if self.about == "mean" else torch.zeros_like(least)).float()
        negative = {"auto": eye[least < self.bias_], "both": eye, "positive": eye[:0]}[self.parts]
        self.dictionary_ = torch.cat([eye, -negative])
        return self

    def encode(self, observed: Any) -> Codes:
        x = rows(observed, self.view, columns=len(self.bias_)).float() - self.bias_
        axis = self.dictionary_.abs().argmax(dim=1)
        sign = self.dictionary_.sum(dim=1)
        return (x[:, axis] * sign).clamp_min(0)

    def decode(self, codes: Codes) -> Tensor:
        return linear_decode(codes, self.dictionary_, self.bias_)
