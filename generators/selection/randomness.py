"""Random numbers inside compiled loops: a generator whose whole state is one number that is passed along."""

from __future__ import annotations

from typing import Any

import numba
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Ints = NDArray[np.int64]

GOLDEN, FIRST, SECOND = np.uint64(0x9E3779B97F4A7C15), np.uint64(0xBF58476D1CE4E5B9), np.uint64(0x94D049BB133111EB)
S11, S27, S30, S31 = np.uint64(11), np.uint64(27), np.uint64(30), np.uint64(31)


@numba.njit(inline="always")
def uniform(state: Any) -> Any:
    """Next number in [0, 1) of the SplitMix64 generator whose state is ``state[0]`` (Steele, Lea & Flood 2014)."""
    state[0] += GOLDEN
    z = state[0]
    z = (z ^ (z >> S30)) * FIRST
    z = (z ^ (z >> S27)) * SECOND
    return ((z ^ (z >> S31)) >> S11) * (1.0 / 9007199254740992.0)
