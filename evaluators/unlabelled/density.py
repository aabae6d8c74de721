"""How often codes are on."""

from __future__ import annotations

from contextlib import suppress
from typing import Any

import torch
from torch import Tensor

from evaluators.calibration import checked_codes, concepts, shown_levels
from evaluators.unlabelled.dense_units import firing_rates
from testbed.contracts import Evaluator, NotApplicable, Outcome, Scores

QUANTILES = (0.05, 0.25, 0.75, 0.95)
EDGES = tuple(-8 + i / 4 for i in range(33))
"""Edges of the histogram, in powers of 10."""


class Density(Evaluator):
    r"""Median share of the rows in which a living code is other than 0, and the distribution of these shares [1]_.

    A description. Where true concepts are known and sparse, part ``distance`` is that of both distributions of logarithms to base 10
    (Wasserstein 1): .3 if all codes are on twice as often as concepts are. Equal distributions say nothing about recovery: codes with
    permuted rows have their own.

    References
    ----------
    .. [1] Bricken et al. (2023), Towards monosemanticity ("feature density histogram").
    """

    direction = "none"
    equivalence = "permutation and invertible scaling of each code that keeps 0"
    invariances = ("permutation", "sign", "scale")

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``quantile_0.05`` ..., ``concepts`` (their median) and ``distance``. Details: the histogram of the logarithms."""
        rates = _living(firing_rates(checked_codes(outcome)))
        if not len(rates):
            return Scores(0.0)
        parts = {f"quantile_{q:g}": float(rates.quantile(q)) for q in QUANTILES}
        details: dict[str, Any] = {"edges": list(EDGES), "codes": _histogram(rates)}
        with suppress(NotApplicable):  # nobody knows, or concepts are never off
            true = _living(firing_rates(concepts(outcome, shown_levels(outcome, ("sparse",)))))
            if len(true):
                parts |= {"concepts": float(true.quantile(0.5)), "distance": _wasserstein(rates.log10(), true.log10())}
                details["concepts"] = _histogram(true)
        return Scores(float(rates.quantile(0.5)), parts, details=details)


def _living(rates: Tensor) -> Tensor:
    return rates[rates > 0]


def _histogram(rates: Tensor) -> list[int]:
    inner = torch.tensor(EDGES[1:-1], dtype=torch.float64)
    return torch.bucketize(rates.log10(), inner, right=True).bincount(minlength=len(EDGES) - 1).tolist()


def _wasserstein(first: Tensor, second: Tensor) -> float:
    """Distance of two distributions, each given by its equally likely values."""
    from scipy.stats import wasserstein_distance

    return float(wasserstein_distance(first.numpy(), second.numpy()))
