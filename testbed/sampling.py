"""Write a sample of a generator to one safetensors file, for use outside the testbed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from testbed.contracts import Generator, Instance, InvalidInput, NotApplicable, SparseRows, seed_of
from testbed.registry import resolve
from testbed.store import write_atomic
from testbed.suite import check_params


def draw_instance(generator: str, params: Mapping[str, Any], seed: int) -> Instance:
    """Draw the instance that a name, parameters and a seed stand for.

    Raises
    ------
    InvalidInput
        If the generator or a parameter is not known, or the instance cannot be drawn.
    """
    check_params("generator", generator, params, "generator")
    from testbed.stages import construct

    made = construct("generator", resolve("generators", generator), params)
    if not isinstance(made, Generator):
        raise InvalidInput(f"{generator} is a {type(made).__name__}, no generator: `testbed list generators` shows some")
    try:
        return made.draw(seed_of("instance", seed, 0))
    except (InvalidInput, NotApplicable):
        raise
    except (Exception, SystemExit) as error:  # anyone's code
        raise _failed(generator, f"draw({seed})", error) from error


def _failed(generator: str, where: str, error: BaseException) -> InvalidInput:
    return InvalidInput(
        f"generator {generator} fails in {where} ({type(error).__name__}: {error}): `testbed check` tries it, --debug shows where"
    )


def write_sample(generator: str, params: Mapping[str, Any], n: int, seed: int, out: Path) -> list[str]:
    """Draw an instance and write `n` of its rows.

    The file holds each view as ``view/NAME`` (n, d), each level's latents as ``latent/LEVEL`` (n, n_l), the row table as ``row/NAME`` and
    the true atoms as ``dictionary/VIEW/LEVEL`` (n_l, d); its metadata say what was sampled.

    Returns
    -------
    list of str
        Names and shapes of what was written.

    Raises
    ------
    InvalidInput
        If the generator or a parameter is not known, or `out` is not a .safetensors file.
    """
    if out.suffix != ".safetensors":
        raise InvalidInput(f"--out {out}: the file is written as safetensors, so its name must end in .safetensors")
    instance = draw_instance(generator, params, seed)
    from safetensors.torch import save

    try:
        sample = instance.sample(n, seed_of("rows", seed, 0))
    except (InvalidInput, NotApplicable):
        raise
    except (Exception, SystemExit) as error:
        raise _failed(generator, "sample", error) from error
    tensors: dict[str, Any] = {f"view/{name}": view.values for name, view in sample.observed.views.items()}
    tensors |= {f"latent/{level}": values for level, values in sample.latents.items()}
    tensors |= {f"row/{name}": column for name, column in sample.observed.rows.items()}
    if instance.truth is not None:
        tensors |= {f"dictionary/{v}/{level}": d for v, levels in instance.truth.dictionaries.items() for level, d in levels.items()}
    dense = {name: (t.dense() if isinstance(t, SparseRows) else t).cpu().contiguous() for name, t in tensors.items()}
    about = json.dumps({"generator": resolve("generators", generator), "params": dict(params), "seed": seed, "rows": n})
    write_atomic(out, save(dense, {"testbed": about}))  # one entry, since safetensors writes several in any order
    return [f"{name} {'x'.join(map(str, t.shape))}" for name, t in dense.items()]
