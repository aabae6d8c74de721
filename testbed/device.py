"""Which device a run uses, and how many threads on it; found without loading torch."""

from __future__ import annotations

import ctypes
import math
import os
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from testbed.contracts import InvalidInput

LIBRARY_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")
"""Variables that numerical libraries take their number of threads from when they are loaded."""

CONFINED = (*LIBRARY_THREADS, "LOKY_MAX_CPU_COUNT")
"""Those, and the one that joblib takes the cores from which it fills with processes."""

QUOTA = Path("/sys/fs/cgroup/cpu.max")
"""Microseconds of CPU time per microseconds of time that a container has; ``max`` where there is no limit."""


def choose(device: str) -> str:
    """``cpu`` or ``cuda``; ``auto`` is CUDA where a driver shows a device and torch was built for it.

    Raises
    ------
    InvalidInput
        For another name.
    """
    if device == "auto":
        return "cuda" if _torch_has_cuda() and _devices() > 0 else "cpu"
    if device not in ("cpu", "cuda"):
        raise InvalidInput(f"--device {device}: it is auto, cpu or cuda")
    return device


def _torch_has_cuda() -> bool:
    try:
        return not version("torch").endswith("+cpu")
    except PackageNotFoundError:
        return False


def _devices() -> int:
    """Number of CUDA devices that the driver shows; 0 without a driver."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
        count = ctypes.c_int(0)
        if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0:
            return count.value
    except (OSError, AttributeError):
        pass
    return 0


def cores() -> int:
    """Cores that this process may use: those that it is bound to, or fewer where its container has a quota."""
    bound = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    try:
        quota, period = QUOTA.read_text().split()
        return max(1, min(bound, math.ceil(int(quota) / int(period))))
    except (OSError, ValueError):  # no such file, or "max"
        return bound


def threads(wanted: int) -> int:
    """Threads of a trial: as many as the suite wants, but not more than there are cores, nor than the user lets numerical libraries have.

    The number is part of every key: what is computed with fewer threads is not taken for what more would give.
    """
    # OpenMP takes a list, one number per level of nesting.
    given = [os.environ.get(name, "").partition(",")[0].strip() for name in LIBRARY_THREADS]
    return min(wanted, cores(), *(int(value) for value in given if value.isdecimal() and int(value) > 0))
