"""causal-learn's searches under the testbed's contract: PC, FCI, GES, GIN and RLCD, quiet and with a deadline."""

from __future__ import annotations

import contextlib
import importlib
import io
import logging
import warnings
from collections.abc import Iterator, Sequence
from types import ModuleType
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from testbed.contracts import Codes, Data, Estimator, InvalidInput
from testbed.estimators.graphs.hidden_nodes import composed_of, heights_of, readout_of
from testbed.numerics.batches import rows
from testbed.numerics.deadline import OutOfTime, limited
from testbed.numerics.graphs import levels_of
from testbed.numerics.independence import G2, correlations
from testbed.numerics.matching import dense
from testbed.numerics.pags import ARROW, CIRCLE, TAIL, arrows_of

METHODS = ("pc", "fci", "ges", "gin", "rlcd")
HIDDEN = ("gin", "rlcd")
"""Methods that find hidden nodes, which have codes of their own."""
MARKS = {1: ARROW, -1: TAIL, 2: CIRCLE}
"""Of causal-learn's end points."""


class CausalLearn(Estimator):
    """A search of causal-learn [1]_ on the columns: ``"pc"``, ``"fci"``, ``"ges"``, ``"gin"`` [2]_ or ``"rlcd"`` [3]_.

    What others use, to stand beside `PC` and `FCI` here, which are faster by orders of magnitude. Edges are reduced to constituents as
    there: what is directed or has one arrowhead runs from constituent to composite, all others are written both ways.

    GIN and RLCD find hidden causes. In a hierarchy read from below a hidden cause is the composite of what it causes: its children are its
    constituents, its code is the first principal component of the standardised columns below it, and codes of hidden nodes come before
    those of the columns. That GIN orders its hidden nodes is in ``arrows_`` only.

    Known limits of causal-learn 0.1.4.8: GIN's result depends on the order of the columns, since it tests against the first ones and not
    the remaining ones (issue 271), and its kernel tests cost n² and more per pair of columns: few rows, about a dozen columns. GES knows no
    levels while it searches. RLCD names its hidden nodes in the order of a set of strings, which may differ between processes.

    Parameters
    ----------
    method : {"pc", "fci", "ges", "gin", "rlcd"}
    test : {"fisher_z", "g2"}
        Numbers or states, for PC and FCI; GES scores by BIC or by BDeu. GIN and RLCD are for numbers.
    alpha : float
        Level of each test; GES has none.
    penalty : float
        Of GES and RLCD's first stage, in units of log n per edge; .5 is BIC.
    levels : sequence of int, optional
        Of each column, 0 the most abstract: edges between levels run from the concrete to the abstract. PC and FCI know it while they
        orient; of GES the found edges are turned. GIN and RLCD, which make levels themselves, take none.
    max_depth : int, optional
        Largest sets to condition on, of PC and FCI.
    seconds : float
        CPU seconds, after which the search is stopped; ``stopped_`` says so, and there are no edges then.
    samples : int, optional
        Most rows to use, the first ones; by default 500 for GIN and 10,000 for all others.
    view : str, optional

    Attributes
    ----------
    constituents_, levels_
        See `Structure`.
    arrows_, marks_ : array, shape (h + p, h + p)
        As `FCI`'s; hidden nodes first.
    weights_, mean_ : array, shape (h, p) and (p,)
        How codes of hidden nodes are read off the columns.
    stopped_ : str

    References
    ----------
    .. [1] Zheng et al. (2024), Causal-learn: causal discovery in Python, JMLR 25.
    .. [2] Xie et al. (2020), Generalized independent noise condition for estimating latent variable causal graphs, NeurIPS.
    .. [3] Dong et al. (2024), A versatile causal discovery framework to allow causally-related hidden variables, ICLR.
    """

    environment = ("causal-learn",)

    def __init__(
        self,
        method: str = "pc",
        test: str = "fisher_z",
        alpha: float = 0.01,
        penalty: float = 0.5,
        levels: Sequence[int] | None = None,
        max_depth: int | None = None,
        seconds: float = 60.0,
        samples: int | None = None,
        view: str | None = None,
    ) -> None:
        self.method = method
        self.test = test
        self.alpha = alpha
        self.penalty = penalty
        self.levels = levels
        self.max_depth = max_depth
        self.seconds = seconds
        self.samples = samples
        self.view = view

    def fit(self, data: Data, *, seed: int) -> CausalLearn:
        """Search; `seed` changes nothing.

        Raises
        ------
        InvalidInput
            If causal-learn is not installed, a parameter is out of range, a column is constant or correlations are singular.
        """
        self._check()
        limit = self.samples if self.samples is not None else 500 if self.method == "gin" else 10_000
        x = rows(data, self.view, limit=limit).cpu().numpy().astype(np.float64)
        p = x.shape[1]
        levels = levels_of(self.levels, p)
        self._check_columns(x)
        ends, hidden, self.stopped_ = self._search(x, levels)
        self.marks_ = ends
        if hidden:
            heights = heights_of(ends, hidden)
            self.levels_ = (heights.max() - heights).tolist()
            self.constituents_ = composed_of(ends, heights, ordered=self.method == "gin")
            self.arrows_ = arrows_of(ends)
        else:
            self.levels_ = levels.tolist()
            self.arrows_ = arrows_of(ends, levels)
            self.constituents_ = [np.flatnonzero(self.arrows_[:, i]).tolist() for i in range(p)]
        self.mean_ = x.mean(axis=0)
        self.weights_ = readout_of(x, self.constituents_, hidden)
        return self

    def encode(self, observed: Any) -> Codes:
        x = rows(observed, self.view, columns=self.weights_.shape[1]).float()
        weights, mean = (torch.as_tensor(one, dtype=torch.float32, device=x.device) for one in (self.weights_, self.mean_))
        return torch.cat([(x - mean) @ weights.T, x], dim=1)

    def decode(self, codes: Codes) -> Tensor:
        return dense(codes)[:, self.weights_.shape[0] :]

    # ------------------------------------------------------------------------------------------------------------- search

    def _search(self, x: NDArray[np.float64], levels: NDArray[np.int64]) -> tuple[NDArray[np.int8], int, str]:
        """Marks of all nodes, hidden ones first, how many of these, and why the search was stopped, if it was."""
        p = x.shape[1]
        _part("search.ConstraintBased.PC")  # so that importing is not on the clock
        try:
            with _quiet(), limited(self.seconds):
                graph, names = getattr(self, f"_{self.method}")(x, levels)
        except OutOfTime:
            stopped = f"{self.method} of causal-learn was stopped after {self.seconds:g} CPU seconds with {p} columns, and has no edges"
            return np.zeros((p, p), dtype=np.int8), 0, stopped
        except (ValueError, AssertionError, IndexError, ArithmeticError, np.linalg.LinAlgError) as error:
            raise InvalidInput(f"{self.method} of causal-learn cannot use these {p} columns of {len(x)} rows: {error}") from None
        ends = _marks(np.asarray(graph))
        place = {name: i for i, name in enumerate(names)}
        latent = sorted((name for name in names if name[0] == "L"), key=lambda name: (np.flatnonzero(ends[place[name]]).tolist(), name))
        order = [place[name] for name in [*latent, *(f"X{j + 1}" for j in range(p))]]
        return ends[np.ix_(order, order)], len(latent), ""

    def _pc(self, x: NDArray[np.float64], levels: NDArray[np.int64]) -> tuple[Any, list[str]]:
        found = _part("search.ConstraintBased.PC").pc(
            x,
            self.alpha,
            _NAMES[self.test],
            show_progress=False,
            background_knowledge=_tiers(levels),
            max_k=self.max_depth,
        )
        return found.G.graph, _columns(x)

    def _fci(self, x: NDArray[np.float64], levels: NDArray[np.int64]) -> tuple[Any, list[str]]:
        found, _ = _part("search.ConstraintBased.FCI").fci(
            x,
            _NAMES[self.test],
            self.alpha,
            depth=-1 if self.max_depth is None else self.max_depth,
            show_progress=False,
            background_knowledge=_tiers(levels),
        )
        return found.graph, _columns(x)

    def _ges(self, x: NDArray[np.float64], levels: NDArray[np.int64]) -> tuple[Any, list[str]]:
        ges = _part("search.ScoreBased.GES").ges
        if self.test == "g2":
            return ges(_states(x), "local_score_BDeu")["G"].graph, _columns(x)
        return ges(x, "local_score_BIC", lambda_value=self.penalty)["G"].graph, _columns(x)

    def _gin(self, x: NDArray[np.float64], levels: NDArray[np.int64]) -> tuple[Any, list[str]]:
        found, _ = _part("search.HiddenCausal.GIN.GIN").GIN(x, indep_test_method="hsic", alpha=self.alpha)
        names = [node.get_name() for node in found.get_nodes()]
        absent = [name for name in _columns(x) if name not in names]
        graph = np.pad(np.asarray(found.graph), (0, len(absent)))
        return graph, [*names, *absent]

    def _rlcd(self, x: NDArray[np.float64], levels: NDArray[np.int64]) -> tuple[Any, list[str]]:
        part: Any = _part("search.HiddenCausal.RLCD.RLCD_alg")
        joblib, parallel = importlib.import_module("joblib"), part.Parallel
        part.Parallel = lambda **_: joblib.Parallel(n_jobs=1)  # else it starts a process on every core
        try:
            alphas = dict.fromkeys(range(4), self.alpha)
            found = part.RLCD(x, alpha_dict=alphas, stage1_ges_sparsity=self.penalty)
        finally:
            part.Parallel = parallel
        return found.adjacency, list(found.all_vars)

    # -------------------------------------------------------------------------------------------------------------- checks

    def _check(self) -> None:
        if self.method not in METHODS:
            raise InvalidInput(f"method is {self.method!r}: it must be one of {', '.join(map(repr, METHODS))}")
        if self.test not in _NAMES:
            raise InvalidInput(f"test is {self.test!r}: it must be one of {', '.join(map(repr, _NAMES))}")
        if self.method in HIDDEN and (self.test != "fisher_z" or self.levels is not None):
            raise InvalidInput(f"{self.method} is for numbers and makes levels itself: leave test and levels at their defaults")
        if not 0 < self.alpha < 1 or self.penalty < 0 or self.seconds <= 0:
            raise InvalidInput(
                f"alpha must lie between 0 and 1, penalty be at least 0 and seconds be positive, not {self.alpha}, {self.penalty} "
                f"and {self.seconds}"
            )
        if (self.samples is not None and self.samples < 1) or (self.max_depth is not None and self.max_depth < 0):
            raise InvalidInput(f"samples must be at least 1 and max_depth at least 0, not {self.samples} and {self.max_depth}")

    def _check_columns(self, x: NDArray[np.float64]) -> None:
        if self.test == "g2":
            G2(x)
        else:
            correlations(x)
        if self.method in HIDDEN and x.shape[1] < 4:
            raise InvalidInput(f"hidden causes show in 4 columns or more, but there are {x.shape[1]}: give more columns")


_NAMES = {"fisher_z": "fisherz", "g2": "gsq"}


def _part(name: str) -> ModuleType:
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            return importlib.import_module(f"causallearn.{name}")
    except ModuleNotFoundError as error:
        raise InvalidInput(f"causal-learn is needed, but {error.name!r} is not installed: pip install 'testbed[causal]'") from None


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Nothing on the terminal: causal-learn prints what it orients, and warns of what it divides by."""
    silent = io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(silent), contextlib.redirect_stderr(silent), np.errstate(all="ignore"):
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.WARNING)
        try:
            yield
        finally:
            logging.disable(before)


def _columns(x: NDArray[np.float64]) -> list[str]:
    return [f"X{j + 1}" for j in range(x.shape[1])]


def _states(x: NDArray[np.float64]) -> NDArray[np.int64]:
    return np.stack([np.unique(column, return_inverse=True)[1] for column in x.T], axis=1)


def _tiers(levels: NDArray[np.int64]) -> Any:
    """What causal-learn calls background knowledge: the most concrete level comes first; None with one level."""
    if (levels == levels[0]).all():
        return None
    knowledge = _part("utils.PCUtils.BackgroundKnowledge").BackgroundKnowledge()
    node = _part("graph.GraphNode").GraphNode
    for j, level in enumerate(levels.tolist()):
        knowledge.add_node_to_tier(node(f"X{j + 1}"), int(levels.max()) - level)
    return knowledge


def _marks(graph: NDArray[Any]) -> NDArray[np.int8]:
    """Marks of a causal-learn matrix, in which entry (j, i) is the end at j of the edge with i."""
    ends = np.zeros(graph.shape, dtype=np.int8)
    for theirs, ours in MARKS.items():
        ends[np.equal(graph.T, theirs)] = ours
    both = (ends > 0) & (ends.T > 0)
    return np.where(both, ends, 0).astype(np.int8)
