"""Noise of instances, of fit seeds and of held-out rows, apart."""

from __future__ import annotations

import math
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from testbed.stats.intervals import LEVEL, Interval

if TYPE_CHECKING:
    from numpy import float64
    from numpy.random import Generator
    from numpy.typing import NDArray

Source = Literal["instance", "fit_seed", "row"]
SOURCES: tuple[Source, ...] = ("instance", "fit_seed", "row")

Nested = Mapping[Hashable, Mapping[Hashable, "float | Sequence[float]"]]
"""Scores by instance and fit seed: one number each, or one per row (or group of rows)."""

RESAMPLES = 1_999


@dataclass(frozen=True)
class VarianceComponents:
    """Where the spread of scores comes from.

    Attributes
    ----------
    instance, fit_seed, row : float
        Variances; one that came out below 0 is given as 0. `row` is 0 where each fit has one number: it is in `fit_seed` then.
    truncated : tuple of str
        Which of them came out below 0: there, the data speak of no such noise at all.
    n : mapping of str to int
        Numbers of instances, fits and rows.
    """

    instance: float
    fit_seed: float
    row: float
    truncated: tuple[str, ...]
    n: Mapping[str, int]

    def error(self, instances: int, fit_seeds: int = 1, rows: int = 1) -> float:
        """Standard error that a mean over so many instances, fit seeds of each, and rows of each fit would have."""
        return math.sqrt((self.instance + (self.fit_seed + self.row / rows) / fit_seeds) / instances)


def variance_components(scores: Nested) -> VarianceComponents:
    r"""Variances of instances, of fit seeds within them and of rows within fits, by the method of moments.

    For the model :math:`y_{ijk} = \mu + a_i + b_{ij} + e_{ijk}` the sums of squares between instances, between the fits of an instance
    and within fits are set equal to their expectations, with the coefficients for unequal numbers [1]_. The estimates are unbiased until
    negative ones are cut off at 0. Where the fits of an instance share their held-out rows, as in every suite, what these rows have in
    common counts as noise of the instance, and `fit_seed` is too small by that part's variance over the number of rows.

    Parameters
    ----------
    scores : mapping of instance to mapping of fit seed to float or sequence of float

    Raises
    ------
    ValueError
        If there are fewer than 2 instances, no instance has 2 fits, or a value is not finite.

    References
    ----------
    .. [1] Searle, Casella & McCulloch (1992), Variance components, section 3.6 and appendix F (Henderson's method I).
    """
    import numpy as np

    cells = _cells(scores)
    sizes = [np.array([len(cell) for cell in fits]) for fits in cells]
    a, b, n = len(cells), sum(map(len, cells)), int(sum(size.sum() for size in sizes))
    if a < 2 or b == a:
        raise ValueError(f"{a} instances with {b} fits: noise of fit seeds takes 2 instances, and 2 fits of one of them")
    fit_means = [np.array([cell.mean() for cell in fits]) for fits in cells]
    means = np.array([np.average(mean, weights=size) for mean, size in zip(fit_means, sizes, strict=True)])
    whole = np.array([size.sum() for size in sizes])
    within = sum(float(((cell - cell.mean()) ** 2).sum()) for fits in cells for cell in fits)
    fits_sum = sum(float((s * (m - c) ** 2).sum()) for s, m, c in zip(sizes, fit_means, means, strict=True))
    between = float((whole * (means - np.average(means, weights=whole)) ** 2).sum())
    inner = sum(float((size**2).sum() / size.sum()) for size in sizes)
    row = within / (n - b) if n > b else 0.0
    fit_seed = (fits_sum - (b - a) * row) / (n - inner)
    outer = inner - sum(float((size**2).sum()) for size in sizes) / n
    kept = max(fit_seed, 0.0)
    instance = (between - (a - 1) * row - outer * kept) / (n - float((whole**2).sum()) / n)
    raw = {"instance": instance, "fit_seed": fit_seed, "row": row}
    scale = sum(map(abs, raw.values()))
    truncated = tuple(name for name, value in raw.items() if value < -1e-12 * scale)
    counts = {"instance": a, "fit_seed": b, "row": n}
    return VarianceComponents(max(instance, 0.0), kept, row, truncated, counts)


def nested_bootstrap(
    scores: Nested,
    vary: Sequence[Source] = ("instance",),
    *,
    shared_rows: bool = True,
    level: float = LEVEL,
    resamples: int = RESAMPLES,
    seed: int = 0,
) -> Interval:
    r"""Interval of the mean over instances, with only some sources of noise drawn anew.

    What is in `vary` says to what the interval speaks. ``("instance",)``: to new instances, each with fits and rows of its own; whole
    clusters are resampled, and their means carry the noise of all below, so that this is the interval for a claim. ``("fit_seed",)``: to
    new fits on these instances; ``("row",)``: to new rows with these fits. Naming several resamples one within the other, in the order
    of `SOURCES`; with the instance among them this counts the lower noise twice, and the interval is too wide [1]_.

    Of k things k - 1 are drawn with replacement, so that the variance over resamples is that of a mean of k [2]_ (k would give too
    little, a third for three fit seeds), and the interval is mean ± t times the standard deviation over resamples, with as many degrees of
    freedom as there are, in the first source that varies. A source with a single thing everywhere does not vary.

    Parameters
    ----------
    scores : mapping of instance to mapping of fit seed to float or sequence of float
    vary : sequence of {"instance", "fit_seed", "row"}
    shared_rows : bool
        Whether the fits of an instance were scored on the same rows, which are then drawn together.

    Returns
    -------
    Interval
        `n` counts the things that the first source draws from. With none to draw from, low and high are NaN.

    Raises
    ------
    ValueError
        If a source is not known, a value is not finite, or rows are shared but of different number.

    References
    ----------
    .. [1] Davison & Hinkley (1997), Bootstrap methods and their application, section 3.8.
    .. [2] McCarthy & Snowden (1985), The bootstrap and finite population sampling.
    """
    import numpy as np
    from scipy import stats

    if not vary or not set(vary) <= set(SOURCES):
        raise ValueError(f"sources of noise are {', '.join(SOURCES)}, unlike one of {list(vary)}")
    cells = _cells(scores)
    ragged = any(len({len(cell) for cell in fits}) > 1 for fits in cells)
    if "row" in vary and shared_rows and ragged:
        raise ValueError("fits of one instance have different numbers of rows: set shared_rows=False")
    rng = np.random.default_rng(seed)
    first = next(source for source in SOURCES if source in vary)
    groups = _groups(cells, first, shared_rows)
    freedom = sum(size - 1 for size in groups)
    mean = float(np.mean([np.mean([cell.mean() for cell in fits]) for fits in cells]))
    if freedom < 1:
        return Interval(mean, math.nan, math.nan, sum(groups), "one value")
    drawn = np.stack([_instance_means(fits, vary, shared_rows, resamples, rng) for fits in cells], axis=1)  # (resamples, instances)
    if "instance" in vary:
        spread = float((drawn * _shares(len(cells), resamples, rng)).sum(axis=1).std(ddof=1))
    else:
        spread = float(drawn.mean(axis=1).std(ddof=1))
    half = float(stats.t.ppf((1 + level) / 2, freedom)) * spread
    return Interval(mean, mean - half, mean + half, sum(groups), f"bootstrap of {', '.join(s for s in SOURCES if s in vary)}")


def _cells(scores: Nested) -> list[list[NDArray[float64]]]:
    """Rows of every fit of every instance, each of shape (rows,)."""
    import numpy as np

    cells = [[np.atleast_1d(np.asarray(value, dtype=float)) for value in fits.values()] for fits in scores.values()]
    if not cells or not all(cells) or not all(len(cell) and np.isfinite(cell).all() for fits in cells for cell in fits):
        raise ValueError("noise needs finite values, at least one for every instance and fit")
    return cells


def _groups(cells: list[list[NDArray[float64]]], source: Source, shared_rows: bool) -> list[int]:
    """Sizes of the groups that a source draws from, each within itself."""
    if source == "instance":
        return [len(cells)]
    if source == "fit_seed":
        return [len(fits) for fits in cells]
    return [len(fits[0]) for fits in cells] if shared_rows else [len(cell) for fits in cells for cell in fits]


def _instance_means(
    fits: list[NDArray[float64]], vary: Sequence[Source], shared_rows: bool, resamples: int, rng: Generator
) -> NDArray[float64]:
    """Mean of one instance in each resample, shape (resamples,)."""
    import numpy as np

    if "row" in vary:
        if shared_rows:
            means = _drawn_means(np.stack(fits), resamples, rng)  # (resamples, fits)
        else:
            means = np.concatenate([_drawn_means(cell[None, :], resamples, rng) for cell in fits], axis=1)
    else:
        means = np.broadcast_to(np.array([cell.mean() for cell in fits]), (resamples, len(fits)))
    if "fit_seed" in vary:
        return np.asarray((means * _shares(len(fits), resamples, rng)).sum(axis=1))
    return np.asarray(means.mean(axis=1))


def _drawn_means(rows: NDArray[float64], resamples: int, rng: Generator) -> NDArray[float64]:
    """Means of each of several sequences of rows over the same resampled rows, shape (resamples, sequences)."""
    import numpy as np

    step = max(1, 2_000_000 // rows.shape[1])
    pieces = [_shares(rows.shape[1], min(step, resamples - i), rng) @ rows.T for i in range(0, resamples, step)]
    return np.concatenate(pieces)


def _shares(k: int, resamples: int, rng: Generator) -> NDArray[float64]:
    """Share of each of k things among k - 1 drawn with replacement, shape (resamples, k); all of it where there is one."""
    import numpy as np

    if k == 1:
        return np.ones((resamples, 1))
    draw: NDArray[float64] = rng.multinomial(k - 1, np.full(k, 1 / k), size=resamples) / (k - 1)
    return draw
