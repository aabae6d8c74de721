"""Dictionary learning on mini-batches, by scikit-learn."""

from __future__ import annotations

import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import normalize

from testbed.contracts import Codes, Data, Estimator, InvalidInput, SparseRows, seed_of
from testbed.numerics.batches import batches, require_rows, rows
from testbed.numerics.decoding import linear_decode
from testbed.numerics.regression import nonnegative_lasso


class DictionaryLearning(Estimator):
    r"""Sparse codes and atoms, in turns, one mini-batch after the other [1]_.

    .. math:: \min_{D, A} \tfrac12 \|X - A D\|^2 + \lambda \sum_{tj} |a_{tj}| \ \text{subject to } \|d_j\| \le 1

    with :math:`\lambda` = `alpha` times the root mean square norm of centred rows. Atoms start as random rows of the data. Rows are
    encoded at the same penalty, which finds the codes that training converges to and shrinks them by about :math:`\lambda`.

    Parameters
    ----------
    n_codes : int
        m, no more than the first batches' rows.
    alpha : float
    positive : bool
        Whether codes must be at least 0.
    samples : int
        Budget in rows, repeated rows counted.
    batch_size : int
    view : str, optional

    Attributes
    ----------
    dictionary_ : Tensor, shape (m, d)
    bias_ : Tensor, shape (d,)
        Mean of the rows that the atoms start from.
    penalty_ : float
        :math:`\lambda`.

    References
    ----------
    .. [1] Mairal, Bach, Ponce & Sapiro (2009), Online dictionary learning for sparse coding, algorithm 1.
    """

    environment = ("scikit-learn",)

    def __init__(
        self,
        n_codes: int = 256,
        alpha: float = 0.1,
        positive: bool = True,
        samples: int = 50_000,
        batch_size: int = 256,
        view: str | None = None,
    ) -> None:
        self.n_codes = n_codes
        self.alpha = alpha
        self.positive = positive
        self.samples = samples
        self.batch_size = batch_size
        self.view = view

    @classmethod
    def small(cls) -> DictionaryLearning:
        return cls(n_codes=24, samples=3_000)

    def fit(self, data: Data, *, seed: int) -> DictionaryLearning:
        """Stream through the data; `seed` draws the order, the atoms to start from and what replaces unused ones.

        Raises
        ------
        InvalidInput
            If a parameter is out of range, or there are fewer rows than atoms.
        """
        if min(self.n_codes, self.samples, self.batch_size) < 1 or self.alpha <= 0:
            raise InvalidInput(
                "n_codes, samples and batch_size must be at least 1 and alpha above 0, "
                f"not {self.n_codes}, {self.samples}, {self.batch_size} and {self.alpha}"
            )
        require_rows(data, self.view, self.n_codes, f"a dictionary of {self.n_codes} atoms that start as rows")
        source = batches(data, self.view, self.batch_size, seed_of("order", seed), self.samples)
        held = [next(source)]
        while sum(map(len, held)) < self.n_codes and (more := next(source, None)) is not None:
            held.append(more)
        first = torch.cat(held)
        if len(first) < self.n_codes:
            raise InvalidInput(f"samples = {self.samples} rows are fewer than n_codes = {self.n_codes} atoms: raise samples")
        self.bias_ = first.double().mean(dim=0).float()
        off = first - self.bias_
        size = float(off.square().sum(dim=1).mean().sqrt())
        self.penalty_ = self.alpha * size
        atoms = normalize(off[: self.n_codes], dim=1)
        if size > 1e-6 * float(first.norm(dim=1).max()):
            atoms = self._learned(atoms, [batch - self.bias_ for batch in held], source, size, seed)
        self.dictionary_ = atoms.float()
        return self

    def encode(self, observed: Any) -> Codes:
        x = rows(observed, self.view, columns=len(self.bias_)).float() - self.bias_
        # The penalty is on codes of atoms as they are; `nonnegative_lasso` weighs each by its atom's norm, which is 1 for atoms in use.
        if self.positive:
            return nonnegative_lasso(x, self.dictionary_, penalty=self.penalty_)
        both = nonnegative_lasso(x, torch.cat([self.dictionary_, -self.dictionary_]), penalty=self.penalty_)
        m = self.dictionary_.shape[0]
        negative = both.indices >= m
        column, value = both.indices - m * negative, torch.where(negative, -both.values, both.values)
        order = (both.row_of_entry() * m + column).argsort(stable=True)
        return SparseRows(both.indptr, column[order], value[order], (len(both), m))

    def decode(self, codes: Codes) -> Tensor:
        return linear_decode(codes, self.dictionary_, self.bias_)

    def _learned(self, atoms: Tensor, held: list[Tensor], source: Any, size: float, seed: int) -> Tensor:
        from sklearn.decomposition import MiniBatchDictionaryLearning
        from sklearn.exceptions import ConvergenceWarning

        solver = MiniBatchDictionaryLearning(
            self.n_codes,
            alpha=self.alpha,
            batch_size=self.batch_size,
            fit_algorithm="cd",
            dict_init=atoms.double().cpu().numpy(),
            positive_code=self.positive,
            random_state=seed % 2**32,
        )
        with warnings.catch_warnings(), global_randomness_kept():
            warnings.simplefilter("ignore", ConvergenceWarning)
            for batch in held:
                solver.partial_fit((batch / size).double().cpu().numpy())
            for batch in source:
                solver.partial_fit(((batch - self.bias_) / size).double().cpu().numpy())
        return torch.as_tensor(solver.components_, device=atoms.device)


@contextmanager
def global_randomness_kept() -> Iterator[None]:
    """Put numpy's global generator back: scikit-learn's cyclic descent draws a number from it that it then has no use for."""
    state = np.random.get_state()  # noqa: NPY002
    try:
        yield
    finally:
        np.random.set_state(state)  # noqa: NPY002
