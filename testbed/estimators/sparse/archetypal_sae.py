"""Sparse autoencoder whose dictionary is made of data."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal, Self

import torch
from torch import Tensor
from torch.nn.functional import normalize

from testbed.estimators.sparse.autoencoder import Params, require
from testbed.estimators.sparse.topk_sae import TopKSAE

LLOYD = 20
"""Rounds of k-means."""
START = 0.3
"""Share of the one point that an atom starts at; all others share the rest."""


@dataclass(kw_only=True, eq=False, repr=False)
class ArchetypalSAE(TopKSAE):
    r"""TopK autoencoder each of whose atoms is a convex combination of data points, up to a small step beside it [1]_.

    .. math::
        W_d = A C + \Lambda, \qquad A_{jp} \ge 0, \quad \sum_p A_{jp} = 1, \qquad \|\Lambda_j\| \le \delta,

    C being points of the data about their mean, on rows of median norm 1, and A a softmax of what is learned. Atoms of norm below 1 are
    what such combinations are, so no norm is imposed; fits from different seeds agree more since they share the hull.

    Parameters
    ----------
    delta : float
        :math:`\delta`, the relaxation, in units of the rows' median norm; 0 keeps atoms in the hull.
    points : {"kmeans", "rows"}
        C: centres of k-means, or rows drawn at random; of the rows looked at before training (8,192 at most).
    n_points : int, optional
        How many; 4 n_codes unless given, and no more than rows looked at.
    **others
        See `TopKSAE`; `initialisation` has no part in it, and `tied` no other value than its default. A latent that is revived starts at
        the point that living atoms resemble least, whatever `revival` names.

    Attributes
    ----------
    dictionary_ : Tensor, shape (m, d)
        In the units of the data: ``dictionary_ + bias_`` is ``mixture_ @ points_ + relaxation_``, with ``bias="mean"``.
    mixture_ : Tensor, shape (m, p)
    points_ : Tensor, shape (p, d)
    relaxation_ : Tensor, shape (m, d)

    References
    ----------
    .. [1] Fel et al. (2025), Archetypal SAE: adaptive and stable dictionary learning for concept extraction in large vision models,
       section 4 (A-SAE and RA-SAE).
    """

    delta: float = 0.1
    points: Literal["kmeans", "rows"] = "kmeans"
    n_points: int | None = None
    lr: float = 5e-2

    @classmethod
    def small(cls) -> Self:
        return cls(n_codes=32, k=4, samples=20_000, batch_size=256, n_points=64)

    def check(self) -> None:
        super().check()
        require(self.delta >= 0, f"delta must be at least 0, not {self.delta}")
        require(self.points in ("kmeans", "rows"), f"points must be 'kmeans' or 'rows', not {self.points!r}")
        require(self.n_points is None or self.n_points >= 2, f"n_points must be at least 2, not {self.n_points}: one point has no hull")
        require(not self.tied, "an encoder tied to archetypes would have their norms: set tied to false")

    def initial(self, atoms: Tensor, generator: torch.Generator, head: Tensor) -> Params:
        rows = head.to(atoms.dtype)
        count = min(self.n_points or 4 * self.n_codes, len(rows))
        points = rows[torch.randperm(len(rows), generator=generator)[:count]]
        if self.points == "kmeans":
            points = centres(rows, points)
        logits = torch.zeros(len(atoms), count, dtype=atoms.dtype)
        chosen = torch.cat([torch.randperm(count, generator=generator) for _ in range(-(-len(atoms) // count))])[: len(atoms)]
        logits[torch.arange(len(atoms)), chosen] = _start_logit(count)
        start = {"points": points, "logits": logits, "relaxation": torch.zeros_like(atoms)}
        decoder = archetypes(start)
        return {**super().initial(_encoding(decoder), generator, head), **start, "decoder": decoder}

    def frozen(self) -> tuple[str, ...]:
        # The dictionary follows from what is learned: `project` keeps it up to date.
        return (*super().frozen(), "decoder", "points", *(() if self.delta else ("relaxation",)))

    def on_sphere(self) -> bool:
        return False

    def compiled(self) -> bool:
        return False

    def reconstruct(self, params: Params, codes: Tensor) -> Tensor:
        return codes @ (archetypes(params) if "logits" in params else params["decoder"])

    def project(self, params: Params, start: Params) -> None:
        relaxation = params["relaxation"]
        size = relaxation.norm(dim=-1, keepdim=True)
        relaxation.mul_((self.delta / size.clamp_min(torch.finfo(size.dtype).tiny)).clamp_max(1.0))
        params["decoder"].copy_(archetypes(params))

    def reset(self, params: Params, dead: Tensor, living: Tensor) -> list[str]:
        towards = normalize(params["points"], dim=1)
        taken = (
            (towards @ normalize(params["decoder"][living], dim=1).T).amax(dim=1) if bool(living.any()) else towards.new_zeros(len(towards))
        )
        free = taken.argsort()
        chosen = free[torch.arange(len(dead), device=free.device) % len(free)]
        params["logits"][dead] = 0.0
        params["logits"][dead, chosen] = _start_logit(len(free))
        params["relaxation"][dead] = 0.0
        params["decoder"][dead] = archetypes(
            {n: params[n] if n == "points" else params[n][dead] for n in ("logits", "points", "relaxation")}
        )
        if self.encoder_depth == 1:
            params["encoder"][dead] = _encoding(params["decoder"][dead])
        return [*super().reset(params, dead, living), "logits", "relaxation"]

    def set_fitted(self, params: Params, centre: Tensor, scale: Tensor, history: dict[str, list[float]]) -> None:
        """Points are data again, so codes have no unit: they say how much of an archetype is there."""
        unit = scale[0].to(params["decoder"].dtype)
        params["mixture"] = params.pop("logits").softmax(dim=-1)
        for name in ("decoder", "relaxation", "points"):
            params[name] = params[name] * unit
        params["points"] = params["points"] + centre
        first = "layer0" if self.encoder_depth > 1 else "encoder"
        params[first] = params[first] / unit
        shift = params.pop("bias", None)
        super().set_fitted(params, centre if shift is None else centre + scale * shift, torch.ones_like(scale), history)


def archetypes(params: Params) -> Tensor:
    """The dictionary that mixtures, points and relaxation make, shape (m, d)."""
    return params["logits"].softmax(dim=-1) @ params["points"] + params["relaxation"]


def _start_logit(points: int) -> float:
    """The logit, among zeros, that gives one point of so many the share `START`."""
    return math.log(START / (1 - START)) + math.log(max(1, points - 1))


def _encoding(atoms: Tensor) -> Tensor:
    """Encoder rows that give an atom on its own the code 1, shape (m, d)."""
    return atoms / atoms.square().sum(dim=1, keepdim=True).clamp_min(1e-6)


def centres(x: Tensor, start: Tensor) -> Tensor:
    """Centres of k-means from starting ones, both (p, d), by Lloyd's rounds on rows (n, d); a centre that loses its rows stays."""
    out = start.clone()
    for _ in range(LLOYD):
        # The nearest centre; the rows' own norms do not matter for which it is.
        nearest = (out.square().sum(dim=1) - 2 * x @ out.T).argmin(dim=1)
        count = torch.bincount(nearest, minlength=len(out)).to(x.dtype)
        total = torch.zeros_like(out).index_add_(0, nearest, x)
        out = torch.where(count[:, None] > 0, total / count.clamp_min(1)[:, None], out)
    return out
