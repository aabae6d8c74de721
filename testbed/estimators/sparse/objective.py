"""What an autoencoder's objective says of a given dictionary: is a miss the objective's fault or the optimiser's?"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import normalize

from testbed.contracts import Data
from testbed.estimators.sparse.autoencoder import Params, SparseAutoencoder, require


@dataclass(frozen=True)
class Objective:
    """An objective after training.

    Attributes
    ----------
    loss : float
        On held-out rows, scaled to a median norm of 1, as the learning curve has it.
    model : SparseAutoencoder
        What was trained.
    """

    loss: float
    model: SparseAutoencoder


def objective_found(model: SparseAutoencoder, data: Data, *, seed: int, held_out: int = 4096) -> Objective:
    """The objective where training ends from the model's own start.

    Parameters
    ----------
    model : SparseAutoencoder
        Left as it is: a clone is trained.
    data : Observed, array of shape (n, d), or iterable of either
        The first `held_out` rows are not learned from.
    seed : int
    held_out : int
    """
    return _trained(model.clone(), data, seed, held_out)


def objective_at(model: SparseAutoencoder, data: Data, atoms: Tensor, *, seed: int, hold: bool = False, held_out: int = 4096) -> Objective:
    """The objective where training ends from given atoms, with the same budget, schedule and rows as `objective_found`.

    Parameters
    ----------
    model : SparseAutoencoder
        Left as it is: a clone is trained.
    data : Observed, array of shape (n, d), or iterable of either
    atoms : Tensor, shape (c, d)
        Directions that the first c atoms start from. All others start as they would anyway.
    seed : int
    hold : bool
        Whether the atoms stay, and nothing but them: the dictionary is those c atoms and only the rest is trained.
    held_out : int

    Raises
    ------
    InvalidInput
        If there are more atoms than codes, one has no direction, or the model's atoms are no free directions.
    """
    require(model.on_sphere(), f"the atoms of {type(model).__name__} are no free directions, so none can be given to start from")
    require(len(atoms) <= model.n_codes, f"{len(atoms)} atoms to start from are more than n_codes = {model.n_codes}: raise n_codes")
    require(bool((atoms.norm(dim=1) > 0).all()), "an atom to start from has no direction: leave out atoms that are 0")
    params = model.get_params() | ({"n_codes": len(atoms)} if hold else {})
    started = _started(type(model))(**params)
    started.given, started.hold = atoms, hold
    return _trained(started, data, seed, held_out)


def _trained(model: SparseAutoencoder, data: Data, seed: int, held_out: int) -> Objective:
    model.held_out = held_out
    model.fit(data, seed=seed)
    return Objective(model.history_["held_out"][-1], model)


@lru_cache
def _started(kind: type[SparseAutoencoder]) -> Any:
    """The same estimator, but that its first atoms start where `given` says."""

    class Started(kind):  # type: ignore[misc, valid-type]
        given: Tensor
        hold: bool

        def initial(self, atoms: Tensor, generator: torch.Generator, head: Tensor) -> Params:
            given = normalize(self.given.to(atoms), dim=1)
            start: Params = super().initial(torch.cat([given, atoms[len(given) :]]), generator, head)
            return start

        def frozen(self) -> tuple[str, ...]:
            learned: tuple[str, ...] = super().frozen()
            return (*learned, "decoder") if self.hold else learned

    Started.__name__ = Started.__qualname__ = kind.__name__
    return Started
