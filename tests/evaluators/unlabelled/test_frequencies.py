"""Dense units and density: shares of rows."""

from dataclasses import replace

import pytest
import torch

from evaluators.unlabelled.dense_units import DenseUnits
from evaluators.unlabelled.density import Density
from testbed.contracts import InvalidInput, SparseRows


def on_every(periods, n=2000):
    """Codes that are on (with either sign) on every so many rows; 0 for never."""
    row = torch.arange(n)
    return torch.stack([(-1.0) ** row * (row % p == 0) if p else torch.zeros(n) for p in periods], dim=1)


def test_codes_are_dense_above_the_share_and_not_at_it(perfect):
    codes = on_every([1, 2, 10, 20, 0])
    found = DenseUnits().score(replace(perfect, codes=codes), seed=0)
    assert found.value == 2 / 5
    assert found.parts["number"] == 2
    assert found.parts["activity"] == pytest.approx(1.5 / 1.65)
    assert found.parts["concepts"] == 1  # on at a rate of .3
    assert DenseUnits(share=0.05).score(replace(perfect, codes=SparseRows.from_dense(codes)), seed=0).value == 3 / 5
    assert DenseUnits().score(replace(perfect, truth=None, codes=0 * codes), seed=0).parts == {"number": 0, "activity": 0}
    with pytest.raises(InvalidInput, match="share"):
        DenseUnits(share=1.0).score(perfect, seed=0)


def test_density_is_the_median_of_living_codes_and_its_histogram_counts_them(perfect):
    found = Density().score(replace(perfect, codes=on_every([2, 10, 100, 0])), seed=0)
    assert found.value == pytest.approx(0.1)
    edges, counts = found.details["edges"], found.details["codes"]
    assert len(edges) == len(counts) + 1
    assert {round(edges[i], 2): k for i, k in enumerate(counts) if k} == {-0.5: 1, -1.0: 1, -2.0: 1}
    assert Density().score(replace(perfect, codes=torch.zeros(2000, 3)), seed=0).value == 0


def test_frequencies_a_tenth_of_the_concepts_are_a_distance_of_1_away(perfect):
    assert Density().score(perfect, seed=0).parts["distance"] == 0
    z = on_every([10, 10, 10, 20, 20, 20, 20, 20])
    sample = replace(perfect.sample, latents={0: z[:, :3], 1: z[:, 3:]})
    found = Density().score(replace(perfect, sample=sample, codes=on_every([100, 100, 100, 200, 200, 200, 200, 200])), seed=0)
    assert found.parts["distance"] == pytest.approx(1)
    assert found.parts["concepts"] == pytest.approx(0.05)
