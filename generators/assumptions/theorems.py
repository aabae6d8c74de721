"""Theorems: what each assumes and what it promises.

Assumptions are sufficient, not necessary: where one fails nothing is promised, and only a witness of equal laws
(`generators.assumptions.witnesses`) shows that recovery must fail.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal

from generators.assumptions.table import Row, find, row_of
from testbed.contracts import Instance, InvalidInput
from testbed.registry import suggest

Status = Literal["applies", "does not apply", "cannot be told"]


@dataclass(frozen=True)
class Theorem:
    """A set of assumptions and the equivalence class that they promise.

    Attributes
    ----------
    name : str
    source : str
    assumptions : tuple of str
        Names in `generators.assumptions.table.ALL`.
    promises : str
        The equivalence class: up to what the truth is identified.
    up_to : tuple of str
        The same in names of `testbed.contracts.INVARIANCES`; () where it is about something else than each concept by itself.
    beyond : tuple of str
        What the theorem assumes besides and no instance can be checked for: of the estimator, of the amount of data, of smoothness.
    """

    name: str
    source: str
    assumptions: tuple[str, ...]
    promises: str
    up_to: tuple[str, ...] = ()
    beyond: tuple[str, ...] = ()

    def check(self, instance: Instance) -> Result:
        """Check every assumption on an instance."""
        return Result(self, tuple(row_of(find(name), instance) for name in self.assumptions))


@dataclass(frozen=True)
class Result:
    """What checking a theorem found.

    Attributes
    ----------
    theorem : Theorem
    rows : tuple of Row
        One per assumption: holds, fails, or cannot be told.
    """

    theorem: Theorem
    rows: tuple[Row, ...]

    @property
    def status(self) -> Status:
        """``"does not apply"`` if an assumption fails, else ``"cannot be told"`` if one cannot be, else ``"applies"``."""
        verdicts = {row.verdict for row in self.rows}
        return "does not apply" if "fails" in verdicts else "cannot be told" if "cannot be told" in verdicts else "applies"

    @property
    def promise(self) -> str | None:
        """The equivalence class, where the theorem applies."""
        return self.theorem.promises if self.status == "applies" else None


SCALE = ("permutation", "sign", "scale")
OWN_MAP = ("permutation", "sign", "monotone")
"""Classes that several theorems promise."""

THEOREMS: dict[str, Theorem] = {
    t.name: t
    for t in (
        Theorem(
            "sparse_codes",
            "Donoho & Elad 2003 (PNAS), theorem 7 and corollary 3; Gribonval & Nielsen 2003",
            ("sparse_enough",),
            "given the dictionary: the codes of every row with at most k active concepts, exactly",
            (),
            ("no noise",),
        ),
        Theorem(
            "sparse_dictionary",
            "Garfinkle & Hillar 2019 (IEEE Trans. Signal Processing), theorem 1; Aharon, Elad & Bruckstein 2006; Hillar & Sommer 2015",
            ("spark_exceeds", "separated_supports"),
            "each atom up to scale, all up to permutation; codes likewise",
            SCALE,
            (
                "supports that occur are regular and each holds enough rows in general position",
                "the estimator uses as many atoms and codes at most as dense",
            ),
        ),
        Theorem(
            "sparse_basis",
            "Spielman, Wang & Wright 2012 (COLT), theorem 3: square dictionaries, the case of independent Bernoulli-subgaussian codes",
            ("injective", "independent", "mostly_off"),
            "each atom up to scale, all up to permutation; codes likewise",
            SCALE,
            ("order n log n rows", "every rate at least 1/n", "no noise", "the sparsest codes are found"),
        ),
        Theorem(
            "structural_sparsity",
            "Zheng, Ng & Zhang 2022 (NeurIPS), theorem 1",
            ("structural_sparsity", "rows_span_support", "injective", "independent"),
            "each concept up to an invertible map of its own, all up to permutation",
            OWN_MAP,
            ("f is smooth and invertible", "the estimator's Jacobian is at most as dense"),
        ),
        Theorem(
            "anchors",
            "Moran, Sridhar, Wang & Blei 2022 (TMLR), theorems 1 and 2: an extension to dependent concepts",
            ("anchors",),
            "each concept up to an invertible map of its own, all up to permutation; concepts may depend on each other",
            OWN_MAP,
            ("anchors of a concept see it through one map up to scale", "the concepts' covariance has full rank"),
        ),
        Theorem(
            "auxiliary_variable",
            "Khemakhem, Kingma, Monti & Hyvarinen 2020 (AISTATS), theorem 1",
            ("sufficient_variability", "injective"),
            "sufficient statistics of each concept up to an invertible linear map; up to permutation under theorems 2 and 3",
            ("affine",),
            ("concepts are independent given the auxiliary variable, in an exponential family",),
        ),
        Theorem(
            "discrete_minimality",
            "Kong et al. 2025 (arXiv 2512.10720), discrete case, as stated in the testbed's design",
            ("not_void", "not_degenerate", "no_twins", "states_are_context_laws", "pure_constituents"),
            "each concept up to relabelling of its states, all up to permutation; level 0 only where it is itself a view",
            ("permutation", "relabelling"),
            ("minimality: the estimator has the fewest states that explain the data",),
        ),
        Theorem(
            "continuous_minimality",
            "Kong et al. 2025 (arXiv 2512.10720), continuous case, as stated in the testbed's design",
            ("injective", "structural_sparsity", "no_nested_effects", "not_void", "not_degenerate", "faithful"),
            "each concept up to an invertible map of its own, all up to permutation",
            OWN_MAP,
            ("smoothness", "minimality: the estimator has the fewest edges that explain the data"),
        ),
        Theorem(
            "direction",
            "The testbed's design, section 2; Pearl 1988 for colliders",
            ("not_void", "dependent_given_composite", "faithful"),
            "the class {selection, joint emission} against {independent children}: within the class no data tell the direction",
            (),
            ("composites are recovered up to their own class",),
        ),
    )
}
"""Every theorem that ships, by name."""


def theorem(name: str) -> Theorem:
    """The theorem of this name, or InvalidInput with the nearest one."""
    if name not in THEOREMS:
        raise InvalidInput(f"there is no theorem {name!r}{suggest(name, THEOREMS)}: these are known: {', '.join(THEOREMS)}")
    return THEOREMS[name]


def check_theorems(instance: Instance, names: Iterable[str] = ()) -> list[Result]:
    """Check every theorem (or those named) on an instance."""
    return [theorem(name).check(instance) for name in names or THEOREMS]
