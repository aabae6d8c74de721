"""From a pilot to a number of instances: paired, per generator, with the part that more fit seeds could take away."""

from types import SimpleNamespace

import numpy as np
import pandas as pd
import pytest

from testbed.contracts import InvalidInput
from testbed.pilot import instances_needed
from testbed.stats import seeds_needed


def run(noise_of_fits=0.0, fits=3, instances=6, generators=("one", "two")):
    rng = np.random.default_rng(0)
    rows = []
    for generator in generators:
        for i in range(instances):
            hard = rng.normal(scale=10)
            for name in "ab":
                own = hard + (name == "a") * rng.normal(0.5, 0.1)
                rows += [
                    {"generator": generator, "instance": i, "estimator": name, "fit_seed": k, "evaluator": "score", "part": "", "value": v}
                    for k, v in enumerate(own + noise_of_fits * rng.normal(size=fits))
                ]
    about = {"estimators": [{"label": n} for n in "abc"], "generators": [{"label": g} for g in generators]}
    return SimpleNamespace(scores=pd.DataFrame(rows), run=about, groups=[])


def needed(results, score="score", estimators=("a", "b"), difference=0.1, generator=None, power=0.8, alpha=0.05):
    return instances_needed(results, score, estimators, difference, generator, power, alpha)


def test_differences_are_paired_and_averaged_over_fits():
    results = run(0.3)
    found = needed(results)
    assert [answer.generator for answer in found] == ["one", "two"]
    table = results.scores[results.scores["generator"] == "one"].pivot_table(index="instance", columns="estimator", values="value")
    assert found[0].needed == seeds_needed(list(table["a"] - table["b"]), 0.1)
    assert found[0].needed.spread < 1  # not the ten of the instances, which pairing removes
    assert [a.generator for a in needed(results, generator="two")] == ["two"]


def test_noise_of_fits_is_told_apart():
    (quiet,), (noisy,) = needed(run(0.0), generator="one"), needed(run(1.0, instances=40), generator="one")
    assert quiet.from_fits == pytest.approx(0.0, abs=1e-6)
    assert noisy.from_fits > 0.6
    assert needed(run(fits=1), generator="one")[0].from_fits is None


def test_a_pilot_too_small_says_so():
    (answer,) = needed(run(instances=2), generator="one")
    assert answer.needed is None
    assert "at least 3 instances" in answer.reason


@pytest.mark.parametrize(
    ("wrong", "words"),
    [
        ({"score": "scor"}, "no score 'scor': did you mean 'score'"),
        ({"estimators": ("a", "z")}, "no estimator 'z'"),
        ({"estimators": ("a", "c")}, "no generator in common"),
        ({"generator": "three"}, "no generator 'three'"),
        ({"difference": 0.0}, "difference of 0"),
        ({"power": 1.2}, "power 1.2"),
    ],
)
def test_what_the_run_lacks_is_named(wrong, words):
    with pytest.raises(InvalidInput, match=words):
        needed(run(), **wrong)
