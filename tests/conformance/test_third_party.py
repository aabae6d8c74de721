"""A metric from someone else's package: checked, listed and run by its path and by its entry point."""

import re
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from testbed.cli import app
from testbed.registry import names

PAGE = Path(__file__).parents[2] / "docs" / "extending.md"
BLOCKS = re.findall(r"^```python\n(.*?)^```$", PAGE.read_text(), re.DOTALL | re.MULTILINE)
METRIC = next(code for code in BLOCKS if "BestCorrelation" in code)
IMPORTS = "from testbed import Evaluator\nfrom testbed.contracts import NotApplicable, Scores\n"
SUITE = """
name = "theirs"
instances = 1
data = {{ train = 200, test = 200, reference = 200 }}
generator = [{{ name = "toys:ToyGenerator" }}]
estimator = [{{ name = "toys:ToyEstimator", label = "random" }}, {{ name = "toys:ToyOracle", label = "oracle" }}]
evaluator = [{{ name = "{name}", label = "theirs" }}]
"""


@pytest.fixture
def package(toys, monkeypatch):
    """The documentation's metric as an installed package that registers it."""
    site = toys / "site"
    (site / "my_metrics-1.0.dist-info").mkdir(parents=True)
    (site / "my_metrics.py").write_text(IMPORTS + METRIC.partition("\n\n\nassert")[0])
    (site / "my_metrics-1.0.dist-info" / "METADATA").write_text("Metadata-Version: 2.1\nName: my-metrics\nVersion: 1.0\n")
    (site / "my_metrics-1.0.dist-info" / "entry_points.txt").write_text(
        "[testbed.evaluators]\nbest_correlation = my_metrics:BestCorrelation\n"
    )
    monkeypatch.syspath_prepend(str(site))
    names.cache_clear()
    yield site
    names.cache_clear()
    sys.modules.pop("my_metrics", None)


@pytest.mark.parametrize("name", ["my_metrics:BestCorrelation", "best_correlation"])
def test_a_metric_is_checked_and_run_by_path_and_by_name(package, name):
    checked = CliRunner().invoke(app, ["check", name])
    assert checked.exit_code == 0, checked.output
    assert "13 of 13 promises kept" in checked.output
    Path("suite.toml").write_text(SUITE.format(name=name))
    ran = CliRunner().invoke(app, ["run", "suite.toml", "--out", "out"])
    assert ran.exit_code == 0, ran.output
    from testbed.results import gather

    scores = gather("out").scores
    scores = scores[scores.part == ""].set_index("estimator")
    assert scores.value["oracle"] > 0.9 > scores.value["random"]
    assert (scores.chance < 0.3).all()
    assert set(scores.floors["random"]) == {"random_rotation", "common_factor"}


def test_an_installed_metric_is_listed_as_such(package):
    listed = CliRunner().invoke(app, ["list", "evaluators"])
    assert "best_correlation" in listed.output
    assert "(installed package)" in " ".join(listed.output.split())


def test_what_a_metric_breaks_is_said_on_the_command_line(package):
    (package / "their_metrics.py").write_text(
        "from my_metrics import BestCorrelation\n\n\nclass Wide(BestCorrelation):\n    invariances = ('affine',)\n"
    )
    checked = CliRunner().invoke(app, ["check", "their_metrics:Wide"])
    assert checked.exit_code == 1
    words = " ".join(checked.output.split())
    assert "12 of 13 promises kept" in words
    assert "leave 'rotation' out, or make it so" in words
