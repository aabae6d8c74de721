"""Chains that are run until they have mixed, or refused; what rows are then drawn from."""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import Tensor

from generators.selection.markov.annealing import POPULATIONS, SIZE, anneal
from generators.selection.markov.factors import Factors
from generators.selection.markov.sweeps import Rows, log_weights, sweep
from testbed.contracts import InvalidInput, seed_of
from testbed.numerics.convergence import effective_sample_size, r_hat

Sampler = Literal["auto", "exact", "markov_chain"]
"""Chains where exact ways take too long; never; wherever constituents are shared."""
SAMPLERS: tuple[Sampler, ...] = get_args(Sampler)
CHAINS, DRAWS = 64, 256
"""Chains that are judged, and draws of each."""
MOST_SWEEPS = 64
"""Most sweeps between two draws: chains that have not mixed by then are refused."""
R_HAT = 1.01
LEAST_SIZE = 2000.0
"""Smallest effective sample size of any statistic, of 16,384 draws."""
DOUBT = 8.0
"""By how much more than is hoped for R-hat may yet fall."""
FRESH = 2.0
"""A row is this many integrated autocorrelation times (of the slowest statistic) away from the draw that it starts from."""
RAREST = 20
"""A statistic that takes its rarer value in fewer draws than this is not judged: both numbers are noise then. It is counted."""


class NotMixed(InvalidInput):
    """The chains disagree, or move too slowly, at the end of their budget."""


@dataclass(frozen=True)
class Report:
    """What the chains were like.

    Attributes
    ----------
    chains, draws : int
    burn_in, thin : int
        Sweeps before the first draw (after annealing) and between draws. A row takes `row_sweeps` from a draw.
    row_sweeps : int
    move_rate : float
        Share of the blocks' draws that changed something.
    r_hat, effective_size : Tensor, shape (statistics,), float64
        Of every state of every node (of two: of the second), the number of each, and last the log weight; NaN where not judged.
    log_partition, log_partition_error : float
    """

    chains: int
    draws: int
    burn_in: int
    thin: int
    row_sweeps: int
    move_rate: float
    r_hat: Tensor
    effective_size: Tensor
    log_partition: float
    log_partition_error: float

    @property
    def worst(self) -> tuple[float, float]:
        """Largest R-hat and smallest effective size."""
        judged = ~self.r_hat.isnan()
        if not judged.any():
            return 1.0, float(self.chains * self.draws)
        return float(self.r_hat[judged].max()), float(self.effective_size[judged].min())

    @property
    def mixed(self) -> bool:
        largest, smallest = self.worst
        return largest <= R_HAT and smallest >= LEAST_SIZE

    @property
    def hopeless(self) -> bool:
        """Whether not even the longest chains could mix: R-hat squared falls to 1 no faster than the number of sweeps grows."""
        return self.worst[0] ** 2 - 1 > DOUBT * (R_HAT**2 - 1) * MOST_SWEEPS / self.thin

    def facts(self) -> dict[str, Any]:
        """As JSON."""
        largest, smallest = self.worst
        return {
            "kind": "markov_chain",
            "chains": self.chains,
            "draws": self.draws,
            "burn_in": self.burn_in,
            "thin": self.thin,
            "row_sweeps": self.row_sweeps,
            "move_rate": self.move_rate,
            "r_hat": largest,
            "effective_size": smallest,
            "not_judged": int(self.r_hat.isnan().sum()),
        }


@dataclass(frozen=True)
class Chains:
    """Chains that have mixed.

    Attributes
    ----------
    factors : Factors
    pool : ndarray, shape (chains * draws, nodes), int32
        Draws of all chains.
    sizes : Tensor, shape (nodes, largest number of states), float64
        Effective number of draws in the share of each state.
    report : Report
    """

    factors: Factors
    pool: Rows
    sizes: Tensor
    report: Report

    def draw(self, n: int, seed: int) -> Rows:
        """Rows, shape (n, nodes): each a chain of its own, from a random draw of the pool on."""
        start = np.random.default_rng(seed_of("start", seed)).integers(len(self.pool), size=n)
        rows = self.pool[start]
        sweep(self.factors, rows, self.factors.log_weight, self.report.row_sweeps, seed_of("sweeps", seed))
        return rows


def run(factors: Factors, what: str) -> Chains:
    """Chains that have mixed, seeded by the law itself: equal laws have equal chains.

    Sweeps between draws are doubled, what was run so far being burnt, until split R-hat and effective sizes are good enough.

    Raises
    ------
    NotMixed
        If they never are.
    Nothing
        If no configuration survives selection.
    """
    return _run(_Keyed(factors, factors.digest), what)


@dataclass(frozen=True, eq=False)
class _Keyed:
    """Factors that are compared by their digest."""

    factors: Factors
    digest: str

    def __eq__(self, other: object) -> bool:
        return isinstance(other, _Keyed) and self.digest == other.digest

    def __hash__(self) -> int:
        return hash(self.digest)


@lru_cache(maxsize=32)
def _run(keyed: _Keyed, what: str) -> Chains:
    factors, seed = keyed.factors, seed_of("markov chains", keyed.digest)
    found = anneal(factors, seed_of("anneal", seed))
    each = CHAINS // POPULATIONS
    rows = np.ascontiguousarray(found.rows.reshape(POPULATIONS, SIZE, -1)[:, :each].reshape(CHAINS, -1))
    burnt, thin = 0, 1
    while True:
        draws = np.empty((DRAWS, *rows.shape), np.int32)
        moves = 0.0
        for t in range(DRAWS):
            moves += sweep(factors, rows, factors.log_weight, thin, seed_of("draw", seed, thin, t)) / DRAWS
            draws[t] = rows
        pool = np.ascontiguousarray(draws.swapaxes(0, 1))  # (chains, draws, nodes)
        r, size, sizes = _judge(factors, pool)
        slowest = size[~size.isnan()].min() if (~size.isnan()).any() else CHAINS * DRAWS
        row_sweeps = thin * math.ceil(FRESH * CHAINS * DRAWS / float(slowest))
        report = Report(CHAINS, DRAWS, burnt, thin, row_sweeps, moves, r, size, found.log_partition, found.error)
        if report.mixed:
            return Chains(factors, pool.reshape(CHAINS * DRAWS, -1), sizes, report)
        if 2 * thin > MOST_SWEEPS or report.hopeless:
            raise NotMixed(_sentence(what, report))
        burnt, thin = burnt + DRAWS * thin, 2 * thin


def _judge(factors: Factors, pool: Rows) -> tuple[Tensor, Tensor, Tensor]:
    """R-hat and effective size of every statistic, and of the share of every state of every node."""
    x = torch.from_numpy(pool)
    chains, draws, _ = x.shape
    columns, where = [], []
    for node, count in enumerate(factors.cardinality.tolist()):
        for state in range(1 if count == 2 else 0, count):
            columns.append(x[:, :, node] == state)
            where.append((node, state))
    indicators = torch.stack(columns, dim=2).double()
    seen = indicators.sum(dim=(0, 1))
    judged = torch.minimum(seen, chains * draws - seen) >= RAREST
    active = (x > 0).sum(dim=2, keepdim=True).double()
    energy = torch.from_numpy(log_weights(factors, pool.reshape(chains * draws, -1), factors.log_weight)).reshape(chains, draws, 1)
    energy = energy + torch.from_numpy(_log_base(factors, pool)).reshape(chains, draws, 1)
    r, size = torch.full((len(where) + 2,), torch.nan, dtype=torch.float64), torch.full((len(where) + 2,), torch.nan, dtype=torch.float64)
    which = torch.cat([judged, torch.ones(2, dtype=torch.bool)])
    monitored = torch.cat([indicators[:, :, judged], active, energy], dim=2)
    r[which], size[which] = r_hat(monitored), effective_sample_size(monitored)
    sizes = torch.full((len(factors.cardinality), int(factors.cardinality.max())), torch.nan, dtype=torch.float64)
    for (node, state), value in zip(where, size.tolist(), strict=False):
        sizes[node, state] = value
        if factors.cardinality[node] == 2:
            sizes[node, 0] = value
    smallest = size[~size.isnan()].min() if (~size.isnan()).any() else torch.tensor(float(chains * draws))
    return r, size, sizes.nan_to_num(float(smallest))


def _log_base(factors: Factors, pool: Rows) -> np.ndarray[tuple[int], np.dtype[np.float64]]:
    """Log of the base law of the variables, shape (n,)."""
    values = pool.reshape(-1, pool.shape[-1])[:, : factors.variables]
    found: np.ndarray[tuple[int], np.dtype[np.float64]] = factors.log_base[factors.base[:-1] + values].sum(axis=1)
    return found


def _sentence(what: str, report: Report) -> str:
    largest, smallest = report.worst
    return (
        f"{what} is too large to be exact, and Markov chains over it have not mixed after {report.burn_in + report.draws * report.thin} "
        f"sweeps: R-hat {largest:.3g} (at most {R_HAT} wanted), effective sample size {smallest:.0f} of {report.chains * report.draws} "
        f"draws (at least {LEAST_SIZE:.0f} wanted): share fewer constituents, or soften the potentials"
    )
