"""What all sparse autoencoders share: parameters, forward pass, encoding, decoding. How they are trained is in `training`."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal, Self, TypeAlias

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import normalize

from testbed.contracts import BLOCK, Codes, Data, Estimator, InvalidInput, SparseRows
from testbed.estimators.sparse.rows_of import Reading
from testbed.numerics.batches import rows
from testbed.numerics.matching import dense

Params: TypeAlias = dict[str, Tensor]
Array: TypeAlias = NDArray[Any]

BETA1 = 0.9


@dataclass(kw_only=True, eq=False, repr=False)
class SparseAutoencoder(Estimator):
    r"""Codes :math:`a = \sigma(W_e (x - b) + b_e) \ge 0` and a dictionary with rows of norm 1 that writes them back,
    :math:`\hat x = W_d^\top a + b`.

    A subclass says what :math:`\sigma` is (`activate`) and what is paid for besides the error (`penalty`). Training works on rows centred
    and scaled to a median norm of 1, so that learning rates mean the same on all data. Rows far from the mean (attention sinks of
    language models) are weighed down: :math:`w_t = \min(1, (4 \cdot \mathrm{median} / \|x_t - b\|)^2)`.

    Parameters
    ----------
    n_codes : int
        m, the number of latents.
    samples : int
        Budget in rows, repeated ones counted.
    batch_size : int
    lr : float
        Highest learning rate of Adam, on scaled data.
    warm_up, decay : float
        Share of training in which the learning rate rises from 0, and in which, at the end, it falls to 0, both linearly.
    beta2 : float
        Adam's memory of squared gradients.
    initialisation : {"random", "orthogonal", "data"}
        Where atoms start: random directions, random directions that are orthogonal in groups of d, or centred rows of the data.
    tied : bool
        Whether the encoder is the dictionary itself; if not, it starts there.
    encoder_depth : {1, 2, 3}
        Affine maps in the encoder, with ReLU between; hidden layers are as wide as twice the data.
    bias : {"mean", "learned", "none"}
        The decoder's bias b: the mean of the data, learned from there on, or 0.
    scale : {"median", "none"}
        Whether data are scaled to a median norm of 1 while training.
    revival : {"residual", "data", "none"}
        What latents that fired for no row of a while are pointed at: residuals, or whole rows, of what is badly reconstructed; or nothing.
    revivals : int
        How often dead latents are looked for.
    inference : {"encoder", "pursuit", "regression"}
        How rows are encoded after training: by the encoder, by orthogonal matching pursuit in the dictionary (with the largest number of
        active codes that the encoder shows in training, all but 1 % of rows, and its smallest codes as threshold), or by non-negative
        regression on the dictionary (with its smallest codes as penalty).
    held_out : int
        Rows put aside, whose loss is in the learning curve; 0 for none.
    patience : int
        Stop when the held-out loss has not fallen for so many of its measurements; 0 for never.
    precision : {"single", "double", "mixed"}
        Of training; ``"mixed"`` takes products in bfloat16 on CUDA.
    view : str, optional
        Which view to learn; None where there is only one.

    Attributes
    ----------
    dictionary_ : Tensor, shape (m, d)
        Rows of norm 1.
    encoder_ : Tensor, shape (m, d) or (m, h)
        Its last layer if there are several.
    encoder_bias_ : Tensor, shape (m,)
    bias_ : Tensor, shape (d,)
    history_ : dict of lists
        ``samples``, ``k`` (mean number of active codes), ``loss``, ``explained_variance`` (both weighed, on training batches), ``dead``
        (share of latents that did not fire since the last entry), and ``held_out`` loss where asked for.
    """

    BIASES: ClassVar[tuple[str, ...]] = ("encoder_bias",)
    """Parameters that scale with the data; all others do not."""

    n_codes: int = 256
    samples: int = 500_000
    batch_size: int = 512
    lr: float = 1e-2
    warm_up: float = 0.1
    decay: float = 1.0
    beta2: float = 0.99
    initialisation: Literal["random", "orthogonal", "data"] = "random"
    tied: bool = False
    encoder_depth: int = 1
    bias: Literal["mean", "learned", "none"] = "mean"
    scale: Literal["median", "none"] = "median"
    revival: Literal["residual", "data", "none"] = "residual"
    revivals: int = 30
    inference: Literal["encoder", "pursuit", "regression"] = "encoder"
    held_out: int = 0
    patience: int = 0
    precision: Literal["single", "double", "mixed"] = "single"
    view: str | None = None

    @classmethod
    def small(cls) -> Self:
        return cls(n_codes=32, samples=20_000, batch_size=256)

    @classmethod
    def preset(cls, name: str, **others: Any) -> Self:
        """One with the settings that a search found for a budget: ``"small"`` (minutes on a laptop) or ``"paper"`` (200M samples).

        Parameters
        ----------
        name : str
            A file of `testbed.estimators.presets`.
        **others
            Parameters of one's own, which go before the preset's: the number of codes and of active ones, above all.

        Raises
        ------
        InvalidInput
            If there is no such preset, or it or `others` name a parameter that there is not.
        """
        from testbed.estimators.presets.table import made

        return made(cls, name, others)

    # ------------------------------------------------------------------------------------------------------------ fit

    def fit(self, data: Data, *, seed: int, checkpoint: str | Path | None = None) -> Self:
        """Train on shuffled batches.

        Parameters
        ----------
        data : Observed, array of shape (n, d), or iterable of either
        seed : int
            Of initialisation and of the order of rows.
        checkpoint : path, optional
            File that training writes now and then and, where it is there already, goes on from: to the bit as if undisturbed.

        Raises
        ------
        InvalidInput
            If a parameter is out of range, the data are not finite, constant or too few, or the checkpoint is another training's.
        """
        from testbed.estimators.sparse.training import fit_together

        fit_together([self], data, [seed], checkpoint=checkpoint)
        return self

    def check(self) -> None:
        """Raise InvalidInput if a parameter is out of range."""
        require(self.n_codes >= 1, f"n_codes must be at least 1, not {self.n_codes}")
        require(self.batch_size >= 1, f"batch_size must be at least 1, not {self.batch_size}")
        require(self.samples >= 1, f"samples must be at least 1, not {self.samples}")
        require(self.lr > 0, f"lr must be above 0, not {self.lr}")
        require(0 <= self.warm_up <= 1 and 0 <= self.decay <= 1, f"warm_up and decay are shares, not {self.warm_up} and {self.decay}")
        require(0 < self.beta2 < 1, f"beta2 must lie between 0 and 1, not be {self.beta2}")
        require(self.encoder_depth in (1, 2, 3), f"encoder_depth must be 1, 2 or 3, not {self.encoder_depth}")
        require(not (self.tied and self.encoder_depth > 1), "a tied encoder has one layer: set encoder_depth to 1, or tied to false")
        require(self.revivals >= 0 and self.held_out >= 0 and self.patience >= 0, "revivals, held_out and patience must be at least 0")
        require(self.patience == 0 or self.held_out > 0, "patience needs held-out rows: set held_out")
        for name, choices in CHOICES.items():
            value = getattr(self, name)
            require(value in choices, f"{name} must be one of {', '.join(map(repr, choices))}, not {value!r}")

    # ------------------------------------------------------------------------------------- the model, as torch functions

    def initial(self, atoms: Tensor, generator: torch.Generator, head: Tensor) -> Params:
        """Parameters to start from, given atoms of shape (m, d) and norm 1, and the first scaled rows of the data."""
        m, d = atoms.shape
        params = {"decoder": atoms.clone()}
        width = d
        for layer in range(self.encoder_depth - 1):
            params[f"layer{layer}"] = torch.randn(2 * d, width, generator=generator, dtype=atoms.dtype) * (2 / width) ** 0.5
            params[f"layer{layer}_bias"] = torch.zeros(2 * d, dtype=atoms.dtype)
            width = 2 * d
        if not self.tied:
            deep = self.encoder_depth > 1
            start = torch.randn(m, width, generator=generator, dtype=atoms.dtype) * (1 / width) ** 0.5 if deep else atoms.clone()
            params["encoder"] = start
        params["encoder_bias"] = torch.zeros(m, dtype=atoms.dtype)
        if self.bias == "learned":
            params["bias"] = torch.zeros(d, dtype=atoms.dtype)
        return params

    def frozen(self) -> tuple[str, ...]:
        """Names of parameters that training leaves as they are."""
        return ()

    def reading(self) -> Reading:
        """Views that are read, side by side."""
        return (self.view,)

    def parts(self, columns: int) -> list[slice]:
        """Columns that are scaled together."""
        return [slice(0, columns)]

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """What is encoded, and what is reconstructed."""
        return x, x

    def least_rows(self) -> int:
        """Rows that training needs at least."""
        return self.n_codes

    def stackable(self) -> bool:
        """Whether `loss` can be mapped over a stack of models: it branches on no value of a tensor."""
        return True

    def on_sphere(self) -> bool:
        """Whether rows of the dictionary have norm 1, so that only slopes along the sphere are followed."""
        return True

    def reset(self, params: Params, dead: Tensor, living: Tensor) -> list[str]:
        """Give revived latents fresh values of what is neither encoder nor decoder, in place; names of what was set."""
        params["encoder_bias"][dead] = 0.0
        return ["encoder_bias"]

    def ends(self) -> list[int]:
        """Ends of the nested prefixes whose reconstructions count, the last one m."""
        return [self.n_codes]

    def projects(self) -> bool:
        """Whether `project` does more than the compiled loop does, which keeps rows of the dictionary at norm 1."""
        return False

    def project(self, params: Params, start: Params) -> None:
        """After each step: back onto the constraint set, in place. Here, rows of the dictionary have norm 1."""
        params["decoder"].copy_(normalize(params["decoder"], dim=-1))

    def preactivations(self, params: Params, x: Tensor) -> Tensor:
        """What `activate` gets, shape (b, m)."""
        hidden = x
        for layer in range(self.encoder_depth - 1):
            hidden = (hidden @ params[f"layer{layer}"].T + params[f"layer{layer}_bias"]).relu()
        encoder = params["decoder"] if self.tied else params["encoder"]
        return hidden @ encoder.T + params["encoder_bias"]

    @abstractmethod
    def activate(self, params: Params, pre: Tensor, share: float) -> Tensor:
        """Codes from pre-activations, both (b, m); `share` in [0, 1] is how far training has come, 1 afterwards."""

    def codes(self, params: Params, x: Tensor, share: float) -> Tensor:
        """Codes of centred rows, shape (b, m)."""
        return self.activate(params, self.preactivations(params, x), share)

    def reconstruct(self, params: Params, codes: Tensor) -> Tensor:
        """The centred rows that codes describe, shape (b, d)."""
        return codes @ params["decoder"]

    def penalty(self, params: Params, pre: Tensor, codes: Tensor, share: float) -> Tensor:
        """What is paid besides the error, per row, shape (b,)."""
        return codes.new_zeros(len(codes))

    def loss(self, params: Params, x: Tensor, target: Tensor, weight: Tensor, share: float) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        """The objective on a batch, and codes (b, m) and errors (b, d) besides."""
        shift = params.get("bias")
        inside = x if shift is None else x - shift
        pre = self.preactivations(params, inside)
        codes = self.activate(params, pre, share)
        error = self.reconstruct(params, codes) - (target if shift is None else target - shift)
        each = weight * error.square().sum(dim=1) + self.penalty(params, pre, codes, share)
        return each.mean(), (codes, error)

    def after(self, params: Params, codes: Tensor, share: float) -> None:
        """Called after each step with its codes: for statistics kept beside the learned parameters."""

    # --------------------------------------------------------------------------------------- the compiled inner loop

    def compiled(self) -> bool:
        """Whether `entries` and `slopes` stand for `activate` and `penalty`, so that the CPU's compiled loop can be used."""
        return False

    def entries(self, params: Mapping[str, Array], pre: Array, share: float) -> tuple[Array, Array, Array]:
        """Active codes of a batch, from the product x W_e' *without* the encoder's bias: indptr (b + 1,), columns, values (e,)."""
        raise NotImplementedError(f"{type(self).__name__} says that it has a compiled loop, and does not define entries")

    def slopes(
        self, params: Mapping[str, Array], pre: Array, indptr: Array, columns: Array, values: Array, slopes: Array, share: float
    ) -> tuple[dict[str, Array], float]:
        """Turn slopes of the loss in codes into slopes in pre-activations, in place.

        Gives the slopes of further parameters, by name, and the penalty that was paid.
        """
        return {}, 0.0

    # --------------------------------------------------------------------------------------------------------- encode

    def set_fitted(self, params: Params, centre: Tensor, scale: Tensor, history: dict[str, list[float]]) -> None:
        """Keep trained parameters as attributes, in the units of the data."""
        unit = float(scale[0])
        shift = params.pop("bias", None)
        self.bias_ = (centre if shift is None else centre + scale * shift).float().contiguous()
        for name, value in params.items():
            kept = value * unit if name in self.BIASES or name.endswith("_bias") else value
            setattr(self, "dictionary_" if name == "decoder" else f"{name}_", kept.float().contiguous())
        self.history_ = history

    def calibrate(self, head: Tensor) -> None:
        """After training, on rows (n, d) in the units of the data: how many codes are active, and how small they get."""
        inside = self.split((head - self.bias_).float())[0]
        codes = SparseRows.cat([self.own_codes(part) for part in torch.split(inside, BLOCK)])
        self.max_active_ = max(1, int(codes.indptr.diff().float().quantile(0.99)))
        values = codes.values[:: 1 + len(codes.values) // QUANTILE_OF].float()
        self.smallest_ = float(values.quantile(0.05)) if len(values) else 0.0

    def fitted(self) -> Params:
        """Trained parameters by name, in the units of the data."""
        names = [n for n, v in vars(self).items() if n.endswith("_") and isinstance(v, Tensor) and n not in NOT_PARAMETERS]
        return {"decoder" if n == "dictionary_" else n[:-1]: getattr(self, n) for n in names}

    def encode(self, observed: Any) -> Codes:
        self._require_fitted()
        x = rows(observed, self.view, columns=len(self.bias_)).float()
        pieces = [self._encode(part) for part in torch.split(x - self.bias_, BLOCK)]
        return SparseRows.cat(pieces)

    def _encode(self, x: Tensor) -> SparseRows:
        if self.inference == "encoder":
            return self.own_codes(x)
        from testbed.numerics.inference import infer

        return infer(x, self.fitted()["decoder"], self.inference, max_active=self.max_active_, threshold=self.smallest_)

    def own_codes(self, x: Tensor) -> SparseRows:
        """The encoder's codes of centred rows."""
        return SparseRows.from_dense(self.codes(self.fitted(), x, 1.0))

    def decode(self, codes: Codes) -> Tensor:
        self._require_fitted()
        out = [self.reconstruct(self.fitted(), dense(codes[i : i + BLOCK])) for i in range(0, len(codes), BLOCK)]
        return torch.cat(out) + self.output_bias()

    def output_bias(self) -> Tensor:
        """What is added to every reconstruction, shape (d,)."""
        return self.bias_

    def _require_fitted(self) -> None:
        require(hasattr(self, "dictionary_"), f"{type(self).__name__} is not fitted yet: call fit first")


CHOICES = {
    "initialisation": ("random", "orthogonal", "data"),
    "bias": ("mean", "learned", "none"),
    "scale": ("median", "none"),
    "revival": ("residual", "data", "none"),
    "inference": ("encoder", "pursuit", "regression"),
    "precision": ("single", "double", "mixed"),
}
QUANTILE_OF = 2**23
"""Most values that a quantile is taken of; torch takes no more than 16 million."""
NOT_PARAMETERS = ("bias_", "max_active_", "smallest_")


def require(condition: bool, sentence: str) -> None:
    """Raise InvalidInput with a sentence unless a condition holds."""
    if not condition:
        raise InvalidInput(sentence)


def packed(columns: Array, kept: Array, counts: Array) -> tuple[Array, Array, Array]:
    """Entries in compressed rows from padded ones, both (b, k), of which the first ``counts[i]`` are used."""
    indptr = np.zeros(len(counts) + 1, np.int64)
    np.cumsum(counts, out=indptr[1:])
    if indptr[-1] == columns.size:  # all are used, as nearly always
        return indptr, columns.ravel(), kept.ravel()
    used = np.arange(columns.shape[1]) < counts[:, None]
    return indptr, columns[used], kept[used]
