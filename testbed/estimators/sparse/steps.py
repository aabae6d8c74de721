"""One step of training: parameters and Adam, in torch (any device, any objective) or compiled (the CPU, where an objective has it)."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence
from functools import partial

import numpy as np
import torch
from torch import Tensor
from torch.func import grad_and_value, vmap
from torch.nn.functional import normalize

from testbed.contracts import BLOCK, seed_of
from testbed.estimators.sparse import kernels
from testbed.estimators.sparse.autoencoder import BETA1, Params, SparseAutoencoder, require

AUTOCAST = torch.bfloat16


def rate(model: SparseAutoencoder, share: float, steps: float) -> float:
    """The learning rate when `share` of all `steps` are done: up over the warm-up, down over the decay."""
    rise = min(1.0, (share * steps + 1) / max(1.0, model.warm_up * steps))
    fall = min(1.0, (1 - share) / model.decay) if model.decay > 0 else 1.0
    return model.lr * rise * fall


class Stepper(ABC):
    """Models that take their steps as one.

    Parameters
    ----------
    models : sequence of SparseAutoencoder
    starts : list of dict
        Parameters to start from, one set per model.
    generators : list of torch.Generator
    """

    def __init__(self, models: Sequence[SparseAutoencoder], starts: list[Params], generators: list[torch.Generator]) -> None:
        self.models, self.generators = models, generators
        self.steps = -(-models[0].samples // models[0].batch_size)
        count, m = len(models), models[0].n_codes
        device = starts[0]["decoder"].device
        self.frozen = set(models[0].frozen())
        names = list(starts[0])
        self.params: Params = {n: torch.stack([s[n] for s in starts]).contiguous() for n in names}
        self.start: Params = {n: v.clone() for n, v in self.params.items()}
        self.learned = [n for n in names if n not in self.frozen]
        self.moments: Params = {f"{n}/{k}": torch.zeros_like(self.params[n]) for n in self.learned for k in ("first", "second")}
        self.fired = torch.zeros(count, m, dtype=torch.int64, device=device)
        self.sums = torch.zeros(count, 3, dtype=torch.float64)  # loss, active codes, batches since the curve's last entry

    @abstractmethod
    def step(self, x: Tensor, weight: Tensor, share: float, step: int, closes: bool) -> None:
        """One step of Adam; `step` counts from 1, and `closes` says that the window ends with it."""

    @abstractmethod
    def close(self, revive: bool) -> None:
        """End a window: revive dead latents if asked to, and count firing anew."""

    @torch.no_grad()
    def evaluate(self, x: Tensor, weight: Tensor) -> list[float]:
        """Loss of each model on rows that it does not learn from."""
        out = []
        for place, model in enumerate(self.models):
            params, total = self.parameters(place), 0.0
            for part, share in zip(torch.split(x, BLOCK), torch.split(weight, BLOCK), strict=True):
                loss, _ = model.loss(params, *model.split(part), share, 1.0)
                total += float(loss) * len(part)
            out.append(total / len(x))
        return out

    def report(self, place: int) -> tuple[float, float, float]:
        """Mean loss and active codes of the window, and the share of latents that did not fire in it."""
        loss, active, batches = self.sums[place].tolist()
        return loss / max(1.0, batches), active / max(1.0, batches), float((self.fired[place] == 0).float().mean())

    def parameters(self, place: int) -> Params:
        """Parameters of one model."""
        return {name: value[place].clone() for name, value in self.params.items()}

    def state(self) -> Params:
        """All that training needs to go on."""
        generators = {f"generator/{i}": g.get_state() for i, g in enumerate(self.generators)}
        return {**self.params, **self.moments, "fired": self.fired, "sums": self.sums, **generators}

    def load(self, state: Params) -> None:
        """Take back what `state` gave, in place: the compiled step holds views of the same memory."""
        for name, value in {**self.params, **self.moments, "fired": self.fired, "sums": self.sums}.items():
            value.copy_(state[name])
        for i, generator in enumerate(self.generators):
            generator.set_state(state[f"generator/{i}"].cpu())

    @torch.no_grad()
    def revive(self, place: int, x: Tensor, residual: Tensor, squared: Tensor) -> None:
        """Point latents of one model that fired for no row of the window at what is badly reconstructed."""
        model, generator = self.models[place], self.generators[place]
        dead = (self.fired[place] == 0).nonzero()[:, 0]
        towards = residual if model.revival == "residual" else model.split(x)[1]
        squared = torch.where(towards.square().sum(dim=1) > 0, squared, 0.0)  # a row at the centre has no direction
        if model.revival == "none" or not model.revivals or not len(dead) or not float(squared.sum()) > 0:
            return
        draw = squared.double().cpu().multinomial(len(dead), replacement=True, generator=generator).to(x.device)
        direction = normalize(towards[draw], dim=1)
        params = {n: v[place] for n, v in self.params.items()}
        if "decoder" not in self.frozen:
            params["decoder"][dead] = direction
        encoder = params.get("encoder")
        touched = ["decoder"]
        if encoder is not None and "encoder" not in self.frozen:
            living = encoder[self.fired[place] > 0].norm(dim=1)
            size = living.mean() if len(living) else encoder.new_ones(())
            along = params["decoder"][dead] if encoder.shape[1] == direction.shape[1] else normalize(encoder[dead], dim=1)
            encoder[dead] = size * along
            touched.append("encoder")
        touched += model.reset(params, dead, self.fired[place] > 0)
        for name in touched:
            if name in self.learned:
                for kind in ("first", "second"):
                    self.moments[f"{name}/{kind}"][place][dead] = 0.0


class TorchStepper(Stepper):
    """By automatic differentiation; several models of equal parameters are one stack."""

    def step(self, x: Tensor, weight: Tensor, share: float, step: int, closes: bool) -> None:
        model = self.models[0]
        inside, target = model.split(x)
        learned = {n: self.params[n] for n in self.learned}
        fixed = {n: self.params[n] for n in self.params if n in self.frozen}

        def objective(learned: Params, fixed: Params) -> tuple[Tensor, tuple[Tensor, Tensor]]:
            with torch.autocast(x.device.type, AUTOCAST, enabled=model.precision == "mixed"):
                return model.loss({**learned, **fixed}, inside, target, weight, share)

        slope = grad_and_value(objective, has_aux=True)
        if len(self.models) > 1:
            slopes, (loss, (codes, error)) = vmap(slope)(learned, fixed)
        else:
            one = partial(map, lambda v: v[0])
            slopes, (loss, (codes, error)) = slope(
                dict(zip(learned, one(learned.values()), strict=True)), dict(zip(fixed, one(fixed.values()), strict=True))
            )
            slopes = {n: v[None] for n, v in slopes.items()}
            loss, codes, error = loss[None], codes[None], error[None]
        with torch.no_grad():
            self._adam(slopes, rate(model, share, self.steps), step)
            active = codes.detach() > 0
            self.fired += active.sum(dim=1)
            self.sums[:, 0] += loss.detach().double().cpu()
            self.sums[:, 1] += (active.sum(dim=(1, 2)) / len(x)).cpu()
            self.sums[:, 2] += 1
            for place, each in enumerate(self.models):
                params = {n: v[place] for n, v in self.params.items()}
                each.project(params, {n: v[place] for n, v in self.start.items()})
                each.after(params, codes[place].detach(), share)
        if closes:
            self.last = x, -error.detach(), weight

    def _adam(self, slopes: Params, lr: float, step: int) -> None:
        beta2 = self.models[0].beta2
        for name in self.learned:
            slope = slopes[name].detach()
            if name == "decoder" and self.models[0].on_sphere():
                # Only the part along the sphere: the rest would fill Adam's moments with what normalising undoes.
                slope = slope - (slope * self.params[name]).sum(dim=-1, keepdim=True) * self.params[name]
            first, second = self.moments[f"{name}/first"], self.moments[f"{name}/second"]
            first.mul_(BETA1).add_(slope, alpha=1 - BETA1)
            second.mul_(beta2).addcmul_(slope, slope, value=1 - beta2)
            root = second.sqrt().div_((1 - beta2**step) ** 0.5).add_(kernels.EPS)
            self.params[name].addcdiv_(first, root, value=-lr / (1 - BETA1**step))

    def close(self, revive: bool) -> None:
        x, residual, weight = self.last
        for place in range(len(self.models)):
            if revive:
                self.revive(place, x, residual[place], weight * residual[place].square().sum(dim=1))
        self.fired.zero_()
        self.sums.zero_()


class CompiledStepper(Stepper):
    """One dense product for the encoder, and compiled loops over the active codes for all the rest."""

    def __init__(self, models: Sequence[SparseAutoencoder], starts: list[Params], generators: list[torch.Generator]) -> None:
        super().__init__(models, starts, generators)
        self.arrays = {n: v[0].numpy() for n, v in self.params.items()}
        self.adam = {n: v[0].numpy() for n, v in self.moments.items()}
        for part in ("encoder", "encoder_bias", "decoder"):  # frozen ones have no moments; the kernel wants arrays all the same
            for kind in ("first", "second"):
                self.adam.setdefault(f"{part}/{kind}", np.zeros_like(self.arrays[part]))
        m = models[0].n_codes
        self.ends = np.array(models[0].ends(), np.int64)
        self.used = self.fired[0].numpy()
        self.starts_of = np.empty(m + 1, np.int64)
        self.pre = np.empty((0, m), self.arrays["decoder"].dtype)
        self.error = np.empty((len(self.ends), 0, 0), self.pre.dtype)

    def step(self, x: Tensor, weight: Tensor, share: float, step: int, closes: bool) -> None:
        model, arrays, adam = self.models[0], self.arrays, self.adam
        given = np.ascontiguousarray(x.numpy())
        b, d = given.shape
        inside = given - arrays["bias"] if "bias" in arrays else given
        if len(self.pre) != b:
            self.pre = np.empty((b, model.n_codes), given.dtype)
            self.error = np.empty((len(self.ends), b, d), given.dtype)
        np.matmul(inside, arrays["encoder"].T, out=self.pre)
        indptr, columns, values = model.entries(arrays, self.pre, share)
        slopes = np.empty_like(values)
        share_of = (weight / b).numpy()
        if len(self.ends) > 1:
            loss = kernels.decode_nested(inside, indptr, columns, values, arrays["decoder"], share_of, self.ends, self.error, slopes)
        else:
            loss = kernels.decode(inside, indptr, columns, values, arrays["decoder"], share_of, self.error[0], slopes)
        further, paid = model.slopes(arrays, self.pre, indptr, columns, values, slopes, share)
        owner, order = np.empty(len(columns), np.int32), np.empty(len(columns), np.int32)
        kernels.by_column(indptr, columns, self.starts_of, order, owner)
        lr = rate(model, share, self.steps)
        correction = (1 - model.beta2**step) ** 0.5
        if "bias" in arrays and "bias" in self.learned:
            through = np.bincount(columns, weights=slopes, minlength=model.n_codes).astype(given.dtype) @ arrays["encoder"]
            further["bias"] = self.error[0].sum(axis=0) - through
        kernels.update(
            inside,
            self.error,
            self.ends,
            self.starts_of,
            order,
            owner,
            values,
            slopes,
            arrays["encoder"],
            adam["encoder/first"],
            adam["encoder/second"],
            arrays["encoder_bias"],
            adam["encoder_bias/first"],
            adam["encoder_bias/second"],
            arrays["decoder"],
            adam["decoder/first"],
            adam["decoder/second"],
            lr / (1 - BETA1**step),
            BETA1,
            model.beta2,
            correction,
            "encoder" in self.learned,
            "decoder" in self.learned,
            self.used,
        )
        for name, slope in further.items():
            kernels.adam_row(
                arrays[name], slope, adam[f"{name}/first"], adam[f"{name}/second"], lr / (1 - BETA1**step), BETA1, model.beta2, correction
            )
        if model.projects():
            model.project({n: v[0] for n, v in self.params.items()}, {n: v[0] for n, v in self.start.items()})
        self.sums[0] += torch.tensor([loss + paid, np.count_nonzero(values) / b, 1.0], dtype=torch.float64)
        if closes:
            factor = 2 * share_of[:, None] / (len(self.ends) if len(self.ends) > 1 else 1)
            self.last = x, torch.from_numpy(-self.error[-1] / np.maximum(factor, np.finfo(given.dtype).tiny)), weight

    def close(self, revive: bool) -> None:
        x, residual, weight = self.last
        if revive:
            self.revive(0, x, residual, weight * residual.square().sum(dim=1))
        self.fired.zero_()
        self.sums.zero_()


def stepper_for(models: Sequence[SparseAutoencoder], seeds: Sequence[int], head: Tensor) -> Stepper:
    """The fastest stepper that can train these models on this device."""
    starts, generators = [], []
    for model, seed in zip(models, seeds, strict=True):
        atoms, generator = starting_atoms(model, model.split(head)[1], seed)
        start = model.initial(atoms, generator, head.cpu())
        starts.append({name: value.to(head.device) for name, value in start.items()})
        generators.append(generator)
    compiled = len(models) == 1 and head.device.type == "cpu" and models[0].compiled()
    return (CompiledStepper if compiled else TorchStepper)(models, starts, generators)


def starting_atoms(model: SparseAutoencoder, head: Tensor, seed: int) -> tuple[Tensor, torch.Generator]:
    """Atoms to start from, shape (m, d), and the generator to go on with; drawn on the CPU, so that devices agree."""
    generator = torch.Generator().manual_seed(seed_of("init", seed))
    m, d = model.n_codes, head.shape[1]
    if model.initialisation == "data":
        chosen = torch.randperm(len(head), generator=generator)[:m]
        require(len(chosen) == m, f"initialisation from data needs as many rows as codes, {m}, but there are {len(head)}: give more rows")
        atoms = head[chosen.to(head.device)].cpu()
        atoms = atoms + 1e-6 * torch.randn(atoms.shape, generator=generator)  # a row at the centre has no direction
    elif model.initialisation == "orthogonal":
        blocks = [torch.linalg.qr(torch.randn(d, d, generator=generator)).Q for _ in range(-(-m // d))]
        atoms = torch.cat(blocks)[:m]
    else:
        atoms = torch.randn(m, d, generator=generator)
    return normalize(atoms.to(head.dtype), dim=1), generator
