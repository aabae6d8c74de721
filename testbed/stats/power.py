"""How many instances it takes to show a difference."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

MOST = 100_000
NODES = 64
CAUTION = 0.8
"""Confidence of the upper limit on the spread that the cautious number rests on."""


@dataclass(frozen=True)
class Needed:
    """How many instances a paired t-test needs.

    Attributes
    ----------
    n : int
        If the spread is the pilot's.
    cautious : int
        If the spread is at the pilot's upper 80 % limit: a pilot of few instances may well have been too calm by chance.
    difference, power, alpha : float
        What was asked for.
    spread, upper : float
        Standard deviation of the paired differences in the pilot, and its upper limit.
    pilot : int
        Instances in the pilot.
    """

    n: int
    cautious: int
    difference: float
    power: float
    alpha: float
    spread: float
    upper: float
    pilot: int


def seeds_needed(pilot: Sequence[float], difference: float, power: float = 0.8, alpha: float = 0.05) -> Needed:
    r"""Number of instances with which a two-sided paired t-test shows a difference of given size with given probability.

    The smallest n with

    .. math:: P\big(|T_{n-1}(\delta \sqrt n / s)| > t_{n-1, 1 - \alpha/2}\big) \ge \text{power},

    T being noncentral t [1]_. The cautious number has :math:`s \sqrt{(k - 1) / \chi^2_{k-1, 0.2}}` in the place of the spread s of a pilot
    of k instances [2]_. It is the number of *instances*: more fit seeds, or rows, help only as far as they lower the spread,
    see `variance_components`.

    Parameters
    ----------
    pilot : sequence of float
        Paired differences, one per instance, averaged over fit seeds; at least 3.
    difference : float
        The size of the mean difference that is to be shown; its sign does not matter.

    Raises
    ------
    ValueError
        If the pilot has fewer than 3 instances or no spread, or a number is out of its range, or more than `MOST` instances are needed.

    References
    ----------
    .. [1] Cohen (1988), Statistical power analysis for the behavioral sciences, chapter 2.
    .. [2] Browne (1995), On the use of a pilot sample for sample size determination.
    """
    import numpy as np
    from scipy import stats

    x = np.asarray(pilot, dtype=float)
    if len(x) < 3 or not np.isfinite(x).all():
        raise ValueError(f"the spread of paired differences takes at least 3 instances with finite scores, not {len(x)}: run more")
    if difference == 0 or not np.isfinite(difference):
        raise ValueError(f"a difference of {difference:g} cannot be shown: give its size, such as .02")
    if not 0 < alpha < power < 1:
        raise ValueError(f"power {power:g} and alpha {alpha:g}: 0 < alpha < power < 1 is wanted")
    spread = float(x.std(ddof=1))
    if spread <= 1e-12 * max(1.0, float(np.abs(x).max())):
        raise ValueError("the pilot's differences are all equal, so that their spread is not known: vary the instances")
    k = len(x)
    upper = spread * float(np.sqrt((k - 1) / stats.chi2.ppf(1 - CAUTION, k - 1)))
    size = abs(difference)
    return Needed(_instances(size / spread, power, alpha), _instances(size / upper, power, alpha), size, power, alpha, spread, upper, k)


def power_of(n: int, effect: float, alpha: float = 0.05) -> float:
    r"""Probability that a two-sided one-sample t-test of n values rejects, their mean being `effect` standard deviations.

    .. math:: \int \Phi(\delta - t s) + \Phi(-\delta - t s) \; dF(s), \qquad \delta = \text{effect} \cdot \sqrt n,
        \quad (n - 1) s^2 \sim \chi^2_{n-1}

    over quantiles of s, since scipy's noncentral t gives NaN for large effects.
    """
    import numpy as np
    from scipy import special

    node, weight = _nodes()
    ratio = np.sqrt(2 * special.gammaincinv((n - 1) / 2, (node + 1) / 2) / (n - 1))  # of the sample's spread to the true one
    bar = special.stdtrit(n - 1, 1 - alpha / 2) * ratio
    shift = abs(effect) * np.sqrt(n)
    return float(weight @ (special.ndtr(shift - bar) + special.ndtr(-shift - bar))) / 2


@lru_cache(maxsize=1)
def _nodes() -> tuple[NDArray[float64], NDArray[float64]]:
    import numpy as np

    return np.polynomial.legendre.leggauss(NODES)


def _instances(effect: float, power: float, alpha: float) -> int:
    """Smallest n of at least 2 with that power, by doubling and halving, since power grows with n."""
    high = 2
    while power_of(high, effect, alpha) < power:
        high *= 2
        if high > MOST:
            raise ValueError(f"more than {MOST:,} instances would be needed: the difference is {effect:.2g} of the spread")
    low = max(2, high // 2)
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if power_of(middle, effect, alpha) >= power else (middle + 1, high)
    return high
