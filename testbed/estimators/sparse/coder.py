"""What a trained sparse autoencoder is, whoever trained it: weights and an activation, enough to encode and decode."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, Self, TypeAlias, get_args

import torch
from torch import Tensor

from testbed.contracts import BLOCK, Codes, InvalidInput, NotApplicable, SparseRows
from testbed.numerics.matching import dense

Activation: TypeAlias = Literal["relu", "topk", "jump_relu", "gated", "pursuit"]
Normalisation: TypeAlias = Literal["none", "constant_norm", "layer_norm"]

TENSORS = ("encoder", "encoder_bias", "dictionary", "bias", "threshold", "gain", "magnitude_bias")
SETTINGS = ("activation", "k", "subtract_bias", "normalisation")
NEEDS: Mapping[str, tuple[str, ...]] = {
    "relu": (),
    "topk": ("k",),
    "jump_relu": ("threshold",),
    "gated": ("gain", "magnitude_bias"),
    "pursuit": ("k",),
}
LAYER_NORM_EPS = 1e-5
PROBES = 64


@dataclass(frozen=True, eq=False)
class SparseCoder:
    r"""A sparse code of rows and the dictionary that writes it back.

    .. math::
        z = W_e (x - s b) + b_e, \qquad a = \sigma(z), \qquad \hat x = W_d^\top a + b,

    with s = 1 if `subtract_bias`, else 0, and :math:`\sigma` one of

    - ``relu``: :math:`\max(z, 0)`;
    - ``topk``: the k largest entries of z where they are positive [1]_;
    - ``jump_relu``: :math:`\max(z, 0)` where :math:`z > \theta` [2]_ (also the inference form of BatchTopK and Matryoshka);
    - ``gated``: :math:`\max(g (z - b_e) + b_m, 0)` where :math:`z > 0` [3]_;
    - ``pursuit``: k steps of matching pursuit in :math:`W_d`; encoder and its bias are not used.

    Attributes
    ----------
    encoder : Tensor, shape (m, d)
    encoder_bias : Tensor, shape (m,)
        For ``gated`` the bias of the gate.
    dictionary : Tensor, shape (m, d)
        Rows of any norm.
    bias : Tensor, shape (d,)
    activation : {"relu", "topk", "jump_relu", "gated", "pursuit"}
    k : int, optional
    threshold, gain, magnitude_bias : Tensor, shape (m,), optional
        :math:`\theta`, g and :math:`b_m`.
    subtract_bias : bool
    normalisation : {"none", "constant_norm", "layer_norm"}
        What is done to each row first: nothing, scaling to norm :math:`\sqrt d`, or centring and scaling to standard deviation 1.

    References
    ----------
    .. [1] Gao et al. (2024), Scaling and evaluating sparse autoencoders, section 2.3.
    .. [2] Rajamanoharan et al. (2024), Jumping ahead: improving reconstruction fidelity with JumpReLU sparse autoencoders, equation 3.
    .. [3] Rajamanoharan et al. (2024), Improving dictionary learning with gated sparse autoencoders, equation 7.
    """

    encoder: Tensor
    encoder_bias: Tensor
    dictionary: Tensor
    bias: Tensor
    activation: Activation = "relu"
    k: int | None = None
    threshold: Tensor | None = None
    gain: Tensor | None = None
    magnitude_bias: Tensor | None = None
    subtract_bias: bool = True
    normalisation: Normalisation = "none"

    def __post_init__(self) -> None:
        if self.dictionary.ndim != 2:
            raise InvalidInput(f"a dictionary has shape (m, d), not {tuple(self.dictionary.shape)}: give one row per code")
        m, d = self.dictionary.shape
        shapes = {"encoder": (m, d), "bias": (d,)}
        for name in TENSORS:
            value, shape = getattr(self, name), shapes.get(name, (m,)) if name != "dictionary" else (m, d)
            if value is not None and tuple(value.shape) != shape:
                raise InvalidInput(f"{name} has shape {tuple(value.shape)}, but the dictionary of shape {(m, d)} wants {shape}")
            if value is not None and not value.isfinite().all():
                raise InvalidInput(f"{name} holds NaN or infinity: the training diverged, or the file is damaged")
        if self.activation not in NEEDS or self.normalisation not in get_args(Normalisation):
            raise InvalidInput(f"activation {self.activation!r} with normalisation {self.normalisation!r} is not one that can be computed")
        for name in NEEDS[self.activation]:
            if getattr(self, name) is None:
                raise InvalidInput(f"activation {self.activation!r} needs {name}: give it")
        if self.k is not None and not 1 <= self.k <= m:
            raise InvalidInput(f"k must lie between 1 and the number of codes, {m}, not be {self.k}")

    # ---------------------------------------------------------------------------------------------------------------- use

    def encode(self, x: Tensor) -> SparseRows:
        """Codes of rows `x`, shape (n, d) to (n, m)."""
        x = x.to(self.encoder.dtype)
        return SparseRows.cat([SparseRows.from_dense(self.codes(part)) for part in torch.split(x, BLOCK)])

    def codes(self, x: Tensor) -> Tensor:
        """The same as `encode`, dense and in one piece."""
        x = self._normalised(x) - self.subtract_bias * self.bias
        if self.activation == "pursuit":
            return self._pursued(x)
        z = x @ self.encoder.T + self.encoder_bias  # (n, m)
        match self.activation:
            case "relu":
                return z.relu()
            case "topk":
                assert self.k is not None
                value, index = z.topk(self.k, dim=1, sorted=False)
                return torch.zeros_like(z).scatter(1, index, value.relu())
            case "jump_relu":
                assert self.threshold is not None
                return z.relu() * (z > self.threshold)
            case _:
                assert self.gain is not None
                assert self.magnitude_bias is not None
                return (self.gain * (z - self.encoder_bias) + self.magnitude_bias).relu() * (z > 0)

    def decode(self, codes: Codes) -> Tensor:
        """Rows that the codes describe, shape (n, m) to (n, d).

        Raises
        ------
        NotApplicable
            If rows are normalised one by one: codes alone do not tell how to undo it.
        """
        if self.normalisation != "none":
            raise NotApplicable(f"rows were normalised one by one ({self.normalisation}), which codes alone cannot undo")
        pieces = (dense(codes[i : i + BLOCK]).to(self.dictionary.dtype) for i in range(0, len(codes), BLOCK))
        return torch.cat([piece @ self.dictionary for piece in pieces]) + self.bias

    # ------------------------------------------------------------------------------------------------------- other forms

    def subtracting(self, subtract: bool) -> SparseCoder:
        """The same codes from a coder that does (or does not) subtract its bias first; the encoder's biases take up the difference."""
        if subtract == self.subtract_bias:
            return self
        if self.activation == "pursuit":
            raise InvalidInput("a pursuit has no encoder bias that could take up the decoder's: keep subtract_bias as it is")
        shift = self.encoder @ self.bias * (1 if subtract else -1)
        magnitude = None
        if self.magnitude_bias is not None and self.gain is not None:
            magnitude = self.magnitude_bias + self.gain * shift
        return replace(self, encoder_bias=self.encoder_bias + shift, magnitude_bias=magnitude, subtract_bias=subtract)

    def to(self, device: Any) -> SparseCoder:
        """The same coder with its tensors on `device`."""
        moved: dict[str, Any] = {name: value.to(device) for name, value in self.arrays().items()}
        return replace(self, **moved)

    def arrays(self) -> dict[str, Tensor]:
        """Its tensors by name; with `settings`, all that it is."""
        return {name: getattr(self, name) for name in TENSORS if getattr(self, name) is not None}

    def settings(self) -> dict[str, Any]:
        """Everything about it that is no tensor, as JSON."""
        return {name: getattr(self, name) for name in SETTINGS}

    @classmethod
    def from_state(cls, arrays: Mapping[str, Tensor], settings: Mapping[str, Any]) -> Self:
        """The coder that gave these `arrays` and `settings`.

        Raises
        ------
        InvalidInput
            If they are not those of a coder.
        """
        known = {field.name for field in fields(cls)}
        if unknown := sorted({*arrays, *settings} - known):
            raise InvalidInput(f"a sparse coder has no {', '.join(unknown)}: it has {', '.join(sorted(known))}")
        if missing := [name for name in TENSORS[:4] if name not in arrays]:
            raise InvalidInput(f"a sparse coder needs {', '.join(missing)}: only {', '.join(sorted(arrays)) or 'nothing'} was given")
        every: dict[str, Any] = {**arrays, **settings}
        return cls(**every)

    def _normalised(self, x: Tensor) -> Tensor:
        if self.normalisation == "constant_norm":
            scale: Tensor = x.shape[1] ** 0.5 / x.norm(dim=1, keepdim=True)
            return x * scale
        if self.normalisation == "layer_norm":
            x = x - x.mean(dim=1, keepdim=True)
            return x / (x.std(dim=1, keepdim=True) + LAYER_NORM_EPS)
        return x

    def _pursued(self, x: Tensor) -> Tensor:
        """Plain matching pursuit: the atom of largest correlation, its coefficient added, k times."""
        assert self.k is not None
        codes, residual = x.new_zeros(len(x), len(self.dictionary)), x.clone()
        for _ in range(self.k):
            value, index = (residual @ self.dictionary.T).max(dim=1)
            codes.scatter_add_(1, index[:, None], value[:, None])
            residual -= value[:, None] * self.dictionary[index]
        return codes


def coder_of(estimator: Any) -> SparseCoder:
    """The coder of a fitted estimator: its ``coder_``, else one read off ``encoder_``, ``encoder_bias_``, ``dictionary_`` and ``bias_``.

    With ``gain_`` (a logarithm) and ``magnitude_bias_`` it is gated, with ``threshold_`` a JumpReLU, with a parameter ``k`` a TopK, else a
    ReLU. What is read off must then give the estimator's own codes of a few rows: a deeper encoder, or another inference, is refused.

    Raises
    ------
    InvalidInput
        If the estimator is not fitted, or is no linear encoder followed by one of these activations.
    """
    if isinstance(coder := getattr(estimator, "coder_", None), SparseCoder):
        return coder
    names = ("encoder_", "encoder_bias_", "dictionary_", "bias_")
    if missing := [name for name in names if not isinstance(getattr(estimator, name, None), Tensor)]:
        raise InvalidInput(
            f"{type(estimator).__name__} has no {', '.join(missing)}: fit it first; only sparse autoencoders with one linear layer "
            "can be written as weights"
        )
    coder = _read_off(estimator, {name.removesuffix("_"): getattr(estimator, name) for name in names})
    rows = _likely_rows(coder)
    found, wanted = coder.codes(rows), dense(estimator.encode(rows)).to(coder.encoder.dtype)
    if found.shape != wanted.shape or not torch.allclose(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max())):
        raise InvalidInput(
            f"{type(estimator).__name__} does not encode by one linear layer and one activation (is it deeper, or its inference another?): "
            "only such autoencoders can be written as weights"
        )
    return coder


def _read_off(estimator: Any, tensors: dict[str, Any]) -> SparseCoder:
    threshold, k = getattr(estimator, "threshold_", None), getattr(estimator, "k", None)
    if isinstance(gain := getattr(estimator, "gain_", None), Tensor):
        return SparseCoder(**tensors, activation="gated", gain=gain.exp(), magnitude_bias=estimator.magnitude_bias_)
    if threshold is not None:
        theta = torch.as_tensor(threshold, dtype=tensors["encoder"].dtype, device=tensors["encoder"].device)
        return SparseCoder(**tensors, activation="jump_relu", threshold=theta.expand(len(tensors["encoder"])).clone())
    return SparseCoder(**tensors, activation="relu" if k is None else "topk", k=k)


def _likely_rows(coder: SparseCoder) -> Tensor:
    """Rows that the dictionary describes, with a few atoms each at the scale of the decoder, shape (`PROBES`, d)."""
    generator = torch.Generator().manual_seed(0)
    m, _ = coder.dictionary.shape
    on = torch.rand(PROBES, m, generator=generator) < 4 / m
    codes = (on * (1 + torch.rand(PROBES, m, generator=generator))).to(coder.dictionary)
    return codes @ coder.dictionary + coder.bias
