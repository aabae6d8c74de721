"""The random hierarchy model: full trees, uniform laws, the same random rules at all places of a level."""

from __future__ import annotations

from typing import Literal

from generators.selection.discrete.family import DiscreteHierarchy
from generators.selection.discrete.instance import DiscreteInstance
from testbed.contracts import Generator


class RandomHierarchy(Generator):
    r"""The random hierarchy model of Cagnetta et al. [1]_: one root, :math:`s^L` tokens, m of :math:`v^s` tuples per state.

    Every class, then every synonym is equally likely, so that the :math:`n_c\, m^{(s^L - 1) / (s - 1)}` admissible rows are. It is the
    case of `DiscreteHierarchy` in which drawing tuples uniformly, level by level, happens to be right. Rules that leave a state of a
    constituent without a tuple are drawn anew, which the paper does not do.

    Parameters
    ----------
    v : int
        States of every concept but the root.
    s : int
        Constituents of each composite.
    m : int
        Synonyms of each state; m v is at most :math:`v^s`.
    L : int
        Levels below the root.
    classes : int or None
        n_c, states of the root; None makes it v.
    noise : float
        Probability that a token is replaced by another one.
    observe : {"tokens", "one_hot", "embedded"}
    dimension, spread : int, float
        Of embedded tokens, see `DiscreteHierarchy`.
    label : bool
        Whether the row table shows the class.
    minimum_gap : float
        See `DiscreteHierarchy`; 0 is the model of the paper, which has twins.

    References
    ----------
    .. [1] Cagnetta, Petrini, Tomasini, Favero & Wyart (2024), How deep neural networks learn compositional data: the random hierarchy
       model, Physical Review X 14, 031001.
    """

    def __init__(
        self,
        v: int = 8,
        s: int = 2,
        m: int = 4,
        L: int = 3,
        classes: int | None = None,
        noise: float = 0.0,
        observe: Literal["tokens", "one_hot", "embedded"] = "tokens",
        dimension: int = 8,
        spread: float = 0.1,
        label: bool = False,
        minimum_gap: float = 0.0,
    ) -> None:
        self.v = v
        self.s = s
        self.m = m
        self.L = L
        self.classes = classes
        self.noise = noise
        self.observe = observe
        self.dimension = dimension
        self.spread = spread
        self.label = label
        self.minimum_gap = minimum_gap

    @classmethod
    def small(cls) -> RandomHierarchy:
        return cls(v=4, m=2, L=2, label=True)

    def draw(self, seed: int) -> DiscreteInstance:
        """Draw the rules; InvalidInput where they cannot exist (m v > v^s)."""
        return DiscreteHierarchy(
            depth=self.L,
            states=[self.v if self.classes is None else self.classes] + [self.v] * self.L,
            branching=self.s,
            synonyms=self.m,
            shared_rules=True,
            root_law="uniform",
            noise=self.noise,
            observe=self.observe,
            dimension=self.dimension,
            spread=self.spread,
            label=self.label,
            minimum_gap=self.minimum_gap,
        ).draw(seed)
