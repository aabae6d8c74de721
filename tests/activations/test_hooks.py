import pytest
import torch
from torch import nn

from testbed.activations.hooks import collect, replace, residual, resolve, resumed
from testbed.activations.models import load_model
from testbed.activations.tiny import tiny
from testbed.contracts import InvalidInput

IDS = torch.arange(5, 29).reshape(2, 12)


@pytest.fixture(scope="module")
def model():
    model = load_model(tiny().model).model
    model(IDS, output_hidden_states=True)  # transformers now has set hooks of its own, which stay
    return model


@pytest.fixture(autouse=True)
def hooks_are_gone_afterwards(model):
    def count():
        return sum(len(module._forward_hooks) for module in model.modules())

    before = count()
    yield
    assert count() == before


def test_residual_n_is_the_hidden_state_after_block_n(model):
    states = model(IDS, output_hidden_states=True).hidden_states
    found = collect(model, IDS, ["residual.0", "model.layers.0", "model.embed_tokens"])
    assert list(found) == ["residual.0", "model.layers.0", "model.embed_tokens"]
    assert torch.equal(found["residual.0"], states[1])
    assert torch.equal(found["model.layers.0"], states[1])
    assert torch.equal(found["model.embed_tokens"], states[0])
    assert not found["residual.0"].requires_grad


def test_the_forward_pass_stops_at_the_deepest_module_asked_for(model):
    ran = []
    handle = model.model.layers[1].register_forward_hook(lambda *_: ran.append(1))
    collect(model, IDS, ["residual.0"])
    assert not ran
    collect(model, IDS, ["residual.1", "residual.0"])
    assert ran
    handle.remove()


def test_of_a_tuple_the_first_tensor_counts(model):
    found = collect(model, IDS, ["model.layers.0.self_attn"])["model.layers.0.self_attn"]
    assert found.shape == (2, 12, 32)
    with replace(model, "model.layers.0.self_attn", torch.zeros_like):
        silent = collect(model, IDS, ["model.layers.0"])["model.layers.0"]
    block = model.model.layers[0]
    x = collect(model, IDS, ["model.embed_tokens"])["model.embed_tokens"]
    assert torch.allclose(silent, x + block.mlp(block.post_attention_layernorm(x)), atol=1e-6)


def test_padding_on_the_right_needs_no_mask(model):
    long = collect(model, IDS, ["residual.1"])["residual.1"]
    mask = torch.ones_like(IDS)
    mask[:, 8:] = 0
    short = collect(model, IDS[:, :8], ["residual.1"])["residual.1"]
    masked = collect(model, IDS, ["residual.1"], attention_mask=mask)["residual.1"]
    assert torch.allclose(long[:, :8], short, atol=1e-5)
    assert torch.allclose(masked[:, :8], short, atol=1e-5)


def test_replacing_by_itself_changes_nothing_and_replacing_is_undone(model):
    before = model(IDS).logits
    with replace(model, "residual.0", lambda x: x.clone()):
        assert torch.equal(model(IDS).logits, before)
    with replace(model, "residual.0", torch.zeros_like):
        assert not torch.allclose(model(IDS).logits, before)
    assert torch.equal(model(IDS).logits, before)


def test_hooks_go_when_the_pass_fails(model):  # see hooks_are_gone_afterwards
    with pytest.raises(ZeroDivisionError), replace(model, "residual.0", lambda x: 1 / 0):
        model(IDS)


@pytest.mark.parametrize("layer", [0, 1])
def test_a_pass_resumed_after_a_block_is_the_whole_pass(model, layer):
    whole = model(IDS).logits
    hidden = collect(model, IDS, [f"residual.{layer}"])[f"residual.{layer}"]
    with resumed(model, layer, hidden):
        assert torch.equal(model(torch.zeros_like(IDS)).logits, whole)
    assert torch.equal(model(IDS).logits, whole)


@pytest.mark.parametrize(
    ("module", "sentence"),
    [
        ("model.layer.0", "model.layers.0"),
        ("model.layers.0.mpl", r"model\.layers\.0\.mlp"),
        ("residual.2", "blocks 0 to 1"),
        ("residual.x", "no module 'residual.x'"),
        ("", "no module ''"),
    ],
)
def test_unknown_modules_are_refused_with_the_nearest_names(model, module, sentence):
    with pytest.raises(InvalidInput, match=sentence):
        collect(model, IDS, [module])


class Experts(nn.Module):
    """Three blocks of eight experts each, and a module that never runs."""

    def __init__(self):
        super().__init__()
        self.blocks = nn.ModuleList(nn.ModuleDict({"experts": nn.ModuleList(nn.Linear(4, 4) for _ in range(8))}) for _ in range(3))
        self.idle = nn.Linear(4, 4)
        self.flat = nn.Flatten(0, 1)

    def forward(self, input_ids, attention_mask=None, use_cache=None):
        return self.flat(input_ids[..., None].float().expand(-1, -1, 4))


def test_blocks_are_not_mistaken_for_experts():
    assert residual(Experts(), 2) == "blocks.2"
    assert resolve(Experts(), "residual.1")[0] == "blocks.1"


def test_a_module_that_does_not_run_and_one_without_hidden_states_are_refused():
    with pytest.raises(InvalidInput, match="'idle' did not run"):
        collect(Experts(), IDS, ["idle"])
    with pytest.raises(InvalidInput, match=r"shape \(24, 4\), not hidden states"):
        collect(Experts(), IDS, ["flat"])
    with pytest.raises(InvalidInput, match="no list of blocks"):
        residual(nn.Linear(2, 2), 0)
