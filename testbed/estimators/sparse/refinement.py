"""From a dictionary that is nearly right to one that is: regression codes, exact least squares, and no atom that others can stand for."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from testbed.contracts import SparseRows
from testbed.numerics.firing import two_parts
from testbed.numerics.moments_kernel import add_products
from testbed.numerics.regression import nonnegative_lasso, nonnegative_refit
from testbed.numerics.regression_kernel import regress

RIDGE = 0.1
"""Rows' worth of belief in the dictionary as it is; it matters for atoms that are hardly ever used."""
FEWEST = 5
"""Uses up to which an atom is left as it is, and counts as idle."""
TOLERANCE = 1e-2
"""Share of a row's norm that a code may be off by while the dictionary is still moving."""
COPY = 0.95
"""Cosine from which two atoms are one."""
SUM = 0.75
"""Share of an atom's squared norm that others explain, from which it is taken for their sum and what is left of it."""
NOTHING = 0.25
"""Norm of what is left of a unit atom below which nothing is."""
PARTS = 6
"""Atoms in a sum, at most."""
OFTEN = 0.3
"""How often a part is used, at least, per use of the sum."""
PART = 0.1
"""Correlation with a unit atom from which another may be a part of it."""
LEAST = 0.2
"""Share of a typical size, its atom's, below which a code is off, where its values do not show two parts."""


def typical(values: Tensor) -> float:
    """Median of codes weighed by their squares: half of the energy lies in larger ones. Many small ones do not move it; 0 for none."""
    if not len(values):
        return 0.0
    ordered = values.double().sort().values
    energy = ordered.square().cumsum(0)
    return float(ordered[torch.searchsorted(energy, energy[-1] / 2)])


def regression_codes(x: Tensor, atoms: Tensor, penalty: float, *, refit: bool, tolerance: float = TOLERANCE) -> SparseRows:
    """Non-negative lasso of centred rows on unit atoms, or least squares on the atoms that it picks, which undoes its shrinkage."""
    codes = nonnegative_lasso(x, atoms, penalty=penalty, tolerance=tolerance)
    return nonnegative_refit(x, atoms, codes, tolerance=tolerance) if refit else codes


def floors(codes: SparseRows) -> Tensor:
    """Value at or below which each code is off, shape (m,): between the two parts of its values, or `LEAST` of its root mean square."""
    columns = torch.split(codes.values[codes.indices.argsort(stable=True)], codes.indices.bincount(minlength=codes.shape[1]).tolist())
    found = []
    for column in columns:
        between = two_parts(column.double().cpu().numpy())
        found.append(between if between > 0 else LEAST * math.sqrt(float(column.double().square().mean())) if len(column) else 0.0)
    return torch.tensor(found, dtype=codes.values.dtype, device=codes.values.device)


def lasso_objective(x: Tensor, atoms: Tensor, penalty: float) -> float:
    r"""What refinement minimises, per row of centred data: :math:`\min_{a \ge 0} \tfrac12 \|x - a D\|^2 + \lambda \sum_j a_j`."""
    codes = regression_codes(x, atoms, penalty, refit=False, tolerance=1e-6)
    return float(left(x, atoms, codes).double().square().sum() / 2 + penalty * codes.values.double().sum()) / len(x)


def left(x: Tensor, atoms: Tensor, codes: SparseRows) -> Tensor:
    """Residual of centred rows, shape (n, d)."""
    written = torch.zeros_like(x).index_add_(0, codes.row_of_entry(), codes.values[:, None] * atoms[codes.indices.long()])
    return x - written


@dataclass
class Refinement:
    r"""A dictionary, a bias and the sums that their least squares need, gathered batch by batch [1]_.

    The bias is solved for too. Codes are never negative, so that rows centred at their mean need an atom for the way back from it: a
    concept that does not exist, on in every row where few others are.

    Parameters
    ----------
    atoms : Tensor, shape (m, d)
        Rows of norm 1.
    bias : Tensor, shape (d,)

    Attributes
    ----------
    uses, squares : array, shape (m,)
        How often each code was on, and the sum of its squares.
    noise : float
        Standard deviation per free dimension of what the last batch's codes left.
    residual : Tensor, shape (n, d)
        Of the last batch.

    References
    ----------
    .. [1] Engan, Aase & Husoy (1999), Method of optimal directions; Mairal et al. (2009), Online dictionary learning for sparse coding.
    """

    atoms: Tensor
    bias: Tensor
    noise: float = 0.0
    residual: Tensor = field(init=False)

    def __post_init__(self) -> None:
        m, d = self.atoms.shape
        self.gram, self.cross = np.zeros((m + 1, m + 1)), np.zeros((m + 1, d))
        self.uses, self.squares = np.zeros(m), np.zeros(m)
        self.residual = self.atoms.new_zeros(0, d)

    def forget(self, keep: float) -> None:
        """Weigh down what was gathered so far, since older codes were made with an older dictionary."""
        for sums in (self.gram, self.cross, self.uses, self.squares):
            sums *= keep

    def add(self, x: Tensor, penalty: float, *, refit: bool) -> SparseRows:
        """Code a batch of rows, shape (n, d), and gather it."""
        codes = regression_codes(x - self.bias, self.atoms, penalty, refit=refit)
        self.residual = left(x - self.bias, self.atoms, codes)
        free = max(1.0, float(x.numel() - len(codes.values)))
        self.noise = math.sqrt(float(self.residual.double().square().sum()) / free)
        add_products(
            x.cpu().numpy(),
            codes.indptr.cpu().numpy(),
            codes.indices.cpu().numpy(),
            codes.values.cpu().numpy(),
            self.gram,
            self.cross,
            self.uses,
            self.squares,
        )
        return codes

    def solve(self) -> None:
        """The dictionary and the bias that least squares give for the codes gathered; atoms that are hardly used stay."""
        m = len(self.atoms)
        before = torch.cat([self.atoms, self.bias[None]]).double()
        system = torch.from_numpy(self.gram).to(before.device) + RIDGE * torch.eye(m + 1, dtype=before.dtype, device=before.device)
        solved = torch.linalg.solve(system, torch.from_numpy(self.cross).to(before.device) + RIDGE * before).to(self.atoms.dtype)
        atoms, self.bias = solved[:m], solved[m]
        good = torch.from_numpy(self.uses > FEWEST).to(atoms.device) & (atoms.norm(dim=1) > 1e-6)
        self.atoms = torch.where(good[:, None], normalize(atoms, dim=1), self.atoms)

    def sizes(self) -> np.ndarray:
        """Root mean square of each code where it was on, shape (m,)."""
        return np.asarray(np.sqrt(self.squares / np.maximum(self.uses, 1e-9)))

    def keep(self, which: np.ndarray) -> None:
        """Drop all atoms but those that `which`, a mask of shape (m,), marks."""
        kept = np.flatnonzero(which)
        both = np.append(kept, len(which))
        self.atoms = self.atoms[torch.from_numpy(kept).to(self.atoms.device)]
        self.gram, self.cross = self.gram[np.ix_(both, both)], self.cross[both]
        self.uses, self.squares = self.uses[kept], self.squares[kept]

    def replace(self, which: np.ndarray, directions: Tensor) -> None:
        """Put unit `directions` in place of the atoms that `which` marks, and forget what those gathered."""
        places = np.flatnonzero(which)
        self.atoms = self.atoms.index_copy(0, torch.from_numpy(places).to(self.atoms.device), directions)
        for sums in (self.gram, self.cross, self.uses, self.squares):
            sums[places] = 0
        self.gram[:, places] = 0

    def grow(self, directions: Tensor) -> None:
        """More atoms."""
        m, more = len(self.atoms), len(directions)
        old = np.append(np.arange(m), m + more)
        gram, cross = np.zeros((m + more + 1, m + more + 1)), np.zeros((m + more + 1, self.cross.shape[1]))
        gram[np.ix_(old, old)], cross[old] = self.gram, self.cross
        self.gram, self.cross = gram, cross
        self.uses, self.squares = np.append(self.uses, np.zeros(more)), np.append(self.squares, np.zeros(more))
        self.atoms = torch.cat([self.atoms, directions])

    def unexplained(self, n: int, generator: torch.Generator) -> Tensor:
        """Directions of `n` residuals of the last batch, drawn in proportion to their squared norms, shape (n, d)."""
        squares = self.residual.double().square().sum(dim=1).cpu() + 1e-12
        drawn = squares.multinomial(n, replacement=True, generator=generator).to(self.residual.device)
        return normalize(self.residual[drawn], dim=1)


def copies(atoms: Tensor, uses: np.ndarray) -> np.ndarray:
    """Atoms that point where one that is used more often does, shape (m,), boolean."""
    gram = (atoms @ atoms.T).cpu().numpy()
    gone = np.zeros(len(atoms), dtype=bool)
    for j in np.argsort(-uses, kind="stable"):
        if not gone[j]:
            same = gram[j] > COPY
            same[j] = False
            gone |= same
    return gone


def remainders(atoms: Tensor, uses: np.ndarray) -> tuple[np.ndarray, Tensor]:
    """Atoms that others add up to with positive weights, and what the others leave of them.

    A composite and its constituents that nearly always fire together are soon one atom: their sum. Once constituents have atoms of
    their own, what they leave of that sum is the composite. A non-negative lasso of each atom on all others picks the parts, at most
    `PARTS` of them; those that are explained best come first, and none is a part of another after it has been replaced itself.

    Parameters
    ----------
    atoms : Tensor, shape (m, d)
        Rows of norm 1.
    uses : array, shape (m,)

    Returns
    -------
    summed : array, shape (m,), boolean
    rest : Tensor, shape (m, d)
        Remainder of those, not normalised; 0 for the others.
    """
    unit = atoms.detach().cpu().float().numpy()
    m, d = unit.shape
    summed, rest = np.zeros(m, dtype=bool), np.zeros_like(unit)
    if m < 2:
        return summed, torch.from_numpy(rest).to(atoms)
    gram = unit @ unit.T
    others = gram.copy()
    others[uses[None, :] < OFTEN * uses[:, None]] = -1e9
    np.fill_diagonal(others, -1e9)  # no atom is a part of itself
    room = min(m, d + 1)
    columns, weights, counts = np.empty((m, room), np.int64), np.empty((m, room), np.float32), np.zeros(m, np.int64)
    regress(others, gram, np.ones(m, np.float32), room, PART, TOLERANCE, columns, weights, counts)
    found, explained = [], np.zeros(m)
    for j in range(m):
        largest = np.argsort(-weights[j, : counts[j]], kind="stable")[:PARTS]
        parts = columns[j, largest]
        fitted = np.linalg.solve(gram[np.ix_(parts, parts)] + 1e-4 * np.eye(len(parts)), gram[parts, j]).clip(0)
        remainder = unit[j] - fitted @ unit[parts]
        explained[j] = 1 - remainder @ remainder
        found.append((parts, remainder))
    for j in np.argsort(-explained, kind="stable"):
        if explained[j] < SUM:
            break
        parts, remainder = found[j]
        if not summed[parts].any():
            summed[j], rest[j] = True, remainder
    return summed, torch.from_numpy(rest).to(atoms)
