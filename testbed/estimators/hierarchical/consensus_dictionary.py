"""A dictionary that several starts agree on, chosen by description length: no width, no k, and no single lucky start."""

from __future__ import annotations

import math
from dataclasses import dataclass
from pathlib import Path
from typing import Self

import torch
from torch import Tensor
from torch.nn.functional import normalize

from testbed.contracts import Data, InvalidInput, seed_of
from testbed.estimators.hierarchical.edge_learner import in_range
from testbed.estimators.sparse.minimal_dictionary import MinimalDictionary
from testbed.numerics.batches import rows

WIDTHS = (1.25, 1.5, 2.0)
"""Atoms that starts begin with, as multiples of the data's rank."""
SAME = 0.9
"""Cosine above which atoms of two starts are one."""
VOTES = (0.17, 0.25, 0.34, 0.5)
"""Shares of the starts that must agree on an atom, all of which are tried."""
MAGNITUDE = 3.0
"""Nats that a magnitude costs: it is told to about 5 %."""
HELD_OUT = 2048
"""Rows by which dictionaries are compared, the last ones."""


ROUND = 4
"""Starts between two consensuses."""
WORTH = 0.05
"""Nats per row by which a round must shorten the description, or it was idle."""
PATIENCE = 2
"""Idle rounds in a row after which there is no other."""
Fit = tuple[float, MinimalDictionary]


@dataclass(kw_only=True, eq=False, repr=False)
class ConsensusDictionary(MinimalDictionary):
    r"""`MinimalDictionary` from several starts, and from the atoms that several of them agree on; the shortest description is kept.

    1. *Width.* The number of principal directions above the noise is the data's rank: the number of concepts, where these are fewer than
       dimensions, and else no more than a scale. Starts have 1.25, 1.5 and 2 times as many atoms, none are added, and idle
       ones are dropped. (From 4 d atoms, many more than concepts, the refinement keeps atoms that code noise.)
    2. *Consensus.* A single start is a local optimum, in which some atoms stand for two concepts that are often on together; *which* ones
       differs from start to start. Atoms on which a share of the starts agrees, of all starts and of the better half, are refined anew.
    3. *Choice.* Of all these dictionaries the one that describes held-out rows shortest,

       .. math:: \frac d2 \log \frac{\|x - \hat x\|^2}{d} + \|a\|_0 (\log m + 3),

       in nats per row with :math:`\|x - \hat x\|^2` the mean: the place of each active code costs :math:`\log m` and its magnitude 3.
       Starts come in rounds of four, and end where two have made nothing shorter. What a consensus has led to votes in later rounds.

    Parameters
    ----------
    starts : int
        Most of them.
    samples : int
        Rows of each start, repeated ones counted.
    rows : int
        Most rows that are held, the first ones.
    **others
        See `MinimalDictionary`; `start_codes` is in the place of the widths that are found.

    Attributes
    ----------
    lengths_ : list of list of float
        Description length of each start, and of each consensus.
    rank_ : int
    """

    samples: int = 60_000
    growth: float = 0.0
    starts: int = 24
    rows: int = 50_000

    @classmethod
    def small(cls) -> Self:
        return cls(starts=2, samples=4_000)

    def fit(self, data: Data, *, seed: int, checkpoint: str | Path | None = None) -> Self:
        """Fit all starts, then the consensus; nothing is written to `checkpoint`, since each start takes seconds.

        Raises
        ------
        InvalidInput
            As `MinimalDictionary` does, or if there are too few rows to hold some out.
        """
        self._check()
        in_range("starts", self.starts, 1, 10_000)
        in_range("rows", self.rows, 16, 10**9)
        x = rows(data, self.view, limit=self.rows).float()
        held = min(HELD_OUT, len(x) // 4)
        if held < 4:
            raise InvalidInput(f"{len(x)} rows are too few to hold some out: give at least 16")
        used, held_out = x[:-held], x[-held:]
        self.rank_ = rank(used)
        fits: list[Fit] = []
        better: list[Fit] = []
        idle = 0
        for first in range(0, self.starts, ROUND):
            before = min((length for length, _ in fits + better), default=math.inf)
            for i in range(first, min(first + ROUND, self.starts)):
                width = self.start_codes or math.ceil(WIDTHS[i % len(WIDTHS)] * self.rank_)
                one = self._plain(max(1, min(width, 4 * x.shape[1], len(used) // 4))).fit(used, seed=seed_of("start", seed, i))
                fits.append((description_length(one, held_out), one))
            for i, atoms in enumerate(self._agreed(fits, better)):
                one = self._plain(len(atoms)).fit_from(used, atoms, seed=seed_of("consensus", seed, first, i))
                better.append((description_length(one, held_out), one))
            idle = idle + 1 if min(length for length, _ in fits + better) > before - WORTH else 0
            if idle == PATIENCE:
                break
        best = min(fits + better, key=lambda fit: fit[0])[1]
        for name, value in vars(best).items():
            if name.endswith("_"):
                setattr(self, name, value)
        self.lengths_ = [[length for length, _ in some] for some in (fits, better)]
        return self

    def _plain(self, width: int) -> MinimalDictionary:
        names = set(MinimalDictionary.parameter_names()) - {"view", "start_codes"}
        return MinimalDictionary(start_codes=width, **{name: getattr(self, name) for name in names})

    def _agreed(self, fits: list[Fit], better: list[Fit]) -> list[Tensor]:
        """Different sets of atoms that shares of the starts, and of the best of all, agree on."""
        starts, every = (sorted(some, key=lambda fit: fit[0]) for some in (fits, fits + better))
        found: list[Tensor] = []
        for some in (starts, every[: max(2, len(fits) // 2)]):
            for share in VOTES:
                atoms = consensus([one.dictionary_ for _, one in some], max(2, math.ceil(share * len(some))))
                if len(atoms) and not any(len(atoms) == len(other) and torch.allclose(atoms, other) for other in found):
                    found.append(atoms)
        return found


def rank(x: Tensor) -> int:
    r"""Principal directions above the noise, shape of x (n, d): those whose variance exceeds the largest that noise alone reaches,
    :math:`\sigma^2 (1 + \sqrt{d / n})^2` [1]_ and a twentieth, with :math:`\sigma^2` the mean of those below, from the smallest quarter
    on.

    References
    ----------
    .. [1] Marchenko & Pastur (1967), Distribution of eigenvalues for some sets of random matrices.
    """
    n, d = x.shape
    off = x.double() - x.double().mean(dim=0)
    variance = torch.linalg.eigvalsh(off.T @ off / n)
    spread = (d / n) ** 0.5
    noise = variance[: max(1, d // 4)].median() / max(1 - spread, 0.1) ** 2
    for _ in range(20):
        below = variance <= 1.05 * noise * (1 + spread) ** 2
        noise = variance[below].mean() if below.any() else variance[:1].mean()
    noise = noise.clamp_min(1e-12 * float(variance[-1].clamp_min(1e-300)))
    return max(1, int((variance > 1.05 * noise * (1 + spread) ** 2).sum()))


def consensus(dictionaries: list[Tensor], votes: int) -> Tensor:
    """Mean directions of groups of atoms that at least `votes` dictionaries have, most votes first, shape (c, d)."""
    atoms = torch.cat(dictionaries)
    owner = torch.cat([torch.full((len(one),), i) for i, one in enumerate(dictionaries)]).to(atoms.device)
    near = atoms @ atoms.T > SAME
    count = torch.stack([near[:, owner == i].any(dim=1) for i in range(len(dictionaries))]).sum(dim=0)
    used = torch.zeros(len(atoms), dtype=torch.bool, device=atoms.device)
    found = []
    for j in count.argsort(descending=True, stable=True).tolist():
        if count[j] < votes:
            break
        if not used[j]:
            found.append(normalize(atoms[near[j]].mean(dim=0), dim=0))
            used |= near[j]
    return torch.stack(found) if found else atoms[:0]


def description_length(model: MinimalDictionary, x: Tensor) -> float:
    """Nats per row, up to a constant, see `ConsensusDictionary`."""
    codes = model.encode(x)
    error = float((x - model.decode(codes)).square().mean())
    active = float((codes.values != 0).sum()) / len(x)  # type: ignore[union-attr]
    return x.shape[1] / 2 * math.log(max(error, 1e-30)) + active * (math.log(codes.shape[1]) + MAGNITUDE)
