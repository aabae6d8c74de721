"""A latent class from third moments, as an estimator."""

from __future__ import annotations

import numpy as np
import pytest

from testbed.conformance import check_estimator
from testbed.contracts import InvalidInput, Structure
from testbed.estimators.graphs import TensorDecomposition


def classes(n: int = 40_000, k: int = 3, p: int = 6) -> tuple[np.ndarray, np.ndarray, float]:
    """Columns of four states that are independent given a class; the class; how often its posterior names it."""
    generator = np.random.default_rng(0)
    weights = generator.dirichlet(np.full(k, 5.0))
    hidden = generator.choice(k, n, p=weights)
    tables = generator.dirichlet(np.full(4, 0.4), (p, k))
    x = np.stack([(generator.random(n)[:, None] > table.cumsum(axis=1)[hidden]).sum(axis=1) for table in tables], axis=1)
    score = np.log(weights) + sum(np.log(table[:, x[:, j]]).T for j, table in enumerate(tables))
    return np.minimum(x, 3), hidden, float((score.argmax(axis=1) == hidden).mean())


def agreement(codes: np.ndarray, hidden: np.ndarray) -> float:
    table = np.zeros((int(codes.max()) + 1, int(hidden.max()) + 1))
    np.add.at(table, (codes.astype(int), hidden), 1)
    return float(table.max(axis=1).sum() / len(codes))


def test_it_keeps_its_contract() -> None:
    assert [check.problem for check in check_estimator(TensorDecomposition.small()) if check.problem] == []


def test_the_class_comes_back_as_well_as_its_posterior_says() -> None:
    x, hidden, ceiling = classes()
    model = TensorDecomposition().fit(x, seed=0)
    assert model.n_states_ == [3] + [4] * 6
    assert Structure.of(model) == Structure((0, *[1] * 6), ((1, 2, 3, 4, 5, 6), *[()] * 6), (3, *[4] * 6))
    codes = model.encode(x)
    assert agreement(codes[:, 0].numpy(), hidden) > ceiling - 0.02
    assert np.array_equal(model.decode(codes).numpy(), x)


def test_groups_in_another_order_give_the_same_classes() -> None:
    x, _, _ = classes()
    one = TensorDecomposition(3, groups=[[0, 1], [2, 3], [4, 5]]).fit(x, seed=0).encode(x)[:, 0].numpy()
    other = TensorDecomposition(3, groups=[[5, 4], [0, 1], [3, 2]]).fit(x, seed=0).encode(x)[:, 0].numpy()
    assert agreement(one, other.astype(int)) > 0.95


@pytest.mark.parametrize(
    "settings", [{"n_states": 1}, {"alpha": 1.0}, {"samples": 0}, {"bins": 1}, {"groups": [[0], [1], [1]]}, {"n_states": 30}]
)
def test_bad_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        TensorDecomposition(**settings).fit(classes(500)[0], seed=0)  # type: ignore[arg-type]


def test_columns_without_anything_in_common_have_one_class() -> None:
    x = np.random.default_rng(1).integers(0, 3, (2000, 3))
    model = TensorDecomposition().fit(x, seed=0)
    assert model.n_states_ == [1, 3, 3, 3]
    assert np.exp(model.tables_)[:3, 0] == pytest.approx(np.bincount(x[:, 0]) / 2000)
