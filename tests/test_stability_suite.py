"""The suite `stability` runs through, and its script correlates what it says."""

import importlib.util
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from testbed.runner import plan_suite, run


@pytest.fixture(scope="module")
def script():
    spec = importlib.util.spec_from_file_location("stability", Path(__file__).parent / "bench" / "stability.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def table(noise_within, shift, instances=8):
    """Agreement `x` follows recovery `y` within each instance, and estimator `odd` agrees with itself for reasons of its own."""
    rng = np.random.default_rng(0)
    rows = []
    for i in range(instances):
        for k, name in enumerate(("a_sae", "b_sae", "c_sae", "odd")):
            y = k + 0.3 * rng.normal()
            x = y + noise_within * rng.normal() + (shift if name == "odd" else 0)
            rows.append({"generator": "world", "instance": i, "estimator": name, "cluster": f"world/{i}", "x": x, "y": y})
    return pd.DataFrame(rows)


def test_spearman_is_scipys_and_0_where_nothing_varies(script):
    x, y = np.random.default_rng(0).integers(0, 5, size=(2, 30))
    assert script.spearman(x, y) == pytest.approx(stats.spearmanr(x, y).statistic)
    assert script.spearman(np.ones(5), np.arange(5)) == 0.0


def test_three_ways_to_correlate_are_three_numbers(script):
    wide = table(0.0, 0.0)
    for way in script.WAYS:
        assert script.correlation(wide, "x", "y", way).mean == pytest.approx(1.0)
    odd = table(0.0, -10.0)  # the best recovery, and the least agreement
    assert script.correlation(odd, "x", "y", "within instance").mean == pytest.approx(-0.2)
    assert script.correlation(odd, "x", "y", "within estimator").mean == pytest.approx(1.0)
    noise = script.correlation(table(50.0, 0.0), "x", "y", "overall")
    assert noise.low < 0 < noise.high
    assert -1 <= noise.low <= noise.mean <= noise.high <= 1


def test_the_suite_asks_for_several_fits_and_reads_nothing_off_the_truth():
    (plan,) = plan_suite("stability")
    assert not any(use.from_truth for use in plan.estimators.values())
    assert plan.suite.fit_seeds == 3
    assert len(plan.trials) == 5 * 7 * 5 * 3


@pytest.mark.slow
def test_the_suite_runs_through_and_its_table_has_every_stability_score(tmp_path, script):
    results = run("stability", tmp_path, preset="tiny", only=["easy", "crowded", "topk_sae", "pca", "random_dictionary"])
    assert not results.failures
    wide = script.gathered(results)
    assert len(wide) == 2 * 2 * wide["estimator"].nunique()
    found = script.correlated(wide)
    assert set(found["stability"]) == set(script.STABILITY)
    assert found["spearman"].between(-1, 1).all()
    assert "decoder_mcc, autoencoders" in script.written(found, wide)
