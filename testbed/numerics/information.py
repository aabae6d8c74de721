"""Mutual information of every concept with every code, from tables of counts."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.stats import chi2

from testbed.contracts import InvalidInput
from testbed.numerics.discretise import States
from testbed.numerics.information_kernel import sums_over_tables

Array = NDArray[Any]


@dataclass(frozen=True, slots=True)
class Information:
    """What tables of counts say, in nats.

    Attributes
    ----------
    plug_in : array, shape (c, m)
        Mutual information of the observed frequencies; larger than the truth on average.
    corrected : array, shape (c, m)
        The same without its bias (Miller and Madow), not below 0.
    tau : array, shape (c, m)
        Goodman and Kruskal's share of a concept's variance (of its states' indicators) that a code's states explain, without its bias.
    concept_entropy : array, shape (c,)
    code_entropy : array, shape (m,)
        Entropies, corrected likewise.
    freedom : array, shape (c, m)
        Degrees of freedom of each table.
    n : int
    """

    plug_in: Array
    corrected: Array
    tau: Array
    concept_entropy: Array
    code_entropy: Array
    freedom: Array
    n: int

    def significant(self, alpha: float) -> Array:
        r"""Which pairs depend on each other, shape (c, m): :math:`2 n I` above the :math:`\chi^2` quantile, all pairs of a code together.

        The level is shared among the concepts (Bonferroni), so that a code that says nothing passes for one that does at rate `alpha`.
        """
        bar = chi2.isf(alpha / max(1, len(self.plug_in)), np.maximum(self.freedom, 1))
        return np.asarray((self.freedom > 0) & (2 * self.n * self.plug_in > bar))

    def normalised(self) -> Array:
        """Corrected information as a share of the concept's entropy, shape (c, m), in [0, 1]; 0 for a constant concept."""
        entropy = self.concept_entropy[:, None]
        share = np.divide(self.corrected, entropy, out=np.zeros_like(self.corrected), where=entropy > 0)
        return np.minimum(share, 1.0)


def mutual_information(concepts: States, codes: States) -> Information:
    r"""Mutual information of every concept with every code.

    .. math:: \hat I = \sum_{sb} \frac{n_{sb}}{n} \log \frac{n\, n_{sb}}{n_{s \cdot} n_{\cdot b}}, \qquad
        \hat I_{MM} = \hat I - \frac{K_{sb} - K_s - K_b + 1}{2 n}

    with K the numbers of cells that are not empty [1]_. Costs one step per pair of entries that share a row and are not in state 0.

    Parameters
    ----------
    concepts : States, n rows and c columns
    codes : States, n rows and m columns

    Raises
    ------
    InvalidInput
        If the rows differ in number, or there is none.

    References
    ----------
    .. [1] Miller (1955), Note on the bias of information estimates.
    """
    n = len(concepts)
    if len(codes) != n or not n:
        raise InvalidInput(f"concepts have {n} rows and codes {len(codes)}: tables of counts need the same rows, and at least 1")
    of_concept, of_code = concepts.counts(), codes.counts()
    c, m = len(of_concept), len(of_code)
    x_log_x = np.zeros(n + 1)
    x_log_x[1:] = np.arange(1, n + 1) * np.log(np.arange(1, n + 1))
    by_column = concepts.table.tocsc()
    log_sum, square_sum, cells = np.zeros((c, m)), np.zeros((c, m)), np.zeros((c, m), np.int32)
    slot = codes.table.indices.astype(np.int32) * np.int32(of_code.shape[1]) + codes.table.data
    sums_over_tables(
        *(by_column.indptr, by_column.indices, by_column.data, of_concept, concepts.n_states),
        *(codes.table.indptr, slot.astype(np.int32), of_code, codes.n_states),
        *(x_log_x, log_sum, cells, square_sum),
    )
    concept_log, code_log = x_log_x[of_concept].sum(axis=1), x_log_x[of_code].sum(axis=1)
    concept_cells, code_cells = (of_concept > 0).sum(axis=1), (of_code > 0).sum(axis=1)
    # Rounding of a difference of large sums: n log n is the scale of each.
    plug_in = (log_sum - concept_log[:, None] - code_log + x_log_x[n]) / n
    plug_in = np.where(plug_in > 1e-12 * max(1.0, float(np.log(n))), plug_in, 0.0)
    bias = (cells - concept_cells[:, None] - code_cells + 1) / (2 * n)
    corrected = np.maximum(plug_in - bias, 0.0)
    return Information(
        plug_in=plug_in,
        corrected=corrected,
        tau=_explained(square_sum, of_concept, code_cells, n),
        concept_entropy=np.maximum(np.log(n) - concept_log / n, 0.0) + (concept_cells - 1) / (2 * n),
        code_entropy=np.maximum(np.log(n) - code_log / n, 0.0) + (code_cells - 1) / (2 * n),
        freedom=(concept_cells - 1)[:, None] * (code_cells - 1),
        n=n,
    )


def _explained(square_sum: Array, of_concept: Array, code_cells: Array, n: int) -> Array:
    """Share of the indicators' variance that is between a code's states, adjusted as R2 is for the number of states; shape (c, m)."""
    total = n - (of_concept.astype(np.float64) ** 2).sum(axis=1) / n  # n times the sum of the indicators' variances
    left = n - square_sum
    adjusted = left / np.maximum(n - code_cells, 1) * (n - 1)
    share = 1 - np.divide(adjusted, total[:, None], out=np.ones_like(left), where=total[:, None] > 0)
    return np.asarray(np.clip(share, 0.0, 1.0))
