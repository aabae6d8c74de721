"""A hierarchy of real concepts one level up: which codes compose, and what their composites are."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

import torch
from torch import Tensor

from testbed.contracts import BLOCK, Codes, Data, Estimator, InvalidInput, NotApplicable, Observed, Truth
from testbed.estimators.baselines.identity import Identity
from testbed.estimators.nonlinear.level_up import METHODS, Composite, Method, composites
from testbed.estimators.nonlinear.tuple_search import Search, by_dependence, of_any_size, of_size, standing_out
from testbed.numerics.batches import first_pieces, is_read_once
from testbed.numerics.bottlenecks import Expansion
from testbed.numerics.matching import cross_correlation, dense, match
from testbed.numerics.normal_scores import normal_scores

SEARCHES = ("bottleneck", "pairwise", "truth")
KNOTS = 1025
"""Quantiles kept per code, between which normal scores are interpolated."""
FEWEST = 200
"""Rows that polynomials' moments on two halves take."""
CODES = 256
"""Codes, at most."""


class BottleneckHierarchy(Estimator):
    r"""Find the tuples of codes with one-dimensional bottlenecks, and estimate each composite as what its tuple tells of the rest.

    Composites of real concepts are identified as the minimal sufficient statistics of their tuples for the rest, up to an invertible map
    [1]_. Codes come from another estimator; here they are made normal scores, so that nothing depends on increasing maps of them. Tuples
    are sought by `testbed.estimators.nonlinear.tuple_search`, composites by `testbed.estimators.nonlinear.level_up`: both in closed form,
    from second moments of polynomials.

    A tuple gets as many composites as pass `least_gain`: one where selection acts on one number of it, none where nothing is selected.
    Codes are composites first, in the order of their tuples, then those of the nested estimator. What made constituents
    depend is not tested.

    Parameters
    ----------
    codes : Estimator, optional
        Gives the leaf codes; None takes the view's own columns.
    tuples : "bottleneck", "pairwise", "truth" or list of list of int
        How tuples are found: by their bottlenecks; by pairwise correlation (a control); from the truth, codes matched to concepts by
        correlation (an oracle); or the tuples themselves, as numbers of codes.
    size : int, optional
        Codes per tuple, where it is known.
    method : {"bottleneck", "best_constituent", "first_component"}
        What a composite is: the bottleneck; the one code of the tuple, or its first principal component (controls).
    most : int
        Composites per tuple, at most.
    least_gain : float
        Held-out gain in nats below which a composite is not kept.
    budget : int
        Sets of codes to try, at most.
    samples : int
        Most rows to use, the first ones.
    view : str, optional

    Attributes
    ----------
    codes_ : Estimator
        The nested estimator, fitted.
    tuples_ : list of list of int
        Numbers of leaf codes, before composites are counted in.
    gains_ : list of list of float
        Per tuple, the held-out gain of each of its composites.
    terms_, weights_, centers_ : list
        Per composite, its polynomial: monomials of normal scores of leaf codes, their weights and means.
    knots_, scores_ : Tensor, shape (leaf codes, 1025)
        Normal scores of codes, between which new ones are interpolated.
    levels_, constituents_ : list
        Of each code, see `testbed.contracts.Structure`.
    stopped_ : str
        Where a budget ended the search early, else "".

    References
    ----------
    .. [1] Kong et al. (2025), Beyond the black box: identifiable interpretation and control in generative models via causal minimality,
       arXiv 2512.10720, section 4.
    """

    def __init__(
        self,
        codes: Estimator | None = None,
        tuples: Literal["bottleneck", "pairwise", "truth"] | list[list[int]] = "bottleneck",
        size: int | None = None,
        method: Method = "bottleneck",
        most: int = 2,
        least_gain: float = 0.02,
        budget: int = 1_000,
        samples: int = 50_000,
        view: str | None = None,
    ) -> None:
        self.codes = codes
        self.tuples = tuples
        self.size = size
        self.method = method
        self.most = most
        self.least_gain = least_gain
        self.budget = budget
        self.samples = samples
        self.view = view

    @property
    def needs_truth(self) -> bool:  # type: ignore[override]
        """Whether tuples, or the nested estimator, are told the truth."""
        return self.tuples == "truth" or (self.codes is not None and self.codes.needs_truth)

    def fit(self, data: Data, *, seed: int, truth: Truth | None = None) -> BottleneckHierarchy:
        """Fit the nested estimator, find tuples, then composites; `seed` goes to the nested estimator and decides nothing else.

        Raises
        ------
        InvalidInput
            If a parameter is out of range, tuples are not of these codes, there are too few rows or too many codes, the truth is missing
            or has no tuples, or `data` is a stream that can be read once only.
        """
        self._check()
        if is_read_once(data):
            raise InvalidInput("codes are fitted first and looked at then, but this stream can be read only once: give an array")
        if self.needs_truth and truth is None:
            raise InvalidInput("bottleneck_hierarchy was given no truth, but it or its codes need one: fit it on an instance that has one")
        nested = self.blank("codes_")
        known: dict[str, Any] = {"truth": truth} if nested.needs_truth else {}
        self.codes_ = nested.fit(data, seed=seed, **known)
        leaves = torch.cat([dense(self.codes_.encode(part)).detach().double() for part in _blocks(data, self.samples)])
        n, p = leaves.shape
        if n < FEWEST or p > CODES:
            raise InvalidInput(f"{n} rows of {p} codes: give at least {FEWEST} rows and at most {CODES} codes")
        z = normal_scores(leaves.float()).to(leaves)
        self._keep_scores(leaves, z)
        alive = standing_out(leaves)
        table = Expansion(z[:, alive])
        search = self._search(table, alive, data, truth, p)
        self.tuples_, self.stopped_ = search.tuples, search.stopped
        self._compose(table, alive)
        return self

    def encode(self, observed: Any) -> Codes:
        leaves = dense(self.codes_.encode(observed))
        columns = leaves.shape[1]
        if columns != len(self.knots_):
            raise InvalidInput(f"the nested estimator gives {columns} codes, but gave {len(self.knots_)} in the fit: encode that view")
        out = []
        for part in torch.split(leaves, BLOCK):
            z = interpolated(part.double(), self.knots_.to(part.device), self.scores_.to(part.device))
            out.append(torch.cat([self._values(z).to(part.dtype if part.is_floating_point() else torch.float32), part], dim=1).float())
        return torch.cat(out)

    def decode(self, codes: Codes) -> Tensor:
        """What the leaf codes say, which are the last."""
        return self.codes_.decode(dense(codes)[:, len(self.terms_) :])

    # ------------------------------------------------------------------------------------------------------------------ steps

    def _check(self) -> None:
        if isinstance(self.tuples, str) and self.tuples not in SEARCHES:
            raise InvalidInput(f"tuples must be one of {', '.join(map(repr, SEARCHES))} or a list of lists of codes, not {self.tuples!r}")
        if self.method not in METHODS:
            raise InvalidInput(f"method must be one of {', '.join(map(repr, METHODS))}, not {self.method!r}")
        if (self.size is not None and self.size < 2) or self.most < 1 or self.budget < 1 or self.samples < 1 or not self.least_gain >= 0:
            raise InvalidInput(
                "size must be at least 2, most, budget and samples at least 1 and least_gain at least 0, not "
                f"{self.size}, {self.most}, {self.budget}, {self.samples} and {self.least_gain}"
            )

    def blank(self, name: str) -> Estimator:
        nested = Identity(self.view) if self.codes is None else self.codes.clone()
        if self.view is not None and getattr(nested, "view", self.view) is None:
            nested.set_params(view=self.view)
        return nested

    def _search(self, table: Expansion, alive: list[int], data: Data, truth: Truth | None, p: int) -> Search:
        """Tuples as numbers of leaf codes."""
        if not isinstance(self.tuples, str):
            return Search(checked_tuples(self.tuples, p))
        if self.tuples == "truth":
            assert truth is not None
            return Search(self._true_tuples(table, alive, data, truth))
        if self.size is not None and self.size > table.p:
            raise InvalidInput(f"tuples of {self.size} codes are wanted, but only {table.p} codes vary: lower size, or give more codes")
        if table.p < 2:
            return Search([])
        if self.tuples == "pairwise":
            found = by_dependence(table, self.size)
        elif self.size is None:
            found = of_any_size(table, self.budget)
        else:
            found = of_size(table, self.size, self.budget)
        return Search([[alive[j] for j in one] for one in found.tuples], found.stopped)

    def _true_tuples(self, table: Expansion, alive: list[int], data: Data, truth: Truth) -> list[list[int]]:
        parts = list(_blocks(data, self.samples))
        first = parts[0]
        if not isinstance(first, Observed):
            raise InvalidInput("true tuples are of the concepts that a view shows, but the data are plain arrays: give an Observed")
        view = first.name_of(self.view if self.view is not None else getattr(self.codes_, "view", None))
        shown = first.view(view).shows.levels
        above = truth.constituents.get(shown[0] - 1, ()) if len(shown) == 1 else ()
        if not any(above):
            raise InvalidInput(
                f"view {view!r} shows levels {list(shown)}: true tuples are known where it shows one level, which others are composed of"
            )
        try:
            told = torch.cat([dense(truth.oracle(part, view)).double() for part in parts])
        except NotApplicable as error:
            raise InvalidInput(f"the truth cannot say which code is which concept ({error}): give tuples as lists") from None
        z = normal_scores(told.float()).double()
        concept, code = match(cross_correlation(z, table.z))
        code_of = dict(zip(concept.tolist(), code.tolist(), strict=True))
        return [sorted(alive[code_of[j]] for j in tuple_ if j in code_of) for tuple_ in above if tuple_]

    def _compose(self, table: Expansion, alive: list[int]) -> None:
        place = {code: k for k, code in enumerate(alive)}
        made: list[Composite] = []
        owner: list[int] = []
        self.gains_: list[list[float]] = []
        for i, tuple_ in enumerate(self.tuples_):
            columns = [place[j] for j in tuple_ if j in place]
            whole = len(columns) < 1 or len(columns) == table.p  # nothing is left that it could tell of
            found = [] if whole else composites(table, columns, self.method, self.most, self.least_gain)
            self.gains_.append([one.gain for one in found])
            made += found
            owner += [i] * len(found)
        self.terms_ = [[[alive[j] for j in term] for term in one.terms] for one in made]
        self.weights_ = [one.weights.tolist() for one in made]
        self.centers_ = [one.center.tolist() for one in made]
        m, p = len(made), len(self.knots_)
        self.levels_ = [0] * m + [1] * p if m else [0] * p
        self.constituents_ = [[m + j for j in self.tuples_[i]] for i in owner] + [[] for _ in range(p)]

    def _keep_scores(self, leaves: Tensor, z: Tensor) -> None:
        at = torch.linspace(0, len(leaves) - 1, min(KNOTS, len(leaves)), dtype=torch.float64).round().long().to(leaves.device)
        self.knots_ = leaves.sort(dim=0).values[at].T.contiguous()
        self.scores_ = z.sort(dim=0).values[at].T.contiguous()

    def _values(self, z: Tensor) -> Tensor:
        """Composites of normal scores, shape (n, m)."""
        out = z.new_empty(len(z), len(self.terms_))
        for k, (terms, weights, center) in enumerate(zip(self.terms_, self.weights_, self.centers_, strict=True)):
            one = Composite([], [tuple(term) for term in terms], z.new_tensor(weights), z.new_tensor(center), 0.0)
            out[:, k] = one.value(z)
        return out


def checked_tuples(tuples: list[list[int]], p: int) -> list[list[int]]:
    """Given tuples, as lists of numbers of p codes; InvalidInput if they are not disjoint sets of them."""
    used = [j for one in tuples for j in one]
    if not tuples or min(map(len, tuples)) < 1 or len(set(used)) < len(used) or min(used) < 0 or max(used) >= p:
        raise InvalidInput(f"tuples {tuples} are not of {p} codes: name each from 0 to {p - 1} once at most")
    return [sorted(map(int, one)) for one in tuples]


def interpolated(x: Tensor, knots: Tensor, scores: Tensor) -> Tensor:
    """Normal scores of values, by linear interpolation between knots and constant beyond, shape (n, p); knots rise along each row."""
    out = torch.empty_like(x)
    for j in range(x.shape[1]):
        xs, ys = knots[j].contiguous(), scores[j]
        right = torch.searchsorted(xs, x[:, j].contiguous(), right=True).clamp(1, len(xs) - 1)
        low, high = xs[right - 1], xs[right]
        share = ((x[:, j] - low) / (high - low).clamp_min(torch.finfo(x.dtype).tiny)).clamp(0.0, 1.0)
        out[:, j] = ys[right - 1] + share * (ys[right] - ys[right - 1])
    return out


def _blocks(data: Any, limit: int) -> Iterator[Any]:
    """The first rows of data in pieces that `encode` takes."""
    for piece in first_pieces(data, limit):
        whole = piece if isinstance(piece, Observed | Tensor) else torch.as_tensor(piece)
        for start in range(0, len(whole), BLOCK):
            yield whole[start : start + BLOCK]
