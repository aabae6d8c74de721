"""Identity and raw neurons: what they promise of codes and of decoding."""

import pytest
import torch

from testbed.contracts import InvalidInput
from testbed.estimators.baselines.identity import Identity
from testbed.estimators.baselines.raw_neurons import RawNeurons

X = torch.tensor([[0.0, -2.0, 3.0], [1.0, 4.0, 0.0], [2.0, -1.0, -5.0]])


def test_identity_is_the_view():
    fitted = Identity().fit(X, seed=0)
    assert torch.equal(fitted.encode(X), X)
    assert torch.equal(fitted.decode(X), X)


def test_neurons_of_one_sign_are_one_code_and_others_two():
    fitted = RawNeurons().fit(torch.split(X, 2), seed=0)
    codes = fitted.encode(X)
    expected = torch.tensor([[0.0, 0, 3, 2, 0], [1, 4, 0, 0, 0], [2, 0, 0, 1, 5]])
    assert torch.equal(codes, expected)
    assert torch.equal(fitted.decode(codes), X)


@pytest.mark.parametrize(("parts", "width", "exact"), [("both", 6, True), ("positive", 3, False)])
def test_parts_can_be_chosen(parts, width, exact):
    fitted = RawNeurons(parts=parts).fit(X, seed=0)
    codes = fitted.encode(X)
    assert codes.shape == (3, width)
    assert (codes >= 0).all()
    assert torch.equal(fitted.decode(codes), X if exact else X.clamp_min(0))


def test_signs_may_change_at_the_mean():
    fitted = RawNeurons(about="mean").fit(X + 100, seed=0)
    codes = fitted.encode(X + 100)
    assert codes.shape == (3, 6)
    torch.testing.assert_close(fitted.decode(codes), X + 100)
    torch.testing.assert_close(codes[:, :3] - codes[:, 3:], X - X.mean(dim=0), rtol=0, atol=1e-4)


def test_other_words_are_refused():
    for wrong in ({"parts": "some"}, {"about": "median"}, {"samples": 0}):
        with pytest.raises(InvalidInput, match="auto, both or positive"):
            RawNeurons(**wrong).fit(X, seed=0)
