"""What searches by conditional independence share: rows and levels, the test, and a graph among the columns themselves."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from testbed.contracts import Codes, Data, Estimator, InvalidInput
from testbed.numerics.batches import rows
from testbed.numerics.graphs import levels_of
from testbed.numerics.independence import G2, FisherZ, IndependenceTest
from testbed.numerics.matching import dense

TESTS: Mapping[str, type[FisherZ] | type[G2]] = {"fisher_z": FisherZ, "g2": G2}


class ConstraintSearch(Estimator):
    """A search whose codes are the columns of the view. Its parameters are described in `PC`."""

    test: str
    alpha: float
    effect: float
    levels: Sequence[int] | None
    max_depth: int | None
    budget: int
    samples: int
    view: str | None

    def encode(self, observed: Any) -> Codes:
        return rows(observed, self.view, columns=len(self.levels_)).float()

    def decode(self, codes: Codes) -> Tensor:
        return dense(codes)

    def given(self, data: Data) -> tuple[NDArray[Any], NDArray[np.int64]]:
        """Rows, shape (n, p), and levels of the columns, once all parameters are checked.

        Raises
        ------
        InvalidInput
            If a parameter is out of range, or levels are not of these columns.
        """
        if self.test not in TESTS:
            raise InvalidInput(f"test is {self.test!r}: it must be one of {', '.join(map(repr, TESTS))}")
        if not 0 < self.alpha < 1 or not 0 <= self.effect < 1:
            raise InvalidInput(f"alpha must lie between 0 and 1 and effect from 0 to below 1, not {self.alpha} and {self.effect}")
        if self.budget < 1 or self.samples < 1 or (self.max_depth is not None and self.max_depth < 0):
            raise InvalidInput(
                f"budget and samples must be at least 1 and max_depth at least 0, not {self.budget}, {self.samples} and {self.max_depth}"
            )
        x = rows(data, self.view, limit=self.samples).cpu().numpy()
        return x, levels_of(self.levels, x.shape[1])

    def tested(self, x: NDArray[Any]) -> IndependenceTest:
        """The test on these rows."""
        return TESTS[self.test](x, self.alpha, self.effect)

    def keep(self, arrows: NDArray[np.bool_], levels: NDArray[np.int64]) -> None:
        """The graph as `Structure` wants it; ``arrows[i, j]``: from constituent i to composite j, both ways where there is no direction."""
        self.arrows_ = arrows
        self.constituents_ = [np.flatnonzero(into).tolist() for into in arrows.T]
        self.levels_ = levels.tolist()
