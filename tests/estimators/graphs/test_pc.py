"""PC as an estimator: what it says of its own codes."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from testbed.conformance import check_estimator
from testbed.contracts import InvalidInput, Structure
from testbed.estimators.graphs import PC


def collider(n: int = 2000) -> np.ndarray:
    x = np.random.default_rng(0).standard_normal((n, 4))
    x[:, 2] += x[:, 0] + x[:, 1]
    x[:, 3] += x[:, 2]
    return x


def test_it_keeps_its_contract() -> None:
    assert [check.problem for check in check_estimator(PC()) if check.problem] == []


def test_a_collider_orients_and_so_does_what_follows() -> None:
    model = PC(alpha=1e-3, bootstrap=5).fit(collider(), seed=0)
    structure = Structure.of(model)
    assert structure is not None
    assert structure.constituents == ((), (), (0, 1), (2,))
    assert model.confidence_[0, 2] == 1
    assert PC(alpha=1e-3, directions=False).fit(collider(), seed=0).constituents_ == [[2], [2], [0, 1, 3], [2]]


def test_states_by_g2() -> None:
    generator = np.random.default_rng(1)
    states = generator.integers(0, 2, (2000, 4))
    states[:, 2] = states[:, 0] | states[:, 1]
    states[:, 2] ^= generator.random(2000) < 0.1
    states[:, 3] = states[:, 2] ^ (generator.random(2000) < 0.1)
    assert PC("g2", alpha=1e-3).fit(states, seed=0).constituents_ == [[], [], [0, 1], [2]]


def test_codes_are_the_columns() -> None:
    x = collider()
    model = PC().fit(x, seed=0)
    codes = model.encode(x)
    assert torch.equal(codes, torch.as_tensor(x).float())
    assert torch.equal(model.decode(codes), codes)


@pytest.mark.parametrize("settings", [{"test": "kci"}, {"alpha": 0.0}, {"effect": 1.0}, {"budget": 0}, {"levels": [0, 1]}])
def test_bad_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        PC(**settings).fit(collider(50), seed=0)  # type: ignore[arg-type]
