"""How many codes are on too often to stand for something rare."""

from __future__ import annotations

from contextlib import suppress

from torch import Tensor

from evaluators.calibration import checked_codes, concepts, shown_levels
from testbed.contracts import Evaluator, InvalidInput, NotApplicable, Outcome, Rows, Scores, SparseRows


class DenseUnits(Evaluator):
    """Share of codes that are other than 0 on more than `share` of the held-out rows [1]_.

    A description: true concepts may be on that often, too (part ``concepts``, where they are known and sparse). Codes without an exact 0,
    such as projections, are all dense.

    Parameters
    ----------
    share : float

    References
    ----------
    .. [1] Rajamanoharan et al. (2024), Jumping ahead: improving reconstruction fidelity with JumpReLU sparse autoencoders, arXiv
       2407.14435 ("high-frequency" latents are on for more than 10 % of the tokens).
    """

    direction = "none"
    equivalence = "permutation and invertible scaling of each code that keeps 0"
    invariances = ("permutation", "sign", "scale")

    def __init__(self, share: float = 0.1) -> None:
        self.share = share

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Parts ``number`` of such codes, ``activity``: their share of all entries other than 0, and ``concepts``."""
        if not 0 <= self.share < 1:
            raise InvalidInput(f"share must lie in [0, 1), not at {self.share}")
        rates = firing_rates(checked_codes(outcome))
        dense = rates > self.share
        parts = {"number": int(dense.sum()), "activity": float(rates[dense].sum()) / max(float(rates.sum()), 1e-300)}
        with suppress(NotApplicable):  # nobody knows, or concepts are never off
            parts["concepts"] = _share(firing_rates(concepts(outcome, shown_levels(outcome, ("sparse",)))) > self.share)
        return Scores(_share(dense), parts)


def firing_rates(rows: Rows) -> Tensor:
    """Share of the rows in which each column is other than 0, shape (m,), float64, on the CPU."""
    if isinstance(rows, SparseRows):
        count = rows.indices[rows.values != 0].bincount(minlength=rows.shape[1])
    else:
        count = (rows != 0).sum(dim=0)
    return count.double().cpu() / max(1, len(rows))


def _share(which: Tensor) -> float:
    return int(which.sum()) / max(1, len(which))
