"""A latent class behind three groups of columns, from third moments."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from testbed.contracts import Codes, Data, Estimator, InvalidInput
from testbed.numerics.batches import rows
from testbed.numerics.cross_ranks import RankTest
from testbed.numerics.leaf_states import cuts_of, states_in, values_of
from testbed.numerics.matching import dense
from testbed.numerics.multi_view import Mixture, indicators, log_tables, mixture_of_views


class TensorDecomposition(Estimator):
    """One hidden state that makes three groups of columns independent, by the method of moments [1]_.

    The baseline of classic latent-variable theory: consistent without local optima where the three groups are independent given the state.
    Under selection that is false, since what a composite's constituents have in common goes beyond it: then the state that comes out
    is whatever fits. Codes are the most probable state of each row (given it, columns are taken to be independent), and the columns.

    Parameters
    ----------
    n_states : int, optional
        By default 1 + the rank of what the first two groups have in common, by Bartlett's test, or fewer where three groups show
        fewer: 1 where nothing is behind them.
    groups : sequence of three sequences of int, optional
        Columns of each group; by default three consecutive blocks.
    alpha : float
        Level of that test.
    bins : int, optional
        Cut columns of real numbers into so many parts of equal counts; None wants whole numbers.
    samples : int
        Most rows to use, the first ones.
    view : str, optional

    Attributes
    ----------
    constituents_, levels_, n_states_
        See `Structure`: code 0 is composed of all columns.
    weights_ : array, shape (k,)
    tables_ : array, shape (sum of the columns' numbers of states, k)
        Logarithm of the probability of each column's states in each class.

    References
    ----------
    .. [1] Anandkumar, Ge, Hsu, Kakade & Telgarsky (2014), Tensor decompositions for learning latent variable models, JMLR 15.
    """

    def __init__(
        self,
        n_states: int | None = None,
        groups: Sequence[Sequence[int]] | None = None,
        alpha: float = 0.01,
        bins: int | None = None,
        samples: int = 100_000,
        view: str | None = None,
    ) -> None:
        self.n_states = n_states
        self.groups = groups
        self.alpha = alpha
        self.bins = bins
        self.samples = samples
        self.view = view

    @classmethod
    def small(cls) -> TensorDecomposition:
        return cls(n_states=2, bins=2)

    def fit(self, data: Data, *, seed: int) -> TensorDecomposition:
        """Decompose; `seed` draws the starts of power iterations.

        Raises
        ------
        InvalidInput
            If columns are no states, a parameter is out of range, groups do not fit, or no `n_states` classes show.
        """
        if (self.n_states is not None and self.n_states < 2) or (self.bins is not None and self.bins < 2):
            raise InvalidInput(f"n_states and bins must be at least 2, not {self.n_states} and {self.bins}")
        if not 0 < self.alpha < 1 or self.samples < 1:
            raise InvalidInput(f"alpha must lie between 0 and 1 and samples be at least 1, not {self.alpha} and {self.samples}")
        x = rows(data, self.view, limit=self.samples)
        groups = self._groups(x.shape[1])
        self.cuts_ = cuts_of(x, None, self.bins, self.samples)
        self.values_ = values_of(x, None, self.cuts_, self.bins, self.samples)
        states = states_in(x, self.values_, self.cuts_, self.bins)
        widths = np.array([len(values) for values in self.values_])
        views = [indicators(states[:, group], widths[group]) for group in groups]
        most = self.n_states if self.n_states is not None else 1 + _rank(views[0], views[1], self.alpha)
        found = self._mixture((views[0], views[1], views[2]), most, seed)
        k = len(found.weights)
        starts = np.concatenate([[0], np.cumsum(widths)])
        self.tables_ = np.zeros((int(starts[-1]), k))
        for group, means in zip(groups, found.means, strict=True):
            at = np.concatenate([np.arange(starts[j], starts[j + 1]) for j in group])
            self.tables_[at] = log_tables(means, widths[group])
        self.weights_ = found.weights
        p = x.shape[1]
        self.constituents_ = [sorted(j + 1 for group in groups for j in group), *([] for _ in range(p))]
        self.levels_ = [0] + [1] * p
        self.n_states_ = [k, *widths.tolist()]
        return self

    def encode(self, observed: Any) -> Codes:
        x = rows(observed, self.view, columns=len(self.values_))
        states = states_in(x, self.values_, self.cuts_, self.bins)
        shown = indicators(states, np.array([len(values) for values in self.values_]))
        state = (np.log(self.weights_) + shown @ self.tables_).argmax(axis=1)
        return torch.cat([torch.as_tensor(state[:, None], dtype=torch.float32, device=x.device), x.float()], dim=1)

    def decode(self, codes: Codes) -> Tensor:
        return dense(codes)[:, 1:]

    def _mixture(self, views: tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]], most: int, seed: int) -> Mixture:
        """As many classes as are asked for; where that was not said, the most up to the rank that the third moments bear, or one."""
        for k in range(most, 1, -1):
            try:
                return mixture_of_views(views, k, np.random.default_rng(seed))
            except InvalidInput:
                if self.n_states is not None:
                    raise
        one, two, three = (view.mean(axis=0)[:, None] for view in views)
        return Mixture(np.ones(1), (one, two, three), np.ones(1))

    def _groups(self, p: int) -> list[list[int]]:
        if p < 3:
            raise InvalidInput(f"three groups of columns are needed, but there are {p} columns: give at least 3")
        if self.groups is None:
            return [part.tolist() for part in np.array_split(np.arange(p), 3)]
        groups = [list(map(int, group)) for group in self.groups]
        every = [j for group in groups for j in group]
        if len(groups) != 3 or not all(groups) or len(set(every)) < len(every) or not all(0 <= j < p for j in every):
            raise InvalidInput(f"groups are {groups}: give three disjoint lists of columns from 0 to {p - 1}")
        return groups


def _rank(one: NDArray[np.float64], two: NDArray[np.float64], alpha: float) -> int:
    """Rank of what two groups of indicators have in common; a column's last state follows from its others and is left out."""
    a, b = (_independent(view) for view in (one, two))
    both = np.concatenate([a, b], axis=1)
    left, right = np.arange(a.shape[1])[None], np.arange(a.shape[1], both.shape[1])[None]
    return int(RankTest(both).ranks(left, right, alpha=alpha)[0])


def _independent(view: NDArray[np.float64]) -> NDArray[np.float64]:
    """Coordinates of the indicators' principal components that vary at all, shape (n, r)."""
    centred = view - view.mean(axis=0)
    value, vector = np.linalg.eigh(centred.T @ centred / len(view))
    return np.asarray(centred @ vector[:, value > 1e-6 * value[-1]])
