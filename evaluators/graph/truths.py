"""What the truth says about selection: which composites are selected upon, and which way edges can be said to point."""

from __future__ import annotations

from typing import Any

import torch

from testbed.contracts import Truth


def true_direction(truth: Truth) -> str | None:
    """The class of the truth: ``"selection"`` (or joint emission, which has the same law), ``"independent children"``; None if neither.

    Truths that say nothing of a direction are hierarchical selection models. Where no potential weighs any tuple nothing is selected,
    constituents are independent, and neither class is right.
    """
    told = truth.facts.get("direction_class")
    if told is not None:
        if "selection" in told or "joint_emission" in told:
            return "selection"
        return "independent children" if "independent_children" in told else None
    return "selection" if any(any(level) for level in selected(truth).values()) else None


def selected(truth: Truth) -> dict[int, list[bool]]:
    """Of each concept that is composed of others, whether the truth's potential weighs its tuples at all, per level.

    A potential that is the same for every tuple selects nothing. Truths that do not tell their potentials are taken to select
    everywhere, unless they say that no selection is at work.
    """
    out: dict[int, list[bool]] = {}
    told = truth.facts.get("direction_class")
    active = told is None or "selection" in told or "joint_emission" in told
    for level, tuples in sorted(truth.constituents.items()):
        weighs = [active and _weighs(truth, level, i) for i in range(len(tuples))]
        out[level] = [bool(tuple_) and weighed for tuple_, weighed in zip(tuples, weighs, strict=True)]
    return out


def _weighs(truth: Truth, level: int, i: int) -> bool:
    facts = truth.facts
    states = facts.get(f"composition/{level}")
    if f"potential/{level}" in facts and states is not None:
        return _varies(facts[f"potential/{level}"][i][states[i] >= 0])
    if isinstance(facts.get("potentials"), list | tuple) and level < len(facts["potentials"]):
        return _varies(facts["potentials"][level][i])
    if "potential" in facts:
        return _varies(facts["potential"])
    return True


def _varies(potential: Any) -> bool:
    phi = torch.as_tensor(potential, dtype=torch.float64)
    return bool(len(phi)) and bool(phi.max() > phi.min())
