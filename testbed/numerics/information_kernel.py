"""Compiled loop over tables of counts: every concept with every code, one concept's tables in memory at a time."""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit
from numpy.typing import NDArray

Array = NDArray[Any]


@njit(cache=True, nogil=True)
def sums_over_tables(
    start: Array,
    row: Array,
    concept_state: Array,
    concept_count: Array,
    concept_states: Array,
    indptr: Array,
    slot: Array,
    code_count: Array,
    code_states: Array,
    x_log_x: Array,
    log_sum: Array,
    cells: Array,
    square_sum: Array,
) -> None:
    r"""Sums over the table :math:`n_{sb}` of each concept's states s and each code's states b.

    Fills :math:`\sum n_{sb} \log n_{sb}`, the number of cells with :math:`n_{sb} > 0`, and :math:`\sum_{sb} n_{sb}^2 / n_{\cdot b}`, each
    of shape (c, m). Concepts come by column, codes by row, as slots: code times the width of its counts, plus state. States 0 are not
    stored, and their counts are what the margins leave.
    """
    c, m = log_sum.shape
    width = code_count.shape[1]
    table = np.zeros((concept_count.shape[1], m * width), np.int32)
    for i in range(c):
        k = concept_states[i]
        table[:k] = 0
        for e in range(start[i], start[i + 1]):
            line = table[concept_state[e]]
            t = row[e]
            for q in range(indptr[t], indptr[t + 1]):
                line[slot[q]] += 1
        for j in range(m):
            base = j * width
            logs = 0.0
            used = 0
            for s in range(1, k):
                on = 0
                for b in range(1, code_states[j]):
                    on += table[s, base + b]
                table[s, base] = concept_count[i, s] - on
            squares = 0.0
            for b in range(code_states[j]):
                rest = code_count[j, b]
                square = 0.0
                for s in range(1, k):
                    count = table[s, base + b]
                    rest -= count
                    if count > 0:
                        logs += x_log_x[count]
                        used += 1
                        square += float(count) * count
                if rest > 0:
                    logs += x_log_x[rest]
                    used += 1
                    square += float(rest) * rest
                if code_count[j, b] > 0:
                    squares += square / code_count[j, b]
            log_sum[i, j] = logs
            cells[i, j] = used
            square_sum[i, j] = squares
