"""What every generator promises."""

from __future__ import annotations

import math

import torch

from testbed.conformance.promises import (
    Broken,
    Check,
    constructor_only_stores,
    dense,
    global_randomness_untouched,
    keep,
    refuses,
    run,
    same,
)
from testbed.contracts import PARTS, Generator, Instance, Sample, SparseRows, concatenate

ROWS = 300


def check_generator(generator: Generator) -> list[Check]:
    """Check a generator against its contract.

    Parameters
    ----------
    generator : Generator
        With a setting that is quick to draw and has at least 300 rows in its part `train`.

    Returns
    -------
    list of Check
    """
    drawn: list[Instance] = []

    def instance() -> Instance:
        if not drawn:
            raise Broken("no instance could be drawn")
        return drawn[0]

    def draws() -> None:
        with global_randomness_untouched():
            made = generator.draw(1)
        keep(isinstance(made, Instance), f"draw gives a {type(made).__name__}, not a testbed.contracts.Instance")
        drawn.append(made)
        sample = made.sample(ROWS, 2)
        keep(isinstance(sample, Sample) and len(sample) == ROWS, f"sample({ROWS}) gives {len(sample)} rows")
        for name, view in sample.observed.views.items():
            values = view.values.values if isinstance(view.values, SparseRows) else view.values
            keep(len(view.values.shape) == 2, f"view {name!r} has shape {tuple(view.values.shape)}, not (n, d)")
            keep(values.isfinite().all(), f"view {name!r} holds NaN or infinity")
            keep(values.device.type == "cpu", f"view {name!r} is on {values.device} although the instance was not moved from the CPU")

    def repeats() -> None:
        again = generator.clone().draw(1).sample(ROWS, 2)
        _equal(instance().sample(ROWS, 2), again, "two instances with the same specification and seed")
        torch.manual_seed(12345)
        _equal(instance().sample(ROWS, 2), again, "two samples with the same seed")

    def seeds_matter() -> None:
        first = instance().sample(ROWS, 2)
        keep(not _same(first, instance().sample(ROWS, 3)), "samples with different seeds are the same")
        keep(not _same(first, generator.draw(4).sample(ROWS, 2)), "instances with different seeds give the same rows")
        least = min(ROWS, 50)
        train, test = (instance().sample(least, 2, part) for part in PARTS[:2])
        keep(not _same(train, test), "the parts train and test are the same rows")

    def prefix() -> None:
        with global_randomness_untouched():
            whole = instance().sample(ROWS, 2)
        _equal(whole[:70], instance().sample(70, 2), "the first 70 rows of a longer sample and a sample of 70")
        batches = []
        for batch in instance().stream(64, 2):
            batches.append(batch)
            if len(batches) * 64 >= ROWS:
                break
        keep(all(len(batch) == 64 for batch in batches[:-1]), "stream(64) gives batches of other sizes")
        _equal(whole, concatenate(batches)[:ROWS], "a stream in batches of 64 and one sample")
        later = next(instance().chunks(2, "train", 100))
        length = min(len(later), ROWS - 100)
        _equal(whole[100 : 100 + length], later[:length], "rows from row 100 on, and the same rows of a whole sample")

    def truth_fits() -> None:
        truth = instance().truth
        if truth is None:
            return
        sample = instance().sample(ROWS, 2)
        keep(
            set(sample.latents) == set(range(len(truth.levels))),
            f"latents of levels {sorted(sample.latents)} for {len(truth.levels)} levels",
        )
        for index, level in enumerate(truth.levels):
            shape = tuple(sample.latents[index].shape)
            keep(shape == (ROWS, level.size), f"level {index} has {level.size} concepts but latents of shape {shape}")
            for concept in truth.constituents.get(index, ()):
                below = truth.levels[index + 1].size if index + 1 < len(truth.levels) else 0
                keep(all(0 <= c < below for c in concept), f"a concept of level {index} has constituents {concept} of {below}")
        for name, levels in truth.dictionaries.items():
            width = sample.observed.views[name].values.shape[1]
            for index, atoms in levels.items():
                keep(tuple(atoms.shape) == (truth.levels[index].size, width), f"atoms of level {index} have shape {tuple(atoms.shape)}")

    def rates_are_realised() -> None:
        truth = instance().truth
        if truth is None or not truth.rates:
            return
        n = 8192
        sample = instance().sample(n, 2)
        for index, rates in truth.rates.items():
            found = (dense(sample.latents[index]) != 0).double().mean(dim=0)
            spread = (rates.double() * (1 - rates.double()) / n).sqrt() + 1 / n
            worst = float(((found - rates.double()).abs() / spread).max())
            limit = 4.5 + math.sqrt(math.log(max(2, len(rates))))
            keep(worst < limit, f"a concept of level {index} is on {worst:.1f} standard errors more or less often than its stated rate")

    def oracle_fits() -> None:
        truth = instance().truth
        if truth is None:
            return
        sample = instance().sample(ROWS, 2)
        for name in truth.dictionaries:
            codes = dense(truth.oracle(sample.observed, name))
            concepts = len(truth.dictionary(name))
            keep(
                tuple(codes.shape) == (ROWS, concepts),
                f"oracle codes of {name!r} have shape {tuple(codes.shape)}, not ({ROWS}, {concepts})",
            )
            keep(codes.isfinite().all(), "oracle codes hold NaN or infinity")

    return run(
        [
            ("the constructor only stores its arguments", lambda: constructor_only_stores(generator)),
            ("draw gives an instance that samples finite rows on the CPU", draws),
            ("the same specification and seeds give the same rows, whatever the global random state", repeats),
            ("other seeds give other rows, and parts share none", seeds_matter),
            ("a sample is the beginning of every longer one, and of every stream", prefix),
            ("latents, constituents and dictionaries have the shapes that the truth states", truth_fits),
            ("realised rates are the stated ones", rates_are_realised),
            ("the oracle codes every concept", oracle_fits),
            ("an empty sample is refused", lambda: refuses(lambda: instance().sample(0, 2), "a sample of 0 rows")),
        ]
    )


def _same(a: Sample, b: Sample) -> bool:
    views = all(same(a.observed.views[k].values, b.observed.views[k].values) for k in a.observed.views)
    rows = all(same(a.observed.rows[k], b.observed.rows[k]) for k in a.observed.rows)
    return views and rows and all(same(a.latents[k], b.latents[k]) for k in a.latents)


def _equal(a: Sample, b: Sample, what: str) -> None:
    keep(_same(a, b), f"{what} differ")
