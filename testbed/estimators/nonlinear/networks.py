r"""The two networks of a variational autoencoder, both linear at first.

The encoder is :math:`\mu(x) = E x + \mathrm{MLP}(x) + e`, or :math:`\mu(x) = E F(x) + e` with a flow F, an invertible map made of affine
couplings (Dinh, Sohl-Dickstein & Bengio 2017); E are the principal directions over their deviations. The decoder gives every coordinate a
small network of its own,

.. math:: f_i(s) = a_i \cdot s + b_i + \sum_{k=1}^{r} o_{ik} \tanh(w_{ik} \cdot s + c_{ik})

so that an edge (i, j) is one entry of a_i and of each w_ik, its Jacobian is a closed form, and a mask on edges is a mask on weights, as in
sparse decoders (Moran, Sridhar, Wang & Blei 2022). All that is nonlinear starts at 0.
"""

from __future__ import annotations

import math
from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import relu

Weights = dict[str, Tensor]
"""Parameters by name."""

COUPLINGS = 4
"""Of a flow: every coordinate is moved by every second one."""
START_DEVIATION = -3.0
"""Log standard deviation of every code's posterior at first."""


def new_weights(x: Tensor, m: int, units: int, hidden: int, generator: torch.Generator, flow: bool = False) -> Weights:
    """Weights to start from.

    Parameters
    ----------
    x : Tensor, shape (n, d)
        Standardised rows.
    m : int
        Codes, at most d.
    units : int
        r, of every coordinate.
    hidden : int
        Units of each of the encoder's two hidden layers, or of every coupling's one.
    generator : torch.Generator
        On the CPU.
    flow : bool
        The encoder is a flow, for which there must be two coordinates at least.
    """
    d = x.shape[1]
    variance, directions = torch.linalg.eigh(x.T.double().cov().reshape(d, d))
    deviation = variance.flip(0)[:m].clamp_min(1e-6).sqrt().float()
    basis = directions.flip(1)[:, :m].float()

    def random(*shape: int, scale: float = 1.0) -> Tensor:
        return (scale * torch.randn(*shape, generator=generator)).to(x.device)

    if flow:
        bent = {}
        for layer in range(COUPLINGS):
            still, moved = _sides(layer, d)
            bent[f"flow/{layer}/in"] = random(hidden, len(still), scale=math.sqrt(2 / len(still)))
            bent[f"flow/{layer}/bias"] = random(hidden, scale=0.5)
            bent[f"flow/{layer}/out"] = x.new_zeros(2 * len(moved), hidden)
    else:
        bent = {
            "e1": random(hidden, d, scale=math.sqrt(2 / d)),
            "c1": random(hidden, scale=0.5),
            "e2": random(hidden, hidden, scale=math.sqrt(2 / hidden)),
            "c2": x.new_zeros(hidden),
            "e3": x.new_zeros(m, hidden),
        }
    return {
        "E": (basis / deviation).T.contiguous(),
        "e": x.new_zeros(m),
        **bent,
        "deviation": x.new_full((m,), START_DEVIATION),
        "a": basis * deviation,
        "b": x.new_zeros(d),
        "w": random(d * units, m, scale=1 / math.sqrt(m)),
        "c": random(d * units),
        "o": x.new_zeros(d, units),
    }


def encoded(p: Mapping[str, Tensor], x: Tensor) -> Tensor:
    """mu(x), shape (n, d) -> (n, m)."""
    if "flow/0/in" in p:
        return flowed(p, x) @ p["E"].T + p["e"]
    hidden = relu(relu(x @ p["e1"].T + p["c1"]) @ p["e2"].T + p["c2"])
    return x @ p["E"].T + p["e"] + hidden @ p["e3"].T


def flowed(p: Mapping[str, Tensor], x: Tensor, back: bool = False) -> Tensor:
    """F(x), or with `back` the inverse of F, shape (n, d) -> (n, d)."""
    layers = range(COUPLINGS)
    for layer in reversed(layers) if back else layers:
        still, moved = _sides(layer, x.shape[1])
        hidden = relu(x[:, still] @ p[f"flow/{layer}/in"].T + p[f"flow/{layer}/bias"])
        stretch, shift = (hidden @ p[f"flow/{layer}/out"].T).chunk(2, dim=1)
        stretch = stretch.tanh().exp()  # within [1/e, e], so that no coupling runs away
        y = (x[:, moved] - shift) / stretch if back else x[:, moved] * stretch + shift
        x = x.index_copy(1, torch.tensor(moved, device=x.device), y)
    return x


def _sides(layer: int, d: int) -> tuple[list[int], list[int]]:
    """Coordinates that a coupling sees and those that it moves: every second one, or every second pair."""
    width = 1 if layer % 4 < 2 or d < 4 else 2
    still = [i for i in range(d) if i // width % 2 == layer % 2]
    return still, [i for i in range(d) if i // width % 2 != layer % 2]


def decoded(p: Mapping[str, Tensor], s: Tensor, gates: Tensor | None = None) -> Tensor:
    """f(s), shape (n, m) -> (n, d); `gates`, shape (d, m), multiply what each coordinate sees of each code."""
    a, w = _seen(p, gates)
    d, units = p["o"].shape
    hidden = (s @ w.T + p["c"]).tanh().view(len(s), d, units)
    return s @ a.T + p["b"] + (hidden * p["o"]).sum(dim=2)


def jacobian(p: Mapping[str, Tensor], s: Tensor, gates: Tensor | None = None) -> Tensor:
    """Of f at every row, shape (n, m) -> (n, d, m)."""
    a, w = _seen(p, gates)
    d, units = p["o"].shape
    hidden = (s @ w.T + p["c"]).tanh().view(len(s), d, units)
    slope = (1 - hidden.square()) * p["o"]  # (n, d, r)
    return a + torch.einsum("ndr,drm->ndm", slope, w.view(d, units, -1))


def reframed(p: Mapping[str, Tensor], shift: Tensor, forward: Tensor, back: Tensor) -> Weights:
    """The same autoencoder with codes ``forward @ (s - shift)``; ``s = back @ codes + shift`` is what the old decoder is given.

    Parameters
    ----------
    shift : Tensor, shape (m,)
    forward : Tensor, shape (k, m)
    back : Tensor, shape (m, k)
    """
    new = dict(p)
    new |= {name: forward @ p[name] for name in ("E", "e3") if name in p}
    new["e"] = forward @ (p["e"] - shift)
    new["a"], new["b"] = p["a"] @ back, p["b"] + p["a"] @ shift
    new["w"], new["c"] = p["w"] @ back, p["c"] + p["w"] @ shift
    return new


def gated(p: Mapping[str, Tensor], gates: Tensor) -> Weights:
    """The same with the gates written into the weights."""
    a, w = _seen(p, gates)
    return {**p, "a": a, "w": w}


def _seen(p: Mapping[str, Tensor], gates: Tensor | None) -> tuple[Tensor, Tensor]:
    if gates is None:
        return p["a"], p["w"]
    units = p["o"].shape[1]
    return p["a"] * gates, p["w"] * gates.repeat_interleave(units, dim=0)
