"""What is asked for is checked before anything runs: one sentence with the place and the remedy."""

import copy
import datetime as dt
import functools
import math
import tomllib

import pytest

from testbed.contracts import InvalidInput
from testbed.suite import Suite, find, from_tree, parse_setting, read, shipped_suites

TREE = {
    "name": "s",
    "generator": [{"name": "sparse_concepts"}],
    "estimator": [{"name": "topk_sae"}, {"name": "pca"}],
    "evaluator": [{"name": "decoder_mcc"}],
    "presets": {"tiny": {"instances": 1, "estimator": {"topk_sae": {"k": 4}}}},
}


def changed(*path, value):
    tree = copy.deepcopy(TREE)
    place = tree
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = value
    return tree


CLAIM = {"id": "c", "score": "decoder_mcc", "where": {"estimator": "topk_sae"}, "versus": "chance"}

BAD = [
    (changed("instances", value=0), "instances: .*greater than or equal to 1, not 0"),
    (changed("instances", value="3"), "instances: .*valid integer, not '3'"),
    (changed("instanses", value=3), r"instanses: there is no such key; did you mean 'instances'\?"),
    (changed("generator", value=[]), r"generator: list at least one \[\[generator\]\]"),
    (changed("data", value={"tran": 3}), "data.tran: there is no such key; did you mean 'train'"),
    (changed("seconds", value=math.inf), "seconds: .*finite"),
    (changed("estimator", 0, "name", value="topk_sea"), r"estimator\[0\].name: there is no estimator 'topk_sea'; did you mean 'topk_sae'"),
    (changed("estimator", 0, "params", value={"kk": 3}), r"estimator\[0\].params.kk: topk_sae has no parameter 'kk'"),
    (changed("estimator", 0, "params", value={"k": "many"}), r"estimator\[0\].params.k: topk_sae wants int, not 'many'"),
    (changed("estimator", 0, "params", value={"k": True}), "wants int, not True"),
    (changed("estimator", 0, "params", value={"lr": math.nan}), "no parameter 'lr'|not a finite number"),
    (changed("estimator", 0, "grid", value={"k": []}), r"estimator\[0\].grid.k: an empty grid runs nothing"),
    (changed("estimator", 1, value={"name": "topk_sae"}), "two entries are labelled 'topk_sae'"),
    (changed("estimator", 0, "on", value=["elsewhere"]), "on names no generator 'elsewhere'"),
    (changed("estimator", 0, "label", value="a/b"), "has no '/'"),
    (changed("claim", value=[CLAIM, CLAIM]), "two claims have the id 'c'"),
    (changed("claim", value=[{**CLAIM, "versus": "celing"}]), "claim 'c': versus is a number"),
    (changed("claim", value=[{**CLAIM, "versus": {"estimator": "pcaa"}}]), r"claim 'c': there is no estimator 'pcaa'; did you mean 'pca'"),
    (changed("claim", value=[{**CLAIM, "score": "mcc"}]), "there is no evaluator 'mcc'"),
    (changed("claim", value=[{**CLAIM, "where": {"estimater": "pca"}}]), "claim.*estimat"),
    (changed("claim", value=[{**CLAIM, "statistic": "share", "versus": 0.5}]), "a share, and nothing else, has a threshold"),
    (changed("claim", value=[{**CLAIM, "threshold": 0.5}]), "a share, and nothing else, has a threshold"),
    (changed("claim", value=[{**CLAIM, "statistic": "share", "threshold": 0.5}]), "versus is the share that is wanted, from 0 to 1"),
    (changed("claim", value=[{**CLAIM, "versus": {}}]), "versus names one estimator or one generator"),
    (changed("seed", value=2**63), "seed: numbers lie between"),
    (changed("estimator", 0, "params", value={"view": {"x": [math.nan]}}), r"params.view.x\[0\]: nan is not a finite number"),
    (changed("estimator", 0, "params", value={"view": dt.date(1979, 5, 27)}), "a date is no setting: write it as text"),
    (changed("title", value="\ud800"), "title: .* is no text in UTF-8"),
    (changed("a\nb", value=1), r"the suite: 'a\\nb' is no key"),
    (changed("title", value=functools.reduce(lambda inner, _: [inner], range(200), 1)), "nest more than 100 levels deep"),
    (changed("name", value="../elsewhere"), "name: a suite's name names its folder"),
    (changed("name", value=".."), "name: a suite's name names its folder"),
    (changed("estimator", 0, "label", value="two\nlines"), "a label is one line of text"),
    (changed("estimator", 1, "grid", value={"view": ["a", "b\nc"]}), "a value of more than one line cannot be swept"),
    (changed("instances", value=2_000_000), "instances: .*less than or equal to 1000000"),
    (changed("threads", value=10**6), "threads: .*less than or equal to 1024"),
    (changed("instances", value=600_000), "the suite has 1,200,000 trials, more than 1,000,000"),
    (changed("estimator", 0, "grid", value={name: list(range(1100)) for name in ("k", "n_codes")}), "grid has 1,210,000 settings"),
    (changed("estimator", 0, "params", value={"k": {"truth": 3}}), r"estimator\[0\].params.k: write . truth = \"NAME\""),
    (changed("estimator", 0, "params", value={"k": {"truth": "l0", "times": "2"}}), "not times"),
    (changed("estimator", 0, "params", value={"k": {"truth": "l0", "tims": 2}}), "not tims"),
    (changed("estimator", 0, "params", value={"k": {"use": 3}}), r"params.k.use: a component is named by text, not 3"),
]


@pytest.mark.parametrize(("tree", "message"), BAD)
def test_a_malformed_suite_is_refused_with_the_place(tree, message):
    with pytest.raises(InvalidInput, match=message) as error:
        from_tree(tree)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("entry", ["generator", "estimator", "evaluator"])
def test_every_kind_must_be_there(entry):
    tree = copy.deepcopy(TREE)
    del tree[entry]
    with pytest.raises(InvalidInput, match=f"{entry} is missing"):
        from_tree(tree)


def test_files_that_cannot_be_read_are_named(tmp_path):
    broken = tmp_path / "broken.toml"
    broken.write_text("name = [\n")
    with pytest.raises(InvalidInput, match=r"broken.toml is not valid TOML: Invalid value"):
        read(broken)
    broken.write_bytes(b"\xff\xfe")
    with pytest.raises(InvalidInput, match="cannot be read"):
        read(broken)
    with pytest.raises(InvalidInput, match="did you mean 'quick'"):
        find("quikc")
    (tmp_path / "empty").mkdir()
    with pytest.raises(InvalidInput, match="holds no suite"):
        find(tmp_path / "empty")


def test_a_folder_is_all_its_suites(tmp_path):
    (tmp_path / "b.toml").write_text("")
    (tmp_path / "a.toml").write_text("")
    assert [p.name for p in find(tmp_path)] == ["a.toml", "b.toml"]


def test_a_grid_is_crossed_and_labelled():
    suite = from_tree(changed("estimator", 0, "grid", value={"k": [4, 8], "n_codes": [32, 64, 128]}))
    labels = [e.label for e in suite.estimator]
    assert len(labels) == 7
    assert labels[0] == "topk_sae k=4 n_codes=32"
    assert suite.estimator[5].params == {"k": 8, "n_codes": 128}


def test_a_parameter_is_not_in_params_and_grid():
    tree = changed("estimator", 0, "grid", value={"k": [4]})
    tree["estimator"][0]["params"] = {"k": 3}
    with pytest.raises(InvalidInput, match="'k' is in params and in grid"):
        from_tree(tree)


def test_presets_and_settings_override_in_that_order():
    suite = from_tree(
        copy.deepcopy(TREE), preset="tiny", settings=["estimator.topk_sae.k=5", "data.train=77", "generator.sparse_concepts.data.test=9"]
    )
    assert suite.instances == 1
    assert suite.data.train == 77
    assert suite.estimator[0].params["k"] == 5
    assert suite.generator[0].data.test == 9
    with pytest.raises(InvalidInput, match=r"no preset 'tniy'; did you mean 'tiny'"):
        from_tree(copy.deepcopy(TREE), preset="tniy")


def test_a_setting_takes_the_place_of_a_grid():
    tree = changed("estimator", 0, "grid", value={"k": [4, 8]})
    assert [e.label for e in from_tree(tree, settings=["estimator.topk_sae.k=3"]).estimator] == ["topk_sae", "pca"]


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ("instances", "write it as key=value"),
        ("=3", "write it as key=value"),
        ("a b=3", "not a dotted key"),
        ("instanses=3", "no setting 'instanses'; did you mean 'instances'"),
        ("estimator.topk.k=3", "no estimator 'topk'; did you mean 'topk_sae'"),
        ("estimator=3", "no setting 'estimator'"),
        ("instances=-1", "instances"),
    ],
)
def test_wrong_settings_are_refused(setting, message):
    with pytest.raises(InvalidInput, match=message):
        from_tree(copy.deepcopy(TREE), settings=[setting])


def test_settings_of_one_entry_do_not_trip_over_each_other():
    for kind in ("params", "grid"):
        with pytest.raises(InvalidInput, match=rf"estimator\[0\].{kind}: a table is wanted, not 3|labelled"):
            from_tree(copy.deepcopy(TREE), settings=["estimator.topk_sae.k=3", f"estimator.topk_sae.{kind}=3", "seed=1"])
    suite = from_tree(copy.deepcopy(TREE), settings=["estimator.topk_sae.params=3", "estimator.topk_sae.k=3"])
    assert suite.estimator[0].params == {"k": 3}


def test_what_is_kept_of_a_suite_is_a_suite():
    tree = changed("estimator", 0, "on", value=["a", "b"])
    tree["generator"] = [{"name": "sparse_concepts", "label": label} for label in "ab"]
    suite = from_tree(tree, only=["a"])
    assert suite.estimator[0].on == ["a"]


def test_settings_are_toml_or_else_text():
    assert parse_setting("a.b=[1, 2]") == (["a", "b"], [1, 2])
    assert parse_setting('estimator."two words".k=1.5') == (["estimator", "two words", "k"], 1.5)
    assert parse_setting("model=some/folder") == (["model"], "some/folder")


def test_only_keeps_what_is_named_and_its_claims():
    tree = changed("claim", value=[CLAIM, {**CLAIM, "id": "d", "where": {"estimator": "pca"}}])
    suite = from_tree(tree, only=["pca"])
    assert [e.label for e in suite.estimator] == ["pca"]
    assert [c.id for c in suite.claim] == ["d"]
    assert len(suite.generator) == 1
    with pytest.raises(InvalidInput, match=r"--only pcaa: .*did you mean 'pca'"):
        from_tree(copy.deepcopy(TREE), only=["pcaa"])


def test_settings_read_off_the_truth_and_nested_components_pass_the_check():
    from_tree(changed("estimator", 0, "params", value={"k": {"truth": "l0", "times": 2}}))
    with pytest.raises(InvalidInput, match=r"estimator\[0\].params.k.*: pca has no parameter 'kk'"):
        from_tree(changed("estimator", 0, "params", value={"k": {"use": "pca", "kk": 1}}))
    with pytest.raises(InvalidInput, match=r"there is no component 'pac'"):
        from_tree(changed("estimator", 0, "params", value={"k": {"use": "pac"}}))


def test_a_missing_text_file_is_refused_before_anything_runs():
    tree = changed("generator", value=[{"name": "language_model", "params": {"text": ["no/such/file.txt"]}}])
    with pytest.raises(InvalidInput, match=r"generator\[0\].params.text: there is no file or folder 'no/such/file.txt'"):
        from_tree(tree)


@pytest.mark.parametrize("name", shipped_suites())
def test_every_shipped_suite_and_preset_is_valid(name):
    path = shipped_suites()[name]
    presets = tomllib.loads(path.read_text()).get("presets", {})
    for preset in [None, *presets]:
        assert isinstance(read(path, preset=preset), Suite)
