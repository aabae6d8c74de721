"""A deadline for code of others that has none of its own."""

from __future__ import annotations

import ctypes
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

LOOK = 0.05
"""Seconds between two looks at the clock."""


class OutOfTime(BaseException):
    """Raised inside the code that is stopped; no Exception, so that code which catches those does not go on."""


@contextmanager
def limited(seconds: float) -> Iterator[None]:
    """Raise `OutOfTime` in the body once this process has used `seconds` of CPU time in it.

    A second thread watches the clock; the body itself runs as fast as without. Python code is left between two of its instructions, so
    that one long call of compiled code is waited for. A body that ends just when it is to be stopped counts as stopped.
    """
    end = time.process_time() + seconds
    target = ctypes.c_ulong(threading.get_ident())
    lock, done = threading.Lock(), threading.Event()

    def watch() -> None:
        while not done.wait(LOOK):
            if time.process_time() > end:
                with lock:
                    if not done.is_set():
                        ctypes.pythonapi.PyThreadState_SetAsyncExc(target, ctypes.py_object(OutOfTime))
                return

    watcher = threading.Thread(target=watch, daemon=True, name="deadline")
    watcher.start()
    try:
        yield
    finally:
        # Once `done` is set nothing more is asked for; what was asked for before comes at the next call, which is one of these. It is never
        # taken back: that would leave the interpreter looking for an exception which is not there, and a tracer in a loop without end.
        with lock:
            done.set()
        watcher.join()
