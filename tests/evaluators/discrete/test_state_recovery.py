"""States up to their names: closed forms, merging, splitting, what is invisible."""

from dataclasses import replace

import pytest
import torch
from sklearn.metrics import adjusted_mutual_info_score, adjusted_rand_score

from evaluators.calibration import PERMUTED_CODES
from evaluators.discrete.references import STATES_ORACLE
from evaluators.discrete.state_recovery import StateRecovery
from generators.selection.discrete.family import DiscreteHierarchy
from testbed.contracts import InvalidInput, NotApplicable, Outcome


def score(outcome):
    return StateRecovery().score(outcome, seed=0)


def test_true_states_under_any_names_and_order_are_perfect(perfect, permute):
    found = score(permute(replace(perfect, codes=(perfect.codes * 7 + 3) % 11 - 5), [6, 2, 4, 0, 1, 5, 3]))
    assert found.value == pytest.approx(1.0)
    assert found.parts["accuracy"] == pytest.approx(1.0)
    assert found.parts["ami level_2"] == pytest.approx(1.0)


def test_level_0_is_scored_only_where_it_is_shown(perfect, labelled):
    assert "level_0" not in score(perfect).parts
    assert score(labelled).parts["level_0"] == pytest.approx(1.0)
    wrong = labelled.codes.clone()
    wrong[:, 0] = 0
    assert score(replace(perfect, codes=wrong)).value == pytest.approx(1.0)
    assert score(replace(labelled, codes=wrong)).parts["level_0"] == 0


def test_tokens_alone_earn_nothing_for_what_is_hidden(perfect):
    found = score(replace(perfect, codes=perfect.codes[:, 3:], structure=None))
    assert found.parts["level_2"] == pytest.approx(1.0)
    # A column that is spent on a hidden concept would be missed more among the leaves.
    assert found.value == 0
    assert found.parts["matched"] == 0


def test_values_are_those_of_scikit_learn_on_the_second_half(perfect):
    codes = perfect.codes.clone()
    noisy = torch.rand(codes.shape, generator=torch.Generator().manual_seed(1)) < 0.3
    codes[noisy] = (codes[noisy] + 1) % 3
    found = score(replace(perfect, codes=codes))
    half = len(codes) // 2
    pairs = [(perfect.codes[half:, k].numpy(), codes[half:, k].numpy()) for k in (1, 2)]
    assert found.value == pytest.approx(sum(adjusted_rand_score(*pair) for pair in pairs) / 2)
    assert found.parts["ami"] == pytest.approx(sum(adjusted_mutual_info_score(*pair) for pair in pairs) / 2, abs=1e-6)
    assert found.parts["accuracy"] == pytest.approx(sum((z == a).mean() for z, a in pairs) / 2)


def test_merged_and_split_states_have_known_accuracy(perfect):
    merged = perfect.codes.clone()
    merged[:, 1][merged[:, 1] == 2] = 1  # one of three equally likely states is lost
    assert score(replace(perfect, codes=merged)).parts["accuracy"] == pytest.approx((1 + 2 / 3) / 2, abs=0.02)
    split = perfect.codes.clone()
    split[:, 1] = 2 * split[:, 1] + torch.randint(0, 2, (len(split),), generator=torch.Generator().manual_seed(2))
    assert score(replace(perfect, codes=split)).parts["accuracy"] == pytest.approx((1 + 1 / 2) / 2, abs=0.02)


def test_chance_is_0_and_dead_columns_are_no_codes(perfect):
    assert abs(score(PERMUTED_CODES.make(perfect, 3)).value) < 0.01
    dead = score(replace(perfect, codes=torch.zeros_like(perfect.codes)))
    assert (dead.value, dead.parts["matched"], dead.parts["accuracy"]) == (0, 0, 0)


def test_the_oracle_of_a_noiseless_hierarchy_is_perfect_and_a_noisy_one_is_not():
    for noise in (0.0, 0.2):
        instance = DiscreteHierarchy(depth=2, noise=noise).draw(1)
        sample = instance.sample(2000, 0, "test")
        blank = Outcome(torch.zeros(2000, 0), sample, "tokens", truth=instance.truth, instance=instance)
        value = score(STATES_ORACLE.make(blank, 0)).value
        assert value == pytest.approx(1.0) if noise == 0 else 0 < value < 0.99


def test_real_codes_are_no_states_and_other_data_has_none(perfect):
    with pytest.raises(NotApplicable, match="not states"):
        score(replace(perfect, codes=torch.randn(2000, 7)))
    with pytest.raises(NotApplicable, match="truth"):
        score(replace(perfect, truth=None))
    with pytest.raises(InvalidInput, match="encode the sample itself"):
        score(replace(perfect, codes=perfect.codes[:-1]))
    with pytest.raises(NotApplicable, match="4 rows"):
        score(replace(perfect, codes=perfect.codes[:2], sample=perfect.sample[:2]))
