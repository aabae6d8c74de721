"""What is known of a continuous hierarchy, and the best estimate of its concepts that this knowledge gives."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field

import torch
from torch import Tensor

from generators.mixing_maps import Linear, Mixing
from generators.selection.continuous.couplings import Coupling
from generators.selection.continuous.covariances import ERROR, second_moments
from generators.selection.continuous.entropies import entropy, leaf_entropy
from generators.selection.continuous.graph import Nodes, World
from generators.selection.continuous.laws import Message, Point
from generators.selection.continuous.marginals import descend, moments
from testbed.contracts import BLOCK, Level, Observed, Setting, Shows, Truth, seed_of
from testbed.numerics.matching import dense

STEPS = 25
"""Damped Gauss-Newton steps of the oracle of a nonlinear view."""


@dataclass(frozen=True)
class ContinuousTruth(Truth):
    """Truth of a continuous hierarchy.

    `facts` hold ``acceptance``, the probability that the base law passes the selection, ``acceptance/l`` (n_l,), that of each concept's own
    potential given that all below is selected, and ``root_acceptance`` (n_0,), that of phi_S given all else; ``mean/l`` and
    ``deviation/l`` (n_l,) of each concept after selection, and ``quantiles/l`` (n_l, 99), its percentiles 1 to 99, by messages;
    ``covariance`` (c, c) of all concepts, level by level, by quadrature, with an error of at most ``covariance_error`` times the two
    standard deviations, which is that of ``moments_rows`` rows. After `select_then_do` means, deviations and covariance are estimated from
    ``moments_rows`` rows, ``covariance_error`` is their standard error, and quantiles and entropies are left out.

    ``concept_entropies/l`` (n_l,), differential, in nats (minus infinity where a value is fixed); unless the instance is conditioned,
    ``entropy`` of all leaves together, forced ones left out, and their ``total_correlation``.

    ``law`` and ``law_parameter``; ``selection/l`` and ``coupling/l``, one mapping per composite; ``root_selection``, phi_S, one mapping per
    concept of level 0 (none: phi_S = 1); and per view V ``noise/V``, ``bias/V``, ``support/V/l`` (d, n_l), the support of the Jacobian, and
    ``condition/V/l``, the bound on its condition number (NaN where none is known). The dictionary of a nonlinear view is the Jacobian at
    the concepts' means.

    Attributes
    ----------
    mixings : mapping of str to mapping of int to Mixing
        Per view and level, f.
    couplings : tuple of tuple of Coupling
    fixed : mapping of (level, concept) to float
        Concepts that an intervention set, whatever their constituents are.
    """

    mixings: Mapping[str, Mapping[int, Mixing]] = field(default_factory=dict)
    couplings: tuple[tuple[Coupling, ...], ...] = ()
    fixed: Setting = field(default_factory=dict)

    def identified(self, view: str) -> tuple[str, ...]:
        """Up to scale where f is linear, else up to an invertible map of each concept."""
        linear = all(isinstance(f, Linear) for f in self.mixings.get(view, {}).values())
        return ("permutation", "sign", "scale" if linear else "monotone")

    def oracle(self, observed: Observed, view: str) -> Tensor:
        r"""Best estimate of every concept that the view shows, shape (n, c), float32.

        Linear f: the best linear estimate, :math:`m + C A^T (A C A^T + \sigma^2 I)^+ (x - A m)`, which is the posterior mean where the
        concepts are Gaussian. Nonlinear f: the minimum of :math:`|x - f(v)|^2 / \sigma^2 + (v - m)^T C^{-1} (v - m)`, found from the exact
        inverse (one level) or the linearised f (several) by Gauss-Newton steps; without noise, the exact inverse itself.
        """
        x = dense(observed.views[view].values).double()
        maps = {level: f.to(str(x.device)) for level, f in self.mixings[view].items()}
        rows = torch.split(x, BLOCK)
        if all(isinstance(f, Linear) for f in maps.values()):
            return torch.cat([self._linear(part, view, list(maps)) for part in rows]).float()
        if len(maps) == 1:
            return torch.cat([self._single(part, view, *maps.items()) for part in rows]).float()
        return torch.cat([self._several(part, view, maps) for part in rows]).float()

    def _moments(self, levels: list[int], device: torch.device) -> tuple[Tensor, Tensor]:
        """Mean and covariance of the concepts of `levels`, shapes (c,) and (c, c)."""
        starts = [sum(level.size for level in self.levels[:i]) for i in range(len(self.levels) + 1)]
        at = torch.cat([torch.arange(starts[level], starts[level + 1]) for level in levels])
        mean = torch.cat([self.facts[f"mean/{level}"] for level in levels])
        return mean.to(device), self.facts["covariance"][at][:, at].to(device)

    def _linear(self, x: Tensor, view: str, levels: list[int]) -> Tensor:
        m, C = self._moments(levels, x.device)
        A = torch.cat([self.dictionaries[view][level] for level in levels]).double().to(x.device)  # (c, d)
        bias = self.facts[f"bias/{view}"].to(x.device).double()
        spread = A.T @ C @ A + self.facts[f"noise/{view}"] ** 2 * torch.eye(A.shape[1], dtype=x.dtype, device=x.device)
        estimate: Tensor = m + (x - bias - m @ A) @ torch.linalg.pinv(spread, hermitian=True) @ A.T @ C
        return estimate

    def _single(self, x: Tensor, view: str, shown: tuple[int, Mixing]) -> Tensor:
        level, f = shown
        start, sigma = f.inverse(x), self.facts[f"noise/{view}"]
        if sigma == 0:
            return start
        m, C = self._moments([level], x.device)
        return _gauss_newton(f, x, start, m, C, sigma)

    def _several(self, x: Tensor, view: str, maps: Mapping[int, Mixing]) -> Tensor:
        last = len(self.levels) - 1
        m, C = self._moments([last], x.device)

        def f(leaves: Tensor) -> Tensor:
            values = self.compose(leaves)
            return torch.stack([maps[level](values[level]) for level in maps]).sum(dim=0)

        sigma = max(self.facts[f"noise/{view}"], 1e-3)  # without noise the estimate is the limit of little noise
        leaves = _gauss_newton(f, x, m.expand(len(x), -1), m, C, sigma)
        values = self.compose(leaves)
        return torch.cat([values[level] for level in maps], dim=1)

    def compose(self, leaves: Tensor) -> list[Tensor]:
        """All concepts that these leaves make, shape (n, n_L) -> list of (n, n_l)."""
        values = [leaves]
        for level in reversed(range(len(self.levels) - 1)):
            columns = []
            for i, lower in enumerate(self.constituents[level]):
                v = self.couplings[level][i].compose(values[0][:, list(lower)])[0]
                columns.append(torch.full_like(v, self.fixed[level, i]) if (level, i) in self.fixed else v)
            values.insert(0, torch.stack(columns, dim=1))
        return values


def _gauss_newton(f: Callable[[Tensor], Tensor], x: Tensor, start: Tensor, m: Tensor, C: Tensor, sigma: float) -> Tensor:
    """Minimise |x - f(v)|² / sigma² + (v - m)' C^-1 (v - m), each row with a damping of its own (Levenberg-Marquardt)."""
    scale = C.diagonal().mean().clamp_min(1e-12)
    precision = torch.linalg.inv(C + 1e-6 * scale * torch.eye(len(m), dtype=x.dtype, device=x.device))
    jacobian: Callable[[Tensor], Tensor] = torch.func.vmap(torch.func.jacfwd(lambda row: f(row[None])[0]))

    def cost(v: Tensor) -> Tensor:
        misfit: Tensor = ((x - f(v)) / sigma).square().sum(dim=1)
        prior: Tensor = ((v - m) @ precision * (v - m)).sum(dim=1)
        return misfit + prior

    at_mean = m.expand_as(start)
    v = torch.where((cost(start) <= cost(at_mean))[:, None], start, at_mean)
    value, damping = cost(v), torch.full((len(x),), 1e-3, dtype=x.dtype, device=x.device)
    for _ in range(STEPS):
        J = jacobian(v)  # (n, d, k)
        normal = J.mT @ J / sigma**2 + precision
        gradient = ((x - f(v))[:, None, :] @ J)[:, 0] / sigma**2 - (v - m) @ precision
        damped: Tensor = normal + damping[:, None, None] * torch.diag_embed(normal.diagonal(dim1=1, dim2=2))
        moved = v + torch.linalg.solve(damped, gradient)
        new = cost(moved)
        better = new < value
        v, value = torch.where(better[:, None], moved, v), torch.where(better, new, value)
        damping = torch.where(better, damping / 10, damping * 10).clamp(1e-12, 1e12)
    return v


ROWS = 65_536
"""Rows from which moments after `select_then_do` are estimated: standard errors of about 0.004 times the two standard deviations."""


@dataclass(frozen=True)
class Moments:
    """First and second moments after selection.

    Attributes
    ----------
    means, deviations : list of Tensor, shape (n_l,)
    covariance : Tensor, shape (c, c)
    error : float
        Bound on (quadrature), or standard error of (estimates) a covariance, in units of the two standard deviations.
    entropies : list of Tensor, shape (n_l,), or None
        Differential, of each concept, in nats.
    quantiles : list of Tensor, shape (n_l, 99), or None
        Percentiles 1 to 99 of each concept.
    leaf_entropy : float or None
        Of all leaves together; None where they have no joint density.
    """

    means: list[Tensor]
    deviations: list[Tensor]
    covariance: Tensor
    error: float
    entropies: list[Tensor] | None = None
    quantiles: list[Tensor] | None = None
    leaf_entropy: float | None = None


def exact_moments(world: World, nodes: Nodes, forced: Setting, given: Setting) -> Moments:
    """By messages and quadrature, up to the tables' error."""
    found = descend(world, nodes, forced)
    second = second_moments(world, nodes, found, forced)
    first = [torch.tensor([moments(law) for law in row], dtype=torch.float64) for row in found.laws]
    return Moments(
        [m[:, 0].contiguous() for m in first],
        [m[:, 1].contiguous() for m in first],
        second.covariance,
        ERROR * max(1.0, (256 / world.cells) ** 2),
        [torch.tensor([entropy(law) for law in row], dtype=torch.float64) for row in found.laws],
        [torch.stack([_percentiles(law) for law in row]) for row in found.laws],
        None if given else leaf_entropy(world, nodes, found.laws, second.complements),
    )


def _percentiles(law: Message) -> Tensor:
    u = torch.arange(1, 100, dtype=torch.float64) / 100
    return torch.full_like(u, law.value) if isinstance(law, Point) else law.quantile(u)


def estimated_moments(latents: Callable[[int, int], list[Tensor]]) -> Moments:
    """From rows that no sample contains: after `select_then_do`, messages no longer tell them."""
    values = latents(ROWS, seed_of("moments"))
    means, deviations = [v.mean(dim=0).cpu() for v in values], [v.std(dim=0).cpu() for v in values]
    return Moments(means, deviations, torch.cat(values, dim=1).T.cov().cpu(), ROWS**-0.5)


def truth_of(
    world: World,
    law: tuple[str, float],
    mixings: Mapping[str, Mapping[int, Mixing]],
    shows: Mapping[str, Shows],
    nodes: Nodes,
    known: Moments,
    fixed: Setting,
) -> ContinuousTruth:
    """Assemble what is known of an instance.

    Parameters
    ----------
    world : World
    law : tuple of str and float
    mixings, shows : mapping of str to ...
        By view.
    nodes : tuple of tuple of Node
        Of the law before conditioning: what they say of acceptance.
    known : Moments
    fixed : mapping of (level, concept) to float
    """
    acceptance = [[node.acceptance for node in row] for row in nodes]
    at_root = [node.root_acceptance for node in nodes[0]]
    means, deviations = known.means, known.deviations
    facts: dict[str, object] = {
        "law": law[0],
        "law_parameter": law[1],
        "acceptance": math.prod(a for row in acceptance for a in row) * math.prod(at_root),
        "covariance": known.covariance,
        "covariance_error": known.error,
        "moments_rows": round(known.error**-2),
        "root_acceptance": torch.tensor(at_root, dtype=torch.float64),
        "root_selection": [asdict(phi) for phi in world.root_selections],
    }
    if known.leaf_entropy is not None and known.entropies is not None:
        leaves = known.entropies[-1]
        facts["entropy"] = known.leaf_entropy
        facts["total_correlation"] = float(leaves[leaves.isfinite()].sum()) - known.leaf_entropy
    for level in range(len(means)):
        if known.entropies is not None:
            facts[f"concept_entropies/{level}"] = known.entropies[level]
        if known.quantiles is not None:
            facts[f"quantiles/{level}"] = known.quantiles[level]
        facts[f"mean/{level}"] = means[level]
        facts[f"deviation/{level}"] = deviations[level]
        if level < len(world.couplings):
            facts[f"acceptance/{level}"] = torch.tensor(acceptance[level], dtype=torch.float64)
            facts[f"selection/{level}"] = [asdict(phi) for phi in world.selections[level]]
            facts[f"coupling/{level}"] = [{"weights": c.weights().tolist(), "strengths": list(c.strengths)} for c in world.couplings[level]]
    dictionaries: dict[str, dict[int, Tensor]] = {}
    for view, maps in mixings.items():
        facts[f"noise/{view}"] = shows[view].noise or 0.0
        dictionaries[view] = {}
        bias = torch.zeros(next(iter(maps.values())).support.shape[0], dtype=torch.float64)
        for level, f in maps.items():
            m = means[level][None]
            jacobian = f.matrix if isinstance(f, Linear) else f.jacobian(m)[0]
            dictionaries[view][level] = jacobian.T.float().contiguous()
            bias = bias + f(m)[0] - jacobian @ m[0]
            facts[f"support/{view}/{level}"] = f.support
            facts[f"condition/{view}/{level}"] = f.condition()
        facts[f"bias/{view}"] = (torch.zeros_like(bias) if all(isinstance(f, Linear) for f in maps.values()) else bias).float()
    sizes = world.forest.sizes
    return ContinuousTruth(
        levels=tuple(Level("real", size) for size in sizes),
        constituents={level: tuple(map(tuple, lower.tolist())) for level, lower in enumerate(world.forest.constituents)}
        | {len(sizes) - 1: ((),) * sizes[-1]},
        dictionaries=dictionaries,
        settings={"concepts": sum(sizes), **{f"concepts_level_{level}": size for level, size in enumerate(sizes)}},
        facts=facts,
        mixings=mixings,
        couplings=world.couplings,
        fixed=fixed,
    )
