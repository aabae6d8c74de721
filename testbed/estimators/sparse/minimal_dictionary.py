"""Our own: the smallest dictionary that explains the data, with no setting read off the truth."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from testbed.contracts import BLOCK, Codes, Data, Estimator, SparseRows, seed_of
from testbed.estimators.presets.table import made
from testbed.estimators.sparse.autoencoder import require
from testbed.estimators.sparse.refinement import FEWEST, NOTHING, Refinement, copies, floors, regression_codes, remainders
from testbed.estimators.sparse.rows_of import training_rows
from testbed.estimators.sparse.topk_sae import TopKSAE
from testbed.numerics.batches import batches, is_read_once, rows
from testbed.numerics.inference import noise_scale
from testbed.numerics.matching import dense

ACTIVE = 3 / 16
"""Active codes per dimension in the warm-up: well above what concepts need, since with fewer of them composites swallow constituents."""
FORGET = 0.2
"""What the sums lose from one solution to the next."""
CHUNK = 4096
"""Rows between solutions, at least; 8 per atom where that is more, so that solving never costs more than coding."""
IDLE = 0.1
"""Share of idle atoms below which there are too few atoms."""
LAST = 8192
"""Rows, the last ones, by which it is found when a code is off."""


@dataclass(kw_only=True, eq=False, repr=False)
class MinimalDictionary(Estimator):
    r"""Dictionary learning that finds its own sparsity and its own number of atoms.

    1. *Warm-up.* Gradient steps of a TopK autoencoder with many active codes, on a share `warm_up` of the rows.
    2. *Refinement.* A non-negative lasso codes the rows, least squares solve for dictionary and bias together, and again; statistics of
       older rows fade. The penalty is `caution` times the noise, which is what codes leave per free dimension. In the last third of the
       sweeps least squares refit the codes before, which undoes the lasso's shrinkage.
    3. *Minimality.* After each sweep but the last, copies go and an atom that others add up to is replaced by what they leave of it (see
       `refinement.remainders`). In the first half, atoms that are idle are pointed at what is badly explained, and there are more of them
       where hardly any is idle; in the second half they are dropped, and so are those whose codes are below `reach` times the usual size.

    Parameters
    ----------
    start_codes : int, optional
        Atoms to start with; 4 d unless given, but no more than a quarter of the rows. Their number is found.
    samples : int
        Budget in rows, repeated ones counted.
    batch_size : int
        Of the gradient steps.
    lr : float
        Highest learning rate of Adam, on scaled data.
    sweeps : int
        Parts of the refinement; atoms are looked over between them.
    caution : float
        Standard deviations of the noise that a code must exceed.
    reach : float in [0, 1]
        Smallest root mean square of an atom's codes, as a share of the median over atoms.
    warm_up : float in (0, 1)
        Share of the rows that goes to gradient steps; with many concepts and rows enough, more of it is better.
    growth : float
        Atoms that are added while nearly none is idle, as a share of those there are; 0 keeps to `start_codes`.
    view : str, optional
        Which view to learn; None where there is only one.

    Attributes
    ----------
    dictionary_ : Tensor, shape (m, d)
        Rows of norm 1, from the most to the least often used; m is found.
    bias_ : Tensor, shape (d,)
        What is there when no concept is on: not the mean of the data.
    penalty_ : float
        Of the lasso that codes rows.
    floor_ : Tensor, shape (m,)
        Value at or below which a code is off.
    sparsity_ : float
        Mean number of codes per row in the last rows.
    history_ : dict of lists
        That of the warm-up, see `SparseAutoencoder`, and per sweep ``atoms``, ``noise`` and ``active``.
    """

    start_codes: int | None = None
    samples: int = 500_000
    batch_size: int = 512
    lr: float = 1e-2
    sweeps: int = 6
    caution: float = 2.5
    reach: float = 0.3
    warm_up: float = 0.25
    growth: float = 0.5
    view: str | None = None

    @classmethod
    def small(cls) -> Self:
        return cls(start_codes=32, samples=20_000)

    @classmethod
    def preset(cls, name: str, **others: Any) -> Self:
        """One with the settings of a preset, see `SparseAutoencoder.preset`; `others` go before them."""
        return made(cls, name, others)

    def fit(self, data: Data, *, seed: int, checkpoint: str | Path | None = None) -> Self:
        """Learn dictionary, sparsity and number of atoms.

        Parameters
        ----------
        data : Observed, array of shape (n, d), or iterable of either
        seed : int
        checkpoint : path, optional
            File for the gradient steps to write to now and then, and to go on from.

        Raises
        ------
        InvalidInput
            If a parameter is out of range, or the data are not finite, constant or fewer than atoms.
        """
        self._check()
        stream = training_rows(data, (self.view,), 0)
        m, width = self._start(stream)
        warm = TopKSAE(
            n_codes=m,
            k=max(1, min(m, round(ACTIVE * width) if width else m // 16)),
            samples=max(1, int(self.warm_up * self.samples)),
            batch_size=self.batch_size,
            lr=self.lr,
        )
        warm.fit(stream, seed=seed, checkpoint=checkpoint)
        self.history_ = warm.history_
        self._refine(Refinement(warm.fitted()["decoder"].clone(), warm.bias_.clone()), stream, self.samples - warm.samples, seed)
        return self

    def fit_from(self, data: Data, atoms: Tensor, *, seed: int) -> Self:
        """Refine given atoms, shape (m, d), without a warm-up: where does it end that starts at the truth?"""
        self._check()
        stream = training_rows(data, (self.view,), 0)
        self.history_ = {}
        bias = rows(stream, limit=BLOCK).mean(dim=0)
        self._refine(Refinement(normalize(atoms.to(bias), dim=1), bias), stream, self.samples, seed)
        return self

    def _start(self, stream: Any) -> tuple[int, int]:
        """Atoms to start with, and the data's width (0 where it cannot be seen beforehand)."""
        if is_read_once(stream):
            require(self.start_codes is not None, "a stream that can be read only once does not tell its width: give start_codes")
            return int(self.start_codes or 0), 0
        width = rows(stream, limit=1).shape[1]
        return self.start_codes or max(1, min(4 * width, len(rows(stream, limit=16 * width)) // 4)), width

    def _refine(self, state: Refinement, stream: Any, budget: int, seed: int) -> None:
        """Sweep over `budget` rows, and keep what is found."""
        generator = torch.Generator().manual_seed(seed_of("refine", seed))
        share = max(1, budget // self.sweeps)
        source = iter(batches(stream, None, min(share, max(CHUNK, 8 * len(state.atoms))), seed_of("refined rows", seed), budget))
        curve: dict[str, list[float]] = {"atoms": [], "noise": [], "active": []}
        last: list[Tensor] = []
        noise = 0.0
        for sweep in range(self.sweeps):
            refit = sweep >= self.sweeps - max(1, self.sweeps // 3)
            gathered, active = [], 0
            for x in up_to(source, share):
                noise = noise or noise_scale(x - state.bias, state.atoms)
                state.forget(1 - FORGET)
                active += len(state.add(x, self.caution * noise, refit=refit).values)
                state.solve()
                gathered.append(x)
            if not gathered:  # more sweeps than rows
                break
            last = gathered
            for name, value in (("atoms", len(state.atoms)), ("noise", noise), ("active", active / sum(map(len, gathered)))):
                curve[name].append(float(value))
            # Once a sweep, lest small penalty, many codes and little noise lead to each other; what refitted codes leave is too little.
            noise = noise if refit else state.noise
            if sweep < self.sweeps - 1:
                self._tidy(state, generator, early=sweep < self.sweeps // 2, grow=self.growth > 0 and sweep < self.sweeps // 3)
        self.history_ = {**self.history_, **curve}
        self._finish(state, torch.cat(last)[-LAST:])

    def _tidy(self, state: Refinement, generator: torch.Generator, *, early: bool, grow: bool) -> None:
        """No copies, no sums; what says nothing is pointed elsewhere, or, where no time is left to learn, dropped."""
        idle = state.uses <= FEWEST
        if not early and not idle.all():
            sizes = state.sizes()
            idle |= sizes < self.reach * np.median(sizes[~idle])
        idle |= copies(state.atoms, state.uses)
        living = np.flatnonzero(~idle)
        summed, rest = remainders(state.atoms[torch.from_numpy(living).to(state.atoms.device)], state.uses[living])
        empty = rest.norm(dim=1).cpu().numpy() < NOTHING
        idle[living[summed & empty]] = True
        split = np.zeros_like(idle)
        split[living[summed & ~empty]] = True
        state.replace(split, normalize(rest[torch.from_numpy(summed & ~empty).to(rest.device)], dim=1))
        if not early:
            state.keep(~idle if (~idle).any() else idle)
            return
        if idle.any():
            state.replace(idle, state.unexplained(int(idle.sum()), generator))
        if grow and idle.mean() < IDLE:
            state.grow(state.unexplained(max(1, int(self.growth * len(idle))), generator))

    def _finish(self, state: Refinement, last: Tensor) -> None:
        """Fix how rows are coded."""
        order = torch.from_numpy(np.argsort(-state.uses, kind="stable")).to(state.atoms.device)
        self.dictionary_, self.bias_ = state.atoms[order].contiguous(), state.bias
        self.penalty_ = self.caution * noise_scale(last - self.bias_, self.dictionary_)
        self.floor_ = torch.zeros(len(order), dtype=last.dtype, device=last.device)
        codes = self._codes(last)
        self.floor_ = floors(codes)
        self.sparsity_ = float((codes.values > self.floor_[codes.indices]).sum()) / len(codes)

    def _codes(self, x: Tensor) -> SparseRows:
        codes = regression_codes(x - self.bias_, self.dictionary_, self.penalty_, refit=True, tolerance=1e-4)
        on = codes.values > self.floor_[codes.indices]
        return SparseRows.from_entries(codes.row_of_entry()[on], codes.indices[on], codes.values[on], codes.shape)

    def _check(self) -> None:
        require(self.start_codes is None or self.start_codes >= 1, f"start_codes must be at least 1, not {self.start_codes}")
        require(self.samples >= 100, f"samples must be at least 100, not {self.samples}")
        require(self.batch_size >= 1 and self.lr > 0, f"batch_size and lr must be above 0, not {self.batch_size} and {self.lr}")
        require(self.sweeps >= 1, f"sweeps must be at least 1, not {self.sweeps}")
        require(self.caution > 0, f"caution must be above 0, not {self.caution}")
        require(0 < self.warm_up < 1, f"warm_up must lie between 0 and 1, not be {self.warm_up}")
        require(self.growth >= 0, f"growth must be at least 0, not {self.growth}")
        require(0 <= self.reach <= 1, f"reach must lie between 0 and 1, not be {self.reach}")

    def encode(self, observed: Any) -> Codes:
        require(hasattr(self, "dictionary_"), "MinimalDictionary is not fitted yet: call fit first")
        x = rows(observed, self.view, columns=len(self.bias_)).float()
        return SparseRows.cat([self._codes(part) for part in torch.split(x, BLOCK)])

    def decode(self, codes: Codes) -> Tensor:
        return torch.cat([dense(codes[i : i + BLOCK]) @ self.dictionary_ for i in range(0, len(codes), BLOCK)]) + self.bias_


def up_to(source: Iterator[Tensor], n: int) -> Iterator[Tensor]:
    """Batches of at least `n` rows together, or all there are."""
    seen = 0
    while seen < n:
        found = next(source, None)
        if found is None:
            return
        seen += len(found)
        yield found
