"""F1 of a decoder's edges: closed forms on decoders made by hand."""

from dataclasses import replace

import pytest
import torch

from evaluators.recovery.support_recovery import TURNED_ORACLE, SupportRecovery, strengths, true_support
from generators.selection.continuous.family import ContinuousHierarchy
from testbed.contracts import InvalidInput, NotApplicable, Outcome


def outcome(seed=0, **settings):
    """The truth's own codes, decoded by the true f."""
    instance = ContinuousHierarchy(**{"row_support": 3, "cells": 128, **settings}).draw(seed)
    sample = instance.sample(1000, 1)
    f = instance.truth.mixings["leaves"][1]
    return Outcome(sample.latents[1], sample, "leaves", None, lambda s: f(s.double()), instance.truth, instance)


@pytest.mark.parametrize("settings", [{}, {"mixing": "mlp", "curvature": 0.9}, {"mixing": "warped", "curvature": 0.7}])
def test_the_true_decoder_has_the_true_support_in_any_order_and_scale(settings):
    perfect = outcome(**settings)
    score = SupportRecovery().score(perfect, seed=0)
    assert score.value == 1
    assert score.parts["edges"] == score.parts["true edges"] == 90
    order, scale = torch.randperm(9), torch.linspace(-3, 4, 9)
    moved = replace(
        perfect, codes=perfect.codes[:, order] * scale + 1, decode=lambda s: perfect.decode(((s - 1) / scale)[:, order.argsort()])
    )
    assert SupportRecovery().score(moved, seed=0).value == 1


def test_half_of_the_codes_find_half_of_the_edges():
    perfect = outcome()
    kept = torch.arange(9) < 5
    fewer = replace(perfect, codes=perfect.codes[:, kept], decode=lambda s: perfect.decode(s @ torch.eye(9)[kept]))
    score = SupportRecovery().score(fewer, seed=0)
    share = float(true_support(perfect, (1,))[:, kept].sum()) / 90
    assert score.parts["precision"] == 1
    assert score.parts["recall"] == pytest.approx(share)
    assert score.value == pytest.approx(2 * share / (1 + share))


def test_chance_floor_and_ceiling_stand_apart():
    perfect = outcome()
    assert SupportRecovery.chance.make(perfect, 3).decode is perfect.decode
    chance, floor, ceiling = (
        SupportRecovery().score(reference.make(perfect, 3), seed=0).value
        for reference in (SupportRecovery.chance, TURNED_ORACLE, SupportRecovery.ceiling)
    )
    assert ceiling == 1
    assert chance < 0.6
    assert floor < 0.8


def test_strengths_are_slopes_in_standard_deviations():
    g = torch.Generator().manual_seed(0)
    codes = torch.randn(500, 2, generator=g) * torch.tensor([1.0, 5.0])
    weights = torch.tensor([[1.0, 0.0, 2.0], [0.0, 3.0, 1.0]])
    x = codes @ weights
    expected = (weights * codes.std(dim=0)[:, None] / x.std(dim=0)).T
    torch.testing.assert_close(strengths(lambda s: s @ weights, codes, codes[:50], x).float(), expected, rtol=1e-4, atol=1e-5)


def test_what_cannot_be_scored_says_why():
    perfect = outcome()
    with pytest.raises(NotApplicable, match="no decoder"):
        SupportRecovery().score(replace(perfect, decode=None), seed=0)
    with pytest.raises(NotApplicable, match="no edge is missing"):
        SupportRecovery().score(outcome(row_support=0), seed=0)


def test_spoiled_codes_are_refused():
    perfect = outcome()
    spoiled = perfect.codes.clone()
    spoiled[3, 1] = float("nan")
    with pytest.raises(InvalidInput, match="check the encoder"):
        SupportRecovery().score(replace(perfect, codes=spoiled), seed=0)
    with pytest.raises(InvalidInput, match="encode the sample itself"):
        SupportRecovery().score(replace(perfect, codes=perfect.codes[:-1]), seed=0)
