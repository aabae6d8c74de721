"""Graphs of dependence among the columns of a view, and trees of hidden causes above them."""

from testbed.estimators.graphs.causal_learn import CausalLearn
from testbed.estimators.graphs.fci import FCI
from testbed.estimators.graphs.graph_of_codes import GraphOfCodes
from testbed.estimators.graphs.latent_tree import LatentTree
from testbed.estimators.graphs.pc import PC
from testbed.estimators.graphs.tensor_decomposition import TensorDecomposition

__all__ = ["FCI", "PC", "CausalLearn", "GraphOfCodes", "LatentTree", "TensorDecomposition"]
