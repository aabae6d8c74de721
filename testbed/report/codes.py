"""Codes of real models as cards: on which texts each fires, token by token."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from testbed.report.text import number, plain
from testbed.results import Results

BUDGET = 9000
"""Stretches of text that the page holds in all, about 0.6 MB; panels beyond it are named instead of shown."""

SIGNS = str.maketrans({"\n": "↵", "\r": "↵", "\t": "⇥", "\x0b": "↵", "\x0c": "↵", "\xa0": " "})


@dataclass
class Stretch:
    """Neighbouring tokens that look the same: how strongly the code fires (0 to 1; None where nobody knows), and a title."""

    text: str
    strength: float | None
    at: bool
    title: str


@dataclass(frozen=True)
class Card:
    """One code."""

    code: str
    density: str
    max: str
    contexts: tuple[tuple[str, tuple[Stretch, ...]], ...]


@dataclass(frozen=True)
class Panel:
    """All codes that one evaluator showed of one fit."""

    name: str
    densest: str
    cards: tuple[Card, ...]


@dataclass(frozen=True)
class Reading:
    """The panels of one generator, what it says about itself (name, value, whether that is a digest), and panels there was no room for."""

    generator: str
    about: tuple[tuple[str, str, bool], ...]
    panels: tuple[Panel, ...]
    left_out: tuple[str, ...]


def readings(results: Results) -> list[Reading]:
    """Every entry of `results.details` that has codes with contexts, by generator; and what real models say about themselves."""
    about = {sample["generator"]: _about(sample["about"]) for sample in reversed(results.samples) if sample.get("about")}
    entries = [entry for entry in results.details if isinstance(entry["details"].get("codes"), list)]
    several = {entry["generator"] for entry in entries if entry["instance"] != 0}
    evaluators = {entry["evaluator"] for entry in entries}
    shown: dict[str, list[Panel]] = {use["label"]: [] for use in results.run["generators"] if use["label"] in about}
    left_out: dict[str, list[str]] = {}
    used = 0
    for entry in entries:
        name = entry["estimator"]
        name += f" · instance {entry['instance']}" if entry["generator"] in several else ""
        name += f" · fit seed {entry['fit_seed']}" if entry["fit_seed"] is not None else ""
        name += f" · {entry['evaluator']}" if len(evaluators) > 1 else ""
        shown.setdefault(entry["generator"], [])
        cards = tuple(_card(code) for code in entry["details"]["codes"])
        size = sum(len(stretches) for card in cards for _, stretches in card.contexts)
        if used and used + size > BUDGET:
            left_out.setdefault(entry["generator"], []).append(name)
            continue
        used += size
        densest = entry["details"].get("densest")
        shown[entry["generator"]].append(Panel(name, f"{100 * densest:g} %" if isinstance(densest, int | float) else "", cards))
    return [Reading(g, about.get(g, ()), tuple(panels), tuple(left_out.get(g, ()))) for g, panels in shown.items()]


def _about(notes: Mapping[str, Any]) -> tuple[tuple[str, str, bool], ...]:
    """Names and words first, digests last."""
    rows = [(name.replace("_", " "), plain(value, 1000)) for name, value in notes.items() if value is not None]
    marked = [(name, value, re.fullmatch("[0-9a-f]{32,}", value) is not None) for name, value in rows]
    return tuple(sorted(marked, key=lambda row: (row[2], row[0] not in ("model", "note"))))


def _card(code: Mapping[str, Any]) -> Card:
    top = float(code.get("max") or 0.0)
    contexts = tuple((number(context.get("value")), _stretches(context, top)) for context in code.get("contexts", ()))
    density = code.get("density")
    return Card(str(code.get("code", "?")), "" if density is None else f"{100 * density:.2g} %", number(top), contexts)


def _stretches(context: Mapping[str, Any], top: float) -> tuple[Stretch, ...]:
    tokens, at = context["tokens"], context["at"]
    activations = context.get("activations") or [context.get("value") if i == at else None for i in range(len(tokens))]
    out: list[Stretch] = []
    for i, token in enumerate(tokens):
        value = activations[i] if i < len(activations) else None
        strength = None if value is None else round(min(max(value / top, 0.0), 1.0), 2) if top > 0 else 0.0
        lit = bool(strength)
        text = visible(token, alone=lit or i == at)
        if out and not lit and i != at and not out[-1].at and out[-1].strength == strength:
            out[-1].text += text
        else:
            out.append(Stretch(text, strength, i == at, number(value) if lit else ""))
    return tuple(out)


def visible(token: str, alone: bool = False) -> str:
    """A token with its line breaks and tabs as signs, and its spaces too where it is nothing but spaces and stands alone."""
    text = token.translate(SIGNS)
    return text.replace(" ", "␣") if alone and not text.strip(" ") else text
