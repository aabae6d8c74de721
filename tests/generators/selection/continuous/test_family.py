"""Continuous hierarchies: conformance, views, truth, the oracle, saving, errors."""

import json

import pytest
import torch
from safetensors.torch import load, save

from generators.selection.continuous.family import ContinuousHierarchy, ContinuousInstance
from testbed.conformance.generators import check_generator
from testbed.contracts import Intervenable, InvalidInput, Savable


def world(**params):
    return ContinuousHierarchy(**{"levels": (2, 6), "dimension": 12, "cells": 96, **params})


def rmse(instance, view, n=2000):
    sample = instance.sample(n, 1)
    shown = torch.cat([sample.latents[level] for level in sample.observed.views[view].shows.levels], dim=1)
    return float((instance.truth.oracle(sample.observed, view) - shown).square().mean().sqrt())


@pytest.mark.parametrize(
    "generator",
    [
        ContinuousHierarchy.small(),
        world(views="mixed", nonlinearity=0.5, mixing="mlp", law="laplace"),
        world(levels=(1, 2, 5), branching=2, mixing="flow", selection="interval"),
    ],
    ids=["small", "mixed", "flow"],
)
def test_conformance(generator):
    assert [check for check in check_generator(generator) if check.problem] == []


@pytest.mark.parametrize("levels", [[3, 9], [1, 3, 9], [2, 7], [4]])
def test_levels_views_and_truth(levels):
    for views, names in (
        ("leaves", ["leaves"]),
        ("per_level", [f"level_{level}" for level in range(len(levels))]),
        ("mixed", ["mixed"]),
    ):
        instance = ContinuousHierarchy(levels=levels, views=views, cells=64).draw(0)
        sample, truth = instance.sample(100, 1), instance.truth
        assert list(sample.observed.views) == names
        assert [level.kind for level in truth.levels] == ["real"] * len(levels)
        assert [sample.latents[level].shape for level in range(len(levels))] == [(100, n) for n in levels]
        for view in sample.observed.views.values():
            assert view.values.shape == (100, 30)


def test_views_are_f_of_the_latents_plus_noise():
    instance = world(views="per_level", mixing="mlp", noise=[0.0, 0.1]).draw(0)
    sample = instance.sample(4000, 1)
    for level, sigma in enumerate((0.0, 0.1)):
        x = sample.observed.views[f"level_{level}"].values
        clean = instance.mixings[f"level_{level}"][level](sample.latents[level].double())
        assert float((x - clean).std()) == pytest.approx(sigma, abs=2e-3)
    mixed = world(views="mixed", noise=0.0).draw(0)
    sample = mixed.sample(100, 1)
    total = sum(f(sample.latents[level].double()) for level, f in mixed.mixings["mixed"].items())
    torch.testing.assert_close(sample.observed.views["mixed"].values, total.float(), rtol=1e-4, atol=1e-4)


def test_stated_moments_are_those_of_other_rows():
    truth, instance = (lambda i: (i.truth, i))(world(levels=(1, 2, 4), branching=2, law="laplace").draw(0))
    values = instance.latents(100_000, 9)
    for level, v in enumerate(values):
        torch.testing.assert_close(truth.facts[f"mean/{level}"], v.mean(dim=0), rtol=0, atol=0.02)
        torch.testing.assert_close(truth.facts[f"deviation/{level}"], v.std(dim=0), rtol=0, atol=0.02)
    torch.testing.assert_close(truth.facts["covariance"], torch.cat(values, dim=1).T.cov(), rtol=0, atol=0.04)


def test_a_dial_moves_nothing_but_itself():
    base = world().draw(0)
    for change in ({"noise": 0.5}, {"center": 0.5}, {"law": "laplace"}, {"nonlinearity": 0.5}):
        other = world(**change).draw(0)
        assert torch.equal(base.mixings["leaves"][1].matrix, other.mixings["leaves"][1].matrix)
        assert base.truth.constituents == other.truth.constituents
        assert [c.angles for c in base.world.couplings[0]] == [c.angles for c in other.world.couplings[0]]
    louder = world(noise=0.5).draw(0).sample(50, 1)
    assert torch.equal(louder.latents[1], base.sample(50, 1).latents[1])


# ------------------------------------------------------------------------------------------------------------- the oracle


@pytest.mark.parametrize(
    "params",
    [
        {"mixing": "linear"},
        {"mixing": "linear", "row_support": 2},
        {"mixing": "mlp"},
        {"mixing": "mlp", "activation": "tanh"},
        {"mixing": "mlp", "row_support": 2},
        {"mixing": "flow"},
    ],
)
def test_without_noise_the_oracle_is_exact(params):
    instance = world(noise=0.0, views="per_level", curvature=0.4, **params).draw(0)
    assert rmse(instance, "level_0") < 1e-4
    assert rmse(instance, "level_1") < 1e-4


def test_of_a_gaussian_view_the_oracle_is_the_posterior_mean():
    instance = world(selection="none", noise=0.7).draw(0)
    sample = instance.sample(1000, 1)
    A = instance.mixings["leaves"][1].matrix
    x = sample.observed.views["leaves"].values.double()
    wanted = x @ A @ torch.linalg.inv(A.T @ A + 0.49 * torch.eye(6, dtype=torch.float64))
    assert float((instance.truth.oracle(sample.observed, "leaves") - wanted).abs().max()) < 0.05


def test_a_nonlinear_views_oracle_beats_inverting_f_and_several_levels_are_told_apart():
    instance = world(noise=0.3, mixing="mlp", curvature=0.6).draw(0)
    sample = instance.sample(2000, 1)
    inverse = instance.mixings["leaves"][1].inverse(sample.observed.views["leaves"].values.double())
    assert rmse(instance, "leaves") < float((inverse - sample.latents[1]).square().mean().sqrt())
    mixed = world(noise=0.02, mixing="mlp", nonlinearity=0.5, views="mixed").draw(0)
    assert rmse(mixed, "mixed", 500) < 0.05


# --------------------------------------------------------------------------------------------------- saving, interventions


def test_an_instance_comes_back_from_its_state_with_the_same_samples():
    for params in ({}, {"mixing": "mlp", "row_support": 2}, {"mixing": "flow", "law": "student", "views": "mixed", "agreement": 1.0}):
        instance = world(**params).draw(0).do_then_select({(1, 0): 0.2}).condition({(0, 1): 0.9})
        assert isinstance(instance, Savable)
        assert isinstance(instance, Intervenable)
        arrays, plain = instance.state()
        again = ContinuousInstance.from_state(load(save(arrays)), json.loads(json.dumps(plain, allow_nan=False)))
        a, b = instance.sample(500, 1), again.sample(500, 1)
        for view in a.observed.views:
            assert torch.equal(a.observed.views[view].values, b.observed.views[view].values)
            assert a.observed.views[view].shows == b.observed.views[view].shows
        assert all(torch.equal(a.latents[level], b.latents[level]) for level in a.latents)
        assert again.truth.facts["acceptance"] == instance.truth.facts["acceptance"]


@pytest.mark.parametrize(
    "spoil",
    [
        lambda arrays, plain: arrays.pop("angles/0"),
        lambda arrays, plain: arrays["constituents/0"].fill_(0),
        lambda arrays, plain: plain.pop("law"),
        lambda arrays, plain: plain["selections"][0].pop(),
        lambda arrays, plain: plain["selections"][0][0].update(width=-1.0),
        lambda arrays, plain: plain["mixings"]["leaves"]["1"].update(kind="cubic"),
        lambda arrays, plain: plain["settings"]["given"].append([0, 7, 1.0]),
    ],
)
def test_a_state_that_is_none_is_refused(spoil):
    arrays, plain = world().draw(0).state()
    plain = json.loads(json.dumps(plain))
    spoil(arrays, plain)
    with pytest.raises(InvalidInput):
        ContinuousInstance.from_state(arrays, plain)


def test_an_intervened_instance_knows_its_own_moments():
    instance = world().draw(0)
    for made in (instance.condition({(0, 0): 0.9}), instance.do_then_select({(0, 0): 0.9}), instance.select_then_do({(0, 0): 0.9})):
        assert made.truth.facts["mean/0"][0] == pytest.approx(0.9)
        assert made.truth.facts["deviation/0"][0] < 1e-9
        assert made.truth.compose(made.latents(10, 1)[1])[0][:, 0] == pytest.approx(0.9)


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"levels": (3, 5)}, "branching"),
        ({"levels": ()}, "levels"),
        ({"branching": 1}, "branching"),
        ({"law": "cauchy"}, "law must be one of"),
        ({"law": "student", "law_parameter": 1.0}, "law_parameter"),
        ({"weights": "skewed"}, "weights"),
        ({"nonlinearity": 9.0}, "nonlinearity"),
        ({"selection": "ball"}, "selection must be"),
        ({"width": [1.0, 1.0]}, "width gives 2 numbers"),
        ({"selection": "interval", "center": 50.0}, "impossible"),
        ({"law": "uniform", "selection": "interval", "center": 4.0, "width": 0.5}, "impossible"),
        ({"mixing": "cubic"}, "mixing must be"),
        ({"dimension": 5}, "dimension"),
        ({"noise": [0.1, 0.1]}, "noise"),
        ({"views": "both"}, "views must be"),
        ({"cells": 33}, "cells"),
    ],
)
def test_bad_input_is_refused_before_sampling(params, words):
    with pytest.raises(InvalidInput, match=words):
        world(**params).draw(0)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")
def test_the_same_world_on_a_cuda_device():
    instance = world(views="per_level", mixing="mlp").draw(0)
    sample = instance.to("cuda").sample(20_000, 1)
    assert sample.latents[1].is_cuda
    here = instance.sample(20_000, 1)
    for level in (0, 1):
        torch.testing.assert_close(sample.latents[level].mean(dim=0).cpu(), here.latents[level].mean(dim=0), rtol=0, atol=0.05)
    assert instance.truth.oracle(sample.observed, "level_1").is_cuda
