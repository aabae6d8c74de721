import gc
import weakref

import pytest
import torch

from evaluators.unlabelled import loss_recovered
from evaluators.unlabelled.loss_recovered import LossRecovered
from generators.language_model import LanguageModel
from testbed.contracts import Instance, InvalidInput, NotApplicable, Observed, Outcome, Sample, View

VIEW = "residual.0"


@pytest.fixture(scope="module")
def instance():
    return LanguageModel.small().draw(0)


@pytest.fixture(scope="module")
def sample(instance):
    return instance.sample(1200, 5, "test")


def outcome(instance, sample, encode, decode, **more):
    return Outcome(encode(sample.observed), sample, VIEW, decode=decode, encode=encode, instance=instance, part="test", seed=5, **more)


def values(observed):
    return observed.views[VIEW].values


def test_a_reconstruction_that_changes_nothing_recovers_exactly_all(instance, sample):
    scores = LossRecovered(rows=1000).score(outcome(instance, sample, values, lambda codes: codes), seed=0)
    assert scores.value == 1.0
    assert scores.parts["ce_patched"] == scores.parts["ce_clean"] < scores.parts["ce_ablated"]


@pytest.mark.parametrize("ablation", ["mean", "zero"])
def test_the_constant_itself_recovers_exactly_nothing(instance, sample, ablation):
    constant = values(sample.observed).mean(dim=0) if ablation == "mean" else torch.zeros(32)
    scores = LossRecovered(rows=1000, ablation=ablation).score(outcome(instance, sample, values, constant.expand_as), seed=0)
    assert scores.value == 0.0


def test_noise_that_drowns_the_activations_recovers_less_than_nothing(instance, sample):
    scores = LossRecovered(rows=1000).score(outcome(instance, sample, values, lambda x: -5 * x), seed=0)
    assert scores.value < 0


def test_groups_weighted_by_their_rows_average_to_the_value(instance, sample):
    scores = LossRecovered(rows=1000).score(outcome(instance, sample, values, lambda x: x * (torch.arange(32) < 16)), seed=0)
    assert 0 < scores.value < 1
    rows = scores.details["rows"]
    assert sum(rows.values()) == 1000
    assert set(rows) == {str(group) for group in sample.observed.rows["group"][:1000].unique().tolist()}
    assert sum(scores.groups[name] * rows[name] for name in rows) / 1000 == pytest.approx(scores.value, abs=1e-9)


def test_more_reconstructed_directions_recover_more(instance, sample):
    x = values(sample.observed)
    mean = x.mean(dim=0)
    directions = torch.linalg.svd(x - mean, full_matrices=False)[2]
    found = []
    for k in (1, 8, 31):
        top = directions[:k]
        made = outcome(instance, sample, lambda o, top=top: (values(o) - mean) @ top.T, lambda c, top=top: c @ top + mean)
        found.append(LossRecovered(rows=1000).score(made, seed=0).value)
    assert found == sorted(found)
    assert found[-1] > 0.9


def test_it_runs_on_no_more_rows_than_were_held_out(instance, sample):
    scores = LossRecovered().score(outcome(instance, sample, values, lambda codes: codes), seed=0)
    assert sum(scores.details["rows"].values()) == 1200


def test_what_all_estimators_share_is_computed_once_and_forgotten_with_the_instance(monkeypatch):
    instance = LanguageModel.small().draw(0)
    sample = instance.sample(300, 5, "test")
    asked = []
    run = type(instance).patched_losses
    monkeypatch.setattr(type(instance), "patched_losses", lambda self, *rest: asked.append(rest[0] is None) or run(self, *rest))
    for _ in range(3):
        LossRecovered(rows=200).score(outcome(instance, sample, values, lambda codes: codes), seed=0)
    assert len(asked) == 2 + 3
    LossRecovered(rows=100).score(outcome(instance, sample, values, lambda codes: codes), seed=0)
    assert len(loss_recovered._known[instance]) == 1
    gone = weakref.ref(instance)
    del instance
    gc.collect()
    assert gone() is None


class Indifferent(Instance):
    """A model whose loss no activation changes."""

    def chunks(self, seed, part="train", start=0):
        yield Sample(Observed({VIEW: View(torch.ones(10, 2))}))

    def patched_losses(self, replace, part, n, seed):
        return torch.ones(n), torch.zeros(n, dtype=torch.int64)


def test_it_says_why_it_does_not_apply(instance, sample):
    whole = outcome(instance, sample, values, lambda codes: codes)
    for change, sentence in (
        ({"instance": None}, "do not come from a model"),
        ({"encode": None}, "without an encoder"),
        ({"decode": None}, "without an encoder"),
    ):
        with pytest.raises(NotApplicable, match=sentence):
            LossRecovered().score(Outcome(**{**{f: getattr(whole, f) for f in whole.__dataclass_fields__}, **change}), seed=0)
    indifferent = Indifferent()
    with pytest.raises(NotApplicable, match="nothing to recover"):
        LossRecovered().score(outcome(indifferent, indifferent.sample(10, 0), values, lambda codes: codes), seed=0)


def test_unusable_settings_and_reconstructions_are_refused(instance, sample):
    whole = outcome(instance, sample, values, lambda codes: codes)
    with pytest.raises(InvalidInput, match="neither 'mean' nor 'zero'"):
        LossRecovered(ablation="noise").score(whole, seed=0)
    with pytest.raises(InvalidInput, match="at least 1"):
        LossRecovered(rows=0).score(whole, seed=0)
    with pytest.raises(InvalidInput, match="must agree"):
        LossRecovered(rows=100).score(outcome(instance, sample, values, lambda codes: codes * torch.nan), seed=0)
