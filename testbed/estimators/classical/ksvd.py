"""K-SVD: matching pursuit for the codes, a rank-one fit for each atom in turn."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from testbed.contracts import Codes, Data, Estimator, InvalidInput, SparseRows, seed_of
from testbed.numerics.batches import require_rows, rows
from testbed.numerics.decoding import linear_decode
from testbed.numerics.inference import calibrate, infer
from testbed.numerics.pursuit import orthogonal_matching_pursuit

TWINS = 0.99
"""Cosine above which of two atoms one is replaced, as the authors advise."""


class KSVD(Estimator):
    r"""Dictionary of unit atoms, of which each row uses at most k with non-negative weights [1]_.

    .. math:: \min_{D, A} \sum_t \|x_t - b - a_t D\|^2 \ \text{subject to } \|a_t\|_0 \le k,\ a_t \ge 0,\ \|d_j\| = 1

    In turns: codes by orthogonal matching pursuit; then each atom with its own codes is fitted to what the others leave of the rows that
    use it, by one step of the power method in place of a singular value decomposition [2]_. An atom that no row uses, or that is
    nearly another one's twin, becomes the row that is described worst. Batch learning, on the first rows. With ``k = 1`` this is
    spherical k-means.

    Parameters
    ----------
    n_codes : int
        m, no more than there are rows.
    k : int
        Most active codes per row.
    samples : int
        Most rows to use, the first ones.
    max_iter : int
        Rounds, at most.
    tol : float
        Relative fall of the error below which it ends.
    view : str, optional

    Attributes
    ----------
    dictionary_ : Tensor, shape (m, d)
    bias_ : Tensor, shape (d,)
        Mean of the rows.
    threshold_ : float
        Rows are encoded by the same pursuit, which also stops at this correlation, see `testbed.numerics.inference.calibrate`.
    history_ : dict
        ``"error"``: share of the variance left after each round's pursuit.
    converged_ : bool
        False if `max_iter` ended it; the result is kept.

    References
    ----------
    .. [1] Aharon, Elad & Bruckstein (2006), K-SVD: an algorithm for designing overcomplete dictionaries for sparse representation.
    .. [2] Rubinstein, Zibulevsky & Elad (2008), Efficient implementation of the K-SVD algorithm using batch orthogonal matching pursuit.
    """

    def __init__(
        self, n_codes: int = 256, k: int = 8, samples: int = 20_000, max_iter: int = 30, tol: float = 1e-3, view: str | None = None
    ) -> None:
        self.n_codes = n_codes
        self.k = k
        self.samples = samples
        self.max_iter = max_iter
        self.tol = tol
        self.view = view

    @classmethod
    def small(cls) -> KSVD:
        return cls(n_codes=24, k=3, samples=2_000, max_iter=8)

    def fit(self, data: Data, *, seed: int) -> KSVD:
        """Start from rows drawn from `seed`.

        Raises
        ------
        InvalidInput
            If a parameter is out of range, or there are fewer rows than atoms.
        """
        if not 1 <= self.k <= self.n_codes or self.samples < 1 or self.max_iter < 1 or self.tol < 0:
            raise InvalidInput(
                f"k must lie between 1 and n_codes = {self.n_codes}, samples and max_iter be at least 1 and tol at least 0, "
                f"not {self.k}, {self.samples}, {self.max_iter} and {self.tol}"
            )
        if self.samples < self.n_codes:
            raise InvalidInput(f"samples = {self.samples} rows are fewer than n_codes = {self.n_codes} atoms: raise samples")
        x = rows(data, self.view, limit=self.samples).float()
        require_rows(x, None, self.n_codes, f"a dictionary of {self.n_codes} atoms that start as rows")
        generator = torch.Generator().manual_seed(seed_of("init", seed))
        self.bias_ = x.double().mean(dim=0).float()
        x = x - self.bias_
        chosen = torch.randperm(len(x), generator=generator)[: self.n_codes].to(x.device)
        self.dictionary_ = normalize(x[chosen], dim=1)
        self.history_: dict[str, list[float]] = {"error": []}
        self.converged_ = False
        power = float(x.square().sum())
        for _ in range(self.max_iter):
            codes = orthogonal_matching_pursuit(x, self.dictionary_, max_active=self.k, threshold=0.0)
            residual = x - linear_decode(codes, self.dictionary_)
            curve = self.history_["error"]
            curve.append(float(residual.square().sum()) / power if power > 0 else 0.0)
            if len(curve) > 1 and curve[-2] - curve[-1] <= self.tol * curve[-2]:
                self.converged_ = True
                break
            self.dictionary_ = improved(self.dictionary_, codes, residual, x)
        self.threshold_ = calibrate(x, self.dictionary_, "pursuit", max_active=self.k)["threshold"]
        return self

    def encode(self, observed: Any) -> Codes:
        x = rows(observed, self.view, columns=len(self.bias_)).float() - self.bias_
        return infer(x, self.dictionary_, "pursuit", threshold=self.threshold_, max_active=self.k)

    def decode(self, codes: Codes) -> Tensor:
        return linear_decode(codes, self.dictionary_, self.bias_)


def improved(dictionary: Tensor, codes: SparseRows, residual: Tensor, x: Tensor) -> Tensor:
    r"""One round of atom updates, each with its codes:

    .. math:: E = R_I + a_I d^\top, \qquad d \leftarrow E^\top a_I / \|E^\top a_I\|, \qquad a_I \leftarrow \max(0, E d)

    on the rows I that use the atom. `residual`, shape (n, d), is overwritten.

    Returns
    -------
    Tensor, shape (m, d)
    """
    dictionary = dictionary.clone()
    order = codes.indices.argsort(stable=True)
    starts = [0, *codes.indices.bincount(minlength=len(dictionary)).cumsum(0).tolist()]
    users, values = codes.row_of_entry()[order], codes.values[order]
    unused = []
    for j in range(len(dictionary)):
        part = slice(starts[j], starts[j + 1])
        used, a = users[part], values[part]
        if not len(used):
            unused.append(j)
            continue
        error = residual[used] + a[:, None] * dictionary[j]
        direction = error.T @ a
        if float(direction.norm()) > 0:
            dictionary[j] = normalize(direction, dim=0)
        residual[used] = error - (error @ dictionary[j]).clamp_min(0)[:, None] * dictionary[j]
    cosine = (dictionary @ dictionary.T).triu(diagonal=1)
    twins = (cosine > TWINS).any(dim=0).nonzero()[:, 0].tolist()
    replaced = sorted({*unused, *twins})
    if replaced:
        loss = residual.square().sum(dim=1)
        worst = loss.topk(min(len(replaced), len(loss))).indices
        for j, row in zip(replaced, worst.tolist(), strict=False):
            if float(loss[row]) > 0:
                dictionary[j] = normalize(x[row], dim=0)
    return dictionary
