"""What is known of continuous hierarchies that assumptions speak of: Jacobians, supports, and covariances estimated from so many rows.

A correlation beyond its sampling error shows dependence; none shows nothing, unless the truth states that nothing is selected.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Protocol, runtime_checkable

import torch
from scipy.stats import chi2
from torch import Tensor

from generators.assumptions.finding import TOLERANCE, Finding
from generators.assumptions.information import total_correlation_gaussian
from testbed.contracts import Instance, NotApplicable, Truth, seed_of

LEVEL = 1e-6
"""Probability with which independent constituents would be taken for dependent."""
ERRORS = 6.0
"""Standard errors beyond which a single correlation is one."""


@runtime_checkable
class Smooth(Protocol):
    """A map from concepts to a view that knows its Jacobian."""

    def jacobian(self, v: Tensor) -> Tensor:
        """The Jacobian at each row, shape (n, k) -> (n, d, k)."""


@dataclass(frozen=True)
class Moments:
    """Covariance of a few concepts, estimated.

    Attributes
    ----------
    covariance : Tensor, shape (p, p)
        For a composite's tuple: of its constituents; for faithfulness the composite comes first.
    rows : int
        Rows it was estimated from.
    independent : bool
        Whether the truth states that they are independent, or that all but the first are.
    """

    covariance: Tensor
    rows: int
    independent: bool


def correlated(moments: Moments) -> Finding:
    r"""Selection not void, by correlation: :math:`-\tfrac12 \log \det R` beyond what independent constituents reach by chance (Bartlett).

    Raises
    ------
    NotApplicable
        If it is not, and the truth does not state that nothing is selected: dependence may show in higher moments only.
    """
    total = total_correlation_gaussian(moments.covariance)
    s = len(moments.covariance)
    if moments.independent or s < 2:
        return Finding.of(0.0, reason="nothing is selected")
    chance = float(chi2.isf(LEVEL, s * (s - 1) / 2)) / (2 * moments.rows)
    if total > chance:
        return Finding.of(total, chance_level=chance, rows=moments.rows)
    raise NotApplicable(f"correlations of the tuple are within their sampling error (total {total:.2g}, chance {chance:.2g} nats)")


def faithful_moments(moments: Moments) -> Finding:
    r"""Faithfulness, by covariance: the smallest :math:`|\mathrm{cov}(v, t_j \mid t_{-j})| / (\sigma_v \sigma_{t_j})` of a tuple.

    It vanishes where g ignores a constituent, or where a constituent follows from the others.
    """
    c = moments.covariance.double()
    scale = c.diagonal().sqrt()
    r = c / scale[:, None] / scale
    left = []
    for j in range(1, len(r)):
        rest = [k for k in range(1, len(r)) if k != j]
        explained = r[0, rest] @ torch.linalg.pinv(r[rest][:, rest], hermitian=True) @ r[rest, j] if rest else torch.zeros(())
        left.append(abs(float(r[0, j] - explained)))
    j = min(range(len(left)), key=lambda k: left[k])
    if left[j] > ERRORS / moments.rows**0.5:
        return Finding.of(left[j], constituent=j, rows=moments.rows)
    raise NotApplicable(f"constituent {j} has a conditional covariance within its sampling error ({left[j]:.2g} from {moments.rows} rows)")


def spread(deviations: Tensor) -> Finding:
    """Not degenerate: every concept varies after selection. Margin: the smallest standard deviation."""
    i = int(deviations.argmin())
    return Finding.of(float(deviations[i]), concept=i)


def is_real(instance: Instance) -> bool:
    """Whether all levels are real and the truth tells their covariance."""
    truth = instance.truth
    return truth is not None and all(level.kind == "real" for level in truth.levels) and "covariance" in truth.facts


def jacobians(truth: Truth) -> dict[str, Tensor]:
    """Jacobians of every view's f at random points, shape (points, d, c); one point where f is linear."""
    maps: Mapping[str, Mapping[int, Any]] = getattr(truth, "mixings", {})
    found = {}
    for view, levels in maps.items():
        points = 2 * max(truth.levels[level].size for level in levels) + 8
        pieces = []
        for level, f in levels.items():
            if not isinstance(f, Smooth):
                raise NotApplicable(f"f of view {view!r} does not know its Jacobian")
            mean, deviation = truth.facts[f"mean/{level}"].cpu(), truth.facts[f"deviation/{level}"].cpu()
            g = torch.Generator().manual_seed(seed_of("jacobian", view, level))
            pieces.append(f.jacobian(mean + deviation * torch.randn(points, len(mean), generator=g, dtype=mean.dtype)).detach().double())
        every = torch.cat(pieces, dim=2)
        linear = bool((every - every[:1]).abs().max() <= TOLERANCE * every.abs().max())
        found[view] = every[:1] if linear else every
    return found


def supports(truth: Truth) -> dict[str, Tensor]:
    """Support of every view's f as the truth states it, shape (d, c), bool."""
    found = {}
    for view, levels in truth.dictionaries.items():
        if all(f"support/{view}/{level}" in truth.facts for level in levels):
            found[view] = torch.cat([truth.facts[f"support/{view}/{level}"] for level in levels], dim=1).cpu()
    return found


def tuples(truth: Truth, with_composite: bool = False) -> dict[str, Moments]:
    """Covariance of every composite's tuple, or of the composite and its tuple."""
    if getattr(truth, "fixed", None):
        raise NotApplicable("somebody has steered the instance: its covariances are not those of composition and selection")
    start = [sum(level.size for level in truth.levels[:i]) for i in range(len(truth.levels))]
    covariance = truth.facts["covariance"].cpu()
    free = _unselected(truth)
    found = {}
    for level, every in truth.constituents.items():
        for i, below in enumerate(every):
            at = [start[level] + i] * with_composite + [start[level + 1] + j for j in below]
            if below:
                moments = Moments(covariance[at][:, at], int(truth.facts["moments_rows"]), free[level, i])
                found[f"level {level} composite {i}"] = moments
    if not found:
        raise NotApplicable("no concept is composed of others")
    return found


def dependences(truth: Truth) -> dict[str, float]:
    """Per view the largest correlation of two concepts it shows; 0 where nothing is selected and they are of one level."""
    start = [sum(level.size for level in truth.levels[:i]) for i in range(len(truth.levels) + 1)]
    nothing = all(_unselected(truth).values()) and not getattr(truth, "fixed", None)
    found = {}
    for view, levels in truth.dictionaries.items():
        at = [node for level in levels for node in range(start[level], start[level + 1])]
        c = truth.facts["covariance"].cpu()[at][:, at]
        scale = c.diagonal().sqrt()
        largest = float((c / scale[:, None] / scale).abs().fill_diagonal_(0).max())
        if nothing and len(levels) == 1:
            largest = 0.0
        elif largest <= ERRORS / truth.facts["moments_rows"] ** 0.5:
            raise NotApplicable("correlations are within their sampling error, though something is selected")
        found[view] = largest
    return found


def _unselected(truth: Truth) -> dict[tuple[int, int], bool]:
    """Whether no potential weighs a composite, nor any composite that it is a constituent of (level, concept)."""
    found: dict[tuple[int, int], bool] = {}
    for level, every in truth.constituents.items():
        for i, below in enumerate(every):
            if not below:
                continue
            phi = truth.facts[f"selection/{level}"][i]
            own = phi["strength"] == 0 or (phi["kind"] == "none" and phi["agreement"] is None)
            own = own and not (level == 0 and truth.facts.get("root_selection"))  # phi_S weighs composites of level 0, too
            above = [k for k, members in enumerate(truth.constituents.get(level - 1, ())) if i in members]
            found[level, i] = own and all(found[level - 1, k] for k in above)
    return found
