"""Agreement of codes: the same but for names, unrelated, half the same, dead."""

import math
from dataclasses import replace

import pytest
import torch

from evaluators.calibration import PERMUTED_CODES
from evaluators.stability.code_agreement import CodeAgreement
from testbed.contracts import InvalidInput, NotApplicable, SparseRows
from testbed.numerics.matching import cross_correlation, mean_correlation


def score(*outcomes):
    return CodeAgreement().score(list(outcomes), seed=0)


def with_codes(outcome, codes):
    return replace(outcome, codes=codes, dictionary=None)


def test_renamed_and_rescaled_codes_agree(perfect):
    turned = with_codes(perfect, -3 * perfect.codes.flip(1))
    assert score(perfect, turned, perfect).value == pytest.approx(1.0)


def test_unrelated_codes_agree_no_better_than_permuted_ones(perfect):
    other = with_codes(perfect, torch.rand(perfect.codes.shape, generator=torch.Generator().manual_seed(1)))
    permuted = [PERMUTED_CODES.make(perfect, seed) for seed in (1, 2)]
    assert score(perfect, other).value < 0.1
    assert score(*permuted).value < 0.1


def test_assignment_is_held_out(perfect):
    """Sixty noise codes find partners by choice among forty rows; the other half of the rows does not confirm them."""
    rows = replace(perfect, sample=perfect.sample[0:40])
    a, b = (with_codes(rows, torch.randn(40, 60, generator=torch.Generator().manual_seed(i))) for i in range(2))
    assert mean_correlation(*[cross_correlation(a.codes, b.codes)] * 2) > 0.3
    assert score(a, b).value == pytest.approx(math.sqrt(2 / math.pi / 20), abs=0.04)  # mean |r| of independent normals, 20 rows


def test_codes_that_one_fit_lacks_count_zero(perfect):
    half = with_codes(perfect, perfect.codes[:, :4])
    assert score(perfect, half).value == pytest.approx(0.5)
    dead = perfect.codes.clone()
    dead[:, 4:] = 0
    assert score(perfect, with_codes(perfect, dead)).value == pytest.approx(0.5)
    assert score(with_codes(perfect, dead), with_codes(perfect, dead)).value == pytest.approx(1.0)
    silent = with_codes(perfect, torch.zeros_like(dead))
    assert score(perfect, silent).value == 0.0


def test_sparse_codes_score_as_dense_ones(perfect):
    noisy = perfect.codes + 0.2 * (perfect.codes != 0) * torch.rand(perfect.codes.shape, generator=torch.Generator().manual_seed(2))
    sparse = with_codes(perfect, SparseRows.from_dense(noisy))
    assert score(perfect, sparse).value == pytest.approx(score(perfect, with_codes(perfect, noisy)).value)


def test_pairs_are_all_of_them(perfect):
    other = with_codes(perfect, torch.rand(perfect.codes.shape, generator=torch.Generator().manual_seed(1)))
    found = score(perfect, perfect, other)
    assert found.parts["highest"] == pytest.approx(1.0)
    assert found.value == pytest.approx((1 + 2 * found.parts["lowest"]) / 3, abs=1e-6)


def test_no_agreement_of_one_and_none_of_nan(perfect):
    with pytest.raises(NotApplicable, match="at least 2"):
        score(perfect)
    with pytest.raises(InvalidInput, match="NaN"):
        score(perfect, with_codes(perfect, perfect.codes * float("nan")))
