"""Evaluators of dictionaries, frequencies, lengths and labels keep the promises of every evaluator."""

import pytest

from evaluators.dictionary.absorption import Absorption
from evaluators.dictionary.atom_recall import AtomRecall
from evaluators.dictionary.hedging import Hedging
from evaluators.dictionary.shrinkage import Shrinkage
from evaluators.dictionary.splitting import Splitting
from evaluators.dictionary.uniqueness import Uniqueness
from evaluators.labels.label_hierarchy import LabelHierarchy
from evaluators.labels.sparse_probing import SparseProbing
from evaluators.unlabelled.dense_units import DenseUnits
from evaluators.unlabelled.density import Density
from evaluators.unlabelled.description_length import DescriptionLength
from testbed.conformance import check_evaluator

EVALUATORS = (
    *(AtomRecall, Uniqueness, Splitting, Absorption, Hedging, Shrinkage),
    *(DenseUnits, Density, DescriptionLength, SparseProbing, LabelHierarchy),
)


@pytest.mark.parametrize("evaluator", EVALUATORS)
def test_promises_are_kept(evaluator):
    assert [str(check) for check in check_evaluator(evaluator.small()) if check.problem] == []
