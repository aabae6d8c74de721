"""Stages on a device: rows and estimators are there, scores are made on the CPU."""

from types import SimpleNamespace

import pytest
import torch

from testbed.contracts import InvalidInput, Observed, SparseRows, View
from testbed.runner import execute, plan_suite, run
from testbed.stages import _beside, _view_of, machine


def test_threads_are_held_while_a_stage_runs_and_given_back_after():
    before = torch.get_num_threads()
    with machine("cpu", 1):
        assert torch.get_num_threads() == 1
    assert torch.get_num_threads() == before


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a CUDA device")
def test_cuda_that_is_not_there_is_refused():
    with pytest.raises(InvalidInput, match="no CUDA device here"), machine("cuda", 1):
        raise AssertionError("not reached")


def test_a_part_whose_manifest_a_power_cut_spoiled_is_sampled_again(toys):
    (plan,) = plan_suite("toy.toml", preset="tiny", only=["oracle", "size"])
    part = toys / "out" / "work" / f"sample-{plan.samplings[0].stage.key}" / "train"
    part.mkdir(parents=True)
    (part / "manifest.json").write_bytes(b"")
    with pytest.warns(UserWarning, match=r"manifest.json cannot be read .* samples it again"):
        assert not execute(plan, "out").failed


def test_results_go_where_the_callers_data_are():
    x = torch.zeros(2, 3)
    for given in (x, SparseRows.from_dense(x), Observed({"x": View(x)})):
        assert _beside(x, given).device == x.device
    assert isinstance(_beside(x.numpy(), x), torch.Tensor)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_tiny_preset_runs_on_cuda(tmp_path):
    only = ["two levels", "topk_sae", "pca", "random_dictionary", "oracle_dictionary"]
    results = run("quick", tmp_path, preset="tiny", on="cuda", only=only)
    assert not results.failures
    board = results.scores[(results.scores.evaluator == "decoder_mcc") & (results.scores.part == "")].groupby("estimator").value.mean()
    assert board["topk_sae"] > board["random_dictionary"] + 0.2


def test_an_estimator_of_several_views_is_scored_against_all_that_it_reads():
    observed = Observed({"low": View(torch.ones(3, 2)), "high": View(torch.ones(3, 1))})
    assert _view_of(SimpleNamespace(views=None), observed) == "low+high"
    assert _view_of(SimpleNamespace(views=["high"]), observed) == "high"
    assert _view_of(SimpleNamespace(views=["high", "low"], view="low"), observed) == "low"
    with pytest.raises(InvalidInput, match="no view was named"):
        _view_of(SimpleNamespace(view=None), observed)
