"""Codes first, a graph among them second."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest
import torch

from testbed.conformance import check_estimator
from testbed.contracts import InvalidInput, Structure
from testbed.estimators.classical.pca import PCA
from testbed.estimators.graphs import FCI, PC, GraphOfCodes, LatentTree


def collider(n: int = 2000) -> torch.Tensor:
    x = torch.randn(n, 4, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    x[:, 2] += x[:, 0] + x[:, 1]
    x[:, 3] += x[:, 2]
    return x


def test_it_keeps_its_contract() -> None:
    assert [check.problem for check in check_estimator(GraphOfCodes()) if check.problem] == []


def test_by_default_the_columns_themselves() -> None:
    x = collider()
    model, plain = GraphOfCodes(graph=PC(alpha=1e-3)).fit(x, seed=0), PC(alpha=1e-3).fit(x, seed=0)
    assert Structure.of(model) == Structure.of(plain) == Structure((0,) * 4, ((), (), (0, 1), (2,)))
    assert torch.equal(torch.as_tensor(model.encode(x)), torch.as_tensor(plain.encode(x)))


def test_codes_and_hidden_nodes_stand_side_by_side_and_survive_storing() -> None:
    x = collider()
    model = GraphOfCodes(PCA(4), LatentTree()).fit(x, seed=0)
    codes = model.encode(x)
    assert isinstance(codes, torch.Tensor)
    hidden = codes.shape[1] - 4
    assert len(model.levels_) == codes.shape[1]
    assert torch.equal(codes[:, hidden:], model.codes_.encode(x))
    assert torch.equal(model.decode(codes), model.codes_.decode(codes[:, hidden:]))
    other = GraphOfCodes(PCA(4), LatentTree()).set_state(*model.get_state())
    assert torch.equal(torch.as_tensor(other.encode(x)), codes)


def test_a_test_of_states_may_be_given_activity() -> None:
    x = collider()
    on = torch.where(x > 1, x, 0)
    with pytest.raises(InvalidInput, match="64 states"):
        GraphOfCodes(graph=PC("g2")).fit(on, seed=0)
    model = GraphOfCodes(graph=FCI("g2"), active=True).fit(on, seed=0)
    assert np.array_equal(model.graph_.adjacent_, FCI("g2").fit((on > 0).double(), seed=0).adjacent_)
    assert torch.equal(torch.as_tensor(model.encode(on)), on.float())


def test_what_can_be_read_once_only_is_refused() -> None:
    def stream() -> Iterator[Any]:
        yield collider()

    with pytest.raises(InvalidInput, match="only once"):
        GraphOfCodes().fit(stream(), seed=0)
    with pytest.raises(InvalidInput, match="samples"):
        GraphOfCodes(samples=0).fit(collider(), seed=0)
