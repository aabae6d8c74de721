"""What is done to a control: values set by force, and values conditioned on."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from testbed.contracts import InvalidInput, NotApplicable, Setting

Values = dict[tuple[int, int], float]


def checked(setting: Setting, sizes: tuple[int, ...]) -> Values:
    """The setting with plain numbers.

    Raises
    ------
    InvalidInput
        If it names a concept that there is not, or a value that is neither 0 nor a magnitude.
    """
    out = {}
    for (level, i), value in setting.items():
        if not (0 <= level < len(sizes) and 0 <= i < sizes[level]):
            raise InvalidInput(f"there is no concept {i} of level {level}: the levels have {list(sizes)} concepts")
        if not 0 <= value < math.inf:
            raise InvalidInput(f"concept {i} of level {level} cannot be {value}: give 0 (off) or a magnitude above 0")
        out[int(level), int(i)] = float(value)
    return out


def joined(done: Values, given: Values, setting: Setting, sizes: tuple[int, ...]) -> Values:
    """`given` with more values to condition on.

    Raises
    ------
    InvalidInput
        If a concept has another value already.
    """
    more = checked(setting, sizes)
    for place, value in more.items():
        known = done.get(place, given.get(place, value))
        if not math.isclose(known, value, rel_tol=1e-6):
            raise InvalidInput(
                f"concept {place[1]} of level {place[0]} is given the value {value:g}, but has {known:g} already: give it one value"
            )
    return {**given, **{place: value for place, value in more.items() if place not in done}}


def done_first(given: Values) -> None:
    """Raise InvalidInput where something is conditioned on: what is set by force changes the law that is conditioned."""
    if given:
        raise InvalidInput("concepts are set by force before others are conditioned on: call do_then_select or select_then_do first")


def no_concepts(what: str) -> NotApplicable:
    """What an instance without concepts answers."""
    return NotApplicable(f"{what} has no meaning for pure noise, which has no concepts: steer another control, or sparse_concepts")


def to_plain(values: Values) -> list[list[float]]:
    """As JSON."""
    return [[*place, value] for place, value in values.items()]


def from_plain(plain: Mapping[str, Any], name: str, sizes: tuple[int, ...]) -> Values:
    """What `to_plain` wrote under a name; InvalidInput if it is not that."""
    try:
        return checked({(level, i): value for level, i, value in plain[name]}, sizes)
    except (KeyError, TypeError, ValueError) as error:
        raise InvalidInput(f"the saved control lacks {name!r} or has one of a wrong kind ({error}): save it again") from None
