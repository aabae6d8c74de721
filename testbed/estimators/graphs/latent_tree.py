"""A tree with hidden nodes above the columns, from pairwise information distances."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from testbed.contracts import Codes, Data, Estimator, InvalidInput
from testbed.numerics.batches import rows
from testbed.numerics.information_distances import association, discrete_distances, gaussian_distances, standard_errors, states_that_show
from testbed.numerics.latent_trees import Tree, best_tree, chow_liu_grouping, recursive_grouping
from testbed.numerics.leaf_states import cuts_of, states_in, values_of
from testbed.numerics.matching import dense
from testbed.numerics.multi_view import indicators, log_tables, mixture_of_views

GROUPINGS = {"recursive_grouping": recursive_grouping, "chow_liu": chow_liu_grouping}
MOST_COLUMNS = 200
"""Recursive grouping holds a number for each triple."""


class LatentTree(Estimator):
    """The latent tree of the columns by recursive grouping, alone or on the Chow-Liu tree [1]_, with a code for each hidden node.

    It holds where the columns' law is Markov on a tree: of a hierarchy in which each composite has its own constituents, where
    these are independent given it. Constituents that are selected together are more dependent than any common cause explains, so that under
    selection distances are not additive and only groups, not lengths, can come out right.

    The tree has no root of its own: the node in the middle is made level 0, all columns are the last level. Codes, level by level: of
    numbers the posterior mean of each hidden node given all columns in the Gaussian tree; of states its most probable state, with tables
    from third moments of the branches around it [2]_, in which the columns of a branch are taken to be independent.

    Parameters
    ----------
    kind : {"gaussian", "discrete"}
        Whether columns are numbers or states.
    n_states : int, optional
        Of hidden nodes, for states; by default as many as pairs of columns bear out, at most the smallest number among the columns.
    grouping : {"best", "recursive_grouping", "chow_liu"}
        "best" is the one of the two whose tree explains the distances better for its number of edges.
    tolerances : sequence of float
        How much differences of distances may vary within a family. The one whose tree is best is taken.
    bins : int, optional
        Cut columns of real numbers into so many states of equal counts; None wants whole numbers where `kind` is "discrete".
    samples : int
        Most rows to use, the first ones.
    view : str, optional

    Attributes
    ----------
    constituents_, levels_, n_states_
        See `Structure`; hidden nodes come before columns.
    edges_ : list of [int, int]
        Of the tree, between codes.
    lengths_ : list of float
        Information distance along each edge.
    tolerance_ : float
    kept_ : int
        States of hidden nodes; 0 for numbers.

    References
    ----------
    .. [1] Choi, Tan, Anandkumar & Willsky (2011), Learning latent tree graphical models, JMLR 12.
    .. [2] Anandkumar, Ge, Hsu, Kakade & Telgarsky (2014), Tensor decompositions for learning latent variable models, JMLR 15, section 3.3.
    """

    def __init__(
        self,
        kind: str = "gaussian",
        n_states: int | None = None,
        grouping: str = "best",
        tolerances: Sequence[float] = (0.02, 0.04, 0.07, 0.1, 0.15, 0.2, 0.3, 0.45),
        bins: int | None = None,
        samples: int = 100_000,
        view: str | None = None,
    ) -> None:
        self.kind = kind
        self.n_states = n_states
        self.grouping = grouping
        self.tolerances = tolerances
        self.bins = bins
        self.samples = samples
        self.view = view

    def fit(self, data: Data, *, seed: int) -> LatentTree:
        """Group; `seed` draws the starts of power iterations, for states.

        Raises
        ------
        InvalidInput
            If there are fewer than 3 columns or more than 200, columns are constant or copies or no states, or a parameter is out of range.
        """
        self._check()
        x = rows(data, self.view, limit=self.samples)
        n, p = x.shape
        if not 3 <= p <= MOST_COLUMNS:
            raise InvalidInput(f"a latent tree is learned from 3 to {MOST_COLUMNS} columns, not {p}: give more, or choose some")
        self.values_: list[list[float]] = []
        self.cuts_: list[list[float]] = []
        array = x.double().cpu().numpy()
        states = np.zeros((n, 0), dtype=np.int64)
        self.kept_ = 0
        if self.kind == "discrete":
            self.cuts_ = cuts_of(x, None, self.bins, self.samples)
            self.values_ = values_of(x, None, self.cuts_, self.bins, self.samples)
            states = states_in(x, self.values_, self.cuts_, self.bins)
            sigma = association(states)
            self.kept_ = self._kept(sigma, n)
            sigma = sigma[:, :, : self.kept_ - 1]
            distances = discrete_distances(sigma, self.kept_)
        else:
            distances = gaussian_distances(array)
            sigma = np.exp(-distances)[:, :, None]
        chosen = list(GROUPINGS.values()) if self.grouping == "best" else [GROUPINGS[self.grouping]]
        tree, self.tolerance_ = best_tree(distances, standard_errors(sigma, n), n, chosen, self.tolerances)
        order, self.levels_, self.constituents_ = _rooted(tree)
        place = {node: code for code, node in enumerate(order)}
        self.edges_ = [[place[i], place[j]] for i, j in tree.edges]
        self.lengths_ = list(tree.lengths)
        hidden = order[: tree.nodes - p]
        self.mean_, self.weights_ = array.mean(axis=0), np.zeros((0, p))
        self.prior_, self.tables_ = np.zeros((0, 0)), np.zeros((0, 0, 0))
        if self.kind == "gaussian":
            self.weights_ = _regressions(tree, hidden, array)
        else:
            self.prior_, self.tables_, numbers = _classes(tree, hidden, states, self.values_, self.kept_, np.random.default_rng(seed))
            self.n_states_ = numbers + [len(values) for values in self.values_]
        return self

    def encode(self, observed: Any) -> Codes:
        x = rows(observed, self.view, columns=len(self.mean_))
        if self.kind == "gaussian":
            weights, mean = (torch.as_tensor(one, dtype=torch.float32, device=x.device) for one in (self.weights_, self.mean_))
            return torch.cat([(x.float() - mean) @ weights.T, x.float()], dim=1)
        states = states_in(x, self.values_, self.cuts_, self.bins)
        shown = indicators(states, np.array([len(values) for values in self.values_]))
        score = np.einsum("nd,hdk->nhk", shown, self.tables_, optimize=True) + self.prior_
        state = torch.as_tensor(score.argmax(axis=2).reshape(len(x), len(self.prior_)), dtype=torch.float32, device=x.device)
        return torch.cat([state, x.float()], dim=1)

    def decode(self, codes: Codes) -> Tensor:
        return dense(codes)[:, -len(self.mean_) :]

    def _kept(self, sigma: NDArray[np.float64], n: int) -> int:
        """States of hidden nodes."""
        fewest = sigma.shape[2] + 1
        if self.n_states is not None and self.n_states > fewest:
            raise InvalidInput(f"n_states is {self.n_states}, but a column has only {fewest} states: hidden nodes can have at most as many")
        return states_that_show(sigma, n) if self.n_states is None else self.n_states

    def _check(self) -> None:
        if self.kind not in ("gaussian", "discrete"):
            raise InvalidInput(f"kind is {self.kind!r}: it must be 'gaussian' or 'discrete'")
        if self.grouping not in ("best", *GROUPINGS):
            raise InvalidInput(f"grouping is {self.grouping!r}: it must be one of {', '.join(map(repr, ('best', *GROUPINGS)))}")
        if (self.n_states is not None and self.n_states < 2) or (self.bins is not None and self.bins < 2):
            raise InvalidInput(f"n_states and bins must be at least 2, not {self.n_states} and {self.bins}")
        if self.samples < 1 or not self.tolerances or min(self.tolerances) < 0:
            raise InvalidInput(
                f"samples must be at least 1 and tolerances numbers from 0 on, not {self.samples} and {list(self.tolerances)}"
            )


def _rooted(tree: Tree) -> tuple[list[int], list[int], list[list[int]]]:
    """Nodes in the order of codes (hidden ones by level, then columns), their levels and constituents, seen from the middle of the tree."""
    p, around = tree.observed, tree.neighbours()
    hops = Tree(tree.edges, [1.0] * len(tree.edges), p, tree.nodes).distances()
    far, inner = hops.max(axis=1), [i for i in range(tree.nodes) if len(around[i]) > 1]
    root = min(inner, key=lambda i: (far[i], i < p, round(float(tree.distances()[i, :p].sum()), 6), i))
    below: list[list[int]] = [[] for _ in range(tree.nodes)]
    reached, stack = [root], [(root, -1)]
    while stack:
        i, above = stack.pop()
        for j in around[i]:
            if j != above:
                below[i].append(j)
                reached.append(j)
                stack.append((j, i))
    height = [0] * tree.nodes
    for i in sorted(reached, key=lambda i: -hops[root, i]):
        height[i] = max((height[j] + 1 for j in below[i]), default=0)
    level = [height[root] - h for h in height]
    order = [*sorted(range(p, tree.nodes), key=lambda i: (level[i], i)), *range(p)]
    place = {node: code for code, node in enumerate(order)}
    return order, [level[i] for i in order], [sorted(place[j] for j in below[i]) for i in order]


def _regressions(tree: Tree, hidden: list[int], x: NDArray[np.float64]) -> NDArray[np.float64]:
    """Posterior means of standardised hidden nodes are linear in the columns: weights, shape (h, p).

    Correlations are those of the tree, with the signs that the data have; a hidden node's sign is that of its nearest column.
    """
    p = tree.observed
    size = np.exp(-tree.distances())
    sign = np.where(np.corrcoef(x, rowvar=False) >= 0, 1.0, -1.0)
    among = size[:p, :p] * sign + 1e-6 * np.eye(p)
    across = np.array([size[h, :p] * sign[int(size[h, :p].argmax())] for h in hidden]).reshape(-1, p)
    if np.linalg.eigvalsh(among)[0] <= 0:  # signs that no tree has
        among = among + (1e-6 - np.linalg.eigvalsh(among)[0]) * np.eye(p)
    return np.asarray(np.linalg.solve(among, across.T).T / x.std(axis=0))


def _classes(
    tree: Tree,
    hidden: list[int],
    states: NDArray[np.int64],
    values: list[list[float]],
    wanted: int,
    generator: np.random.Generator,
) -> tuple[NDArray[np.float64], NDArray[np.float64], list[int]]:
    """Log priors (h, k), log tables (h, sum of widths, k) and numbers of states of hidden nodes, from three views each.

    Where fewer classes show than wanted, as many as there are; a state that is not there has a prior that never wins.
    """
    widths = np.array([len(one) for one in values])
    starts = np.concatenate([[0], np.cumsum(widths)])
    prior, tables = np.full((len(hidden), wanted), -1e9), np.zeros((len(hidden), int(starts[-1]), wanted))
    numbers = []
    for place, h in enumerate(hidden):
        views = _views(tree, h)
        shown = tuple(indicators(states[:, one], widths[one]) for one in views)
        prior[place, 0] = 0.0
        numbers.append(1)
        for k in range(wanted, 1, -1):
            try:
                found = mixture_of_views((shown[0], shown[1], shown[2]), k, generator)
            except InvalidInput:
                continue
            prior[place, :k] = np.log(found.weights)
            for columns, means in zip(views, found.means, strict=True):
                at = np.concatenate([np.arange(starts[j], starts[j + 1]) for j in columns])
                tables[place, at, :k] = log_tables(means, widths[columns])
            numbers[-1] = k
            break
    return prior, tables, numbers


def _views(tree: Tree, h: int) -> list[list[int]]:
    """Columns in the branches around a node, the smaller branches joined until there are three."""
    around = tree.neighbours()
    branches = []
    for start in around[h]:
        seen, stack = {h, start}, [start]
        while stack:
            new = [j for j in around[stack.pop()] if j not in seen]
            seen.update(new)
            stack.extend(new)
        branches.append(sorted(j for j in seen if j < tree.observed))
    branches.sort(key=lambda one: (len(one), one))
    while len(branches) > 3:
        one, other, *rest = branches
        branches = sorted([sorted(one + other), *rest], key=lambda one: (len(one), one))
    return branches
