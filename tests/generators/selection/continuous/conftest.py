"""The base law of a continuous world straight from its definition, with the weight of each row; and plain rejection."""

import math

import numpy as np
import pytest
import torch


def _base_sample(instance, n, seed, forced=None):
    """Levels of n rows of the base law, forced values in place, and the weight phi of each row."""
    world, forced = instance.world, forced or {}
    generator = np.random.default_rng(seed)
    law, parameter = instance.law
    shape = (n, world.forest.sizes[-1])
    draws = {
        "gaussian": lambda: generator.standard_normal(shape),
        "laplace": lambda: generator.laplace(scale=1 / math.sqrt(2), size=shape),
        "uniform": lambda: generator.uniform(-math.sqrt(3), math.sqrt(3), shape),
        "student": lambda: math.sqrt(1 - 2 / parameter) * generator.standard_t(parameter, shape),
    }
    leaves = torch.from_numpy(draws[law]())
    values, weight = [leaves], torch.ones(n, dtype=torch.float64)
    for (level, j), value in forced.items():
        if level == len(world.forest.sizes) - 1:
            leaves[:, j] = value
    for level in reversed(range(len(world.forest.sizes) - 1)):
        columns = []
        for i, lower in enumerate(world.forest.constituents[level]):
            v, e = world.couplings[level][i].compose(values[0][:, lower])
            v = torch.full_like(v, forced[level, i]) if (level, i) in forced else v
            phi = world.selections[level][i]
            weight = weight * phi.of_value(v) * phi.of_complement(e).prod(dim=1)
            columns.append(v)
        values.insert(0, torch.stack(columns, dim=1))
    for i, phi in enumerate(world.root_selections):
        weight = weight * phi.of_value(values[0][:, i])
    return values, weight


def _rejected(instance, n, seed, forced=None):
    """Rows that plain rejection lets pass, all levels side by side, and the share that passes."""
    values, weight = _base_sample(instance, n, seed, forced)
    passes = torch.rand(n, generator=torch.Generator().manual_seed(seed + 1), dtype=torch.float64) < weight
    return torch.cat(values, dim=1)[passes], float(weight.mean())


@pytest.fixture(scope="session")
def base_sample():
    return _base_sample


@pytest.fixture(scope="session")
def rejected():
    return _rejected
