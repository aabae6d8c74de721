"""How dials turn specifications of discrete concepts."""

from __future__ import annotations

import math
from typing import Any

from generators.assumptions.dial import Params, number
from testbed.contracts import InvalidInput

LEAST = 1e-12
"""Weight of a root's other states where they occur no more: far below what any margin counts."""


def admissible(params: Params, a: float) -> dict[str, Any]:
    r"""Synonyms per state go from m to :math:`v_{l+1}^s / v_l`, as many as there are tuples for it, and become equal.

    Raises
    ------
    InvalidInput
        If states, synonyms or branching differ within a level, or some tuples would be left over at 1.
    """
    depth = int(number(params, "depth"))
    states, branching = _per_level(params, "states", depth + 1), _per_level(params, "branching", depth)
    synonyms = _per_level(params, "synonyms", depth)
    most = []
    for level in range(depth):
        tuples = states[level + 1] ** branching[level]
        if tuples % states[level]:
            raise InvalidInput(
                f"this dial makes all {tuples} tuples of level {level} admissible, which {states[level]} states cannot share evenly: "
                "choose states whose number divides them"
            )
        most.append(tuples // states[level])
    turned = [round(m + a * (end - m)) for m, end in zip(synonyms, most, strict=True)]
    return {"synonyms": turned, "preference": (1 - a) * number(params, "preference")}


def sharing(params: Params, a: float) -> dict[str, Any]:
    """Leaves go from as many as tuples have places to as many as the largest tuple has: concepts of the last level are shared then.

    Raises
    ------
    InvalidInput
        If there is one composite only above the leaves, or branching differs within a level.
    """
    depth = int(number(params, "depth"))
    branching = _per_level(params, "branching", depth)
    sizes = [int(number(params, "roots"))]
    for s in branching:
        sizes.append(sizes[-1] * s)
    if sizes[-2] < 2:
        raise InvalidInput("constituents are shared among two composites or more: set roots or depth to 2")
    return {"concepts": [*sizes[:-1], round(sizes[-1] - a * (sizes[-1] - branching[-1]))]}


def one_root_state(params: Params, a: float) -> dict[str, Any]:
    """The law of every root goes from uniform to (all but `LEAST` of) a point on its first state: what is never on is refused.

    Raises
    ------
    InvalidInput
        If roots have other numbers of states, or one state only.
    """
    states = _per_level(params, "states", int(number(params, "depth")) + 1)[0]
    if states < 2:
        raise InvalidInput("a root with one state has no mass to move: give it 2 states or more")
    law = [1 - a + a * states, *[max(1 - a, LEAST)] * (states - 1)]
    return {"root_law": [[weight / math.fsum(law) for weight in law]] * int(number(params, "roots"))}


def _per_level(params: Params, name: str, levels: int) -> list[int]:
    value = params[name]
    values = list(value) if isinstance(value, list | tuple) else [value] * levels
    if len(values) != levels or not all(isinstance(one, int) for one in values):
        raise InvalidInput(f"this dial wants one number of {name} for each of {levels} levels, not {value}")
    return values
