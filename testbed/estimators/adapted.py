"""Other people's classes as estimators: anything with fit and transform, any torch module with encode and decode."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from testbed.contracts import BLOCK, Codes, Data, Estimator, InvalidInput, NotApplicable, NotExpressible, state_of
from testbed.numerics.batches import rows
from testbed.numerics.matching import dense

SAMPLES = 200_000
"""Rows that a transformer is fitted on, at most."""
STEPS, BATCH, RATE = 2_000, 512, 1e-3
"""How a module is trained that does not train itself."""


def adapted(kind: type, params: Mapping[str, Any]) -> Any:
    """An estimator made of a class that is none, or the class constructed where it needs no help.

    A class with ``fit(X)`` and ``transform(X)`` (scikit-learn's conventions, which nobody has to import) becomes a `FittedTransformer`, a
    torch module with ``encode(x)`` and ``decode(codes)`` a `TrainedModule`.
    """
    if issubclass(kind, Estimator):
        return kind(**params)
    if issubclass(kind, torch.nn.Module) and hasattr(kind, "encode") and hasattr(kind, "decode"):
        return TrainedModule(kind, params)
    if hasattr(kind, "fit") and hasattr(kind, "transform") and not hasattr(kind, "encode"):
        return FittedTransformer(kind, params)
    return kind(**params)


class Adapted(Estimator):
    """What both have in common: the class, its parameters, and an object that is made in `fit`, where the seed is known."""

    def __init__(self, kind: type, params: Mapping[str, Any]) -> None:
        self.kind = kind
        self.params = params

    def get_params(self, deep: bool = False) -> dict[str, Any]:
        """The parameters that the class was given."""
        return dict(self.params)

    def set_params(self, **params: Any) -> Adapted:
        self.params = {**self.params, **params}
        return self

    def clone(self) -> Adapted:
        return type(self)(self.kind, dict(self.params))

    def __repr__(self) -> str:
        return f"{self.kind.__name__}({', '.join(f'{k}={v!r}' for k, v in self.params.items())})"

    def made(self) -> Any:
        """A fresh object of the class; classes in its parameters, such as the steps of a pipeline, arrive as objects of their own."""
        try:
            return self.kind(**{name: _unwrapped(value) for name, value in self.params.items()})
        except TypeError as error:
            raise InvalidInput(f"estimator {self.kind.__name__} cannot be constructed: {error}") from error


class FittedTransformer(Adapted):
    """A class with ``fit`` and ``transform``: codes are what `transform` gives, and `decode` is its ``inverse_transform``.

    A parameter ``random_state`` that is not set, of the object or of one in it, takes the fit seed. ``components_`` of shape (m, d) is the
    dictionary. What is learned is stored where all of it is arrays or JSON, and fitted again where not.
    """

    def fit(self, data: Data, *, seed: int) -> FittedTransformer:
        """Fit on the first rows, 200,000 at most.

        Raises
        ------
        InvalidInput
            If the class refuses its parameters or the data.
        """
        self.inner_ = self.made()
        _set_seed(self.inner_, seed % 2**32)
        x = rows(data, limit=SAMPLES).cpu().numpy()
        try:
            self.inner_.fit(x)
        except ValueError as error:
            raise InvalidInput(f"{self.kind.__name__} cannot be fitted to {x.shape[0]} rows of {x.shape[1]} columns: {error}") from error
        self._describe(x.shape[1])
        return self

    def encode(self, observed: Any) -> Codes:
        codes = self.inner_.transform(rows(observed).cpu().numpy())
        codes = codes.toarray() if hasattr(codes, "toarray") else codes
        return torch.as_tensor(np.asarray(codes)).float()

    def decode(self, codes: Codes) -> Tensor:
        if not hasattr(self.inner_, "inverse_transform"):
            raise NotApplicable(f"{self.kind.__name__} has no inverse_transform: it describes no rows")
        return torch.as_tensor(np.asarray(self.inner_.inverse_transform(dense(codes).cpu().numpy()))).float()

    def get_state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """What the object has learned: its attributes that end in ``_``.

        Raises
        ------
        NotExpressible
            If one is neither an array nor JSON, or it has learned nothing under such a name.
        """
        names = [name for name in vars(self.inner_) if name.endswith("_") and not name.startswith("_")]
        if not names:
            raise NotExpressible(f"{self.kind.__name__} keeps what it learns under names that do not end in _")
        return state_of(SimpleNamespace(**{name: _plain(getattr(self.inner_, name)) for name in names}), self.kind.__name__)

    def set_state(self, arrays: Mapping[str, Any], plain: Mapping[str, Any]) -> FittedTransformer:
        self.inner_ = self.made()
        for name, value in {**arrays, **plain}.items():
            setattr(self.inner_, name, value)
        components = arrays.get("components_")
        self._describe(components.shape[1] if components is not None and components.ndim == 2 else -1)
        return self

    def _describe(self, d: int) -> None:
        components = getattr(self.inner_, "components_", None)
        if isinstance(components, np.ndarray) and components.ndim == 2 and components.shape[1] == d:
            self.dictionary_ = torch.as_tensor(components).float()


class TrainedModule(Adapted):
    """A torch module with ``encode(x)`` and ``decode(codes)``.

    Made and trained with the fit seed: by its own ``fit(x)`` if it has one; else by Adam, 2,000 steps of 512 rows, on its own ``loss(x)``,
    or on the squared error of what it decodes. ``dictionary`` of shape (m, d), an attribute or a method, is its dictionary.
    """

    def fit(self, data: Data, *, seed: int) -> TrainedModule:
        """Make and train.

        Raises
        ------
        InvalidInput
            If the class refuses its parameters, or its loss is no finite number.
        """
        x = rows(data, limit=SAMPLES).float()
        with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
            torch.manual_seed(seed)
            self.module_ = self.made().to(x.device)
            if hasattr(self.module_, "fit"):
                self.module_.fit(x)
            elif any(p.requires_grad for p in self.module_.parameters()):
                self._train(x, torch.Generator().manual_seed(seed))
        self._describe()
        return self

    def encode(self, observed: Any) -> Codes:
        with torch.no_grad():
            return torch.cat([self.module_.encode(part.float()).detach() for part in torch.split(rows(observed), BLOCK)])

    def decode(self, codes: Codes) -> Tensor:
        with torch.no_grad():
            decoded: Tensor = self.module_.decode(dense(codes).float()).detach()
        return decoded

    def get_state(self) -> tuple[dict[str, Any], dict[str, Any]]:
        """Parameters and buffers of the module."""
        return {name: value.detach() for name, value in self.module_.state_dict().items()}, {}

    def set_state(self, arrays: Mapping[str, Any], plain: Mapping[str, Any]) -> TrainedModule:
        self.module_ = self.made()
        self.module_.load_state_dict(dict(arrays))
        if arrays:
            self.module_.to(next(iter(arrays.values())).device)
        self.module_.eval()
        self._describe()
        return self

    def _train(self, x: Tensor, generator: torch.Generator) -> None:
        self.module_.train()
        optimizer = torch.optim.Adam(self.module_.parameters(), lr=RATE)
        for _ in range(STEPS):
            batch = x[torch.randint(len(x), (min(BATCH, len(x)),), generator=generator).to(x.device)]
            own = hasattr(self.module_, "loss")
            loss = self.module_.loss(batch) if own else (self.module_.decode(self.module_.encode(batch)) - batch).square().sum(dim=1).mean()
            if not bool(loss.isfinite()):
                raise InvalidInput(f"{self.kind.__name__}: its loss is {loss.item()} on rows of the data: check it, or scale the data")
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
        self.module_.eval()

    def _describe(self) -> None:
        atoms = getattr(self.module_, "dictionary", None)
        if inspect.ismethod(atoms):
            atoms = atoms()
        if isinstance(atoms, Tensor) and atoms.ndim == 2:
            self.dictionary_ = atoms.detach().float()


def _unwrapped(value: Any) -> Any:
    if isinstance(value, list):
        return [_unwrapped(item) for item in value]
    return value.made() if isinstance(value, Adapted) else value


def _set_seed(inner: Any, seed: int) -> None:
    """Set every ``random_state`` that is None; scikit-learn's names reach into the objects that an object holds."""
    if not hasattr(inner, "get_params"):
        if getattr(inner, "random_state", 0) is None:
            inner.random_state = seed
        return
    unset = {name: seed for name, value in inner.get_params().items() if name.rpartition("__")[2] == "random_state" and value is None}
    if unset:
        inner.set_params(**unset)


def _plain(value: Any) -> Any:
    """Numbers of numpy as Python's own."""
    return value.item() if isinstance(value, np.generic) else value
