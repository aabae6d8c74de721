"""Components small enough for tests of the engine: numpy only, milliseconds each. Tests copy this file into their own folder."""

import os
import time
from dataclasses import dataclass

import numpy as np
import torch

from testbed.contracts import (
    BLOCK,
    BlockInstance,
    Estimator,
    Evaluator,
    Generator,
    Level,
    NotApplicable,
    Observed,
    Outcome,
    Reference,
    Sample,
    Scores,
    Shows,
    Truth,
    View,
    seed_of,
)


@dataclass(frozen=True)
class ToyTruth(Truth):
    """The mixing matrix is known."""

    def oracle(self, observed, view):
        return observed.views[view].values @ torch.linalg.pinv(self.dictionary(view))


class ToyInstance(BlockInstance):
    """Independent Gaussian concepts, mixed linearly."""

    def __init__(self, concepts, dimension, noise, seed):
        self.noise = noise
        mixing = np.random.default_rng(seed_of("mixing", seed)).normal(size=(concepts, dimension))
        self.mixing = torch.as_tensor(mixing / np.linalg.norm(mixing, axis=1, keepdims=True), dtype=torch.float32)
        self.truth = ToyTruth(
            levels=(Level("real", concepts),),
            constituents={0: tuple(() for _ in range(concepts))},
            dictionaries={"x": {0: self.mixing}},
            settings={"concepts": concepts},
        )

    def block(self, seed):
        rng = np.random.default_rng(seed)
        z = torch.as_tensor(rng.normal(size=(BLOCK, len(self.mixing))), dtype=torch.float32)
        noise = torch.as_tensor(rng.normal(size=(BLOCK, self.mixing.shape[1])), dtype=torch.float32)
        x = z @ self.mixing + self.noise * noise
        return Sample(Observed({"x": View(x, Shows(levels=(0,)))}), {0: z})


class ToyGenerator(Generator):
    """Gaussian concepts."""

    def __init__(self, concepts: int = 3, dimension: int = 8, noise: float = 0.1):
        self.concepts = concepts
        self.dimension = dimension
        self.noise = noise

    def draw(self, seed):
        return ToyInstance(self.concepts, self.dimension, self.noise, seed)


class NanGenerator(ToyGenerator):
    """Its third row is not a number."""

    def draw(self, seed):
        instance = super().draw(seed)
        block = instance.block

        def spoiled(seed):
            sample = block(seed)
            sample.observed.views["x"].values[2, 0] = float("nan")
            return sample

        instance.block = spoiled
        return instance


class ToyEstimator(Estimator):
    """Random projections (so that a fit seed matters) of centred data."""

    def __init__(self, m: int = 3, trouble: str = "", marker: str | None = None):
        self.m = m
        self.trouble = trouble
        self.marker = marker

    def fit(self, data, *, seed):
        rows = torch.cat([observed.views["x"].values for observed in data])
        if self.trouble == "raise":
            raise RuntimeError("the toy refuses to fit")
        if self.trouble == "once" and not os.path.exists(self.marker):
            open(self.marker, "w").close()
            raise RuntimeError("the toy fails the first time")
        if self.trouble == "die" and not os.path.exists(self.marker or ""):
            if self.marker:
                open(self.marker, "w").close()
            os.kill(os.getpid(), 9)
        if self.trouble == "sleep":
            time.sleep(60)
        generator = torch.Generator().manual_seed(seed)
        directions = torch.randn(self.m, rows.shape[1], generator=generator)
        self.dictionary_ = directions / directions.norm(dim=1, keepdim=True)
        self.mean_ = rows.mean(dim=0)
        if self.trouble == "inexpressible":
            self.lambda_ = lambda: None
        return self

    def encode(self, observed):
        x = observed.views["x"].values if isinstance(observed, Observed) else observed
        codes = (x - self.mean_) @ self.dictionary_.T
        return codes[:-1] if self.trouble == "short" else codes * float("nan") if self.trouble == "nan" else codes

    def decode(self, codes):
        return codes @ self.dictionary_ + self.mean_


class ToyOracle(ToyEstimator):
    """Knows the mixing."""

    needs_truth = True

    def fit(self, data, *, seed, truth):
        self.dictionary_ = truth.dictionary("x")
        self.mean_ = torch.zeros(self.dictionary_.shape[1])
        return self

    def encode(self, observed):
        return observed.views["x"].values @ torch.linalg.pinv(self.dictionary_)


def _permuted(outcome, seed):
    order = torch.randperm(len(outcome.codes), generator=torch.Generator().manual_seed(seed))
    return Outcome(outcome.codes[order], outcome.sample, outcome.view, outcome.dictionary, truth=outcome.truth)


def _oracle(outcome, seed):
    return Outcome(outcome.truth.oracle(outcome.sample.observed, outcome.view), outcome.sample, outcome.view, truth=outcome.truth)


class ToyScore(Evaluator):
    """Best correlation of each concept with any code."""

    equivalence = "permutation, sign, scale and shift"
    invariances = ("permutation", "sign", "scale", "shift")
    kinds = ("real",)
    chance = Reference("permuted", "trial", _permuted)
    ceiling = Reference("oracle", "instance", _oracle)

    def __init__(self, power: int = 1):
        self.power = power

    def score(self, outcome, *, seed):
        if outcome.truth is None:
            raise NotApplicable("there is no truth to recover")
        joint = torch.cat([outcome.sample.latents[0], outcome.codes], dim=1).double()
        c = outcome.sample.latents[0].shape[1]
        best = torch.corrcoef(joint.T)[:c, c:].abs().amax(dim=1) ** self.power
        return Scores(float(best.mean()), {"worst": float(best.min())}, details={"best": best.tolist()})


class ToySize(Evaluator):
    """Number of codes."""

    direction = "none"

    def score(self, outcome, *, seed):
        return Scores(float(outcome.codes.shape[1]))


class ToySpread(Evaluator):
    """How far the dictionaries of the fit seeds are from each other."""

    scope = "seeds"
    direction = "lower"

    def score(self, outcome, *, seed):
        first, *others = outcome
        return Scores(float(np.mean([(first.dictionary - o.dictionary).norm().item() for o in others])))
