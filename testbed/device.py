"""Which device a run uses, found without loading torch."""

from __future__ import annotations

import ctypes
from importlib.metadata import PackageNotFoundError, version

from testbed.contracts import InvalidInput


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
