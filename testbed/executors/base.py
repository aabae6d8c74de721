"""What the runner asks of a place to run jobs."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Protocol


class WorkerDied(Exception):
    """The process that ran a job is gone: killed from outside, out of memory, or over its time."""


class Executor(Protocol):
    """Runs up to `slots` jobs at a time; knows nothing of what they do."""

    slots: int

    def submit(self, name: str, function: Callable[[Any], Any], argument: Any) -> None:
        """Start a job; at most `slots` may be under way."""

    def wait(self) -> tuple[str, Any]:
        """Wait for any job to end: its name, and its result or the exception that ended it."""

    def close(self) -> None:
        """Stop everything at once; jobs under way are lost, what they stored is not."""
