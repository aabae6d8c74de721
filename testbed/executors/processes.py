"""Local worker processes by loky. Each worker is a pool of its own, so that its death costs its own job and no other."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass
from threading import Thread
from typing import Any

from testbed.device import CONFINED
from testbed.executors.base import WorkerDied


@dataclass
class _Busy:
    name: str
    pool: Any
    until: float | None


class Processes:
    """A fixed number of worker processes.

    Parameters
    ----------
    workers : int
    threads : int
        Threads of each worker's numerical libraries.
    seconds : float, optional
        A job that takes longer is killed with its worker.
    """

    def __init__(self, workers: int, threads: int = 1, seconds: float | None = None) -> None:
        self.slots = workers
        self._threads = threads
        self._seconds = seconds
        self._pools: list[Any] = []  # all that were started: an interrupt may come before one is known to be busy
        self._idle: list[Any] = []
        self._busy: dict[Future[Any], _Busy] = {}

    def submit(self, name: str, function: Callable[[Any], Any], argument: Any) -> None:
        pool = self._idle.pop() if self._idle else self._start()
        until = time.monotonic() + self._seconds if self._seconds is not None else None
        self._busy[pool.submit(function, argument)] = _Busy(name, pool, until)

    def wait(self) -> tuple[str, Any]:
        while True:
            deadlines = [busy.until for busy in self._busy.values() if busy.until is not None]
            patience = max(0.0, min(deadlines) - time.monotonic()) if deadlines else None
            finished, _ = wait(self._busy, timeout=patience, return_when=FIRST_COMPLETED)
            if finished:
                return self._collect(finished.pop())
            for future, busy in list(self._busy.items()):
                if busy.until is not None and busy.until <= time.monotonic():
                    del self._busy[future]
                    self._kill(busy.pool)
                    return busy.name, WorkerDied(f"it took longer than the {self._seconds:g} seconds that the suite allows")

    def close(self) -> None:
        for pool in list(self._pools):
            self._kill(pool)
        self._busy, self._idle = {}, []

    def _kill(self, pool: Any) -> None:
        pool.shutdown(wait=False, kill_workers=True)
        self._pools.remove(pool)

    def _start(self) -> Any:
        from joblib.externals.loky.process_executor import ProcessPoolExecutor

        environment = {name: str(self._threads) for name in (*CONFINED, "NUMBA_NUM_THREADS")}
        pool = ProcessPoolExecutor(max_workers=1, env=environment, initializer=_prepare, initargs=(os.getcwd(), list(sys.path)))
        self._pools.append(pool)
        return pool

    def _collect(self, future: Future[Any]) -> tuple[str, Any]:
        from joblib.externals.loky.process_executor import BrokenProcessPool

        busy = self._busy.pop(future)
        try:
            result = future.result()
        except BrokenProcessPool as error:
            self._kill(busy.pool)
            return busy.name, WorkerDied(f"its worker process died: killed, or out of memory ({type(error).__name__})")
        except Exception as error:
            self._idle.append(busy.pool)
            return busy.name, error
        self._idle.append(busy.pool)
        return busy.name, result


def _prepare(folder: str, path: list[str]) -> None:
    """Give a worker the working folder and the import path of the process that started it."""
    from joblib.externals.loky import process_executor

    # loky replaces a worker whose memory has grown; ours keep an instance and its samples on purpose, and the next trial needs them.
    process_executor._MAX_MEMORY_LEAK_SIZE = float("inf")
    os.chdir(folder)
    sys.path.extend(entry for entry in path if entry not in sys.path)
    Thread(target=_end_with, args=(os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    """End when the process that started this one has gone without a word (kill -9): nobody would ever collect what is computed here."""
    while os.getppid() == parent:
        time.sleep(0.2)
    os._exit(1)
