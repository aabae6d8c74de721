"""Reference codes: no better than chance, as good as can be, or good looking for a bad reason. And what they share with evaluators."""

from __future__ import annotations

from dataclasses import replace

import torch
from torch import Tensor
from torch.nn.functional import normalize

from evaluators.graph.truths import true_direction
from testbed.contracts import (
    BLOCK,
    Codes,
    InvalidInput,
    NotApplicable,
    Outcome,
    Reference,
    Rows,
    SparseRows,
    Structure,
    Truth,
    apart,
    side_by_side,
)
from testbed.numerics.matching import check_finite, dense

COMMON_NOISE = 0.1
"""Noise on each copy of the common factor, in standard deviations of the factor."""


# ------------------------------------------------------------------------------------------------------ what outcomes hold


def truth_of(outcome: Outcome) -> Truth:
    """The truth, or NotApplicable."""
    if outcome.truth is None:
        raise NotApplicable("nobody knows the truth of these data")
    return outcome.truth


def shown_levels(outcome: Outcome, kinds: tuple[str, ...] = ()) -> tuple[int, ...]:
    """Levels that the outcome's view shows (all that have latents, where it does not say), of one of `kinds`.

    Raises
    ------
    NotApplicable
        If there is no truth, no latents, or no level of these kinds.
    """
    truth = truth_of(outcome)
    shown = outcome.sample.observed.view(outcome.view).shows.levels or tuple(sorted(outcome.sample.latents))
    levels = tuple(level for level in shown if level in outcome.sample.latents)
    if not levels:
        raise NotApplicable(f"the sample holds no latents of what view {outcome.view!r} shows")
    if kinds and not all(truth.levels[level].kind in kinds for level in levels):
        raise NotApplicable(f"view {outcome.view!r} shows levels of kind {[truth.levels[level].kind for level in levels]}, not {kinds}")
    return levels


def concepts(outcome: Outcome, levels: tuple[int, ...]) -> Rows:
    """Values of the concepts of `levels` side by side, shape (n, c)."""
    values = [outcome.sample.latents[level] for level in levels]
    return values[0] if len(values) == 1 else side_by_side(values)


def checked_codes(outcome: Outcome) -> Codes:
    """The codes, or InvalidInput if they are not finite or not of the sample's rows."""
    if len(outcome.codes) != len(outcome.sample):
        raise InvalidInput(f"there are {len(outcome.codes)} rows of codes for {len(outcome.sample)} rows of data: encode the sample itself")
    check_finite(outcome.codes, "codes hold NaN or infinity: check the encoder's output before scoring it")
    return outcome.codes


def half_of(n: int, fewest: int = 2) -> int:
    """Rows in the first half of n: what is fitted or matched on it is scored on the other.

    Raises
    ------
    NotApplicable
        If a half has fewer than `fewest` rows.
    """
    if n // 2 < fewest:
        raise NotApplicable(f"fitting on one half of the rows and scoring on the other takes at least {2 * fewest} rows, not {n}")
    return n // 2


def dictionary_of(outcome: Outcome) -> Tensor:
    """The learned dictionary, shape (m, d), or NotApplicable; InvalidInput if it is not finite or not of the codes' number."""
    if outcome.dictionary is None:
        raise NotApplicable("the estimator learns no dictionary")
    if len(outcome.dictionary) != outcome.codes.shape[1]:
        raise InvalidInput(f"the dictionary has {len(outcome.dictionary)} rows for {outcome.codes.shape[1]} codes: one each is wanted")
    check_finite(outcome.dictionary, "the dictionary holds NaN or infinity: check the fit before scoring it")
    return outcome.dictionary


def true_structure(truth: Truth, levels: tuple[int, ...]) -> Structure:
    """The composition graph of the concepts of `levels`, side by side as `concepts` has them; constituents on other levels are left out."""
    starts, number = {}, 0
    for level in levels:
        starts[level], number = number, number + truth.levels[level].size
    constituents = tuple(
        tuple(starts[level + 1] + j for j in tuple_) if level + 1 in starts else ()
        for level in levels
        for tuple_ in truth.constituents.get(level, ((),) * truth.levels[level].size)
    )
    states = all(truth.levels[level].kind == "states" for level in levels)
    n_states = tuple(k for level in levels for k in truth.levels[level].cardinalities) if states else ()
    owner = tuple(level for level in levels for _ in range(truth.levels[level].size))
    return Structure(owner, constituents, n_states, true_direction(truth) or "undecided")


def means_by_level(similarity: Tensor, truth: Truth, levels: tuple[int, ...]) -> dict[str, float]:
    """Mean over the concepts of each level of `similarity`, shape (c,), for the report."""
    pieces = torch.split(similarity, [truth.levels[level].size for level in levels])
    return {f"level_{level}": float(piece.mean()) for level, piece in zip(levels, pieces, strict=True)}


# ------------------------------------------------------------------------------------------------------------- references


def _permuted_codes(outcome: Outcome, seed: int) -> Outcome:
    order = torch.randperm(len(outcome.codes), generator=_generator(seed))
    return replace(outcome, codes=_take(outcome.codes, order))


def _random_dictionary(outcome: Outcome, seed: int) -> Outcome:
    learned = dictionary_of(outcome)
    random = normalize(torch.randn(learned.shape, generator=_generator(seed)), dim=1).to(learned.device)
    return replace(outcome, dictionary=random, decode=None)


def _oracle(outcome: Outcome, seed: int) -> Outcome:
    truth = truth_of(outcome)
    atoms = truth.dictionary(outcome.view)
    views = apart(outcome.view)
    known = all(f"bias/{view}" in truth.facts for view in views)
    bias = torch.cat([truth.facts[f"bias/{view}"] for view in views]) if known else None

    def decode(codes: Codes) -> Tensor:
        described = torch.cat([dense(codes[i : i + BLOCK]) @ atoms.to(_device(codes)) for i in range(0, len(codes), BLOCK)])
        return described if bias is None else described + bias.to(described.device)

    return replace(
        outcome,
        codes=truth.codes(outcome.sample.observed, outcome.view),
        dictionary=atoms,
        decode=decode,
        encode=None,
        structure=true_structure(truth, shown_levels(outcome)),
    )


def uniform_rotation(c: int, seed: int) -> Tensor:
    """A random orthogonal matrix, shape (c, c)."""
    q, r = torch.linalg.qr(torch.randn(c, c, generator=_generator(seed)))
    rotation: Tensor = q * r.diagonal().sign()  # uniform over rotations, which q alone is not
    return rotation


def first_component(z: Tensor) -> Tensor:
    """The first principal component of standardised columns, by the power method from their mean, shape (c,)."""
    direction = torch.ones(z.shape[1], device=z.device)
    for _ in range(50):
        direction = normalize(z.T @ (z @ direction), dim=0)
    return direction


def _random_rotation(outcome: Outcome, seed: int) -> Outcome:
    z = _standardised(outcome)
    return replace(outcome, codes=z @ uniform_rotation(z.shape[1], seed).to(z.device), dictionary=None, decode=None, encode=None)


def _common_factor(outcome: Outcome, seed: int) -> Outcome:
    z = _standardised(outcome)
    factor = z @ first_component(z)
    noise = torch.randn(z.shape, generator=_generator(seed)).to(z.device)
    codes = factor[:, None] + COMMON_NOISE * factor.std(correction=0) * noise
    return replace(outcome, codes=codes, dictionary=None, decode=None, encode=None)


PERMUTED_CODES = Reference("permuted_codes", "trial", _permuted_codes)
"""The trial's own codes with their rows permuted: same number, sparsity and marginals, nothing to do with the data."""

RANDOM_DICTIONARY = Reference("random_dictionary", "trial", _random_dictionary)
"""As many random unit directions as the trial's dictionary has rows; the codes (which say what is dead) stay."""

ORACLE = Reference("oracle", "instance", _oracle)
"""The best codes that knowledge of the truth gives, with the true dictionary."""

RANDOM_ROTATION = Reference("random_rotation", "instance", _random_rotation)
"""All concepts, standardised and mixed by a random orthogonal matrix: everything is there, nothing is told apart."""

COMMON_FACTOR = Reference("common_factor", "instance", _common_factor)
"""Every code is a copy of what the concepts have most in common: what selection alone gives to a method that separates nothing."""


def _standardised(outcome: Outcome) -> Tensor:
    """True concepts that the view shows, each with mean 0 and variance 1 (0 if constant), shape (n, c), float32."""
    z = dense(concepts(outcome, shown_levels(outcome))).float()
    z = z - z.mean(dim=0)
    scale = z.square().mean(dim=0).sqrt()
    return torch.where(scale > 0, z / scale.clamp_min(torch.finfo(z.dtype).tiny), 0.0)


def _take(codes: Codes, order: Tensor) -> Codes:
    """Rows of `codes` in another order."""
    if not isinstance(codes, SparseRows):
        return codes[order.to(codes.device)]
    order = order.to(codes.indptr.device)
    count = codes.indptr.diff()[order]
    indptr = torch.cat([codes.indptr[:1], count.cumsum(0)])
    # Entry t of the new row i sits t places after the start of the old row order[i].
    entry = torch.arange(int(indptr[-1]), device=order.device) + (codes.indptr[:-1][order] - indptr[:-1]).repeat_interleave(count)
    return SparseRows(indptr, codes.indices[entry], codes.values[entry], codes.shape)


def _device(codes: Codes) -> torch.device:
    return codes.values.device if isinstance(codes, SparseRows) else codes.device


def _generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)
