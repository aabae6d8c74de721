"""Components that break their contract, one way each; the conformance checks must name the way."""

import torch
from toys import ToyGenerator, ToyScore

from testbed.contracts import Estimator, Evaluator, NotApplicable, Scores
from testbed.numerics.batches import rows


class Fine(Estimator):
    """Breaks nothing: projections on random directions."""

    def __init__(self, m: int = 3, view: str | None = None):
        self.m = m
        self.view = view

    def fit(self, data, *, seed):
        x = rows(data, self.view)
        self.dictionary_ = self.directions(x.shape[1], torch.Generator().manual_seed(seed))
        self.mean_ = x.mean(dim=0)
        return self

    def directions(self, d, generator):
        return torch.randn(self.m, d, generator=generator)

    def encode(self, observed):
        return (rows(observed, self.view) - self.mean_) @ self.dictionary_.T

    def decode(self, codes):
        return codes @ self.dictionary_ + self.mean_


class ComputesInInit(Fine):
    """Derives an attribute in its constructor."""

    def __init__(self, m: int = 3, view: str | None = None):
        super().__init__(m, view)
        self.width = 2 * m


class GlobalRandomness(Fine):
    """Draws its directions from torch's global generator."""

    def directions(self, d, generator):
        return torch.randn(self.m, d)


class DependsOnBatch(Fine):
    """Centres the codes on the rows that happen to be encoded together."""

    def encode(self, observed):
        codes = super().encode(observed)
        return codes - codes.mean(dim=0)


class AcceptsNan(Fine):
    """Takes NaN in silence."""

    def fit(self, data, *, seed):
        x = rows(data, self.view) if not hasattr(data, "views") else next(iter(data.views.values())).values.nan_to_num()
        return super().fit(x, seed=seed)


class ForgetsState(Fine):
    """Keeps what it learned under a name that is not stored."""

    def fit(self, data, *, seed):
        super().fit(data, seed=seed)
        self.offset = self.mean_ + 1.0
        return self

    def encode(self, observed):
        return (rows(observed, self.view) - self.offset) @ self.dictionary_.T


class NotAPrefix(ToyGenerator):
    """A longer sample is another sample."""

    def draw(self, seed):
        instance = super().draw(seed)
        sample = instance.sample
        instance.sample = lambda n, seed, part="train": sample(n, seed + n, part)
        return instance


class WrongRates(ToyGenerator):
    """States a firing rate that its rows do not have."""

    def draw(self, seed):
        instance = super().draw(seed)
        instance.truth.rates[0] = torch.full((self.concepts,), 0.5)
        return instance


class ClaimsTooMuch(ToyScore):
    """Says that scale does not matter, and lets it matter."""

    kinds = ("sparse",)
    chance = None
    ceiling = None
    equivalence = "permutation and scale"

    def score(self, outcome, *, seed):
        codes = torch.as_tensor(outcome.codes)
        if not codes.isfinite().all():
            raise ValueError("codes hold NaN: check the encoder before scoring it")
        if outcome.truth is None:
            raise NotApplicable("there is no truth")
        truth = torch.cat([z.dense() for z in outcome.sample.latents.values()], dim=1)
        return Scores(-float((codes.sum(1) - truth.sum(1)).abs().mean()))


class NotJson(Evaluator):
    """Leaves a tensor among its details."""

    direction = "none"

    def score(self, outcome, *, seed):
        return Scores(1.0, details={"tensor": torch.zeros(2)})


class Unfinished(Evaluator):
    """Has no score."""


class Stranger:
    """Is no component."""
