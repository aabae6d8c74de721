"""Our own: the smallest dictionary that explains the data, with no setting read off the truth."""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any, Self

import torch
from torch import Tensor

from testbed.contracts import BLOCK, Codes, Data, Estimator, SparseRows, seed_of
from testbed.estimators.sparse.annealed_sae import AnnealedSAE
from testbed.estimators.sparse.autoencoder import require
from testbed.estimators.sparse.refinement import Coding, Refinement, coding, fewest, sums, typical, universal
from testbed.estimators.sparse.rows_of import training_rows
from testbed.numerics.batches import batches, rows
from testbed.numerics.matching import dense
from testbed.numerics.pursuit import orthogonal_matching_pursuit

WARM_UP = 0.85
"""Share of the budget that goes to gradient steps; what is left goes to refinement."""
FORGET = 0.25
"""What statistics of older sweeps weigh in the next."""
CHUNK = 8192
"""Rows that are coded at once."""
LAST = 12_288
"""Rows, the last ones, by which the number of atoms is found."""


@dataclass(kw_only=True, eq=False, repr=False)
class MinimalDictionary(Estimator):
    r"""Dictionary learning that finds its own sparsity and its own number of atoms.

    1. *Warm-up.* Gradient steps of a BatchTopK autoencoder that finds its own k, see `AnnealedSAE`.
    2. *Refinement.* Matching pursuit codes all rows down to a threshold, least squares solve for the dictionary, and again. Atoms that
       nothing uses, or that are sums of two others, are pointed at what is badly explained.
    3. *Minimality.* The most used atoms are kept, as many as make the description of the data shortest, see `refinement.fewest`.

    The threshold below which a code is not worth having is the larger of `reach` times the size of a typical code (half of that while
    refining, when residuals are the dictionary's own errors) and of what noise correlates with the best of m atoms.

    Parameters
    ----------
    most_codes : int, optional
        Atoms to start with; 8 d unless given, but no more than a quarter of the rows.
    samples : int
        Budget in rows, repeated ones counted.
    batch_size : int
        Of the gradient steps.
    lr : float
        Highest learning rate of Adam, on scaled data.
    sweeps : int
        How often the dictionary is solved for.
    reach : float in [0, 1]
        Smallest code worth having, as a share of a typical one.
    view : str, optional
        Which view to learn; None where there is only one.

    Attributes
    ----------
    dictionary_ : Tensor, shape (m, d)
        Rows of norm 1, from the most to the least often used; m is found.
    bias_ : Tensor, shape (d,)
    threshold_ : float
        Smallest correlation of a residual with an atom that makes a code.
    max_active_ : int
        Most codes per row.
    sparsity_ : float
        Mean number of codes per row that were worth having at the end of the warm-up.
    history_ : dict of lists
        That of the warm-up, see `SparseAutoencoder`, and per sweep ``atoms``, ``noise`` and ``active``.
    """

    most_codes: int | None = None
    samples: int = 500_000
    batch_size: int = 256
    lr: float = 1e-2
    sweeps: int = 3
    reach: float = 0.3
    view: str | None = None

    @classmethod
    def small(cls) -> Self:
        return cls(most_codes=32, samples=20_000)

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
        warm = AnnealedSAE(
            n_codes=self._most(stream),
            samples=max(1, int(WARM_UP * self.samples)),
            batch_size=self.batch_size,
            lr=self.lr,
            reach=self.reach,
        )
        warm.fit(stream, seed=seed, checkpoint=checkpoint)
        self.bias_, self.history_ = warm.bias_, warm.history_
        self._refine(warm, stream, seed)
        return self

    def _most(self, stream: Any) -> int:
        """Atoms to start with."""
        if self.most_codes is not None:
            return self.most_codes
        require(iter_again(stream), "a stream that can be read only once does not tell its width: give most_codes")
        width = rows(stream, limit=1).shape[1]
        return max(1, min(8 * width, len(rows(stream, limit=32 * width)) // 4))

    def _refine(self, warm: AnnealedSAE, stream: Any, seed: int) -> None:
        generator = torch.Generator().manual_seed(seed_of("refine", seed))
        fitted = warm.fitted()
        state, active, size = Refinement(fitted["decoder"]), float(fitted["active"]), float(fitted["typical"])
        budget = max(1, self.samples - warm.samples)
        most = min(state.atoms.shape[1], max(4, math.ceil(3 * active)))
        source = batches(stream, None, min(CHUNK, max(1, budget // self.sweeps)), seed_of("refined rows", seed), budget)
        chunks = max(1, budget // self.sweeps // CHUNK)
        noise = 0.0
        last: list[Tensor] = []
        curve: dict[str, list[float]] = {"atoms": [], "noise": [], "active": []}
        for sweep in range(self.sweeps):
            found = None
            sizes, counts, seen = [], 0, 0
            gathered: list[Tensor] = []
            for x in islice(source, chunks if sweep < self.sweeps - 1 else None):
                centred = x - self.bias_
                found = coding(centred, state.atoms, max(self.reach / 2 * size, universal(noise, len(state.atoms))), most)
                state.add(centred, found)
                noise = found.noise
                gathered.append(centred)
                sizes.append(found.codes.values)
                counts, seen = counts + len(found.codes.values), seen + len(x)
            if found is None:  # more sweeps than rows
                break
            last = gathered
            size = typical(torch.cat(sizes)) or size
            state.solve()
            for name, value in (("atoms", float((state.uses > 0).sum())), ("noise", noise), ("active", counts / seen)):
                curve[name].append(value)
            if sweep < self.sweeps - 1:
                self._replace(state, found, generator, last=sweep == self.sweeps - 2)
                state.forget(FORGET)
        self._finish(state, torch.cat(last)[-LAST:], noise, size, most)
        self.history_ = {**self.history_, **curve}
        self.sparsity_ = active

    def _replace(self, state: Refinement, found: Coding, generator: torch.Generator, last: bool) -> None:
        """Atoms that say nothing: pointed elsewhere, or, where no time is left to learn, dropped."""
        idle = (state.uses < 1) | sums(state.atoms, state.uses)
        if last:
            state.keep(~idle if bool((~idle).any()) else idle)
        else:
            state.reseed(idle, found, generator)

    def _finish(self, state: Refinement, last: Tensor, noise: float, size: float, most: int) -> None:
        """Keep as many atoms as pay for themselves, and fix how rows are coded."""
        self.threshold_ = max(self.reach * size, universal(noise, len(state.atoms)))
        kept = fewest(state, last, threshold=self.threshold_, max_active=most, rows=self.samples)
        self.dictionary_ = kept.atoms.contiguous()
        self.max_active_ = most

    def _check(self) -> None:
        require(self.most_codes is None or self.most_codes >= 1, f"most_codes must be at least 1, not {self.most_codes}")
        require(self.samples >= 100, f"samples must be at least 100, not {self.samples}")
        require(self.batch_size >= 1 and self.lr > 0, f"batch_size and lr must be above 0, not {self.batch_size} and {self.lr}")
        require(self.sweeps >= 1, f"sweeps must be at least 1, not {self.sweeps}")
        require(0 <= self.reach <= 1, f"reach must lie between 0 and 1, not be {self.reach}")

    def encode(self, observed: Any) -> Codes:
        require(hasattr(self, "dictionary_"), "MinimalDictionary is not fitted yet: call fit first")
        x = rows(observed, self.view, columns=len(self.bias_)).float() - self.bias_
        return SparseRows.cat(
            [
                orthogonal_matching_pursuit(part, self.dictionary_, max_active=self.max_active_, threshold=self.threshold_)
                for part in torch.split(x, BLOCK)
            ]
        )

    def decode(self, codes: Codes) -> Tensor:
        return torch.cat([dense(codes[i : i + BLOCK]) @ self.dictionary_ for i in range(0, len(codes), BLOCK)]) + self.bias_


def iter_again(stream: Any) -> bool:
    """Whether reading some rows leaves them there."""
    return isinstance(stream, Tensor) or iter(stream) is not stream
