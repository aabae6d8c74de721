"""Graphs of dependence among the columns of a view."""

from testbed.estimators.graphs.causal_learn import CausalLearn
from testbed.estimators.graphs.fci import FCI
from testbed.estimators.graphs.pc import PC

__all__ = ["FCI", "PC", "CausalLearn"]
