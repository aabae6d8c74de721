"""How much of the data the codes describe."""

from __future__ import annotations

import torch
from torch import Tensor

from evaluators.calibration import ORACLE, checked_codes
from testbed.contracts import BLOCK, Evaluator, InvalidInput, NotApplicable, Outcome, Rows, Scores
from testbed.numerics.matching import dense


class ExplainedVariance(Evaluator):
    r"""Share of the variance about the mean that the reconstruction explains, on held-out rows.

    .. math:: 1 - \frac{\sum_t \|x_t - \hat x_t\|^2}{\sum_t \|x_t - \bar x\|^2}

    The mean scores 0; a worse description than the mean scores below 0. Says nothing about recovery: a dictionary of any
    directions reconstructs well with enough active codes.
    """

    equivalence = "every change of the codes that the decoder undoes"
    invariances = ("affine",)
    chance = 0.0
    ceiling = ORACLE

    def score(self, outcome: Outcome, *, seed: int) -> Scores:
        """Groups: the same for the rows of each group, about the mean of all rows."""
        codes = checked_codes(outcome)
        if outcome.decode is None:
            raise NotApplicable("the estimator has no decoder")
        values = outcome.sample.observed.view(outcome.view).values
        mean = _mean(values)
        error, total = [], []
        for start in range(0, len(values), BLOCK):
            x = dense(values[start : start + BLOCK]).double()
            described = outcome.decode(codes[start : start + BLOCK]).double()
            if described.shape != x.shape:
                raise InvalidInput(f"decoded rows have shape {tuple(described.shape)}, the data {tuple(x.shape)}: check the decoder")
            error.append((x - described.to(x.device)).square().sum(dim=1))
            total.append((x - mean).square().sum(dim=1))
        squared_error, squared = torch.cat(error), torch.cat(total)
        if not squared_error.isfinite().all():
            raise InvalidInput("decoded rows hold NaN or infinity: check the decoder's output before scoring it")
        if not float(squared.sum()) > 0:
            raise NotApplicable("the held-out rows do not vary: there is no variance to explain")
        return Scores(
            1 - float(squared_error.sum() / squared.sum()),
            groups=_by_group(squared_error, squared, outcome.sample.observed.rows.get("group")),
        )


def _mean(values: Rows) -> Tensor:
    total = torch.stack([dense(values[i : i + BLOCK]).double().sum(dim=0) for i in range(0, len(values), BLOCK)]).sum(dim=0)
    return total / len(values)


def _by_group(error: Tensor, total: Tensor, group: Tensor | None) -> dict[str, float]:
    """Explained variance within each group whose rows vary."""
    if group is None:
        return {}
    names, place = torch.unique(group.to(error.device), return_inverse=True)
    errors = error.new_zeros(len(names)).index_add(0, place, error)
    totals = error.new_zeros(len(names)).index_add(0, place, total)
    return {str(int(name)): float(1 - e / t) for name, e, t in zip(names, errors, totals, strict=True) if t > 0}
