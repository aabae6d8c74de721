"""Atom recall: how many of the true atoms are there, and how many of the rows are atoms."""

from dataclasses import replace

import pytest
import torch

from evaluators.dictionary.atom_recall import AtomRecall
from testbed.contracts import InvalidInput


def score(outcome, **params):
    return AtomRecall(**params).score(outcome, seed=0)


def tilted(atoms, cosine):
    """Orthonormal atoms turned to this cosine, towards a direction that none of them has."""
    away = torch.linalg.qr(torch.cat([atoms, torch.ones(1, atoms.shape[1])]).T)[0][:, -1]
    return cosine * atoms + (1 - cosine**2) ** 0.5 * away


def test_the_true_dictionary_is_perfect_in_any_order_sign_and_scale(conjunctions):
    order = torch.tensor([3, 1, 0, 6, 5, 4, 2])
    found = score(replace(conjunctions, codes=conjunctions.codes[:, order], dictionary=-2 * conjunctions.dictionary[order]))
    assert found.value == 1
    assert {found.parts[name] for name in ("precision", "f1", "recall_0.99", "level_0", "level_1")} == {1.0}


def test_rows_count_up_to_the_threshold_that_they_reach(conjunctions):
    found = score(replace(conjunctions, dictionary=tilted(conjunctions.dictionary, 0.85)))
    assert found.value == 0
    assert (found.parts["recall_0.7"], found.parts["recall_0.8"], found.parts["recall_0.95"]) == (1, 1, 0)
    assert score(replace(conjunctions, dictionary=tilted(conjunctions.dictionary, 0.85)), threshold=0.85).value == 1


def test_copies_count_once_and_lower_the_precision(conjunctions):
    copies = replace(conjunctions, codes=conjunctions.codes[:, [0, 0, 0, 1]], dictionary=conjunctions.dictionary[[0, 0, 0, 1]])
    found = score(copies)
    assert found.value == pytest.approx(2 / 7)
    assert found.parts["precision"] == 0.5
    assert found.parts["f1"] == pytest.approx(2 * (2 / 7) * 0.5 / (2 / 7 + 0.5))


def test_a_few_copied_atoms_are_precise_and_recall_little(conjunctions):
    found = score(replace(conjunctions, codes=conjunctions.codes[:, :1], dictionary=conjunctions.dictionary[:1]))
    assert found.parts["precision"] == 1
    assert found.value == pytest.approx(1 / 7)


def test_dead_rows_are_neither_found_nor_wrong(conjunctions):
    codes = conjunctions.codes.clone()
    codes[:, 0] = 0
    found = score(replace(conjunctions, codes=codes))
    assert found.value == pytest.approx(6 / 7)
    assert found.parts["precision"] == 1
    silent = score(replace(conjunctions, codes=torch.zeros_like(codes)))
    assert (silent.value, silent.parts["precision"], silent.parts["f1"]) == (0, 0, 0)


def test_a_threshold_is_a_cosine(conjunctions):
    with pytest.raises(InvalidInput, match="threshold"):
        score(conjunctions, threshold=1.5)
