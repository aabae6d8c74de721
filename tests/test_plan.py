"""Keys depend on what a result depends on: sweeps are paired, labels do not count, an edit touches only its own stages."""

import subprocess
import sys

import pytest

from testbed import device
from testbed.plan import Use, content_of, enumerate_trials
from testbed.suite import find, read


def keys(plan, kind):
    if kind == "sample":
        return {s.stage.key for s in plan.samplings}
    if kind == "score":
        return {(label, s.key) for t in plan.trials for label, s in t.scores.items()}
    return {getattr(t, kind).key for t in plan.trials}


def planned(**options):
    return enumerate_trials(read(find("toy.toml")[0], **options))


def test_a_plan_is_every_combination(toys):
    plan = planned()
    assert len(plan.samplings) == 3
    assert len(plan.trials) == 3 * 2 * 2
    assert len(plan.groups) == 3 * 2
    assert plan.trials[0].id == "gauss/0/random/0"
    assert len({t.fit.key for t in plan.trials}) == 12


def test_a_dial_changes_the_data_but_no_seed(toys):
    a, b = planned(), planned(settings=["generator.gauss.noise=0.5"])
    assert keys(a, "sample").isdisjoint(keys(b, "sample"))
    assert [s.instance_seed for s in a.samplings] == [s.instance_seed for s in b.samplings]
    assert [t.fit_seed for t in a.trials] == [t.fit_seed for t in b.trials]


def test_labels_and_claims_are_in_no_key(toys):
    a = planned()
    text = (toys / "toy.toml").read_text().replace('label = "random"', 'label = "other"').split("[[claim]]")[0]
    (toys / "relabelled.toml").write_text(text)
    b = enumerate_trials(read(toys / "relabelled.toml"))
    assert keys(a, "fit") == keys(b, "fit")


def test_an_estimators_parameter_moves_its_fits_and_not_the_data(toys):
    a, b = planned(), planned(settings=["estimator.random.m=4"])
    assert keys(a, "sample") == keys(b, "sample")
    assert len(keys(a, "fit") & keys(b, "fit")) == 6


def test_an_evaluators_source_moves_its_scores_and_nothing_else(toys):
    (toys / "judges.py").write_text((toys / "toys.py").read_text())
    text = (toys / "toy.toml").read_text().replace("toys:ToyScore", "judges:ToyScore")
    (toys / "toy.toml").write_text(text)
    a = planned()
    with (toys / "judges.py").open("a") as file:
        file.write("# another word\n")
    b = planned()
    for kind in ("sample", "fit", "encode"):
        assert keys(a, kind) == keys(b, kind)
    moved = {label for label, key in keys(a, "score") - keys(b, "score")}
    assert moved == {"score"}


def test_more_rows_threads_or_another_device_are_other_results(toys, monkeypatch):
    for name in device.LIBRARY_THREADS:
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(device, "cores", lambda: 2)
    a = planned()
    assert keys(a, "sample").isdisjoint(keys(planned(settings=["data.train=6000"]), "sample"))
    assert keys(a, "fit").isdisjoint(keys(planned(settings=["threads=2"]), "fit"))
    assert keys(a, "fit").isdisjoint(keys(enumerate_trials(a.suite, "cuda"), "fit"))


def test_files_that_parameters_name_count_by_content(toys):
    (toys / "reader.py").write_text(
        "from pathlib import Path\nfrom toys import ToyGenerator\nclass R(ToyGenerator):\n"
        "    def __init__(self, text: list[Path] | None = None):\n        self.text = text\n"
    )
    (toys / "a.txt").write_text("one")
    (toys / "r.toml").write_text(
        'name="r"\n[[generator]]\nname="reader:R"\nparams={text=["a.txt"]}\n[[estimator]]\nname="toys:ToyEstimator"\n[[evaluator]]\nname="toys:ToySize"\n'
    )
    before = keys(enumerate_trials(read(toys / "r.toml")), "sample")
    (toys / "a.txt").write_text("two")
    assert before.isdisjoint(keys(enumerate_trials(read(toys / "r.toml")), "sample"))


def test_a_folders_content_is_names_and_bytes(tmp_path):
    (tmp_path / "f").mkdir()
    (tmp_path / "f" / "a").write_text("1")
    first = content_of(tmp_path / "f")
    (tmp_path / "f" / "a").rename(tmp_path / "f" / "b")
    assert content_of(tmp_path / "f") != first


@pytest.mark.parametrize(
    "statement", ["import testbed", "import testbed.cli", "from testbed.runner import plan_suite; plan_suite('quick')"]
)
def test_planning_loads_neither_torch_nor_scikit_learn(statement):
    script = f"import sys; {statement}; print([m for m in ('torch', 'sklearn', 'pandas', 'scipy', 'transformers') if m in sys.modules])"
    assert subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout == "[]\n"


def test_a_setting_of_a_component_in_a_component_that_is_read_off_the_truth_is_marked():
    codes = {"use": "vae", "n_codes": {"truth": "concepts_level_2"}}
    assert Use("a", "p", {"codes": codes, "size": 3}, "s").from_truth == ("codes",)
    assert Use("a", "p", {"codes": {"use": "vae", "n_codes": 3}}, "s").from_truth == ()
