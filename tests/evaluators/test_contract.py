"""What all evaluators say, in which words; that they keep their promises stands in tests/conformance."""

from dataclasses import replace

import pytest
import torch

from evaluators.dictionary.decoder_mcc import DecoderMCC
from evaluators.recovery.activation_f1 import ActivationF1
from evaluators.recovery.activation_mcc import ActivationMCC
from evaluators.stability.seed_agreement import SeedAgreement
from testbed.contracts import InvalidInput, NotApplicable, SparseRows
from testbed.registry import BUILT_IN, load

NEED_MORE = {"absorption", "hedging", "selection_shift", "unseen_tuples", "loss_recovered", "top_contexts", "graph_agreement"}
NEED_MORE |= {"level_recovery", "support_recovery"}
"""They need a hierarchy, a law, a text or a graph, which the outcome here has not; so do those of the folders that are left out."""
FOLDERS = ("evaluators.recovery", "evaluators.dictionary", "evaluators.unlabelled", "evaluators.stability", "evaluators.verdict")
EVERY = [name for name, path in BUILT_IN["evaluators"].items() if path.startswith(FOLDERS) and name not in NEED_MORE]
every = pytest.mark.parametrize("evaluator", [load(BUILT_IN["evaluators"][name])() for name in EVERY], ids=EVERY)


def score(evaluator, outcome):
    return evaluator.score([outcome, outcome] if evaluator.scope == "seeds" else outcome, seed=0)


@every
def test_nan_is_refused_with_the_remedy(evaluator, perfect):
    codes = perfect.codes.clone()
    codes[3, 2] = float("nan")
    for spoiled in (codes, SparseRows.from_dense(codes)):
        with pytest.raises(InvalidInput, match="check the encoder"):
            score(evaluator, replace(perfect, codes=spoiled))


@every
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
