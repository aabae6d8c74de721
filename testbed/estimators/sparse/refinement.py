"""From a dictionary that is nearly right to one that is: pursuit codes, exact least squares, and no atom that does not pay for itself."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import scipy.sparse
import torch
from torch import Tensor
from torch.nn.functional import normalize

from testbed.contracts import SparseRows
from testbed.numerics.pursuit import orthogonal_matching_pursuit

RIDGE = 0.1
"""Rows' worth of belief in an atom as it is; it matters for atoms that are hardly ever used."""
FEWEST = 5
"""Uses below which an atom is left as it is."""
STEP = 0.8
"""How many of the atoms are kept in each step of the search for their number."""
POLISH = 3
"""Times that the smallest dictionary is solved for."""
PATIENCE = 2
"""Steps in which the description may get longer before the search ends."""
EXPLAINED = 0.8
"""Share of an atom's squared norm that two others explain when it is taken for their sum."""


def typical(values: Tensor) -> float:
    """Median of codes weighed by their squares: half of the energy lies in larger ones. Many small ones do not move it; 0 for none."""
    if not len(values):
        return 0.0
    ordered = values.double().sort().values
    energy = ordered.square().cumsum(0)
    return float(ordered[torch.searchsorted(energy, energy[-1] / 2)])


def universal(noise: float, atoms: int) -> float:
    """Largest correlation that noise of this standard deviation has with any of so many unit atoms [1]_.

    References
    ----------
    .. [1] Donoho & Johnstone (1994), Ideal spatial adaptation by wavelet shrinkage.
    """
    return noise * math.sqrt(2 * math.log(max(2, atoms)))


@dataclass
class Coding:
    """Codes of a batch in a dictionary, and what they leave.

    Attributes
    ----------
    codes : SparseRows, shape (n, m)
    residual : Tensor, shape (n, d)
    noise : float
        Standard deviation of the residual per free dimension.
    """

    codes: SparseRows
    residual: Tensor
    noise: float


def coding(x: Tensor, atoms: Tensor, threshold: float, max_active: int) -> Coding:
    """Codes of centred rows by matching pursuit down to a threshold."""
    codes = orthogonal_matching_pursuit(x, atoms, max_active=max_active, threshold=threshold)
    counts = codes.indptr.diff()
    owner = torch.repeat_interleave(torch.arange(len(x), device=x.device), counts)
    written = torch.zeros_like(x).index_add_(0, owner, codes.values[:, None] * atoms[codes.indices.long()])
    residual = x - written
    free = max(1.0, float(x.numel() - counts.sum()))
    return Coding(codes, residual, math.sqrt(float(residual.double().square().sum()) / free))


@dataclass
class Refinement:
    """A dictionary and the statistics that its least squares need, gathered batch by batch [1]_.

    Parameters
    ----------
    atoms : Tensor, shape (m, d)
        Rows of norm 1.

    References
    ----------
    .. [1] Engan, Aase & Husoy (1999), Method of optimal directions; Mairal et al. (2009), Online dictionary learning for sparse coding.
    """

    atoms: Tensor
    gram: Tensor = field(init=False)
    cross: Tensor = field(init=False)
    uses: Tensor = field(init=False)

    def __post_init__(self) -> None:
        self.forget(0.0)

    def forget(self, keep: float) -> None:
        """Weigh down what was gathered so far, since older codes were made with an older dictionary."""
        m, d = self.atoms.shape
        if keep == 0.0:
            self.gram, self.cross = self.atoms.new_zeros(m, m, dtype=torch.float64), self.atoms.new_zeros(m, d, dtype=torch.float64)
            self.uses = self.gram.new_zeros(m)
            return
        for statistic in (self.gram, self.cross, self.uses):
            statistic.mul_(keep)

    def add(self, x: Tensor, found: Coding) -> None:
        """Gather a batch of centred rows, shape (n, d), and their codes."""
        codes = found.codes
        sparse = scipy.sparse.csr_matrix(
            (codes.values.double().cpu().numpy(), codes.indices.cpu().numpy(), codes.indptr.cpu().numpy()), shape=codes.shape
        )
        device = self.gram.device
        self.gram += torch.from_numpy((sparse.T @ sparse).toarray()).to(device)
        self.cross += torch.from_numpy(np.asarray(sparse.T @ x.double().cpu().numpy())).to(device)
        self.uses += torch.from_numpy(np.asarray(sparse.getnnz(axis=0))).to(device)

    def solve(self) -> None:
        """The dictionary that least squares gives for the codes gathered; atoms that are hardly used stay."""
        m = len(self.atoms)
        system = self.gram + RIDGE * torch.eye(m, dtype=self.gram.dtype, device=self.gram.device)
        solved = torch.linalg.solve(system, self.cross + RIDGE * self.atoms.double()).to(self.atoms.dtype)
        good = (self.uses >= FEWEST) & (solved.norm(dim=1) > 1e-6)
        self.atoms = torch.where(good[:, None], normalize(solved, dim=1), self.atoms)

    def keep(self, which: Tensor) -> None:
        """Drop all atoms but those that `which`, a mask of shape (m,), marks."""
        self.atoms, self.cross = self.atoms[which], self.cross[which]
        self.gram = self.gram[which][:, which]
        self.uses = self.uses[which]

    def reseed(self, which: Tensor, found: Coding, generator: torch.Generator) -> None:
        """Point the atoms that `which` marks at residuals, drawn in proportion to their squared norms, and forget what they gathered."""
        places = which.nonzero()[:, 0]
        squares = found.residual.square().sum(dim=1).double().cpu()
        if not len(places) or not float(squares.sum()) > 0:
            return
        drawn = squares.multinomial(len(places), replacement=True, generator=generator).to(found.residual.device)
        self.atoms = self.atoms.clone()
        self.atoms[places] = normalize(found.residual[drawn], dim=1)
        self.gram[places] = 0
        self.gram[:, places] = 0
        self.cross[places] = 0
        self.uses[places] = 0

    def sorted(self) -> Refinement:
        """The same, with atoms from the most to the least often used."""
        order = self.uses.argsort(descending=True, stable=True)
        out = Refinement(self.atoms[order])
        out.uses, out.cross = self.uses[order], self.cross[order]
        out.gram = self.gram[order][:, order]
        return out


def description_length(found: Coding, atoms: int, rows: int, quantum: float) -> float:
    r"""Nats per row that data cost in a dictionary [1]_.

    .. math::
        \frac1n \sum_i \Bigl[\frac{\|r_i\|^2}{2 q^2} + \|a_i\|_0 \bigl(\log m + \tfrac12 \log N\bigr)\Bigr] + \frac{m d}{2 N} \log N

    Residuals are coded to a precision q (`quantum`), each active code says which atom and how much, and each atom is d numbers, each known
    as well as N (`rows`) rows can tell.

    References
    ----------
    .. [1] Rissanen (1978), Modeling by shortest data description.
    """
    n, d = found.residual.shape
    log_rows = math.log(max(2, rows))
    residual = float(found.residual.double().square().sum()) / (2 * quantum**2)
    codes = len(found.codes.values) * (math.log(max(2, atoms)) + log_rows / 2)
    return (residual + codes) / n + atoms * d * log_rows / (2 * rows)


def fewest(state: Refinement, x: Tensor, *, threshold: float, max_active: int, rows: int) -> Refinement:
    """The most used atoms of a refined dictionary, as many as make the description of the data shortest.

    Atoms that split one concept between them are each used less than one atom for it would be, so the shortest description has the most
    used ones, refitted without the others. Their number is looked for downwards, a step at a time.

    Parameters
    ----------
    state : Refinement
    x : Tensor, shape (n, d)
        Centred rows; three quarters refit, the last quarter measures.
    threshold : float
        Smallest code worth having.
    max_active : int
    rows : int
        Rows that the dictionary was learned from.
    """
    ordered = state.sorted()
    cut = max(1, len(x) * 3 // 4)
    quantum = threshold / 2 / math.sqrt(2 * math.log(max(2, len(ordered.atoms))))
    if len(x) < 2 or not quantum > 0:
        return ordered

    def measured(m: int) -> tuple[float, Refinement]:
        trial = Refinement(ordered.atoms[:m])
        trial.add(x[:cut], coding(x[:cut], trial.atoms, threshold / 2, max_active))
        trial.solve()
        return description_length(coding(x[cut:], trial.atoms, threshold, max_active), m, rows, quantum), trial

    found: dict[int, tuple[float, Refinement]] = {}
    m, worse = max(1, int((ordered.uses > 0).sum())), 0
    while m >= 1 and worse < PATIENCE:
        shortest = min((length for length, _ in found.values()), default=math.inf)
        found[m] = measured(m)
        worse = 0 if found[m][0] < shortest else worse + 1
        m = min(m - 1, int(STEP * m))
    best = min(found, key=lambda m: found[m][0])
    for other in {round(best * STEP**0.5), min(round(best / STEP**0.5), max(found))} - found.keys() - {0}:
        found[other] = measured(other)
    refined = found[min(found, key=lambda m: found[m][0])][1]
    for _ in range(POLISH):  # what the dropped atoms wrote now falls to others, which takes more than one solution to settle
        refined.forget(0.0)
        refined.add(x, coding(x, refined.atoms, threshold / 2, max_active))
        refined.solve()
    return refined.sorted()


def sums(atoms: Tensor, uses: Tensor) -> Tensor:
    """Atoms that are copies of another, or sums of two others, of positive weight, shape (m,), boolean.

    A concept and one of its constituents that nearly always fire together are soon one atom. Once each has an atom of its own that third
    one says nothing new. Of copies the one that is used least goes; what explains an atom must stay itself.
    """
    m = len(atoms)
    gone = torch.zeros(m, dtype=torch.bool)
    if m < 2:
        return gone.to(atoms.device)
    gram = (atoms @ atoms.T).double().cpu()
    gram.fill_diagonal_(-1.0)
    best, first = gram.max(dim=1)
    # Of the pairs (first, j), the one whose plane holds most of the atom: closed form of the projection onto two unit vectors.
    a, b, c = best[:, None], gram, gram[first]
    inside = (a.square() + b.square() - 2 * a * b * c) / (1 - c.square()).clamp_min(1e-6)
    positive = (a - b * c > 0) & (b - a * c > 0)
    inside = torch.where(positive & (b > 0), inside, -1.0)
    inside.fill_diagonal_(-1.0)
    inside.scatter_(1, first[:, None], -1.0)
    pair, second = inside.max(dim=1)
    for j in uses.cpu().argsort().tolist():
        alone = best[j].square() > 0.9 and not gone[first[j]]
        together = pair[j] > EXPLAINED and not gone[first[j]] and not gone[second[j]]
        gone[j] = bool(alone or together)
    return gone.to(atoms.device)
