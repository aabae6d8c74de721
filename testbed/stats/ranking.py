"""Ranking many methods over many instances: which can be told apart?"""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

from testbed.stats.paired import holm

if TYPE_CHECKING:
    import pandas as pd

Scores = Mapping[str, Mapping[Hashable, "float | Sequence[float]"]]


@dataclass(frozen=True)
class CriticalDifference:
    """Mean ranks of methods over instances, and which of them cannot be told apart.

    Attributes
    ----------
    ranks : mapping of str to float
        Mean rank of each method over instances, best first; 1 is the best.
    n : int
        Instances, never trials: fit seeds are averaged first.
    dropped : int
        Instances left out since a method has no score there.
    statistic, p : float
        Friedman's, for the hypothesis that all are alike.
    method : {"nemenyi", "conover", "wilcoxon"}
    difference : float or None
        How far two mean ranks must lie apart; only Nemenyi has one number for all pairs.
    p_values : mapping of (str, str) to float
        Of each pair, in the order of the ranks, corrected for their number.
    groups : tuple of tuple of str
        Runs along the ranks in which no pair can be told apart, each as long as can be, of two or more. All are one group where
        Friedman's test does not reject.
    alpha : float
    """

    ranks: Mapping[str, float]
    n: int
    dropped: int
    statistic: float
    p: float
    method: str
    difference: float | None
    p_values: Mapping[tuple[str, str], float]
    groups: tuple[tuple[str, ...], ...]
    alpha: float


def critical_difference(
    scores: Scores | pd.DataFrame,
    *,
    direction: Literal["higher", "lower"] = "higher",
    method: Literal["nemenyi", "conover", "wilcoxon"] = "nemenyi",
    alpha: float = 0.05,
) -> CriticalDifference:
    r"""Friedman's test over instances, then all pairs [1]_.

    Each instance ranks the methods. Friedman's test asks whether mean ranks differ at all. ``"nemenyi"`` tells two of k methods apart where
    their mean ranks over N instances differ by

    .. math:: \mathrm{CD} = \frac{q_{\alpha}}{\sqrt 2} \sqrt{\frac{k (k + 1)}{6 N}}

    with q the quantile of the studentised range; ``"conover"`` by a t-test on ranks, less cautious, corrected by Holm; ``"wilcoxon"``
    by signed-rank tests corrected by Holm, which do not depend on the other methods in the field [2]_, and can show nothing
    with fewer than six instances. Post-hoc tests are those of scikit-posthocs.

    Parameters
    ----------
    scores : mapping of method to mapping of instance to float or sequence of float (one per fit seed); or DataFrame
        A table has columns ``estimator``, ``instance``, ``value`` and a row per trial.
    direction : {"higher", "lower"}
        Which scores rank first.

    Raises
    ------
    ValueError
        If there are fewer than 3 methods, or fewer than 2 instances that all of them have.

    References
    ----------
    .. [1] Demsar (2006), Statistical comparisons of classifiers over multiple data sets, section 3.2.
    .. [2] Benavoli, Corani & Mangili (2016), Should we really use post-hoc tests based on mean-ranks?
    """
    import numpy as np
    from scipy import stats

    if direction not in ("higher", "lower"):
        raise ValueError(f"direction is {direction!r}: higher or lower")
    wide, dropped = _complete(scores)  # (n, k)
    n, k = wide.shape
    if k < 3 or n < 2:
        raise ValueError(f"a ranking takes 3 methods and 2 instances that all of them have, not {k} and {n}")
    ranked = (-wide if direction == "higher" else wide).rank(axis=1)
    order = ranked.mean().sort_values(kind="stable")
    names, wide = [str(name) for name in order.index], wide[order.index]
    tied = bool((ranked.nunique(axis=1) == 1).all())
    statistic, p = (0.0, 1.0) if tied else map(float, stats.friedmanchisquare(*(wide[name] for name in wide)))
    pairs = [(i, j) for i in range(k) for j in range(i + 1, k)]
    found = [1.0] * len(pairs) if tied else _post_hoc(wide, pairs, method)
    p_values = {(names[i], names[j]): value for (i, j), value in zip(pairs, found, strict=True)}
    apart = {pair for pair, value in p_values.items() if value < alpha} if p < alpha else set()
    gap = None
    if method == "nemenyi":
        gap = float(stats.studentized_range.ppf(1 - alpha, k, np.inf)) / math.sqrt(2) * math.sqrt(k * (k + 1) / (6 * n))
    ranks = dict(zip(names, map(float, order), strict=True))
    return CriticalDifference(ranks, n, dropped, statistic, p, method, gap, p_values, _groups(names, apart), alpha)


def _complete(scores: Scores | pd.DataFrame) -> tuple[pd.DataFrame, int]:
    """One row per instance that all methods have, one column per method, fit seeds averaged; and how many instances were dropped."""
    import numpy as np
    import pandas as pd

    if isinstance(scores, pd.DataFrame):
        wide = scores.pivot_table(index="instance", columns="estimator", values="value", aggfunc="mean", sort=False)
    else:
        wide = pd.DataFrame({name: {unit: float(np.mean(v)) for unit, v in by.items()} for name, by in scores.items()})
    whole = wide.dropna()
    return whole, len(wide) - len(whole)


def _post_hoc(wide: pd.DataFrame, pairs: Sequence[tuple[int, int]], method: str) -> list[float]:
    """p value of each pair of columns, corrected for the number of pairs."""
    import scikit_posthocs

    table: Any
    values = wide.to_numpy()
    if method == "nemenyi":
        table = scikit_posthocs.posthoc_nemenyi_friedman(values)
        return [float(table.iloc[i, j]) for i, j in pairs]
    if method == "conover":
        table = scikit_posthocs.posthoc_conover_friedman(values)
        return holm([min(1.0, float(table.iloc[i, j])) for i, j in pairs])
    if method == "wilcoxon":
        from testbed.stats.paired import paired_test

        columns = [dict(enumerate(map(float, column))) for column in values.T]
        return holm([paired_test(columns[i], columns[j], "wilcoxon").p for i, j in pairs])
    raise ValueError(f"there is no post-hoc test {method!r}: use nemenyi, conover or wilcoxon")


def _groups(names: Sequence[str], apart: set[tuple[str, str]]) -> tuple[tuple[str, ...], ...]:
    """Longest runs of `names` without a pair that is apart."""
    found: list[tuple[int, int]] = []
    for start in range(len(names)):
        stop = start + 1
        while stop < len(names) and not any((names[i], names[stop]) in apart for i in range(start, stop)):
            stop += 1
        if stop - start > 1 and not any(stop <= last for _, last in found):
            found.append((start, stop))
    return tuple(tuple(names[a:b]) for a, b in found)
