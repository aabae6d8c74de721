"""Whether codes are as large as what they stand for."""

from __future__ import annotations

import torch
from torch import Tensor

from evaluators.calibration import dictionary_of, truth_of
from evaluators.dictionary.own_codes import csr, halves, magnitudes, own_codes, written_levels
from testbed.contracts import Evaluator, NotApplicable, Outcome, Rows, Scores


class Shrinkage(Evaluator):
    r"""Size of a concept's own code over the concept's true size, where both are on [1]_; 1 means no shrinkage.

    .. math:: s_i = \frac{\|w_{\pi(i)}\| \sum_t |a_{t \pi(i)}|}{\|d_i\| \sum_t |z_{ti}|}, \qquad t : z_{ti}, a_{t \pi(i)} \text{ on}

    Codes are matched one to one by direction, and a concept has a code of its own from |cos| = .5 on; when a code is on, and where it
    rests, is read off the first half of the rows (`testbed.numerics.firing`), the score off the second. The mean is over concepts that
    have such a code and are on together with it; their share is part ``measured``, so that nobody reads the ratio without it.

    A code that holds two concepts at once, or fires for others too, is not seen here: the ratio is of sizes, over rows where both are on.
    A penalty on the size of codes pushes it below 1; fewer codes that share more between them push it above.

    References
    ----------
    .. [1] Wright & Sharkey (2024), Addressing feature suppression in SAEs; Rajamanoharan et al. (2024), Improving dictionary learning
       with gated sparse autoencoders (there the relative bias of reconstructions, since nobody knows the truth).
    """

    direction = "none"
    equivalence = "permutation, sign and scale of each code, with the dictionary that undoes it"
    invariances = ("permutation", "sign", "scale")
    kinds = ("sparse",)

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``measured``, ``median``, and the mean ``level_0``, ``level_1`` ... over measured concepts of each level that has some."""
        levels = written_levels(outcome)
        truth = truth_of(outcome)
        atoms, rows = truth.dictionary(outcome.view), dictionary_of(outcome)
        own = own_codes(outcome, atoms)
        _, _, z, codes, rule = halves(outcome, levels)
        concept = own.found.nonzero()[:, 0]
        code = own.code[concept]
        size, true = _sums_where_both(magnitudes(rule, codes), z, code, concept)
        together = true > 0
        if not together.any():
            raise NotApplicable("no concept has a code of its own that is on together with it: there are no sizes to compare")
        norms = rows.double().norm(dim=1)[code.to(rows.device)].cpu() / atoms.double().norm(dim=1)[concept].cpu()
        ratio = (norms * size / true.clamp_min(1e-300))[together]
        measured = concept.cpu()[together]
        parts = {"measured": len(measured) / len(atoms), "median": float(ratio.median())}
        level = torch.tensor([one for one in levels for _ in range(truth.levels[one].size)])[measured]
        parts |= {f"level_{one}": float(ratio[level == one].mean()) for one in levels if (level == one).any()}
        return Scores(float(ratio.mean()), parts)


def _sums_where_both(a: Rows, z: Rows, code: Tensor, concept: Tensor) -> tuple[Tensor, Tensor]:
    """Sums of |codes| and of |concepts| over the rows where both of a pair are on, shape (pairs,) each, float64."""
    size, true = abs(csr(a)[:, code.cpu().numpy()]), abs(csr(z)[:, concept.cpu().numpy()])
    return torch.from_numpy(size.multiply(true != 0).sum(axis=0)), torch.from_numpy(true.multiply(size != 0).sum(axis=0))
