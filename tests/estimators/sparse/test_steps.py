"""The compiled step, the torch step and a plain loop with torch's own Adam are one algorithm."""

import numpy as np
import pytest
import torch

from testbed.estimators.sparse.annealed_sae import AnnealedSAE
from testbed.estimators.sparse.batch_topk_sae import BatchTopKSAE
from testbed.estimators.sparse.framing import weights
from testbed.estimators.sparse.jump_relu_sae import JumpReLUSAE
from testbed.estimators.sparse.matryoshka_sae import MatryoshkaSAE
from testbed.estimators.sparse.p_annealing_sae import PAnnealingSAE
from testbed.estimators.sparse.relu_sae import ReLUSAE
from testbed.estimators.sparse.steps import CompiledStepper, TorchStepper, rate, starting_atoms, stepper_for
from testbed.estimators.sparse.topk_sae import TopKSAE

STEPS = 100
SHARED = {"n_codes": 40, "batch_size": 64, "samples": 64 * STEPS, "precision": "double"}
MODELS = [
    AnnealedSAE(**SHARED),
    TopKSAE(k=5, k_start=2, **SHARED),
    TopKSAE(k=5, bias="learned", **SHARED),
    BatchTopKSAE(k=5, **SHARED),
    MatryoshkaSAE(k=5, prefixes=3, **SHARED),
    MatryoshkaSAE(k=5, prefixes=3, bias="learned", **SHARED),
    JumpReLUSAE(k=5, **SHARED),
    JumpReLUSAE(k=5, aim="fewest", sparsity=0.1, threshold=0.2, bandwidth=0.1, **SHARED),
    ReLUSAE(**SHARED),
    ReLUSAE(penalise="tanh", **SHARED),
    ReLUSAE(penalise="log", **SHARED),
    PAnnealingSAE(**SHARED),
]


def named(model):
    return f"{type(model).__name__} {model.bias} {getattr(model, 'penalise', '')} {getattr(model, 'aim', '')}"


def batches_of(dtype, seed=0):
    g = torch.Generator().manual_seed(seed)
    atoms = torch.nn.functional.normalize(torch.randn(40, 16, generator=g, dtype=dtype), dim=1)
    for _ in range(STEPS):
        codes = (torch.rand(64, 40, generator=g, dtype=dtype) < 0.1) * torch.rand(64, 40, generator=g, dtype=dtype)
        yield codes @ atoms + 0.01 * torch.randn(64, 16, generator=g, dtype=dtype)


def trained(kind, model):
    head = next(batches_of(torch.float64))
    atoms, generator = starting_atoms(model, head, 0)
    stepper = kind([model], [model.initial(atoms, generator, head)], [generator])
    for number, x in enumerate(batches_of(torch.float64)):
        stepper.step(x, weights(x, 1.0), number / STEPS, number + 1, number == STEPS - 1)
    return stepper


@pytest.mark.parametrize("model", MODELS, ids=named)
def test_the_compiled_step_agrees_with_autograd_after_100_steps(model):
    assert model.compiled()
    ours, reference = trained(CompiledStepper, model), trained(TorchStepper, model)
    for name, value in reference.params.items():
        assert (ours.params[name] - value).abs().max() < 1e-5, name
    for name, value in reference.moments.items():
        assert (ours.moments[name] - value).abs().max() < 1e-5, name
    assert torch.equal(ours.fired, reference.fired)
    assert torch.allclose(ours.sums, reference.sums, rtol=1e-9)
    for mine, theirs in zip(ours.last, reference.last, strict=True):
        assert torch.allclose(mine, theirs.reshape(mine.shape), atol=1e-9)


def test_the_torch_step_agrees_with_torchs_own_adam():
    model = TopKSAE(k=5, k_start=1, warm_up=0.0, decay=0.0, **SHARED)
    head = next(batches_of(torch.float64))
    atoms, _ = starting_atoms(model, head, 0)
    encoder, decoder = atoms.clone().requires_grad_(), atoms.clone().requires_grad_()
    bias = torch.zeros(40, dtype=torch.float64, requires_grad=True)
    adam = torch.optim.Adam([encoder, decoder, bias], lr=model.lr, betas=(0.9, model.beta2))
    for x in batches_of(torch.float64):
        value, index = (x @ encoder.T + bias).topk(5, dim=1)
        codes = torch.zeros(64, 40, dtype=torch.float64).scatter(1, index, value.relu())
        adam.zero_grad()
        (weights(x, 1.0) * (codes @ decoder - x).square().sum(dim=1)).mean().backward()
        with torch.no_grad():
            decoder.grad -= (decoder.grad * decoder).sum(dim=1, keepdim=True) * decoder
            adam.step()
            decoder.copy_(torch.nn.functional.normalize(decoder, dim=1))
    for kind in (TorchStepper, CompiledStepper):
        found = trained(kind, model).params
        for name, value in (("encoder", encoder), ("decoder", decoder), ("encoder_bias", bias)):
            assert (found[name][0] - value).abs().max() < 1e-8


@pytest.mark.parametrize("model", [m for m in MODELS if m.stackable()], ids=named)
def test_a_stack_learns_what_its_models_learn_alone(model):
    head = next(batches_of(torch.float64))
    starts = [starting_atoms(model, head, seed) for seed in (3, 4)]
    stack = TorchStepper([model, model], [model.initial(a, g, head) for a, g in starts], [g for _, g in starts])
    for number, x in enumerate(batches_of(torch.float64)):
        if number == 20:
            break
        stack.step(x, weights(x, 1.0), number / STEPS, number + 1, number == 19)
    for place, seed in enumerate((3, 4)):
        atoms, generator = starting_atoms(model, head, seed)
        alone = TorchStepper([model], [model.initial(atoms, generator, head)], [generator])
        for number, x in enumerate(batches_of(torch.float64)):
            if number == 20:
                break
            alone.step(x, weights(x, 1.0), number / STEPS, number + 1, number == 19)
        for name, value in alone.parameters(0).items():
            assert torch.allclose(stack.parameters(place)[name], value, atol=1e-9), name


def test_the_learning_rate_rises_and_falls():
    model = TopKSAE(lr=1.0, warm_up=0.1, decay=0.5)
    found = [rate(model, share, 1000) for share in (0.0, 0.05, 0.2, 0.5, 0.75, 0.999)]
    assert found == pytest.approx([0.01, 0.51, 1.0, 1.0, 0.5, 0.002])


def test_revived_latents_point_at_what_is_badly_reconstructed():
    model = TopKSAE(k=5, **SHARED)
    x = next(batches_of(torch.float64))
    stepper = stepper_for([model], [0], x)
    assert isinstance(stepper, CompiledStepper)
    stepper.step(x, weights(x, 1.0), 0.0, 1, True)
    stepper.fired[0][[2, 7, 30]] = 0
    dead = stepper.fired[0] == 0
    before = stepper.params["decoder"][0].clone()
    residual = stepper.last[1]
    stepper.close(revive=True)
    after = stepper.params["decoder"][0]
    assert torch.equal(before[~dead], after[~dead])
    cosines = (after[dead] @ torch.nn.functional.normalize(residual, dim=1).T).max(dim=1).values
    assert torch.allclose(cosines, torch.ones_like(cosines))
    assert np.shares_memory(stepper.arrays["decoder"], after.numpy())
