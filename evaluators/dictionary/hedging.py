"""Decoder rows that hold a bit of every concept that tends to be on together with their own."""

from __future__ import annotations

import torch
from torch import Tensor

from evaluators.calibration import ORACLE, RANDOM_DICTIONARY, concepts, dictionary_of, truth_of
from evaluators.dictionary.own_codes import compositions, contents, events, family, matched_rows, own_codes, written_levels
from testbed.contracts import Evaluator, InvalidInput, NotApplicable, Outcome, Rows, Scores

COMPANIONS = 8
"""Concepts that count as related because they are on together, at most, for each: the most correlated."""


class Hedging(Evaluator):
    r"""What a concept's row holds of related atoms, relative to its own [1]_.

    .. math:: h_i = \min\Big(1, \sum_{k \in R(i)} \frac{[b_{ik}]_+}{b_{ii}}\Big), \qquad
              w_{\pi(i)} \approx b_{ii} d_i + \sum_{k \in R(i)} b_{ik} d_k

    by least squares on these atoms, all of norm 1. R(i) are the composites and constituents of i, its co-constituents, and up to 8
    concepts whose being on correlates with that of i at `correlation` or more. A row :math:`d_i + .3 d_k` has .3.

    The mean is over concepts that have relatives; one without a code of its own (|cos| < .5) counts 1, since nothing tells it from its
    relatives, and a dictionary that holds nothing must not be the best. Only the positive part counts: a decoder under a sparsity
    penalty that writes a composite *minus* a constituent absorbs rather than hedges (part ``negative`` has that side, on the same scale).

    In d dimensions a row that is off by noise of relative size s holds about s / sqrt(d) of each of the relatives by accident. Looks at the
    dictionary alone: an absorbing code hedges too, by this measure, as it holds both atoms; absorption tells them apart.

    Parameters
    ----------
    correlation : float
        Least Pearson correlation of two concepts as events.

    References
    ----------
    .. [1] Chanin, Dulka & Garriga-Alonso (2025), Feature hedging: correlated features break narrow sparse autoencoders,
       arXiv 2505.11756 (there from what latents lose when the SAE is widened, since the true atoms are unknown).
    """

    direction = "lower"
    equivalence = "permutation, sign and scale of each code, with the dictionary that undoes it"
    invariances = ("permutation", "sign", "scale")
    kinds = ("sparse",)
    chance = RANDOM_DICTIONARY
    ceiling = ORACLE

    def __init__(self, correlation: float = 0.2) -> None:
        self.correlation = correlation

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``hedged``, ``negative`` (means over concepts with a code), ``without_code`` (the share of the others), ``level_0`` ..."""
        if not 0 < self.correlation <= 1:
            raise InvalidInput(f"correlation must lie in (0, 1], not at {self.correlation}")
        levels = written_levels(outcome)
        truth = truth_of(outcome)
        related = family(compositions(outcome, levels)) | _companions(concepts(outcome, levels), self.correlation)
        asked = related.any(dim=1)
        if not asked.any():
            raise NotApplicable("no two concepts are related or correlated: there is nothing to hedge")
        atoms = truth.dictionary(outcome.view)
        own = own_codes(outcome, atoms)
        held = contents(matched_rows(dictionary_of(outcome), own), atoms, related).cpu()
        mine = held.diagonal()
        found = own.found.cpu() & (mine > 0)
        relative = (held - torch.diag(mine)) / mine.clamp_min(1e-12)[:, None]
        hedged = torch.where(found, relative.clamp_min(0).sum(dim=1).clamp_max(1), 1.0)
        negative = relative.clamp_max(0).abs().sum(dim=1).clamp_max(1)
        parts = {"without_code": float((~found[asked]).double().mean())}
        for name, amount in (("hedged", hedged), ("negative", negative)):
            parts[name] = float(amount[asked & found].mean()) if (asked & found).any() else 0.0
        level = torch.tensor([one for one in levels for _ in range(truth.levels[one].size)])
        parts |= {f"level_{one}": float(hedged[asked & (level == one)].mean()) for one in levels if (asked & (level == one)).any()}
        return Scores(float(hedged[asked].mean()), parts)


def _companions(z: Rows, least: float) -> Tensor:
    """Concepts that are on together more than `least` tells, the most correlated of them, shape (c, c), bool."""
    on = events(z)
    n, c = on.shape
    both, rate = torch.from_numpy((on.T @ on).toarray()) / max(1, n), torch.from_numpy(on.sum(axis=0)) / max(1, n)
    deviation = (rate * (1 - rate)).sqrt()
    scale = deviation[:, None] * deviation
    phi = torch.where(scale > 0, (both - rate[:, None] * rate) / scale.clamp_min(1e-300), 0.0)
    phi.fill_diagonal_(-1.0)
    best, place = phi.topk(min(COMPANIONS, c), dim=1)
    near = torch.zeros(c, c, dtype=torch.bool).scatter_(1, place, best >= least)
    return near | near.T
