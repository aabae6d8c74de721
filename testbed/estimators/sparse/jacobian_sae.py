"""Jacobian sparse autoencoder: sparse codes of two views, and sparse slopes from one's codes to the other's."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Self

import torch
from torch import Tensor
from torch.nn.functional import embedding, normalize

from testbed.contracts import BLOCK, Codes, SparseRows
from testbed.estimators.sparse.autoencoder import Params, require
from testbed.estimators.sparse.rows_of import Reading
from testbed.estimators.sparse.topk_sae import TopKSAE
from testbed.estimators.sparse.views import SeveralViews
from testbed.numerics.batches import rows
from testbed.numerics.top_k import top_k


@dataclass(kw_only=True, eq=False, repr=False)
class JacobianSAE(SeveralViews, TopKSAE):
    r"""TopK autoencoders of an input and an output view whose codes depend on each other as sparsely as possible [1]_.

    With codes a of the input x, codes e of the output y, and a map f from x to y,

    .. math::
        \min \sum_t w_t \bigl(\|x_t - \hat x_t\|^2 + \|y_t - \hat y_t\|^2\bigr) + \frac{\lambda}{k^2} \sum_{i,j} |J_{ij}|, \qquad
        J = \frac{\partial e}{\partial a} = W_e^y \, \frac{\partial f}{\partial x}(\hat x) \, W_d^{x\top},

    where only the k x k block of active codes is ever made. For :math:`f(x) = V\,\mathrm{ReLU}(U x + u) + v` it is
    :math:`(W_e^y V)_{\mathrm{active}} \, \mathrm{diag}(U \hat x + u > 0) \, (U W_d^{x\top})_{\mathrm{active}}`.

    Where this differs from the paper: there x and y are what goes into and comes out of one MLP of a language model, and f is that MLP.
    Here nobody gives f, so one of `hidden` units is learned beside, by least squares from x to y; the penalty does not move it, or it would
    flatten f instead of choosing codes. :math:`\lambda` therefore speaks of what can be *predicted* of y from x. The active codes of y are
    those of y itself, not of :math:`f(\hat x)`. Only latents of the input are revived.

    Parameters
    ----------
    view : str
        The input, x: what `encode`, `decode` and `dictionary_` are about.
    output_view : str
        The output, y.
    jacobian : float
        :math:`\lambda`, on views of median norm 1.
    hidden : int, optional
        Hidden units of f; four times the wider view unless given.
    bias : {"mean", "none"}
    **others
        See `TopKSAE`, of both autoencoders; `tied`, `encoder_depth` and `inference` have no other value than their default.

    Attributes
    ----------
    dictionary_ : Tensor, shape (m, d_x)
    output_dictionary_ : Tensor, shape (m, d_y)
    jacobian_ : Tensor, shape (m, m)
        Mean over rows of :math:`|J_{ij}|`, output code by input code, 0 where either is not active.
    map_in_, map_in_bias_, map_out_, map_out_bias_ : Tensor
        U, u, V, v.

    References
    ----------
    .. [1] Farnik, Lawson, Houghton & Aitchison (2025), Jacobian sparse autoencoders: sparsify computations, not just activations,
       sections 3 and 4.
    """

    output_view: str | None = None
    jacobian: float = 1.0
    hidden: int | None = None

    @classmethod
    def small(cls) -> Self:
        return cls(n_codes=32, k=4, samples=20_000, batch_size=256, view="level_1", output_view="level_0")

    def check(self) -> None:
        super().check()
        named = self.view is not None and self.output_view is not None
        require(named, "a Jacobian goes from one view to another: set view to the input and output_view to the output")
        require(self.jacobian >= 0, f"jacobian must be at least 0, not {self.jacobian}")
        require(self.hidden is None or self.hidden >= 1, f"hidden must be at least 1, not {self.hidden}")
        require(self.bias != "learned", "each view is centred at its mean, or not at all: set bias to 'mean' or 'none'")
        require(self.encoder_depth == 1, "slopes are those of an encoder of one layer: set encoder_depth to 1")

    def reading(self) -> Reading:
        return (self.view, self.output_view)

    def split(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Both views, and the input alone, which the dictionary stands for."""
        return x, x[:, : self.widths_[0]]

    def initial(self, atoms: Tensor, generator: torch.Generator, head: Tensor) -> Params:
        (d, out), m = self.widths_, len(atoms)
        hidden = self.hidden or 4 * max(d, out)

        def drawn(count: int, width: int) -> Tensor:
            return torch.randn(count, width, generator=generator, dtype=atoms.dtype)

        output = normalize(drawn(m, out), dim=1)
        return {
            **super().initial(atoms, generator, head),
            "output_dictionary": output,
            "output_encoder": output.clone(),
            "output_encoder_bias": torch.zeros(m, dtype=atoms.dtype),
            "map_in": drawn(hidden, d) * (2 / d) ** 0.5,
            "map_in_bias": torch.zeros(hidden, dtype=atoms.dtype),
            "map_out": drawn(out, hidden) * (1 / hidden) ** 0.5,
            "map_out_bias": torch.zeros(out, dtype=atoms.dtype),
        }

    def project(self, params: Params, start: Params) -> None:
        super().project(params, start)
        params["output_dictionary"].copy_(normalize(params["output_dictionary"], dim=-1))

    def loss(self, params: Params, x: Tensor, target: Tensor, weight: Tensor, share: float) -> tuple[Tensor, tuple[Tensor, Tensor]]:
        y, k = x[:, self.widths_[0] :], self.k_at(share)
        codes, active, index = _largest(self.preactivations(params, target), k)
        error = codes @ params["decoder"] - target
        outputs, output_active, output_index = _largest(output_preactivations(params, y), k)
        missed = outputs @ params["output_dictionary"] - y
        mapped = _affine(params, "map_out", _affine(params, "map_in", target).relu()) - y
        each = sum(e.square().sum(dim=1) for e in (error, missed, mapped))
        slopes = jacobian(params, error + target, (index, active), (output_index, output_active))
        paid = self.jacobian / k**2 * slopes.abs().sum(dim=(1, 2))
        return (weight * each + paid).mean(), (codes, error)

    def set_fitted(self, params: Params, centre: Tensor, scale: Tensor, history: dict[str, list[float]]) -> None:
        """Codes of each view are in its own unit; what ends in ``_bias`` is about to be multiplied by the input's."""
        unit = (scale[-1] / scale[0]).to(params["decoder"].dtype)
        for name in ("output_encoder_bias", "map_out", "map_out_bias"):
            params[name] = params[name] * unit
        history.pop("explained_variance")  # the loss is of both views, the map and the slopes: no share of the input's variance
        super().set_fitted(params, centre, scale, history)

    def calibrate(self, head: Tensor) -> None:
        super().calibrate(head)
        params, total = self.fitted(), torch.zeros(self.n_codes**2, device=head.device)
        for part in torch.split((head - self.bias_).float(), 1024):
            codes, active, index = _largest(self.preactivations(params, part[:, : self.widths_[0]]), self.k)
            _, output_active, output_index = _largest(output_preactivations(params, part[:, self.widths_[0] :]), self.k)
            slopes = jacobian(params, codes @ params["decoder"], (index, active), (output_index, output_active))
            place = output_index[:, :, None] * self.n_codes + index[:, None, :]
            total.index_add_(0, place.flatten(), slopes.abs().flatten())
        self.jacobian_ = total.view(self.n_codes, self.n_codes) / len(head)

    def own_codes(self, x: Tensor) -> SparseRows:
        return super().own_codes(x[:, : self.widths_[0]])

    def encode(self, observed: Any) -> Codes:
        self._require_fitted()
        d = self.widths_[0]
        x = rows(observed, self.view, columns=d).float() - self.bias_[:d]
        return SparseRows.cat([self.own_codes(part) for part in torch.split(x, BLOCK)])

    def encode_output(self, observed: Any) -> SparseRows:
        """Codes of the output view, shape (n, m)."""
        self._require_fitted()
        d = self.widths_[0]
        y = rows(observed, self.output_view, columns=self.widths_[1]).float() - self.bias_[d:]
        pre = output_preactivations(self.fitted(), y)
        return SparseRows.from_entries(*top_k(pre, self.k), (len(pre), self.n_codes))

    def output_bias(self) -> Tensor:
        return self.bias_[: self.widths_[0]]


def jacobian(params: Params, x: Tensor, inputs: tuple[Tensor, Tensor], outputs: tuple[Tensor, Tensor]) -> Tensor:
    """Slopes of active output codes in active input codes at the rows x, shape (b, k, k).

    `inputs` and `outputs` are columns and whether they are active, both (b, k). The map is held: slopes of the result do not reach it.
    """
    into, out = params["map_in"].detach(), params["map_out"].detach()
    on = (x @ into.T + params["map_in_bias"].detach() > 0).to(x.dtype)  # (b, h)
    # `embedding`, whose slopes several threads add up in a fixed order, as those of plain indexing are not.
    from_codes = embedding(inputs[0], params["decoder"] @ into.T) * inputs[1][..., None]  # (b, k, h)
    to_codes = embedding(outputs[0], params["output_encoder"] @ out) * outputs[1][..., None]
    return (to_codes * on[:, None, :]) @ from_codes.mT


def output_preactivations(params: Params, y: Tensor) -> Tensor:
    """Of the output's codes, shape (b, m)."""
    return _affine(params, "output_encoder", y)


def _affine(params: Params, name: str, x: Tensor) -> Tensor:
    return x @ params[name].T + params[f"{name}_bias"]


def _largest(pre: Tensor, k: int) -> tuple[Tensor, Tensor, Tensor]:
    """Codes (b, m), and of the k largest pre-activations whether they are active and their columns, (b, k)."""
    value, index = pre.topk(k, dim=-1, sorted=False)
    return torch.zeros_like(pre).scatter(-1, index, value.relu()), (value > 0).to(pre.dtype), index
