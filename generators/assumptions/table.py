"""Every assumption by name, and the table of an instance."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from generators.assumptions import read
from generators.assumptions.dictionaries import injective, spark_exceeds, sparse_enough
from generators.assumptions.finding import Assumption, everywhere
from generators.assumptions.real_law import Moments, correlated, faithful_moments, spread
from generators.assumptions.selection import (
    dependent_given_composite,
    faithful_tuple,
    independent,
    mostly_off,
    not_degenerate,
    not_void,
    sufficient_variability,
)
from generators.assumptions.states import no_twins, states_are_context_laws, states_by_rank
from generators.assumptions.support import (
    anchors,
    no_nested_effects,
    pure_constituents,
    rows_span_support,
    separated_supports,
    structural_sparsity,
)
from testbed.contracts import Instance, InvalidInput, NotApplicable
from testbed.registry import suggest

Verdict = Literal["holds", "fails", "cannot be told"]


@dataclass(frozen=True)
class Row:
    """One line of an instance's table.

    Attributes
    ----------
    assumption : str
    verdict : {"holds", "fails", "cannot be told"}
    margin : float or None
        None where it cannot be told.
    unit : str
    witness : mapping
        Of the finding; or ``reason`` where it cannot be told.
    source : str
    """

    assumption: str
    verdict: Verdict
    margin: float | None
    unit: str
    witness: Mapping[str, Any] = field(default_factory=dict)
    source: str = ""


ALL: dict[str, Assumption] = {
    a.name: a
    for a in (
        Assumption(
            "structural_sparsity",
            "for every concept some coordinates' supports under f meet in that concept alone",
            "coordinates that tell the closest pair apart",
            "Zheng, Ng & Zhang 2022, theorem 1",
            read.supports,
            everywhere(structural_sparsity),
        ),
        Assumption(
            "rows_span_support",
            "each coordinate's Jacobian row spans its support over points: never so for a linear f on a row that sees two concepts",
            "smallest ratio of singular values of a row",
            "Zheng, Ng & Zhang 2022, theorem 1",
            read.jacobians,
            everywhere(rows_span_support),
        ),
        Assumption(
            "no_nested_effects",
            "no concept's effect set under f lies within another's",
            "smallest share of an effect set outside another",
            "Moran et al. 2022; Lachapelle et al. 2022",
            read.supports,
            everywhere(no_nested_effects),
        ),
        Assumption(
            "anchors",
            "every concept has two coordinates or more that see it alone",
            "anchors to lose before it fails",
            "Moran et al. 2022",
            read.supports,
            everywhere(anchors),
        ),
        Assumption(
            "pure_constituents",
            "every composite has two constituents or more that belong to it alone",
            "constituents to share before it fails",
            "Silva et al. 2006; Xie et al. 2020",
            read.compositions,
            everywhere(pure_constituents),
        ),
        Assumption(
            "injective",
            "atoms are linearly independent (a nonlinear f: its Jacobian has full rank at the points that were looked at)",
            "smallest singular value",
            "Comon 1994",
            read.linear_maps,
            everywhere(injective),
        ),
        Assumption(
            "sparse_enough",
            "k < (1 + 1/coherence)/2 for the number k of concepts active at once in 99 % of rows",
            "concepts",
            "Donoho & Elad 2003; Gribonval & Nielsen 2003",
            read.dictionaries_and_active,
            everywhere(lambda both: sparse_enough(*both)),
        ),
        Assumption(
            "spark_exceeds",
            "every 2k atoms are linearly independent, for the same k",
            "atoms",
            "Donoho & Elad 2003, corollary 3",
            read.dictionaries_and_active,
            everywhere(lambda both: spark_exceeds(*both)),
        ),
        Assumption(
            "separated_supports",
            "every concept that a view shows is sometimes on while any given other is off",
            "smallest P(other off | concept on)",
            "Garfinkle & Hillar 2019, singleton intersection property",
            read.joint_rates,
            everywhere(separated_supports),
        ),
        Assumption(
            "independent",
            "the concepts that a view shows are independent",
            "tolerance minus largest dependence",
            "Comon 1994; Spielman, Wang & Wright 2012",
            read.dependences,
            everywhere(independent),
        ),
        Assumption(
            "mostly_off",
            "every concept that a view shows is off in more than half of the rows (real ones never are)",
            "1/2 minus largest rate",
            "Spielman, Wang & Wright 2012, theorem 3",
            read.rates,
            everywhere(mostly_off),
        ),
        Assumption(
            "not_void",
            "selection makes the constituents of every composite depend on each other",
            "total correlation, nats",
            "Kong et al. 2025",
            read.tuples_for_voidness,
            everywhere(lambda law: correlated(law) if isinstance(law, Moments) else not_void(law)),
        ),
        Assumption(
            "not_degenerate",
            "no tuple has all mass, and every state of every composite occurs",
            "probability; standard deviation of real concepts",
            "Kong et al. 2025",
            read.tuples_for_degeneracy,
            everywhere(lambda law: not_degenerate(*law) if isinstance(law, tuple) else spread(law)),
        ),
        Assumption(
            "faithful",
            "every constituent is seen in its composite given the other constituents",
            "conditional mutual information, nats; conditional covariance of real concepts, standardised",
            "Zhang & Spirtes 2003; Uhler et al. 2013",
            read.tuples_for_faithfulness,
            everywhere(lambda law: faithful_moments(law) if isinstance(law, Moments) else faithful_tuple(*law)),
        ),
        Assumption(
            "dependent_given_composite",
            "the constituents of every composite depend on each other given it",
            "conditional total correlation, nats",
            "Pearl 1988; the testbed's design, section 2",
            read.tuple_laws,
            everywhere(lambda both: dependent_given_composite(*both)),
        ),
        Assumption(
            "no_twins",
            "distinct states of a composite have distinct context laws",
            "total variation",
            "Kong et al. 2025",
            read.context_laws,
            everywhere(no_twins),
        ),
        Assumption(
            "states_are_context_laws",
            "a composite has as many states as its tuples have context laws, in the same partition (g deterministic)",
            "total variation",
            "Kong et al. 2025",
            read.tuple_context_laws,
            everywhere(lambda both: states_are_context_laws(*both)),
        ),
        Assumption(
            "states_by_rank",
            "no fewer states explain the joint table of tuple and context (g stochastic)",
            "states above the bound",
            "Cohen & Rothblum 1993",
            read.stochastic_tables,
            everywhere(lambda both: states_by_rank(*both)),
        ),
        Assumption(
            "sufficient_variability",
            "natural parameters of the concepts vary in every direction over an auxiliary variable",
            "smallest singular value per root of values",
            "Khemakhem et al. 2020, theorem 1",
            read.natural_parameters,
            sufficient_variability,
        ),
    )
}
"""Every assumption that ships, by name."""


def find(name: str) -> Assumption:
    """The assumption of this name, or InvalidInput with the nearest one."""
    if name not in ALL:
        raise InvalidInput(f"there is no assumption {name!r}{suggest(name, ALL)}: these are checked: {', '.join(ALL)}")
    return ALL[name]


def assumption_table(instance: Instance, names: Iterable[str] = ()) -> list[Row]:
    """Check every assumption (or those named) on an instance.

    Returns
    -------
    list of Row
        In the order of `ALL`, or of `names`.
    """
    return [row_of(find(name), instance) for name in names or ALL]


def row_of(assumption: Assumption, instance: Instance) -> Row:
    """Check one assumption; what cannot be told has the reason as its witness."""
    try:
        finding = assumption.check(instance)
    except NotApplicable as reason:
        return Row(assumption.name, "cannot be told", None, assumption.unit, {"reason": str(reason)}, assumption.source)
    verdict: Verdict = "holds" if finding.holds else "fails"
    return Row(assumption.name, verdict, finding.margin, assumption.unit, finding.witness, assumption.source)


def listing() -> list[dict[str, str]]:
    """Name, condition, unit of the margin and source of every assumption."""
    return [{"name": a.name, "says": a.says, "unit": a.unit, "source": a.source} for a in ALL.values()]
