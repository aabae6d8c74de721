"""Width and number of active codes of a sparse autoencoder from data, without the truth."""

from __future__ import annotations

import inspect
from typing import Any

import numpy as np
import torch

from testbed.contracts import BLOCK, Data, Estimator, Truth
from testbed.numerics.batches import is_stream
from testbed.numerics.matching import dense

WIDER = 2
"""Latents per concept: with as many latents as concepts some concepts stay without one."""
ACTIVE = 0.95
"""Quantile of the number of concepts that are on, which is k."""
ALIKE = 0.5
"""Cosine of two atoms above which the rarer one is taken for a copy of the other."""
RARE = 0.002
"""Share of rows on which an atom fires at least."""


def fit_sized(model: Estimator, data: Data, seed: int, find: bool, truth: Truth | None) -> Estimator:
    """Fit an estimator; where it has ``n_codes`` and ``k`` and they are to be found, fit it a second time with those that the first shows.

    The first fit's `n_codes` and `k` should be generous. Concepts are counted by the atoms that fire and are no copies of others; the
    second fit has twice as many latents, and k at the 95th percentile of the number of those atoms that are on in a row, twice over since a
    latent and its copy can share a concept. Both numbers are the data's own.
    """
    given: dict[str, Any] = {"truth": truth} if "truth" in inspect.signature(model.fit).parameters else {}
    model.fit(data, seed=seed, **given)
    if not find or not {"n_codes", "k"} <= set(model.parameter_names()) or not hasattr(model, "dictionary_"):
        return model
    concepts, active = counted(model, data)
    again = model.clone().set_params(n_codes=max(1, WIDER * concepts), k=max(1, min(active, WIDER * concepts)))
    return again.fit(data, seed=seed, **given)


def counted(model: Estimator, data: Any) -> tuple[int, int]:
    """Atoms that fire and are no copies, and the 95th percentile of how many of them are on in a row."""
    head = next(iter(data)) if is_stream(data) else data[: 4 * BLOCK]
    on = (dense(model.encode(head)) > 0).cpu().numpy()
    atoms: torch.Tensor = torch.nn.functional.normalize(model.dictionary_, dim=1)  # type: ignore[attr-defined]
    cosine = (atoms @ atoms.T).cpu().numpy()
    rate = on.mean(axis=0)
    kept: list[int] = []
    for j in np.argsort(-rate, kind="stable").tolist():
        if rate[j] >= RARE and (not kept or cosine[j, kept].max() < ALIKE):
            kept.append(j)
    if not kept:
        return 1, 1
    return len(kept), int(max(1, np.quantile(on[:, kept].sum(axis=1), ACTIVE)))
