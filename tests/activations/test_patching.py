import pytest
import torch
from torch.nn.functional import cross_entropy

from testbed.activations.models import load_model
from testbed.activations.patching import Patching
from testbed.activations.text import documents
from testbed.activations.tiny import tiny
from testbed.activations.windows import batches, cut, ordered
from testbed.contracts import InvalidInput


@pytest.fixture(scope="module")
def lm():
    return load_model(tiny().model)


@pytest.fixture(scope="module")
def groups(lm):
    windows = ordered(cut(lm.tokenizer, documents(tiny().text)[:7], 32), 0)
    return [group for _, group in batches(windows, 4)]


def test_clean_losses_are_the_cross_entropies_of_the_next_tokens(lm, groups):
    wanted = []
    for window in (window for group in groups for window in group):
        ids = torch.tensor(window.tokens)
        wanted.append(cross_entropy(lm.model(ids[None]).logits[0, 1:-1], ids[2:], reduction="none"))
    assert torch.allclose(Patching(lm, "residual.0", groups).clean(), torch.cat(wanted), atol=1e-5)


@pytest.mark.parametrize("module", ["residual.0", "residual.1", "model.layers.0.mlp", "model.embed_tokens"])
def test_replacing_by_the_same_changes_no_loss(lm, groups, module):
    patching = Patching(lm, module, groups)
    assert torch.equal(patching.replaced(lambda x: x.clone()), patching.clean())
    assert patching.resumes == module.startswith("residual")


def test_a_resumed_pass_gives_the_losses_of_a_whole_one(lm, groups):
    resumed, whole = Patching(lm, "residual.0", groups), Patching(lm, "model.layers.0", groups)
    assert torch.equal(resumed.replaced(torch.zeros_like), whole.replaced(torch.zeros_like))
    assert resumed.resumes
    assert not whole.resumes


def test_a_model_that_cannot_be_resumed_is_run_whole(lm, groups, monkeypatch):
    lost = Patching(lm, "residual.0", groups)
    monkeypatch.setattr(lost, "_resumed", lambda group, hidden: torch.zeros(sum(window.rows for window in group)))
    wanted = Patching(lm, "model.layers.0", groups).replaced(torch.zeros_like)
    assert torch.equal(lost.replaced(torch.zeros_like), wanted)
    assert not lost.resumes


def test_only_rows_are_replaced(lm, groups):
    seen = []
    Patching(lm, "residual.1", groups).replaced(lambda x: seen.append(len(x)) or x)
    assert seen == [sum(window.rows for window in group) for group in groups]
    # After the last block a position is predicted from itself alone: with all rows alike, all predictions are.
    losses = Patching(lm, "residual.1", groups).replaced(lambda x: torch.ones_like(x))
    told = torch.tensor([token for group in groups for window in group for token in window.tokens[2:]])
    for token in told.unique():
        assert losses[told == token].std(correction=0) < 1e-4


@pytest.mark.parametrize("spoil", [lambda x: x[:-1], lambda x: x * torch.nan, lambda x: x[:, :3]])
def test_what_the_model_cannot_go_on_with_is_refused(lm, groups, spoil):
    with pytest.raises(InvalidInput, match="must agree"):
        Patching(lm, "residual.0", groups).replaced(spoil)
