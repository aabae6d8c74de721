"""causal-learn behind the contract: its own graphs, in our terms, quiet and in time."""

from __future__ import annotations

import sys
import time

import numpy as np
import pytest

pytest.importorskip("causallearn")

from testbed.conformance import check_estimator
from testbed.contracts import InvalidInput, Structure
from testbed.estimators.graphs import PC, CausalLearn


def collider(n: int = 2000) -> np.ndarray:
    x = np.random.default_rng(0).standard_normal((n, 4))
    x[:, 2] += x[:, 0] + x[:, 1]
    x[:, 3] += x[:, 2]
    return x


def two_factors(n: int = 2000) -> tuple[np.ndarray, np.ndarray]:
    """Two dependent hidden causes with non-Gaussian laws, three columns each; and the causes."""
    generator = np.random.default_rng(1)
    first = generator.laplace(size=n)
    second = 0.6 * first + generator.laplace(size=n)
    hidden = np.stack([first, second], axis=1)
    return hidden[:, [0, 0, 0, 1, 1, 1]] * [1.0, 0.8, 1.2, 1.0, 0.9, 1.1] + 0.5 * generator.laplace(size=(n, 6)), hidden


@pytest.mark.parametrize("method", ["pc"])
def test_it_keeps_its_contract(method: str) -> None:
    assert [check.problem for check in check_estimator(CausalLearn(method)) if check.problem] == []


@pytest.mark.parametrize("method", ["pc", "fci", "ges"])
def test_a_collider_orients_and_so_does_what_follows(method: str, capfd: pytest.CaptureFixture[str]) -> None:
    model = CausalLearn(method, alpha=1e-3).fit(collider(), seed=0)
    assert model.constituents_ == PC(alpha=1e-3).fit(collider(), seed=0).constituents_ == [[], [], [0, 1], [2]]
    assert model.stopped_ == ""
    assert capfd.readouterr() == ("", "")


@pytest.mark.parametrize("method", ["pc", "fci", "ges"])
def test_levels_direct_what_nothing_else_does(method: str) -> None:
    x = np.random.default_rng(2).standard_normal((2000, 3))
    x[:, 1] += x[:, 0]
    x[:, 2] += x[:, 1]
    assert CausalLearn(method, alpha=1e-3).fit(x, seed=0).constituents_ == [[1], [0, 2], [1]]
    model = CausalLearn(method, alpha=1e-3, levels=[1, 0, 1]).fit(x, seed=0)
    assert model.constituents_ == [[], [0, 2], []]
    assert model.levels_ == [1, 0, 1]


@pytest.mark.parametrize("method", ["pc", "fci", "ges"])
def test_states(method: str) -> None:
    generator = np.random.default_rng(1)
    states = generator.integers(0, 2, (2000, 4))
    states[:, 2] = (states[:, 0] | states[:, 1]) ^ (generator.random(2000) < 0.1)
    states[:, 3] = states[:, 2] ^ (generator.random(2000) < 0.1)
    assert CausalLearn(method, "g2", alpha=1e-3).fit(states, seed=0).constituents_ == [[], [], [0, 1], [2]]


@pytest.mark.parametrize("method", ["gin", "rlcd"])
def test_hidden_causes_are_composites_with_codes(method: str) -> None:
    x, hidden = two_factors()
    model = CausalLearn(method, samples=400 if method == "gin" else None).fit(x, seed=0)
    structure = Structure.of(model)
    assert structure is not None
    h = len(model.constituents_) - 6
    assert h >= 1
    assert structure.levels == (0,) * h + (1,) * 6
    codes = model.encode(x).numpy()
    assert codes.shape == (len(x), h + 6)
    assert np.abs(np.corrcoef(codes[:, :h], hidden, rowvar=False)[:h, h:]).max() > 0.8
    assert np.allclose(model.decode(model.encode(x)).numpy(), x, atol=1e-5)


def test_a_search_that_takes_too_long_is_stopped_and_says_so() -> None:
    clock = time.process_time()
    model = CausalLearn("ges", seconds=0.3).fit(np.random.default_rng(3).standard_normal((300, 60)), seed=0)
    assert time.process_time() - clock < 5
    assert "stopped after 0.3 CPU seconds" in model.stopped_
    assert model.constituents_ == [[]] * 60


def test_without_causal_learn_it_says_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "causallearn.search.ConstraintBased.PC", None)
    with pytest.raises(InvalidInput, match="causal-learn is needed"):
        CausalLearn().fit(collider(50), seed=0)


@pytest.mark.parametrize(
    "settings",
    [
        {"method": "lingam"},
        {"test": "kci"},
        {"alpha": 0.0},
        {"seconds": 0.0},
        {"samples": 0},
        {"levels": [0, 1]},
        {"method": "gin", "levels": [0, 0, 0, 0]},
        {"method": "rlcd", "test": "g2"},
    ],
)
def test_bad_settings_are_refused(settings: dict[str, object]) -> None:
    with pytest.raises(InvalidInput):
        CausalLearn(**settings).fit(collider(50), seed=0)  # type: ignore[arg-type]


def test_bad_columns_are_refused() -> None:
    x = collider(50)
    with pytest.raises(InvalidInput, match="copies"):
        CausalLearn("ges").fit(x[:, [0, 0, 1]], seed=0)
    with pytest.raises(InvalidInput, match="4 columns or more"):
        CausalLearn("gin").fit(x[:, :3], seed=0)
    x[:, 3] = x[:, 0] + x[:, 1]
    with pytest.raises(InvalidInput, match="singular"):
        CausalLearn("pc", alpha=0.5).fit(x, seed=0)
