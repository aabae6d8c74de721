"""Concepts whose code is silent because a related concept's code speaks for it."""

from __future__ import annotations

import numpy as np
import scipy.sparse
import torch

from evaluators.calibration import ORACLE, RANDOM_DICTIONARY, dictionary_of, truth_of
from evaluators.dictionary.own_codes import compositions, contents, events, halves, lineage, matched_rows, own_codes, written_levels
from testbed.contracts import Evaluator, InvalidInput, NotApplicable, Outcome, Scores

HELD = 0.2
"""Least weight of an atom in a row of norm 1 for the row to hold it at all: rows that are anyone's hold a little of everything."""


class Absorption(Evaluator):
    r"""Share of a concept's rows in which its own code is off, and the code of a relative is on and holds its direction [1]_.

    .. math:: \alpha_i = \frac{|\{t : z_{ti} \text{ on},\ a_{t\pi(i)} \text{ off},\ \exists k \in R(i): a_{t\pi(k)} \text{ on},\
              k \text{ holds } i\}|}{|\{t : z_{ti} \text{ on}\}|}

    R(i) are concepts of which i is a constituent, at any depth, and constituents of i: the *known* hierarchy. Where all constituents
    are on whenever a composite is, one code for "composite and constituent" and another for "constituent, but not the composite" need fewer
    active codes than one for each; where any constituent turns a composite on, it is the composite that goes. Both directions are
    measured.

    Codes are matched to concepts one to one by direction. Row :math:`w_{\pi(k)}` holds i if, in the least squares of that row on the atoms
    of k and R(k), the weight of atom i is at least `held` times the largest. When a code is on is read off the first half of the rows,
    the score off the second.

    The mean is over concepts that have relatives and are on. One without a code of its own (|cos| < .5) counts 1: to be absorbed wholly
    is to have none, and a dictionary that holds nothing must not be the best. The parts tell the two apart. A perfect dictionary whose
    codes fire at random is not absorbed but silent, which the headline does not count; activation F1 does.

    Parameters
    ----------
    held : float

    References
    ----------
    .. [1] Chanin, Wilken-Smith, Dulka, Bhatnagar & Bloom (2024), A is for absorption: studying feature splitting and absorption in
       sparse autoencoders, arXiv 2409.14507 (there from a probe's direction and ablations, since the hierarchy's atoms are unknown).
    """

    direction = "lower"
    equivalence = "permutation, sign and scale of each code, with the dictionary that undoes it"
    invariances = ("permutation", "sign", "scale")
    kinds = ("sparse",)
    chance = RANDOM_DICTIONARY
    ceiling = ORACLE

    def __init__(self, held: float = 0.25) -> None:
        self.held = held

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``absorbed`` and ``silent`` (off, and no relative holds it): means over concepts with a code; ``without_code``: the share
        of the others; ``level_0`` ...: the headline, of each level that has relatives. Details: the most absorbed concepts."""
        if not 0 < self.held <= 1:
            raise InvalidInput(f"held must lie in (0, 1], not at {self.held}")
        levels = written_levels(outcome)
        truth = truth_of(outcome)
        related = lineage(compositions(outcome, levels))
        if not related.any():
            raise NotApplicable(f"view {outcome.view!r} shows no composite beside a constituent of it: there is nothing to be absorbed by")
        atoms = truth.dictionary(outcome.view)
        own = own_codes(outcome, atoms)
        weight = contents(matched_rows(dictionary_of(outcome), own), atoms, related).cpu()
        most = weight.amax(dim=1, keepdim=True)
        holds = related & (weight >= self.held * most) & (weight >= HELD)  # [k, i]: the row of k's code holds i
        _, _, z, codes, rule = halves(outcome, levels)
        has = (own.code >= 0).cpu()
        concept, code = (
            events(z),
            events(rule(codes))[:, own.code.clamp_min(0).cpu().numpy()] @ scipy.sparse.diags_array(has.double().numpy()),
        )
        on = torch.from_numpy(concept.sum(axis=0))
        missed = concept - concept.multiply(code)
        spoken = (code @ scipy.sparse.csr_array(holds.double().numpy())) > 0
        absorbed = torch.from_numpy(np.asarray(missed.multiply(spoken).sum(axis=0))) / on.clamp_min(1)
        silent = torch.from_numpy(np.asarray(missed.sum(axis=0))) / on.clamp_min(1) - absorbed
        asked = related.any(dim=1) & (on > 0)
        if not asked.any():
            raise NotApplicable("no concept with composites or constituents is ever on in the scored half of the rows")
        found = own.found.cpu()
        counted = torch.where(found, absorbed, 1.0)
        parts = {"without_code": float((~found[asked]).double().mean())}
        for name, rate in (("absorbed", absorbed), ("silent", silent)):
            parts[name] = float(rate[asked & found].mean()) if (asked & found).any() else 0.0
        level = torch.tensor([one for one in levels for _ in range(truth.levels[one].size)])
        parts |= {f"level_{one}": float(counted[asked & (level == one)].mean()) for one in levels if (asked & (level == one)).any()}
        worst = torch.where(asked & found, absorbed, -1.0).argsort(descending=True, stable=True)[:10].tolist()
        details = {"most absorbed": [[i, float(absorbed[i])] for i in worst if asked[i] and found[i] and absorbed[i] > 0]}
        return Scores(float(counted[asked].mean()), parts, details=details)
