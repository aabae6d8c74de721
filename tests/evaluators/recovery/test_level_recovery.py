"""Recovery of composites that no view shows."""

from dataclasses import replace

import pytest
import torch

from evaluators.recovery.level_recovery import LevelRecovery
from generators.selection.continuous.family import ContinuousHierarchy
from testbed.contracts import InvalidInput, NotApplicable, Outcome, Structure

WORLD = ContinuousHierarchy(levels=(1, 3, 9), selection="bump", center=1.0, width=[0.35, 1.0], cells=64).draw(610_001)
SAMPLE = WORLD.sample(4_096, 1, "test")
COMPOSITES, LEAVES = SAMPLE.latents[1], SAMPLE.latents[2]
TUPLES = WORLD.truth.constituents[1]


def outcome(composites, structure=True):
    m = composites.shape[1]
    tuples = tuple(tuple(m + j for j in TUPLES[min(i, 2)]) for i in range(m)) + ((),) * 9
    graph = Structure((0,) * m + (1,) * 9, tuples) if structure else None
    return Outcome(torch.cat([composites, LEAVES], dim=1), SAMPLE, "leaves", truth=WORLD.truth, instance=WORLD, structure=graph)


def score(composites, **params):
    return LevelRecovery(**params).score(outcome(composites), seed=0)


def test_any_increasing_map_and_order_of_the_composites_is_perfect():
    found = score(-COMPOSITES.flip(1).sinh())
    assert found.value == pytest.approx(1.0)
    assert found.parts["side"] == pytest.approx(1.0, abs=1e-3)
    assert found.parts["found"] == 1.0
    assert found.parts["level_1"] == found.parts["minimum"] == found.value


def test_a_composite_without_a_code_counts_zero_and_leaves_count_for_none():
    two = score(COMPOSITES[:, :2])
    assert two.value == pytest.approx(2 / 3)
    assert two.parts["minimum"] == 0.0
    assert two.parts["found"] == pytest.approx(2 / 3)
    none = score(COMPOSITES[:, :0])
    assert none.value == none.parts["found"] == none.parts["side"] == 0.0


def test_the_side_alone_has_a_perfect_side_and_a_lower_rank_correlation():
    sides = (COMPOSITES.median(dim=0).values < COMPOSITES).float()
    found = score(sides)
    assert found.parts["side"] > 0.97  # medians of the halves differ a little from that of all rows
    assert found.value == pytest.approx(3**0.5 / 2, abs=0.01)  # correlation of a uniform variable with its side


def test_information_is_that_of_gaussian_composites():
    covariance = COMPOSITES.double().T.cov()
    precision = torch.linalg.inv(covariance)
    told = 0.5 * (precision.diagonal() * covariance.diagonal()).log()
    assert score(COMPOSITES).parts["information"] == pytest.approx(float(told.min()), abs=0.02)


def test_references_stand_where_they_should():
    evaluator, made = LevelRecovery(), outcome(COMPOSITES)
    chance, ceiling, floor = (
        evaluator.score(one.make(made, 3), seed=0).value for one in (evaluator.chance, evaluator.ceiling, evaluator.floors[0])
    )
    assert chance < 0.1
    assert 0.97 < ceiling <= 1.0
    best = [max(abs(float(torch.corrcoef(torch.stack([COMPOSITES[:, i], LEAVES[:, j]]))[0, 1])) for j in TUPLES[i]) for i in range(3)]
    assert floor == pytest.approx(sum(best) / 3, abs=0.05)


def test_without_a_graph_all_codes_count():
    found = LevelRecovery().score(outcome(COMPOSITES, structure=False), seed=0)
    assert found.value == pytest.approx(1.0)
    assert found.parts["found"] == 4.0


def test_the_invisible_top_and_other_levels_are_told_apart():
    flat = ContinuousHierarchy(levels=(2, 6), cells=64).draw(0)
    rows = flat.sample(64, 1, "test")
    with pytest.raises(NotApplicable, match="invisible top"):
        LevelRecovery().score(Outcome(rows.latents[1], rows, "leaves", truth=flat.truth), seed=0)
    assert LevelRecovery(levels=[0]).score(Outcome(rows.latents[0], rows, "leaves", truth=flat.truth), seed=0).value > 0.99
    with pytest.raises(InvalidInput, match="levels"):
        score(COMPOSITES, levels=[2])
    with pytest.raises(InvalidInput, match="one entry each"):
        LevelRecovery().score(replace(outcome(COMPOSITES), codes=COMPOSITES), seed=0)


def test_spoiled_codes_are_refused():
    spoiled = COMPOSITES.clone()
    spoiled[3, 1] = float("nan")
    with pytest.raises(InvalidInput, match="check the encoder"):
        score(spoiled)
    with pytest.raises(InvalidInput, match="encode the sample itself"):
        LevelRecovery().score(replace(outcome(COMPOSITES), codes=torch.zeros(7, 12)), seed=0)
