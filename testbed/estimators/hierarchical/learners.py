"""The learners of edges by name."""

from __future__ import annotations

from collections.abc import Callable, Mapping

from testbed.contracts import Estimator, InvalidInput
from testbed.estimators.hierarchical.adjacent_tests import AdjacentTests
from testbed.estimators.hierarchical.correlated import CorrelationEdges
from testbed.estimators.hierarchical.edge_dictionary import EdgeDictionary
from testbed.estimators.hierarchical.regression_edges import RegressionEdges
from testbed.estimators.hierarchical.smallest_sufficient import SmallestSufficient

LEARNERS: Mapping[str, Callable[[], Estimator]] = {
    "smallest_sufficient": SmallestSufficient,
    "correlation": CorrelationEdges,
    "lasso": RegressionEdges,
    "logistic": lambda: RegressionEdges(loss="logistic"),
    "adjacent_tests": AdjacentTests,
    "edge_dictionary": EdgeDictionary,
}


def learner_named(edges: str | Estimator) -> Estimator:
    """A fresh learner: of a name, or a clone of a given one.

    Raises
    ------
    InvalidInput
        If there is no such name, or it is no estimator.
    """
    if isinstance(edges, str):
        if edges not in LEARNERS:
            raise InvalidInput(f"edges is {edges!r}: it must be an estimator, or one of {', '.join(map(repr, LEARNERS))}")
        return LEARNERS[edges]()
    if not isinstance(edges, Estimator):
        raise InvalidInput(f"edges is a {type(edges).__name__}: it must be an estimator, or one of {', '.join(map(repr, LEARNERS))}")
    return edges.clone()
