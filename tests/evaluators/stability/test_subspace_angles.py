"""Subspaces: the same whatever the directions in them, orthogonal, at a known angle."""

import math
from dataclasses import replace

import pytest
import torch

from evaluators.calibration import RANDOM_DICTIONARY
from evaluators.stability.subspace_angles import SubspaceAngles
from testbed.contracts import InvalidInput, NotApplicable, SparseRows


def score(*outcomes, share=1.0):
    return SubspaceAngles(share).score(list(outcomes), seed=0)


def with_dictionary(outcome, dictionary, codes=None):
    return replace(outcome, codes=torch.ones(len(outcome.sample), len(dictionary)) if codes is None else codes, dictionary=dictionary)


def test_any_directions_of_one_subspace_agree(perfect):
    g = torch.Generator().manual_seed(0)
    mixed = torch.randn(8, 8, generator=g) @ perfect.dictionary
    found = score(perfect, with_dictionary(perfect, mixed))
    assert found.value == pytest.approx(1.0)
    assert found.parts["largest_angle"] == pytest.approx(0.0, abs=1e-3)
    assert found.parts["directions"] == 8


def test_a_known_angle(perfect):
    turn = math.radians(30)
    a = torch.eye(12)[:2]
    b = torch.stack([torch.eye(12)[0], math.cos(turn) * torch.eye(12)[1] + math.sin(turn) * torch.eye(12)[2]])
    found = score(with_dictionary(perfect, a), with_dictionary(perfect, b))
    assert found.value == pytest.approx((1 + math.cos(turn) ** 2) / 2)
    assert found.parts["largest_angle"] == pytest.approx(30.0)


def test_orthogonal_subspaces_and_a_smaller_one(perfect):
    eye = torch.eye(12)
    assert score(with_dictionary(perfect, eye[:3]), with_dictionary(perfect, eye[3:6])).value == pytest.approx(0.0)
    assert score(with_dictionary(perfect, eye[:2]), with_dictionary(perfect, eye[:6])).value == pytest.approx(1 / 3)


def test_random_subspaces_overlap_by_their_share_of_the_view(perfect):
    blank = with_dictionary(perfect, torch.zeros(6, 12))
    found = [score(*(RANDOM_DICTIONARY.make(blank, 2 * i + j) for j in (0, 1))).value for i in range(60)]
    assert sum(found) / 60 == pytest.approx(6 / 12, abs=0.03)
    full = with_dictionary(perfect, torch.zeros(30, 12))
    assert score(RANDOM_DICTIONARY.make(full, 1), RANDOM_DICTIONARY.make(full, 2)).value == pytest.approx(1.0)


def test_the_leading_subspace_goes_by_what_codes_write(perfect):
    eye = torch.eye(12)
    loud, quiet = torch.ones(len(perfect.sample), 4), torch.ones(len(perfect.sample), 4)
    loud[:, :2] *= 10  # rows 0 and 1 hold nearly everything
    quiet[:, 2:] *= 0.1
    a = with_dictionary(perfect, eye[:4], loud)
    b = with_dictionary(perfect, torch.cat([eye[:2], eye[6:8]]), quiet)
    found = score(a, b, share=0.9)
    assert found.value == pytest.approx(1.0)
    assert found.parts["directions"] == 2
    assert score(a, b).value == pytest.approx(0.5)
    assert score(replace(a, codes=SparseRows.from_dense(loud)), b, share=0.9).value == pytest.approx(1.0)


def test_silent_fits_have_no_subspace(perfect):
    silent = with_dictionary(perfect, perfect.dictionary, torch.zeros(len(perfect.sample), 8))
    assert score(perfect, silent).value == 0.0
    assert score(silent, silent).value == 0.0


def test_errors(perfect):
    with pytest.raises(NotApplicable, match="at least 2"):
        score(perfect)
    with pytest.raises(NotApplicable, match="no dictionary"):
        score(perfect, replace(perfect, dictionary=None))
    with pytest.raises(InvalidInput, match="share"):
        score(perfect, perfect, share=0.0)
