r"""Three ways to steer sparse concepts, and what each does to the law.

- *Condition*: messages are clamped to the given states, so that the law of all other states is exact. A magnitude above 0 is then given to
  the concept as it is. For a concept whose magnitude follows nothing (a leaf, or tie = 0) that is conditioning too; a composite's
  magnitude tells nothing about its constituents' magnitudes beyond that it is on.
- *Do, then select*: a forced leaf's base law is a point. A forced composite no longer depends on its constituents; its potential
  still weighs their tuple, which is drawn as a tree of its own, and the potential above it weighs the forced state.
- *Select, then do*: rows are drawn as ever; then the concept gets its value and the composites above it are composed anew.
"""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from generators.selection.law import is_possible, laws, selected_rates
from generators.selection.messages import Evidence, pass_up
from generators.selection.world import World
from testbed.contracts import InvalidInput, Setting

Ints = NDArray[np.int64]
Floats = NDArray[np.float32]


def conditioned(world: World, setting: Setting) -> World:
    """The world given these values; see `Intervenable.condition`."""
    nodes = _nodes(world, setting)
    _not_after_selection(world, "condition")
    clamp, fixed = world.evidence.clamp.clone(), world.fixed.clone()
    for node, value in nodes.items():
        state = int(value > 0)
        known = clamp[node] if world.evidence.cut[node] < 0 else world.evidence.cut[node]
        if int(known) not in (-1, state) or (value > 0 and fixed[node] >= 0 and not math.isclose(fixed[node], value, rel_tol=1e-6)):
            raise InvalidInput(
                f"concept {_level_and_index(world, node)} is given the value {value:g}, but another one already: give it one value"
            )
        if world.evidence.cut[node] < 0:
            clamp[node] = state
        fixed[node] = value if value > 0 else fixed[node]
    return _possible(replace(world, evidence=Evidence(clamp, world.evidence.cut), fixed=fixed))


def done_before(world: World, setting: Setting) -> World:
    """The world whose concepts are set by force before selection; see `Intervenable.do_then_select`."""
    nodes = _nodes(world, setting)
    _not_after_selection(world, "do_then_select")
    if (world.evidence.clamp >= 0).any():
        raise InvalidInput("do_then_select changes the base law, which condition came after here: call do_then_select first")
    cut, fixed = world.evidence.cut.clone(), world.fixed.clone()
    for node, value in nodes.items():
        cut[node] = int(value > 0)
        fixed[node] = value if value > 0 else -1.0
    return _possible(replace(world, evidence=Evidence(world.evidence.clamp, cut), fixed=fixed))


def done_after(world: World, setting: Setting) -> World:
    """The world whose concepts are set by force after selection; see `Intervenable.select_then_do`."""
    forced = world.forced.clone()
    for node, value in _nodes(world, setting).items():
        forced[node] = value
    return replace(world, forced=forced)


def _nodes(world: World, setting: Setting) -> dict[int, float]:
    sizes = world.forest.sizes
    out: dict[int, float] = {}
    for (level, concept), value in setting.items():
        if not (0 <= level < len(sizes) and 0 <= concept < sizes[level]):
            raise InvalidInput(f"there is no concept {concept} of level {level}: the levels have {list(sizes)} concepts")
        if not 0 <= value < math.inf:
            raise InvalidInput(f"concept {concept} of level {level} cannot be {value}: give 0 (off) or a magnitude above 0")
        out[world.forest.start(level) + concept] = float(value)
    return out


def _not_after_selection(world: World, what: str) -> None:
    if (world.forced >= 0).any():
        raise InvalidInput(f"{what} cannot follow select_then_do, which comes after selection: call {what} first")
    if world.loadings.shape[1]:
        raise InvalidInput(f"{what} is exact for independent trees only, but correlation is above 0 here: set correlation = 0")


def _level_and_index(world: World, node: int) -> tuple[int, int]:
    level = next(level for level in reversed(range(len(world.forest.sizes))) if world.forest.start(level) <= node)
    return level, node - world.forest.start(level)


def _possible(world: World) -> World:
    if not is_possible(world):
        raise InvalidInput("the concepts cannot have these values together: their composition or potentials forbid it, change the setting")
    return world


def recomposed(world: World) -> list[int]:
    """Composites that `select_then_do` composes anew, from the bottom up; node numbers."""
    changed, out = {int(node) for node in (world.forced >= 0).nonzero()[:, 0]}, []
    fixed = changed | {int(node) for node in (world.evidence.cut >= 0).nonzero()[:, 0]}
    for level in reversed(range(len(world.forest.sizes) - 1)):
        lower = (world.forest.constituents[level] + world.forest.start(level + 1)).tolist()
        for node, below in enumerate(lower, world.forest.start(level)):
            if node not in fixed and any(j in changed for j in below):
                changed.add(node)
                out.append(node)
    return out


def realised_rates(world: World) -> Tensor:
    r"""How often each node is on, under all that was done to it, shape (N,).

    After `select_then_do`, with R_j(n | o) = P(new state n of j | its selected state o), the tuple of a composite that was o has weight
    :math:`\phi(k) \prod_j \mu_j(o_j) R_j(n_j | o_j)` on g(k) = o, and is composed anew by the number of new states that are on.
    """
    rates = selected_rates(world)
    forced = (world.forced >= 0).nonzero()[:, 0]
    if not len(forced):
        return rates
    if world.forest.shared:
        return _enumerated_rates(world, rates)
    messages = torch.cat(pass_up(world.forest, world.compositions, world.tilts, world.evidence)[0])  # (N, 2)
    change = torch.eye(2, dtype=torch.float64).repeat(len(rates), 1, 1)  # R, (N, old, new)
    change[forced] = torch.stack([world.forced[forced] == 0, world.forced[forced] > 0], dim=1).double()[:, None]
    for node in recomposed(world):
        level, i = _level_and_index(world, node)
        composition = world.compositions[level][i]
        counts = torch.ones(1, 1, dtype=torch.float64)  # weight by old and new number of constituents that are on
        for j in (world.forest.constituents[level][i] + world.forest.start(level + 1)).tolist():
            wider = torch.zeros(counts.shape[0] + 1, counts.shape[1] + 1, dtype=torch.float64)
            for old in (0, 1):
                for new in (0, 1):
                    wider[old : old + counts.shape[0], new : new + counts.shape[1]] += counts * messages[j, old] * change[j, old, new]
            counts = wider
        counts = counts * composition.potential()[:, None]
        on = composition.holds()
        by_state = torch.stack([counts[~on].sum(dim=0), counts[on].sum(dim=0)])  # (old state, new number)
        joint = torch.stack([by_state[:, ~on].sum(dim=1), by_state[:, on].sum(dim=1)], dim=1)
        change[node] = (joint / joint.sum(dim=1, keepdim=True)).nan_to_num(0.0)
    return (1 - rates) * change[:, 0, 1] + rates * change[:, 1, 1]


def _enumerated_rates(world: World, rates: Tensor) -> Tensor:
    """Rates after `select_then_do` where constituents are shared: every configuration is composed anew."""
    rates, again = rates.clone(), recomposed(world)
    for one in laws(world):
        place = {node: i for i, node in enumerate(one.nodes.tolist())}
        forced = world.forced[one.nodes]
        states = torch.where(forced >= 0, forced > 0, one.states)
        for node in again:
            if node in place:
                level, i = _level_and_index(world, node)
                below = (world.forest.constituents[level][i] + world.forest.start(level + 1)).tolist()
                states[:, place[node]] = world.compositions[level][i].holds()[states[:, [place[j] for j in below]].sum(dim=1)]
        rates[one.nodes] = one.law(world.tilts) @ states.double()
    return rates


def patch(world: World, begin: Ints, nodes: Ints, values: Floats, seed: int) -> tuple[Ints, Ints, Floats]:
    """Rows after `select_then_do`: forced concepts get their values, composites above are composed anew, all else stays."""
    forced = [int(node) for node in (world.forced >= 0).nonzero()[:, 0]]
    if not forced:
        return begin, nodes, values
    n, total = len(begin) - 1, len(world.tilts)
    row = np.repeat(np.arange(n), np.diff(begin))
    columns = {node: torch.full((n,), float(world.forced[node])) for node in forced}
    generator = torch.Generator().manual_seed(seed)

    def column(node: int, old: bool = False) -> Tensor:
        if node in columns and not old:
            return columns[node]
        out, here = torch.zeros(n), nodes == node
        out[torch.from_numpy(row[here])] = torch.from_numpy(values[here])
        return out

    again = recomposed(world)
    for node in again:
        level, i = _level_and_index(world, node)
        lower = (world.forest.constituents[level][i] + world.forest.start(level + 1)).tolist()
        below, before = torch.stack([column(j) for j in lower]), torch.stack([column(j, old=True) for j in lower])  # (s, n)
        count = (below > 0).sum(dim=0)
        mean = torch.where(count > 0, below.sum(dim=0) / count, torch.nan)
        own, xi = world.magnitudes.own(n, generator), torch.randn(n, generator=generator)
        value = torch.where(world.compositions[level][i].holds()[count], world.magnitudes.of_composite(own, mean, xi), 0.0)
        columns[node] = torch.where((below == before).all(dim=0), column(node), value)
    changed = np.array(sorted([*forced, *again]))
    stays = ~np.isin(nodes, changed)
    new = torch.stack([columns[node] for node in changed.tolist()], dim=1).numpy()  # (n, changed)
    new_row, which = new.nonzero()
    row, nodes = np.concatenate([row[stays], new_row]), np.concatenate([nodes[stays], changed[which]])
    order = np.argsort(row * total + nodes)
    begin = np.concatenate([[0], np.bincount(row, minlength=n).cumsum()])
    return begin, nodes[order], np.concatenate([values[stays], new[new_row, which]])[order]
