"""One job after another, in this process."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any


class Serial:
    """Runs each job when its result is waited for."""

    slots = 1

    def __init__(self) -> None:
        self._waiting: list[tuple[str, Callable[[Any], Any], Any]] = []

    def submit(self, name: str, function: Callable[[Any], Any], argument: Any) -> None:
        self._waiting.append((name, function, argument))

    def wait(self) -> tuple[str, Any]:
        name, function, argument = self._waiting.pop(0)
        try:
            return name, function(argument)
        except Exception as error:
            return name, error

    def close(self) -> None:
        self._waiting.clear()
