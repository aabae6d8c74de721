"""Read and replace what a module puts out. Modules are named by their dotted path, or ``residual.N``: the output of block N."""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn

from testbed.contracts import InvalidInput


class _AllSeen(Exception):
    """Ends a forward pass once every hooked module has run."""


def collect(model: nn.Module, input_ids: Tensor, modules: Sequence[str], attention_mask: Tensor | None = None) -> dict[str, Tensor]:
    """Outputs of some modules; the forward pass ends when the last of them has run.

    Parameters
    ----------
    model : nn.Module
    input_ids : Tensor, shape (batch, length), int64
    modules : sequence of str
        Dotted names, or ``residual.N``.
    attention_mask : Tensor, shape (batch, length), optional
        0 where a token is padding. Padding on the right needs none: a causal model never looks ahead.

    Returns
    -------
    dict of str to Tensor, shape (batch, length, d)
        Under the names that were given, detached. Of a module that puts out a tuple, its first tensor.

    Raises
    ------
    InvalidInput
        If a module does not exist, did not run, or puts out no hidden states.
    """
    found: dict[str, Tensor] = {}
    wanted = set(modules)

    def hook_for(name: str) -> Callable[..., None]:
        def hook(module: nn.Module, args: Any, output: Any) -> None:
            found.setdefault(name, hidden_states(output, name).detach().clone())  # later modules may work in place
            if wanted <= found.keys():
                raise _AllSeen

        return hook

    handles = []
    try:
        handles += [resolve(model, name)[1].register_forward_hook(hook_for(name)) for name in dict.fromkeys(modules)]
        with torch.no_grad():
            model(input_ids=input_ids, attention_mask=attention_mask, use_cache=False)
    except _AllSeen:
        return {name: found[name] for name in modules}
    finally:
        for handle in handles:
            handle.remove()
    raise InvalidInput(f"module {min(wanted - found.keys(), default='')!r} did not run: name one that the forward pass uses")


@contextmanager
def replace(model: nn.Module, module: str, function: Callable[[Tensor], Tensor]) -> Iterator[None]:
    """While open, hidden states x that `module` puts out, shape (batch, length, d), become ``function(x)``.

    Whatever else the module puts out stays. To leave a position alone, give back its values: ``function`` sees all of them.
    """
    name, inner = resolve(model, module)

    def hook(_: nn.Module, args: Any, output: Any) -> Any:
        before = hidden_states(output, name)
        return _with_hidden_states(output, function(before))

    handle = inner.register_forward_hook(hook)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def resumed(model: nn.Module, layer: int, hidden: Tensor) -> Iterator[None]:
    """While open, a forward pass starts after block `layer`, from the hidden states `hidden` that this block put out before.

    The blocks up to `layer` do no work: those before it hand their input on, block `layer` puts out `hidden`, shape (batch, length,
    d). Exact where hidden states are all that one block hands to the next; compare with a whole pass before relying on it.
    """
    blocks = _blocks(model)[1][: layer + 1]

    def skip(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return hidden_states

    def start(hidden_states: Tensor, *args: Any, **kwargs: Any) -> Tensor:
        return hidden

    try:
        for block in blocks:
            block.forward = start if block is blocks[-1] else skip
        yield
    finally:
        for block in blocks:
            vars(block).pop("forward", None)


def residual(model: nn.Module, layer: int) -> str:
    """Dotted name of decoder block `layer`, counted from 0; its output is the residual stream after that block.

    Raises
    ------
    InvalidInput
        If the model has no such block.
    """
    name, blocks = _blocks(model)
    if not 0 <= layer < len(blocks):
        raise InvalidInput(f"residual.{layer}: the model has blocks 0 to {len(blocks) - 1}")
    return f"{name}.{layer}"


def layer_of(module: str) -> int | None:
    """The N of ``residual.N``, or None for any other name."""
    match = re.fullmatch(r"residual\.(\d+)", module)
    return int(match[1]) if match else None


def resolve(model: nn.Module, module: str) -> tuple[str, nn.Module]:
    """Dotted name and module that `module` stands for.

    Raises
    ------
    InvalidInput
        If there is none; the message offers the nearest names.
    """
    names = dict(model.named_modules())
    layer = layer_of(module)
    name = residual(model, layer) if layer is not None and module not in names else module
    if name not in names or name == "":
        near = difflib.get_close_matches(module, names, n=3, cutoff=0.5)
        offer = ", ".join([*near, "residual.N for the output of block N"])
        raise InvalidInput(f"the model has no module {module!r}; there are, among others, {offer}")
    return name, names[name]


def _blocks(model: nn.Module) -> tuple[str, nn.ModuleList]:
    """The longest list of modules that lies in no other list: experts of a block may be more than there are blocks."""
    lists = {name: module for name, module in model.named_modules() if isinstance(module, nn.ModuleList)}
    outer = {name: m for name, m in lists.items() if not any(name.startswith(f"{other}.") for other in lists)}
    if not outer:
        raise InvalidInput(f"{type(model).__name__} has no list of blocks: name a module by its dotted path")
    name = max(outer, key=lambda name: len(outer[name]))
    return name, outer[name]


def hidden_states(output: Any, name: str) -> Tensor:
    """The tensor of shape (batch, length, d) in what a module put out: itself, or the first entry of a tuple."""
    first = output
    if isinstance(output, dict):
        first = next(iter(output.values()), None)
    elif isinstance(output, tuple | list):
        first = output[0] if output else None
    if not isinstance(first, Tensor) or first.ndim != 3:
        what = f"a tensor of shape {tuple(first.shape)}" if isinstance(first, Tensor) else f"a {type(first).__name__}"
        raise InvalidInput(f"module {name!r} puts out {what}, not hidden states (batch, length, d): name another one")
    return first


def _with_hidden_states(output: Any, hidden: Tensor) -> Any:
    if isinstance(output, Tensor):
        return hidden
    if isinstance(output, dict):
        first = next(iter(output))
        return type(output)({**output, first: hidden})
    return type(output)((hidden, *output[1:]))
