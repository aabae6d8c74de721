"""Whether a score tests the class up to which theorems identify the concepts of a generator, or another one.

A truth says up to what theorems can identify its concepts (`testbed.contracts.Truth.identified`), an evaluator what leaves its score alone
(`Evaluator.invariances`), both in the names of `testbed.contracts.INVARIANCES`. Where the second lacks what the first allows, a right
solution may score low; where it has what the first excludes, a wrong one may score high.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from testbed.contracts import INVARIANCES, implied
from testbed.results import Results


@dataclass(frozen=True)
class Mismatch:
    """An evaluator whose class is not the one that theorems promise on a generator.

    Attributes
    ----------
    evaluator : str
    missing : tuple of str
        Invariances that the theorems allow and the score does not have.
    surplus : tuple of str
        Invariances of the score that the theorems exclude.
    text : str
    """

    evaluator: str
    missing: tuple[str, ...]
    surplus: tuple[str, ...]
    text: str


def mismatches(results: Results, generator: str) -> list[Mismatch]:
    """Evaluators of true concepts that scored something on a generator and test another class than its theorems promise."""
    promises = {tuple(names) for sample in results.samples if sample["generator"] == generator for names in _identified(sample)}
    scores = results.scores
    scored = set(scores[scores["generator"] == generator]["evaluator"]) if len(scores) else set()
    found = []
    for use in results.run["evaluators"]:
        constants = use["constants"] | results.tested.get(use["label"], {})  # a record knows what depends on parameters
        claimed = constants.get("invariances") or ()
        if use["label"] not in scored or not constants.get("kinds") or not claimed:
            continue
        for promised in sorted(promises):
            missing, surplus = compared(promised, claimed)
            if missing or surplus:
                found.append(Mismatch(use["label"], missing, surplus, _sentence(promised, missing, surplus)))
    return found


def _identified(sample: Mapping[str, Any]) -> Iterable[list[str]]:
    """What is promised of each view of an instance, where anything is."""
    return [names for names in ((sample.get("truth") or {}).get("identified") or {}).values() if names]


def compared(promised: Iterable[str], claimed: Iterable[str]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """What a score's invariances `claimed` lack of those `promised`, and what they have beyond, without special cases of what is listed.

    A number added to each code counts for nothing, and neither do maps of single codes under which a score is invariant because it does not
    look at values at all (it is invariant under relabelling): nobody takes such a score for a statement about them.
    """
    allowed, own = implied(promised), implied(claimed)
    if "state relabelling" in own and "relabelling" in allowed:  # only states are promised up to that
        own |= implied(["relabelling"])
    harmless = {"shift", "state relabelling"} | (implied(["relabelling"]) if "relabelling" in own else frozenset())
    return _largest(allowed - own - {"shift"}), _largest(own - allowed - harmless)


def _largest(names: Iterable[str]) -> tuple[str, ...]:
    """Names that are no special case of another one among them, in the order of `INVARIANCES`."""
    names = frozenset(names)
    special = {case for name in names for case in implied([name]) - {name}}
    return tuple(name for name in INVARIANCES if name in names - special)


def _sentence(promised: Iterable[str], missing: tuple[str, ...], surplus: tuple[str, ...]) -> str:
    text = f"Theorems, where they apply, identify these concepts up to {_listed(promised)}."
    if missing:
        text += f" This score also falls under {_explained(missing)}: a low score does not show that a concept was missed."
    if surplus:
        text += f" This score stays the same under {_explained(surplus)}: a high score does not show recovery up to what is promised."
    return text


def _explained(names: Iterable[str]) -> str:
    return " and ".join(f"{name} ({INVARIANCES[name]})" for name in names)


def _listed(names: Iterable[str]) -> str:
    *first, last = names
    return f"{', '.join(first)} and {last}" if first else last
