"""Latent trees as estimators: hidden nodes above the columns, with codes that follow them."""

from __future__ import annotations

import numpy as np
import pytest

from testbed.conformance import check_estimator
from testbed.contracts import InvalidInput, Structure
from testbed.estimators.graphs import LatentTree


def gaussian(n: int = 5000) -> tuple[np.ndarray, np.ndarray]:
    """Three hidden nodes with three columns each below one; the hidden nodes, the top one first."""
    generator = np.random.default_rng(0)
    noise = generator.standard_normal
    top = noise(n)
    middle = 0.8 * top[:, None] + 0.6 * noise((n, 3))
    signs = np.where(np.arange(9) % 4 == 0, -1.0, 1.0)
    return (0.85 * np.repeat(middle, 3, axis=1) + 0.5 * noise((n, 9))) * signs, np.column_stack([top, middle])


def states(n: int = 30_000) -> tuple[np.ndarray, np.ndarray]:
    """The same in states, each a noisy copy of the one above."""
    generator = np.random.default_rng(1)

    def copied(column: np.ndarray, share: float) -> np.ndarray:
        return np.where(generator.random(len(column)) < share, column, generator.integers(0, 3, len(column)))

    top = generator.integers(0, 3, n)
    middle = np.stack([copied(top, 0.75) for _ in range(3)], axis=1)
    return np.stack([copied(middle[:, j // 3], 0.8) for j in range(9)], axis=1), np.column_stack([top, middle])


def test_it_keeps_its_contract() -> None:
    assert [check.problem for check in check_estimator(LatentTree(kind="discrete", bins=2)) if check.problem] == []


@pytest.mark.parametrize("grouping", ["best", "recursive_grouping", "chow_liu"])
def test_a_hierarchy_of_numbers(grouping: str) -> None:
    x, hidden = gaussian()
    model = LatentTree(grouping=grouping).fit(x, seed=0)
    structure = Structure.of(model)
    assert structure is not None
    assert structure.levels == (0, 1, 1, 1, *[2] * 9)
    assert sorted(structure.constituents[1:4]) == [(4, 5, 6), (7, 8, 9), (10, 11, 12)]
    assert structure.constituents[0] == (1, 2, 3)
    codes = model.encode(x).numpy()
    order = np.argsort([min(one) for one in structure.constituents[1:4]]) + 1
    matched = np.abs([np.corrcoef(codes[:, a], hidden[:, b])[0, 1] for a, b in zip([0, *order], range(4), strict=True)])
    best = np.sqrt([np.linalg.lstsq(x, h, rcond=None)[0] @ x.T @ h / (h @ h) for h in hidden.T])  # multiple correlation: the ceiling
    assert matched == pytest.approx(best, abs=0.01)
    assert np.allclose(model.decode(model.encode(x)), x, atol=1e-5)


def test_a_hierarchy_of_states() -> None:
    x, hidden = states()
    model = LatentTree("discrete").fit(x, seed=0)
    assert model.levels_ == [0, 1, 1, 1, *[2] * 9]
    assert model.n_states_ == [3] * 13
    codes = model.encode(x).numpy().astype(int)
    for code in range(1, 4):
        column = model.constituents_[code][0] - 4
        table = np.zeros((3, 3))
        np.add.at(table, (codes[:, code], hidden[:, 1 + column // 3]), 1)
        assert table.max(axis=1).sum() / len(x) > 0.9
        assert len(set(table.argmax(axis=1))) == 3


@pytest.mark.parametrize(
    "settings",
    [{"kind": "real"}, {"grouping": "upgma"}, {"tolerances": ()}, {"samples": 0}, {"n_states": 1}, {"bins": 1}],
)
def test_bad_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        LatentTree(**settings).fit(gaussian(100)[0], seed=0)  # type: ignore[arg-type]


def test_bad_columns_are_refused() -> None:
    x, _ = gaussian(100)
    with pytest.raises(InvalidInput, match="3 to 200 columns"):
        LatentTree().fit(x[:, :2], seed=0)
    with pytest.raises(InvalidInput, match="set bins"):
        LatentTree("discrete").fit(x, seed=0)
    with pytest.raises(InvalidInput, match="at most as many"):
        LatentTree("discrete", n_states=4).fit(states(500)[0], seed=0)
