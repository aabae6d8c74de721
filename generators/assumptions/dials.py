"""Dials on specifications: every assumption has one that breaks it, on specifications of some family.

Dials on arrays are in `generators.assumptions.breaking`; what a dial does to an observed law where identifiability is lost, in
`generators.assumptions.witnesses`.
"""

from __future__ import annotations

import math
from typing import Any

from generators.assumptions.dial import Dial, Params, moved, number
from generators.assumptions.discrete_dials import admissible, one_root_state, sharing
from testbed.contracts import InvalidInput
from testbed.registry import suggest

__all__ = ["DIALS", "Dial", "find", "moved"]


def _lone_firing(params: Params, a: float) -> dict[str, Any]:
    return {"lone_firing": (1 - a) * number(params, "lone_firing")}


def _void(params: Params, a: float) -> dict[str, Any]:
    lone = number(params, "lone_firing")
    return {"all_on": number(params, "all_on") ** (1 - a), "lone_firing": lone ** (1 - a) if lone > 0 else a}


def _cosine(params: Params, a: float) -> dict[str, Any]:
    # A cosine of 1 is refused by the dictionary; at .9999 two atoms of norm 1 are .014 apart.
    return {"cluster_cosine": 0.9999 * a}


def _superposition(params: Params, a: float) -> dict[str, Any]:
    concepts = sum(params["levels"])
    dimension = max(int(params["dimension"]), concepts)
    return {"dimension": max(2, round(dimension - a * (dimension - max(2, concepts // 2))))}


def _crowding(params: Params, a: float) -> dict[str, Any]:
    concepts = sum(params["levels"])
    return {"dimension": round(concepts - a * (concepts - 2))}


def _void_to_given(params: Params, a: float) -> dict[str, Any]:
    return {"all_on": number(params, "all_on") ** a, "lone_firing": number(params, "lone_firing") ** a}


def _frequent(params: Params, a: float) -> dict[str, Any]:
    rate, floor = number(params, "rate"), number(params, "rate_floor")
    return {"rate": rate + a * (FREQUENT - rate), "rate_floor": floor + a * (FREQUENT - floor)}


FREQUENT = 0.75
"""Rate of all leaves where they are too often on."""


def _rare(params: Params, a: float) -> dict[str, Any]:
    composites = len(params["levels"]) - 1
    branching = params["branching"]
    leaves = math.prod(branching) if isinstance(branching, list | tuple) else branching**composites
    factor = 10.0 ** (-RARE * a / leaves)  # a composite of level 0 is on iff all its leaves are
    return {"rate": number(params, "rate") * factor, "rate_floor": number(params, "rate_floor") * factor}


RARE = 16
"""Orders of magnitude by which a composite of level 0 becomes rarer, about."""


def _strength(params: Params, a: float) -> dict[str, Any]:
    return {"strength": (1 - a) * number(params, "strength")}


def _curvature(params: Params, a: float) -> dict[str, Any]:
    return {"curvature": (1 - a) * number(params, "curvature")}


def _density(params: Params, a: float) -> dict[str, Any]:
    least, most = int(params["row_support"]), int(params["levels"][-1])
    if not 0 < least <= most:
        raise InvalidInput(
            f"this dial starts from a sparse f: set row_support between 1 and {most} (concepts of the last level), not {least}"
        )
    return {"row_support": round(least + a * (most - least))}


LAW = (
    "not_void",
    "not_degenerate",
    "faithful",
    "dependent_given_composite",
    "independent",
    "mostly_off",
    "separated_supports",
    "no_twins",
    "states_are_context_laws",
    "sparse_enough",
    "spark_exceeds",
)
"""What speaks of the law of states; the last two through the number of concepts active at once."""

GEOMETRY = ("injective", "sparse_enough", "spark_exceeds")
"""What speaks of the geometry of atoms."""

TABLES = ("not_void", "not_degenerate", "faithful", "dependent_given_composite", "no_twins", "states_are_context_laws", "states_by_rank")
"""What speaks of the joint tables of discrete concepts."""

DIALS: dict[str, Dial] = {
    d.name: d
    for d in (
        Dial(
            "lone_firing",
            ("faithful", "dependent_given_composite", "separated_supports"),
            LAW,
            {"zipf": 0.0, "composite_rate": None, "rule": "and"},
            _lone_firing,
            "constituents fire less and less alone: at 1 a composite and its constituents are always on together (AND, equal rates)",
        ),
        Dial(
            "selection",
            ("not_void", "no_twins", "states_are_context_laws"),
            LAW,
            {"composite_rate": None},
            _void,
            "potentials go to 1: at 1 nothing is selected and leaves are independent",
        ),
        Dial(
            "coherence",
            ("sparse_enough",),
            GEOMETRY,
            {"dictionary": "clustered", "clusters": 1},
            _cosine,
            "all atoms lean towards a common direction: their expected cosine is the amount",
        ),
        Dial(
            "superposition",
            ("injective",),
            GEOMETRY,
            {},
            _superposition,
            "dimensions go from at least as many as concepts to half as many",
        ),
        Dial(
            "rare",
            ("not_degenerate",),
            LAW,
            {"composite_rate": None, "rule": "and"},
            _rare,
            "leaves fire more and more rarely, until composites of level 0 never do (AND)",
        ),
        Dial(
            "crowding",
            ("injective", "spark_exceeds"),
            ("sparse_enough",),
            {},
            _crowding,
            "dimensions go from as many as concepts to 2, where any 3 atoms depend on each other (spark 3: broken if k is 2 or more)",
        ),
        Dial(
            "dependence",
            ("independent",),
            LAW,
            {"composite_rate": None, "correlation": 0.0},
            _void_to_given,
            "potentials go from 1 (nothing selected) to what they are: the contrary of the dial of selection",
        ),
        Dial(
            "frequent",
            ("mostly_off",),
            LAW,
            {"composite_rate": None},
            _frequent,
            "leaves fire more and more often, all of them in 3 rows of 4 at 1",
        ),
        Dial(
            "strength",
            ("not_void",),
            ("independent", "not_degenerate", "faithful", "injective", "rows_span_support"),
            {},
            _strength,
            "selection of real concepts fades: at 1 there is none (Jacobians are looked at where the concepts are, and move with them)",
            "continuous",
        ),
        Dial(
            "curvature",
            ("rows_span_support",),
            ("injective",),
            {"mixing": "mlp"},
            _curvature,
            "f becomes linear",
            "continuous",
        ),
        Dial(
            "density",
            ("structural_sparsity", "no_nested_effects", "anchors"),
            ("injective", "rows_span_support"),
            {},
            _density,
            "each coordinate sees more and more concepts, all of them at 1",
            "continuous",
        ),
        Dial(
            "admissible",
            ("not_void", "no_twins", "states_are_context_laws"),
            TABLES,
            {"ambiguity": 0.0, "minimum_gap": 0.0},
            admissible,
            "more and more tuples are admissible, all alike at 1: tables constrain nothing",
            "discrete",
        ),
        Dial(
            "stochastic_rank",
            ("states_by_rank",),
            TABLES,
            {"ambiguity": 0.2, "minimum_gap": 0.0},
            admissible,
            "the same for stochastic rules: at 1 one state explains every joint table of tuple and context",
            "discrete",
        ),
        Dial(
            "sharing",
            ("pure_constituents",),
            TABLES,
            {"constituents": None},
            sharing,
            "composites of the last level share more and more constituents, all of them at 1",
            "discrete",
        ),
        Dial(
            "one_root_state",
            ("not_degenerate",),
            TABLES,
            {},
            one_root_state,
            "all mass goes to one state of each root: at 1 the others never occur",
            "discrete",
        ),
        Dial(
            "variation",
            ("sufficient_variability",),
            (),
            {},
            lambda params, a: {"variation": (1 - a) * number(params, "variation")},
            "environments become alike: at 1 every concept has one law in all of them",
            "auxiliary",
        ),
    )
}
"""Every dial, by name."""


def find(name: str) -> Dial:
    """The dial of this name, or InvalidInput with the nearest one."""
    if name not in DIALS:
        raise InvalidInput(f"there is no dial {name!r}{suggest(name, DIALS)}: there are {', '.join(DIALS)}")
    return DIALS[name]
