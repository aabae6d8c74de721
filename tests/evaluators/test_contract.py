"""What all evaluators of this package share: promises, hard codes, sentences."""

from dataclasses import replace

import pytest
import torch

from evaluators.dictionary.decoder_mcc import DecoderMCC
from evaluators.recovery.activation_f1 import ActivationF1
from evaluators.recovery.activation_mcc import ActivationMCC
from evaluators.stability.seed_agreement import SeedAgreement
from evaluators.unlabelled.dead_units import DeadUnits
from evaluators.unlabelled.explained_variance import ExplainedVariance
from evaluators.unlabelled.l0 import L0
from testbed.conformance import check_evaluator
from testbed.contracts import InvalidInput, NotApplicable, SparseRows

EVALUATORS = [DecoderMCC(), ActivationMCC(), ActivationF1(), ExplainedVariance(), L0(), DeadUnits(), SeedAgreement()]
names = pytest.mark.parametrize("evaluator", EVALUATORS, ids=lambda e: type(e).__name__)


def score(evaluator, outcome):
    return evaluator.score([outcome, outcome] if evaluator.scope == "seeds" else outcome, seed=0)


@names
def test_promises_are_kept(evaluator):
    assert [str(check) for check in check_evaluator(evaluator) if check.problem] == []


@names
def test_sparse_and_dense_codes_score_alike(evaluator, perfect):
    sparse = replace(perfect, codes=SparseRows.from_dense(perfect.codes))
    assert score(evaluator, sparse).value == pytest.approx(score(evaluator, perfect).value, abs=1e-9)


@names
def test_nan_is_refused_with_the_remedy(evaluator, perfect):
    codes = perfect.codes.clone()
    codes[3, 2] = float("nan")
    for spoiled in (codes, SparseRows.from_dense(codes)):
        with pytest.raises(InvalidInput, match="check the encoder"):
            score(evaluator, replace(perfect, codes=spoiled))


@names
def test_codes_of_other_rows_are_refused(evaluator, perfect):
    with pytest.raises(InvalidInput, match="encode the sample itself"):
        score(evaluator, replace(perfect, codes=perfect.codes[:-1]))


@pytest.mark.parametrize("evaluator", [DecoderMCC(), SeedAgreement()])
def test_without_a_dictionary_it_does_not_apply(evaluator, perfect):
    with pytest.raises(NotApplicable, match="dictionary"):
        score(evaluator, replace(perfect, dictionary=None))
    broken = torch.full_like(perfect.dictionary, float("nan"))
    with pytest.raises(InvalidInput, match="check the fit"):
        score(evaluator, replace(perfect, dictionary=broken))
    with pytest.raises(InvalidInput, match="7 rows for 8 codes"):
        score(evaluator, replace(perfect, dictionary=perfect.dictionary[:7]))


@pytest.mark.parametrize("evaluator", [DecoderMCC(), ActivationMCC(), ActivationF1()])
def test_without_a_truth_it_does_not_apply(evaluator, perfect):
    with pytest.raises(NotApplicable, match="truth"):
        score(evaluator, replace(perfect, truth=None))
