"""Whether two methods differ on the same instances, and what many such tests are worth."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from testbed.stats.intervals import Interval, Unit, differences, mean_interval

if TYPE_CHECKING:
    from numpy import float64
    from numpy.typing import NDArray

Method = Literal["t", "wilcoxon", "sign", "permutation"]
RESAMPLES = 99_999
EXACT = 16
"""Number of differences up to which the permutation test goes through all of their signs."""


@dataclass(frozen=True)
class PairedTest:
    """A two-sided test of no difference.

    Attributes
    ----------
    method : str
        What was computed, such as ``"sign (exact)"``.
    statistic, p : float
    difference : Interval
        Of the mean difference; its n is the number of pairs.
    """

    method: str
    statistic: float
    p: float
    difference: Interval


def paired_test(a: Mapping[Unit, float], b: Mapping[Unit, float], method: Method = "t") -> PairedTest:
    """Test whether a and b differ on the instances that both have.

    What each supposes of the differences: ``"t"`` a normal law (its p value is about right for others, but for few instances and a long
    tail); ``"wilcoxon"``, the signed-rank test [1]_, and ``"permutation"``, which flips signs at random [2]_, a law symmetric about 0
    where nothing differs; ``"sign"`` nothing. With n instances no p value of the last three lies below 2 ** (1 - n): with five, none
    is below .0625, so that nothing is ever shown.

    Parameters
    ----------
    a, b : mapping of unit to float
        One value per instance; average over fit seeds first.
    method : {"t", "wilcoxon", "sign", "permutation"}
        Signed ranks are exact up to 50 differences without ties; signs always; permutations up to `EXACT` differences, and
        else drawn with a fixed seed.

    Raises
    ------
    ValueError
        If they share no instance, a t-test is asked of a single one, or a value is not finite.

    References
    ----------
    .. [1] Wilcoxon (1945), Individual comparisons by ranking methods.
    .. [2] Fisher (1935), The design of experiments, section 21.
    """
    import numpy as np
    from scipy import stats

    found = differences(a, b)
    interval = mean_interval(found)
    d = np.asarray(found)
    if method == "t" and len(d) < 2:
        raise ValueError("a t-test needs at least 2 instances that both have, not 1")
    d = np.where(np.abs(d) <= 1e-12 * max(1.0, float(np.abs(list(a.values())).max())), 0.0, d)
    if not d.any():
        return PairedTest(f"{method} (no difference)", 0.0, 1.0, interval)
    if method == "t":
        if np.ptp(d) == 0:
            raise ValueError(f"all {len(d)} differences are {d[0]:g}: a t-test needs some spread, use method='sign'")
        tested = stats.ttest_1samp(d, 0.0)
        return PairedTest("t", float(tested.statistic), float(tested.pvalue), interval)
    if method == "wilcoxon":
        ranked = stats.wilcoxon(d)
        return PairedTest("wilcoxon", float(ranked.statistic), float(ranked.pvalue), interval)
    if method == "sign":
        kept = d[d != 0]
        positive = int((kept > 0).sum())
        return PairedTest("sign (exact)", float(positive), float(stats.binomtest(positive, len(kept)).pvalue), interval)
    if method == "permutation":
        return _permuted(d, interval)
    raise ValueError(f"there is no paired test {method!r}: use t, wilcoxon, sign or permutation")


def _permuted(x: NDArray[float64], interval: Interval) -> PairedTest:
    """Flip the signs of the differences x, shape (n,), in every way or at random."""
    import numpy as np

    exact = len(x) <= EXACT
    if exact:
        signs = 1.0 - 2.0 * ((np.arange(2 ** len(x))[:, None] >> np.arange(len(x))) & 1)  # (2 ** n, n)
    else:
        signs = np.random.default_rng(0).choice((-1.0, 1.0), size=(RESAMPLES, len(x)))
    totals = np.abs(signs @ x)
    reached = int((totals >= abs(x.sum()) * (1 - 1e-12)).sum())
    p = reached / len(signs) if exact else (reached + 1) / (len(signs) + 1)  # the drawn ones do not hold the data's own signs
    return PairedTest(f"permutation ({'exact' if exact else 'drawn'})", float(x.mean()), p, interval)


def holm(p_values: Sequence[float]) -> list[float]:
    r"""p values corrected for their number, in the order given: none is below .05 falsely but with probability .05 [1]_.

    .. math:: \tilde p_{(i)} = \max_{j \le i} \min(1, (n - j + 1)\, p_{(j)})

    Raises
    ------
    ValueError
        If one is not a probability.

    References
    ----------
    .. [1] Holm (1979), A simple sequentially rejective multiple test procedure.
    """
    if not all(0 <= p <= 1 for p in p_values):
        raise ValueError(f"p values lie between 0 and 1, unlike one of {list(p_values)}")
    out = [0.0] * len(p_values)
    highest = 0.0
    for rank, place in enumerate(sorted(range(len(p_values)), key=lambda i: p_values[i])):
        highest = max(highest, min(1.0, (len(p_values) - rank) * p_values[place]))
        out[place] = highest
    return out
