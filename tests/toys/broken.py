"""Components that break their contract, one way each; the conformance checks must name the way."""

from dataclasses import replace

import torch
from toys import ToyGenerator

from evaluators.recovery.activation_mcc import ActivationMCC
from testbed.contracts import Estimator, Evaluator, Scores, SparseRows
from testbed.numerics.batches import rows
from testbed.numerics.matching import dense


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


class ClaimsTooMuch(ActivationMCC):
    """Says that a warp does not matter to a correlation."""

    invariances = ("permutation", "monotone")


class UnknownClass(ActivationMCC):
    """Claims an invariance that nobody checks."""

    invariances = ("rescaling",)


class LooksAtMarginals(ActivationMCC):
    """Compares how far values spread, which rows in any order do alike."""

    chance = 0.0
    ceiling = 1.0
    invariances = ("permutation",)

    def score(self, outcome, *, seed):
        super().score(outcome, seed=seed)
        truth = torch.cat([dense(z) for z in outcome.sample.latents.values()], dim=1)
        return Scores(float(torch.exp(-(dense(outcome.codes).std(correction=0) - truth.std(correction=0)).abs())))


class RewardsSilence(ActivationMCC):
    """Best where nothing fires."""

    def score(self, outcome, *, seed):
        return Scores(1.0) if not bool(dense(outcome.codes).any()) else super().score(outcome, seed=seed)


class FallsShort(ActivationMCC):
    """Cannot reach the ceiling that it names."""

    ceiling = 2.0


class DividesByZero(ActivationMCC):
    """Standardises dead codes."""

    def score(self, outcome, *, seed):
        found = super().score(outcome, seed=seed)
        scale = dense(outcome.codes).double().std(dim=0, correction=0)
        return Scores(found.value * float((scale / scale).mean()))


class NeedsRows(ActivationMCC):
    """Fails on a sample of few rows."""

    def score(self, outcome, *, seed):
        if len(outcome.codes) > 2:
            return super().score(outcome, seed=seed)
        raise IndexError("index 2 is out of range")


class ReadsDenseOnly(ActivationMCC):
    """Counts stored entries of sparse rows as if they were rows."""

    def score(self, outcome, *, seed):
        found = super().score(outcome, seed=seed)
        values = outcome.codes.values if isinstance(outcome.codes, SparseRows) else outcome.codes
        return Scores(found.value + 1e-3 * float((values == 0).double().mean()))


class SkipsInfinity(ActivationMCC):
    """Takes what is not finite for 0."""

    def score(self, outcome, *, seed):
        codes = dense(outcome.codes)
        return super().score(replace(outcome, codes=torch.where(codes.isinf(), 0.0, codes)), seed=seed)


class CutsRows(ActivationMCC):
    """Scores codes of other rows, as far as there are any."""

    def score(self, outcome, *, seed):
        return super().score(replace(outcome, sample=outcome.sample[: len(outcome.codes)]), seed=seed)


class ChangesCodes(ActivationMCC):
    """Centres the codes where they are."""

    def score(self, outcome, *, seed):
        found = super().score(outcome, seed=seed)
        if not isinstance(outcome.codes, SparseRows):
            outcome.codes.sub_(outcome.codes.mean(dim=0))
        return found


class SecretlyReal(ActivationMCC):
    """Scores real concepts, and declares sparse ones alone."""

    def score(self, outcome, *, seed):
        return ActivationMCC().score(outcome, seed=seed)

    kinds = ("sparse",)


class NotJson(Evaluator):
    """Leaves a tensor among its details."""

    direction = "none"

    def score(self, outcome, *, seed):
        return Scores(1.0, details={"tensor": torch.zeros(2)})


class Unfinished(Evaluator):
    """Has no score."""


class Stranger:
    """Is no component."""
