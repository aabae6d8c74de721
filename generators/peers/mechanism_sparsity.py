"""Mechanism sparsity: concepts that depend sparsely on actions, or on the step before, seen through a nonlinear mixing."""

from __future__ import annotations

import math
from dataclasses import dataclass, field, replace
from typing import Literal, Self

import torch
from torch import Tensor

from generators.peers.leaky_mixing import LeakyMixing, draw_leaky
from testbed.contracts import BLOCK, BlockInstance, Generator, InvalidInput, Level, Observed, Sample, Shows, Truth, View, seed_of
from testbed.numerics.matching import dense

Kind = Literal["action_diagonal", "action", "action_blocks", "time_diagonal", "time", "time_blocks"]
KINDS = ("action_diagonal", "action", "action_blocks", "time_diagonal", "time", "time_blocks")
VARIANCE, RATE = 1e-4, 0.5
"""Variance of a concept given what it depends on, and how far a step goes."""
ROWS = 65_536
"""Rows from which means and standard deviations of the view are taken when an instance is drawn."""


class MechanismSparsity(Generator):
    r"""Concepts z with a sparse graph from actions a, or from the step before, and rows x = f(z) + noise [1]_.

    Actions are uniform on [-2, 2], a step before is standard normal; given them concepts are independent normals of variance 1e-4 with mean

    .. math:: \mu_i = \sum_j G_{ij} \sin(\tfrac{i + 3}{\pi} a_j + i) \quad\text{or}\quad
              \mu_i = z_i + \tfrac12 \sum_j G_{ij} \sin(\tfrac{i + 3}{\pi} z_j + i),

    i counted from 0, and :math:`\sin(a_i)` or :math:`z_i + \frac12 \sin(z_i)` where the graph is diagonal. The published names are
    ActionDiag, ActionNonDiag, ActionBlockNonDiag, TimeDiag, TimeNonDiag and TimeBlockNonDiag; blocks break the graphical criterion. f is a
    network of four layers, after which rows are standardised.

    The row table has what each row depends on: ``action_j``, or ``previous_j``, the view one step before with noise of its own. Concepts of
    the one level have no edges between them; the graph is in the facts. No selection is at work: concepts are caused independently.

    Parameters
    ----------
    kind : {"action_diagonal", "action", "action_blocks", "time_diagonal", "time", "time_blocks"}
        G: the identity; a ring in which action j moves concepts j and j + 1; pairs; the identity; lower triangular; two halves.
    concepts, dimension : int
        d_z, which is also the number of actions, and d_x of the view ``mixed``.
    noise : float
        Standard deviation of the noise on each standardised coordinate.

    References
    ----------
    .. [1] Lachapelle et al. (2022), Disentanglement via mechanism sparsity regularization: a new principle for nonlinear ICA, arXiv
       2107.10098; graphs with blocks: Lachapelle et al. (2024), arXiv 2401.04890.
    """

    def __init__(self, kind: Kind = "action", concepts: int = 10, dimension: int = 20, noise: float = 0.01) -> None:
        self.kind = kind
        self.concepts = concepts
        self.dimension = dimension
        self.noise = noise

    @classmethod
    def small(cls) -> Self:
        return cls(concepts=4, dimension=6)

    def draw(self, seed: int) -> MechanismSparsityInstance:
        """Draw the mixing; the graph is a matter of `kind`.

        Raises
        ------
        InvalidInput
            If a parameter is out of range.
        """
        if self.kind not in KINDS:
            raise InvalidInput(f"kind must be one of {', '.join(KINDS)}, not {self.kind!r}")
        if not 2 <= self.concepts <= self.dimension or not 0 <= self.noise < math.inf:
            raise InvalidInput(
                "mechanism sparsity needs 2 <= concepts <= dimension (an injective mixing) and noise of at least 0, not "
                f"{self.concepts}, {self.dimension} and {self.noise}"
            )
        if self.kind.endswith("blocks") and self.concepts % 2:
            raise InvalidInput(f"blocks need an even number of concepts, not {self.concepts}")
        mixing = draw_leaky(self.concepts, self.dimension, torch.Generator().manual_seed(seed_of("mixing", seed)))
        generator = torch.Generator().manual_seed(seed_of("moments", seed))
        rows = mixing(draw_concepts(self.kind, graph(self.kind, self.concepts), ROWS, generator)[0])
        return MechanismSparsityInstance(self, replace(mixing, mean=rows.mean(dim=0), scale=rows.std(dim=0)))


def graph(kind: str, concepts: int) -> Tensor:
    """G, shape (d_z, d_z), bool: row i says on which actions, or concepts one step before, concept i depends."""
    one = torch.eye(concepts, dtype=torch.bool)
    if kind.endswith("diagonal"):
        return one
    if kind == "action":
        return one | one.roll(1, dims=0)
    if kind == "time":
        return torch.ones(concepts, concepts, dtype=torch.bool).tril()
    size = 2 if kind == "action_blocks" else concepts // 2
    block = torch.arange(concepts) // size
    return block[:, None] == block


def mean_given(kind: str, edges: Tensor, before: Tensor) -> Tensor:
    """Mean of the concepts given the actions, or the concepts one step before, shape (n, d_z) -> (n, d_z)."""
    i = torch.arange(edges.shape[0], dtype=before.dtype, device=before.device)
    if kind.endswith("diagonal"):
        moved = before.sin()
    else:
        moved = torch.stack([(((k + 3) / math.pi * before + k).sin() * edges[int(k)]).sum(dim=1) for k in i], dim=1)
    return moved if kind.startswith("action") else before + RATE * moved


def draw_concepts(kind: str, edges: Tensor, n: int, generator: torch.Generator) -> tuple[Tensor, Tensor]:
    """Concepts, and what they depend on, shape (n, d_z) each, float64, on the generator's device."""
    before = torch.empty(n, len(edges), device=generator.device, dtype=torch.float64)
    rest = torch.empty_like(before).normal_(0.0, math.sqrt(VARIANCE), generator=generator)
    before = before.uniform_(-2, 2, generator=generator) if kind.startswith("action") else before.normal_(generator=generator)
    return mean_given(kind, edges.to(generator.device), before) + rest, before


def told_apart(edges: Tensor, temporal: bool) -> Tensor:
    """Whether the graphical criterion singles out each concept, shape (d_z,), bool.

    Concept i is, if the effect sets of what it depends on, and with time also the cause sets of what depends on it, share i alone:
    assumption 5 of [1]_, for one kind of dependence at a time.

    References
    ----------
    .. [1] Lachapelle et al. (2022), arXiv 2107.10098.
    """
    shared = torch.ones_like(edges)
    for i in range(len(edges)):
        for j in edges[i].nonzero().flatten().tolist():  # effects of each of its causes
            shared[i] &= edges[:, j]
        if temporal:
            for j in edges[:, i].nonzero().flatten().tolist():  # causes of each of its effects
                shared[i] &= edges[j]
    return shared.sum(dim=1) == 1


@dataclass(frozen=True)
class MechanismSparsityTruth(Truth):
    """Truth of mechanism sparsity.

    `facts`: ``graph`` G (d_z, d_z), ``told_apart`` (d_z,), the graphical criterion, ``variance``, ``noise/mixed``. The dictionary has the
    Jacobian of the mixing at concepts of value 1, a row each: f is not linear.
    """

    mixing: LeakyMixing | None = field(default=None)

    def identified(self, view: str) -> tuple[str, ...]:
        """Each concept up to a map of its own if the graphical criterion tells all apart; else blocks of concepts, and no single one."""
        return ("permutation", "sign", "monotone") if bool(self.facts["told_apart"].all()) else ()

    def oracle(self, observed: Observed, view: str) -> Tensor:
        """Concepts by the exact inverse of the mixing, shape (n, d_z), float32; noise goes through it."""
        assert self.mixing is not None
        x = dense(observed.views[view].values).double()
        return self.mixing.to(str(x.device)).inverse(x).float()


class MechanismSparsityInstance(BlockInstance):
    """One mixing, one graph."""

    def __init__(self, spec: MechanismSparsity, mixing: LeakyMixing) -> None:
        self._kind, self._noise, self._mixing = spec.kind, spec.noise, mixing
        self._edges = graph(spec.kind, spec.concepts)
        at = torch.ones(1, spec.concepts, dtype=torch.float64)
        jacobian = torch.func.jacrev(lambda z: mixing(z[None])[0])(at[0]).T  # (d_z, d_x)
        temporal = spec.kind.startswith("time")
        self.truth: MechanismSparsityTruth = MechanismSparsityTruth(
            levels=(Level("real", spec.concepts),),
            constituents={0: ((),) * spec.concepts},
            dictionaries={"mixed": {0: jacobian.float()}},
            settings={"concepts": spec.concepts},
            facts={
                "direction": "none",
                "graph": self._edges,
                "told_apart": told_apart(self._edges, temporal),
                "depends_on": "previous" if temporal else "action",
                "variance": VARIANCE,
                "noise/mixed": spec.noise,
            },
            mixing=mixing,
        )

    def to(self, device: str) -> Self:
        other = super().to(device)
        other._edges, other._mixing = self._edges.to(device), self._mixing.to(device)
        return other

    def block(self, seed: int) -> Sample:
        z, before = draw_concepts(self._kind, self._edges, BLOCK, self._generator("concepts", seed))
        x = self._seen(z, "noise", seed)
        name = "action"
        if self._kind.startswith("time"):
            name, before = "previous", self._seen(before, "noise before", seed)
        rows = {f"{name}_{j}": column.float() for j, column in enumerate(before.unbind(dim=1))}
        return Sample(Observed({"mixed": View(x.float(), Shows((0,), noise=self._noise))}, rows), {0: z.float()})

    def _seen(self, z: Tensor, role: str, seed: int) -> Tensor:
        x = self._mixing(z)
        return x + self._noise * torch.randn(x.shape, generator=self._generator(role, seed), device=x.device, dtype=x.dtype)

    def _generator(self, role: str, seed: int) -> torch.Generator:
        return torch.Generator(self.device).manual_seed(seed_of(role, seed))
