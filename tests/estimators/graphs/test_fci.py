"""FCI as an estimator: selection that data show, and constituents."""

from __future__ import annotations

import numpy as np
import pytest

from testbed.conformance import check_estimator
from testbed.contracts import InvalidInput, Structure
from testbed.estimators.graphs import FCI, PC


def selected_circle(n: int = 200_000) -> np.ndarray:
    """Four independent bits on a circle, rows kept more often where neighbours agree; and an effect of the first."""
    generator = np.random.default_rng(0)
    bits = generator.integers(0, 2, (n, 4))
    agree = (bits == np.roll(bits, 1, axis=1)).sum(axis=1)
    kept = bits[generator.random(n) < 0.5 ** (4 - agree)]
    return np.column_stack([kept, kept[:, 0] ^ (generator.random(len(kept)) < 0.2)])


def test_it_keeps_its_contract() -> None:
    assert [check.problem for check in check_estimator(FCI()) if check.problem] == []


def test_selection_is_told_from_what_is_undetermined() -> None:
    model = FCI("g2", alpha=1e-4).fit(selected_circle(), seed=0)
    circle = {(0, 1), (1, 2), (2, 3), (0, 3)}
    assert set(map(tuple, np.argwhere(np.triu(model.selection_)).tolist())) == circle
    assert model.adjacent_[0, 4]
    assert not model.selection_[0, 4]
    assert model.constituents_ == [[1, 3, 4], [0, 2], [1, 3], [0, 2], [0]]
    assert Structure.of(model) is not None


def test_colliders_orient_as_in_pc() -> None:
    x = np.random.default_rng(0).standard_normal((2000, 4))
    x[:, 2] += x[:, 0] + x[:, 1]
    x[:, 3] += x[:, 2]
    model = FCI(alpha=1e-3).fit(x, seed=0)
    assert model.constituents_ == PC(alpha=1e-3).fit(x, seed=0).constituents_ == [[], [], [0, 1], [2]]
    assert model.marks_[2, 3] == 2
    assert model.marks_[3, 2] == 3  # a collider above it: a true cause
    assert model.marks_[2, 0] == 1  # a hidden cause of both cannot be excluded


def test_with_hidden_causes_sets_beyond_neighbours_are_tried() -> None:
    generator = np.random.default_rng(3)
    weight = generator.uniform(0.7, 1.6, 8) * generator.choice([-1, 1], 8)
    x = generator.standard_normal((20_000, 5))
    first, second = generator.standard_normal((2, 20_000))
    x[:, 2] += weight[0] * first + weight[1] * x[:, 4]
    x[:, 3] += weight[2] * second + weight[3] * x[:, 4]
    x[:, 0] += weight[4] * first + weight[5] * x[:, 3]
    x[:, 1] += weight[6] * second + weight[7] * x[:, 2]
    assert FCI(alpha=1e-4).fit(x, seed=0).adjacent_[0, 1]
    assert not FCI(alpha=1e-4, hidden=True).fit(x, seed=0).adjacent_[0, 1]


@pytest.mark.parametrize("settings", [{"test": "kci"}, {"alpha": 0.0}, {"effect": 1.0}, {"budget": 0}, {"levels": [0, 1]}])
def test_bad_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        FCI(**settings).fit(np.random.default_rng(0).standard_normal((50, 4)), seed=0)  # type: ignore[arg-type]
