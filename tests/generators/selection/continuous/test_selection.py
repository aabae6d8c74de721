"""Potentials: between 0 and 1, void at strength 0, positive exactly on their support."""

import math

import pytest
import torch

from generators.selection.continuous.selection import FREE, KINDS, Selection
from testbed.contracts import InvalidInput

GRID = torch.linspace(-6, 6, 1201, dtype=torch.float64)


@pytest.mark.parametrize("kind", KINDS)
def test_potentials_lie_between_0_and_1_and_weaken_with_their_strength(kind):
    last = torch.ones_like(GRID)
    for strength in (0.0, 0.2, 0.6, 1.0):
        phi = Selection(kind, 1.0, 0.5, strength, agreement=0.7)
        h, on_e = phi.of_value(GRID), phi.of_complement(GRID)
        assert ((h >= 0) & (h <= last) & (on_e >= 0) & (on_e <= 1)).all()
        low, high = phi.support()
        assert torch.equal(h > 0, (low <= GRID) & (high >= GRID))
        if strength == 0:
            assert (h == 1).all()
            assert (on_e == 1).all()
        last = h


def test_formulas():
    v = torch.tensor([0.0, 1.0, 1.5, 3.0], dtype=torch.float64)
    assert Selection("interval", 1.0, 0.5, 1.0).of_value(v).tolist() == [0, 1, 1, 0]
    torch.testing.assert_close(Selection("bump", 1.0, 0.5, 1.0).of_value(v), (-2 * (v - 1) ** 2).exp())
    torch.testing.assert_close(Selection("logistic", 1.0, 0.5, 1.0).of_value(v), torch.sigmoid(2 * (v - 1)))
    assert FREE.void
    assert FREE.support() == (-math.inf, math.inf)


def test_a_rescaled_potential_is_the_same_of_the_standardised_value():
    phi = Selection("bump", 1.0, 0.5, 0.8, agreement=0.3)
    torch.testing.assert_close(phi.rescaled(2.0, 3.0).of_value(2 + 3 * GRID), phi.of_value(GRID))
    torch.testing.assert_close(phi.rescaled(2.0, 3.0).of_complement(3 * GRID), phi.of_complement(GRID))


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("ball", 0.0, 1.0, 1.0), "selection must be"),
        (("bump", math.nan, 1.0, 1.0), "center"),
        (("bump", 0.0, 0.0, 1.0), "width"),
        (("bump", 0.0, 1.0, 1.5), "strength"),
        (("bump", 0.0, 1.0, 1.0, 0.0), "agreement"),
    ],
)
def test_bad_potentials_are_refused(arguments, words):
    with pytest.raises(InvalidInput, match=words):
        Selection(*arguments)
