"""Dials on specifications of sparse and continuous concepts: from 0 (as it is) to 1 (an assumption broken); and what they moved.

Dials on arrays are in `generators.assumptions.breaking`; what a dial does to an observed law where identifiability is lost, in
`generators.assumptions.witnesses`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import Any, Literal

from generators.assumptions.breaking import checked_amount
from generators.assumptions.table import Row, assumption_table
from testbed.contracts import Generator, InvalidInput
from testbed.registry import suggest

Params = Mapping[str, Any]


@dataclass(frozen=True)
class Dial:
    """A way to break one assumption of a specification, step by step.

    Attributes
    ----------
    name : str
    breaks : tuple of str
        Assumptions that hold at 0 and fail at 1, on specifications where they can hold.
    moves : tuple of str
        Others whose margins move with it, since they speak of the same arrays. All the rest must stay as they are.
    start : mapping
        Parameters that the dial fixes at every amount, so that its ends are comparable.
    turned : callable
        From parameters and an amount to the parameters that it changes.
    says : str
    family : {"sparse", "continuous"}
        Of specifications that have the parameters it turns.
    """

    name: str
    breaks: tuple[str, ...]
    moves: tuple[str, ...]
    start: Params
    turned: Callable[[Params, float], dict[str, Any]]
    says: str
    family: Literal["sparse", "continuous"] = "sparse"

    def params(self, params: Params, amount: float) -> dict[str, Any]:
        """The parameters of a specification with this dial turned by `amount`.

        Raises
        ------
        InvalidInput
            If the amount is outside [0, 1], or a parameter is one that the dial cannot turn.
        """
        a = checked_amount(amount)
        base = {**params, **self.start}
        if not base.keys() <= params.keys():
            raise InvalidInput(f"dial {self.name!r} turns {self.family} specifications, which have {', '.join(self.start)}")
        return {**base, **self.turned(base, a)}

    def turn(self, generator: Generator, amount: float) -> Generator:
        """A new specification with the dial turned."""
        return type(generator)(**self.params(generator.get_params(), amount))

    def sweep(self, generator: Generator, amounts: Iterable[float], seed: int) -> dict[float, list[Row]]:
        """The table of the instance with this seed at every amount."""
        return {amount: assumption_table(self.turn(generator, amount).draw(seed)) for amount in amounts}


def moved(before: list[Row], after: list[Row], tolerance: float = 1e-6) -> set[str]:
    """Assumptions whose verdict changed, or whose margin did by more than `tolerance`, absolute and relative to the larger one."""
    names = set()
    for old, new in zip(before, after, strict=True):
        same = old.verdict == new.verdict
        if same and old.margin is not None and new.margin is not None:
            same = math.isclose(old.margin, new.margin, rel_tol=tolerance, abs_tol=tolerance)
        if not same:
            names.add(new.assumption)
    return names


def _number(params: Params, name: str) -> float:
    if name not in params:
        raise InvalidInput(f"this dial turns {name}, which the specification does not have: choose a dial of its family")
    value = params[name]
    if isinstance(value, list | tuple):
        raise InvalidInput(f"this dial turns one {name} for all levels, not {value}: give a number")
    return float(value)


def _lone_firing(params: Params, a: float) -> dict[str, Any]:
    return {"lone_firing": (1 - a) * _number(params, "lone_firing")}


def _void(params: Params, a: float) -> dict[str, Any]:
    lone = _number(params, "lone_firing")
    return {"all_on": _number(params, "all_on") ** (1 - a), "lone_firing": lone ** (1 - a) if lone > 0 else a}


def _cosine(params: Params, a: float) -> dict[str, Any]:
    # A cosine of 1 is refused by the dictionary; at .9999 two atoms of norm 1 are .014 apart.
    return {"cluster_cosine": 0.9999 * a}


def _superposition(params: Params, a: float) -> dict[str, Any]:
    concepts = sum(params["levels"])
    dimension = max(int(params["dimension"]), concepts)
    return {"dimension": max(2, round(dimension - a * (dimension - max(2, concepts // 2))))}


def _rare(params: Params, a: float) -> dict[str, Any]:
    composites = len(params["levels"]) - 1
    branching = params["branching"]
    leaves = math.prod(branching) if isinstance(branching, list | tuple) else branching**composites
    factor = 10.0 ** (-RARE * a / leaves)  # a composite of level 0 is on iff all its leaves are
    return {"rate": _number(params, "rate") * factor, "rate_floor": _number(params, "rate_floor") * factor}


RARE = 12
"""Orders of magnitude by which a composite of level 0 becomes rarer, about."""


def _strength(params: Params, a: float) -> dict[str, Any]:
    return {"strength": (1 - a) * _number(params, "strength")}


def _curvature(params: Params, a: float) -> dict[str, Any]:
    return {"curvature": (1 - a) * _number(params, "curvature")}


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

DIALS: dict[str, Dial] = {
    d.name: d
    for d in (
        Dial(
            "lone_firing",
            ("faithful", "dependent_given_composite"),
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
    )
}
"""Every dial, by name."""


def find(name: str) -> Dial:
    """The dial of this name, or InvalidInput with the nearest one."""
    if name not in DIALS:
        raise InvalidInput(f"there is no dial {name!r}{suggest(name, DIALS)}: there are {', '.join(DIALS)}")
    return DIALS[name]
