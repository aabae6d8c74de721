r"""Which rows of a table of counts have one law: tuples whose context laws do not differ are one state.

A row t belongs to a tuple, its columns to the values of what stands around it, context by context (a context is one other block of
concepts). In a hierarchy :math:`p(\text{context} \mid t)` depends on t only through the composite's state, so that the fewest states that
explain the table are its distinct laws. Two rows x, y with totals X, Y are held against each other by

.. math:: G = 2 \sum_c x_c \ln \frac{x_c (X + Y)}{(x_c + y_c) X} + y_c \ln \frac{y_c (X + Y)}{(x_c + y_c) Y},

which is :math:`\chi^2` with (columns that occur) - 1 degrees of freedom when the laws are equal. Contexts depend on each other, so their
statistics are not added: the smallest p-value counts, times the number of contexts (Bonferroni).
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.special import gammaln
from scipy.stats import chi2

from testbed.contracts import InvalidInput

Array = NDArray[np.float64]
Labels = NDArray[np.int64]

RULES = ("g_test", "bic", "mdl")
EXACT = 64
"""Total of a row up to which the mean of G is computed exactly; beyond, Williams' correction is good enough."""
LEAST = 0.5
"""Columns with a smaller total count as empty: counts from which noise was taken out are no whole numbers."""
ROUNDS = 5
"""Of moving tuples to where they fit better."""


def merged_states(
    counts: Array, starts: Labels, *, rule: str = "g_test", alpha: float = 0.01, tolerance: float = 0.1, totals: Array | None = None
) -> Labels:
    """Group rows into the fewest states, shape (T,), numbered from 0 by decreasing totals.

    Rows come in the order of their totals. Each joins the state under which it is most likely among those that are not rejected, or begins
    a new one; rows then move to where they fit better, and states that are not told apart are merged. So rare rows are held against
    states that are known well, never against each other first.

    Parameters
    ----------
    counts : array, shape (T, S)
        Contexts side by side; not necessarily whole numbers.
    starts : array, shape (J,)
        First column of each context.
    rule : {"g_test", "bic", "mdl"}
        ``"g_test"``: merge while some pair is not rejected. The other two begin with a finer grouping and merge whatever shortens the
        description of the context that says most: by log n / 2 per free parameter, or by the Krichevsky-Trofimov code of each
        state's counts and the names of the rows' states.
    alpha : float
        Probability, at most, of splitting rows of one law, over all tests of this table (Bonferroni).
    tolerance : float
        Laws that differ by less than this are one law, however many rows say otherwise: the total variation of the counts, or the bound of
        it that G gives once its bias is taken off (see `g_tests`), if that is smaller.
    totals : array, shape (T,), optional
        How often each row occurs, for their order; by default the totals of the first context.
    """
    if rule not in RULES:
        raise InvalidInput(f"rule must be one of {', '.join(map(repr, RULES))}, not {rule!r}")
    t = len(counts)
    if len(starts) == 0 or t == 1:
        return np.zeros(t, np.int64)
    totals = np.add.reduceat(counts, starts, axis=1)[:, 0] if totals is None else totals
    level = alpha if rule == "g_test" else 0.5
    labels = _led(counts, starts, totals, level / t, tolerance)
    labels = _moved(counts, starts, totals, labels, level / t, tolerance)
    if rule == "g_test":
        labels = _merged_by_test(counts, starts, labels, alpha, tolerance)
    else:
        labels = _merged_by_length(counts, starts, labels, rule)
    labels = _moved(counts, starts, totals, labels, level / t, tolerance)
    return _by_size(labels, totals)


def g_tests(x: Array, others: Array, starts: Labels) -> tuple[Array, Array]:
    """p-values that row `x`, shape (S,), has the law of each of `others`, shape (K, S), and their effect sizes; shapes (K,)."""
    g, df, mean, weight = _statistics(x[None, :], others, starts)
    # Scaled by its exact mean the statistic keeps its chi-square tail where counts are small (Bartlett's correction).
    p = chi2.sf(g * df / np.maximum(mean, 1e-300), np.maximum(df, 1))
    p = np.where((df > 0) & (mean > 0), p, 1.0)
    effect = np.where(df > 0, np.sqrt(np.maximum(g - df, 0) / np.maximum(weight, 1e-300)) / 2, 0.0)
    return np.minimum(p.min(axis=1) * len(starts), 1.0), np.minimum(effect, _variations(x[None, :], others, starts)).max(axis=1)


def _variations(x: Array, y: Array, starts: Labels) -> Array:
    """Total variation of the laws of `x` and of each row of `y`, per context, shape (K, J)."""
    widths = np.diff(np.append(starts, x.shape[1]))

    def law(values: Array) -> Array:
        total = np.repeat(np.add.reduceat(values, starts, axis=1), widths, axis=1)
        out: Array = values / np.maximum(total, 1e-300)
        return out

    out: Array = np.add.reduceat(np.abs(law(x) - law(y)), starts, axis=1) / 2
    return out


def _statistics(x: Array, y: Array, starts: Labels) -> tuple[Array, Array, Array, Array]:
    r"""G, degrees of freedom, mean of G, and :math:`XY/(X+Y)`, per row of `y` and context; shapes (K, J).

    :math:`(G - df)(X + Y) / XY` estimates :math:`\sum_c (p_c - q_c)^2 / m_c \ge 4\,\mathrm{TV}^2`, m the pooled law: half its root is
    the effect size, unless the total variation of the counts is smaller: where one law is nearly 0, little noise that was not taken out
    makes G large.
    """

    def total(values: Array) -> Array:
        return np.add.reduceat(values, starts, axis=1)

    c = x + y
    empty = c < LEAST
    x, y, c = np.where(empty, 0, x + 0 * c), np.where(empty, 0, y), np.where(empty, 0, c)
    big_x, big_y = total(x), total(y)
    n = big_x + big_y
    df = np.maximum(total((~empty).astype(float)) - 1, 0.0)
    df = np.where((big_x > 0) & (big_y > 0), df, 0.0)
    g = 2 * (total(_xlogx(x) + _xlogx(y) - _xlogx(c)) - _xlogx(big_x) - _xlogx(big_y) + _xlogx(n))
    with np.errstate(divide="ignore", invalid="ignore"):
        inverse = total(np.where(empty, 0.0, 1 / np.where(empty, 1.0, c)))
        williams = 1 + (n / big_x + n / big_y - 1) * (n * inverse - 1) / (6 * n * np.maximum(df, 1))
    mean = np.where(df > 0, np.nan_to_num(williams, nan=1.0, posinf=1.0) * df, 0.0)
    small = np.minimum(big_x, big_y).max(axis=1) <= EXACT
    if small.any():
        mean[small] = _exact_mean(c[small], np.minimum(big_x, big_y)[small], starts)
        mean[df <= 0] = 0.0
    return g, df, mean, big_x * big_y / np.maximum(n, 1e-300)


def _exact_mean(c: Array, least: Array, starts: Labels) -> Array:
    """Mean of G when rows are dealt to the smaller of two with total `least`, shape (K, J), and column totals are `c`, shape (K, S)."""
    widths = np.diff(np.append(starts, c.shape[1]))
    c = np.round(c)
    n = np.add.reduceat(c, starts, axis=1)
    x = np.minimum(np.maximum(np.round(least), 1), np.maximum(n - 1, 0))
    per_column, all_n = np.repeat(x, widths, axis=1), np.repeat(n, widths, axis=1)
    f = np.zeros_like(c)
    for h in range(int(x.max(initial=0)) + 1):  # hypergeometric: h of a column's c counts fall to the smaller row
        possible = (h <= c) & (h <= per_column) & (per_column - h <= all_n - c)
        a = np.where(possible, c, h)
        rest = np.where(possible, all_n - c, per_column)
        chosen = _choose(a, h) + _choose(rest, np.where(possible, per_column - h, 0)) - _choose(all_n, per_column)
        f += np.where(possible, np.exp(np.minimum(chosen, 0.0)) * (_xlogx(np.full_like(c, h)) + _xlogx(np.maximum(c - h, 0))), 0.0)
    out: Array = 2 * (np.add.reduceat(f - _xlogx(c), starts, axis=1) - _xlogx(x) - _xlogx(n - x) + _xlogx(n))
    return np.maximum(out, 0.0)


def _choose(n: Any, k: Any) -> Any:
    return gammaln(n + 1) - gammaln(np.asarray(k) + 1.0) - gammaln(n - k + 1)


def _likelihoods(x: Array, states: Array, starts: Labels) -> Array:
    """Log-likelihood of counts `x`, shape (S,), under each state's law, smoothed by one draw from all states' law; shape (K,)."""
    widths = np.diff(np.append(starts, states.shape[1]))
    total = np.repeat(np.add.reduceat(states, starts, axis=1), widths, axis=1)
    everything = states.sum(axis=0) + x + 1e-9
    prior = everything / np.repeat(np.add.reduceat(everything, starts), widths)
    out: Array = (np.log(states + prior) - np.log(total + 1)) @ x
    return out


def state_sums(counts: Array, labels: Labels) -> Array:
    """Rows added up state by state, shape (K, S)."""
    out = np.zeros((int(labels.max()) + 1, counts.shape[1]))
    np.add.at(out, labels, counts)
    return out


def _led(counts: Array, starts: Labels, totals: Array, threshold: float, tolerance: float) -> Labels:
    labels = np.zeros(len(counts), np.int64)
    states = np.zeros((0, counts.shape[1]))
    for t in np.argsort(-totals, kind="stable"):
        x = counts[t]
        if len(states):
            p, effect = g_tests(x, states, starts)
            allowed = (p >= threshold) | (effect < tolerance)
        if not len(states) or not allowed.any():
            labels[t] = len(states)
            states = np.vstack([states, x])
        else:
            labels[t] = np.where(allowed, _likelihoods(x, states, starts), -np.inf).argmax()
            states[labels[t]] += x
    return labels


def _moved(counts: Array, starts: Labels, totals: Array, labels: Labels, threshold: float, tolerance: float) -> Labels:
    """Move rows to states under which they are more likely, though not a state's most frequent row, nor where it is rejected."""
    labels = labels.copy()
    for _ in range(ROUNDS):
        states, changed = state_sums(counts, labels), False
        head = {int(k): int(np.where(labels == k, totals, -1).argmax()) for k in np.unique(labels)}
        for t in np.argsort(-totals, kind="stable"):
            own = int(labels[t])
            if head[own] == t:
                continue
            states[own] -= counts[t]
            fit = _likelihoods(counts[t], np.maximum(states, 0), starts)
            best = int(fit.argmax())
            if best != own:
                p, effect = g_tests(counts[t], states[best : best + 1], starts)
                if p[0] >= threshold or effect[0] < tolerance:
                    labels[t], changed = best, True
            states[labels[t]] += counts[t]
        if not changed:
            break
    return labels


def _merged_by_test(counts: Array, starts: Labels, labels: Labels, alpha: float, tolerance: float) -> Labels:
    labels = labels.copy()
    while (k := int(labels.max()) + 1) > 1:
        states = state_sums(counts, labels)
        best, pair = -1.0, (0, 0)
        for a in range(k - 1):
            p, effect = g_tests(states[a], states[a + 1 :], starts)
            p = np.where(effect < tolerance, 1 + tolerance - effect, p)
            b = int(p.argmax())
            if p[b] > best:
                best, pair = float(p[b]), (a, a + 1 + b)
        if best < alpha / (k * (k - 1) / 2):
            break
        labels = _joined(labels, *pair)
    return labels


def _merged_by_length(counts: Array, starts: Labels, labels: Labels, rule: str) -> Labels:
    ends = np.append(starts[1:], counts.shape[1])
    states = state_sums(counts, labels)
    says = [_information(states[:, a:b]) for a, b in zip(starts, ends, strict=True)]
    j = int(np.argmax(says))
    table = counts[:, starts[j] : ends[j]]
    table = table[:, table.sum(axis=0) > 0]
    n, width = table.sum(), table.shape[1]

    def length(x: Array) -> Array:
        if rule == "bic":
            bic: Array = _xlogx(x.sum(axis=-1)) - _xlogx(x).sum(axis=-1) + (width - 1) / 2 * np.log(n)
            return bic
        kt: Array = gammaln(x.sum(axis=-1) + width / 2) - gammaln(width / 2) - (gammaln(x + 0.5) - gammaln(0.5)).sum(axis=-1)
        return kt

    labels = labels.copy()
    while (k := int(labels.max()) + 1) > 1:
        states = state_sums(table, labels)
        own = length(states)
        gain = own[:, None] + own[None, :] - length(states[:, None, :] + states[None, :, :])
        if rule == "mdl":
            gain = gain + len(counts) * np.log(k / (k - 1))
        gain[np.tril_indices(k)] = -np.inf
        a, b = np.unravel_index(int(gain.argmax()), gain.shape)
        if gain[a, b] <= 0:
            break
        labels = _joined(labels, int(a), int(b))
    return labels


def _information(table: Array) -> float:
    return float(_xlogx(table).sum() - _xlogx(table.sum(axis=0)).sum() - _xlogx(table.sum(axis=1)).sum() + _xlogx(table.sum()))


def _joined(labels: Labels, a: int, b: int) -> Labels:
    labels = np.where(labels == b, a, labels)
    return labels - (labels > b)


def _by_size(labels: Labels, totals: Array) -> Labels:
    present, labels = np.unique(labels, return_inverse=True)
    size = np.bincount(labels, weights=totals, minlength=len(present))
    rank = np.empty(len(present), np.int64)
    rank[np.argsort(-size, kind="stable")] = np.arange(len(present))
    return rank[labels]


def _xlogx(x: Any) -> Any:
    return x * np.log(np.where(x > 0, x, 1.0))
