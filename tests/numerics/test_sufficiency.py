"""Code lengths of truth tables, and the smallest set of events that tells another one."""

from itertools import combinations

import numpy as np
import pytest
from scipy.special import gammaln

from testbed.numerics.sufficiency import Events, Found, code_length, interchangeable, pruned, smallest_sufficient, told_share


def coins(n, rates, seed=0):
    return np.random.default_rng(seed).random((n, len(rates))) < np.asarray(rates)


def sequential(on, y, members):
    """The code as it is spoken: row by row, each with probability (count + 1/2) / (rows + 1) of what was seen in its cell."""
    seen, total = {}, 0.0
    for row, value in zip(on[:, list(members)].tolist(), y.tolist(), strict=True):
        counts = seen.setdefault(tuple(row), [0, 0])
        total -= np.log((counts[value] + 0.5) / (sum(counts) + 1))
        counts[value] += 1
    m, s = on.shape[1], len(members)
    return total + np.log(m + 1) + gammaln(m + 1) - gammaln(s + 1) - gammaln(m - s + 1)


@pytest.mark.parametrize("members", [(), (1,), (0, 3), (1, 2, 4)])
def test_code_length_is_that_of_coding_row_by_row(members):
    on, y = coins(300, [0.3, 0.5, 0.1, 0.7, 0.2]), coins(300, [0.4], seed=1)[:, 0]
    assert code_length(Events.of(on), y, members) == pytest.approx(sequential(on, y, members))


def test_search_finds_the_best_of_all_sets():
    on = coins(400, [0.3, 0.4, 0.5, 0.3, 0.2, 0.4])
    y = (on[:, 0] & on[:, 2]) | on[:, 4]
    events = Events.of(on)
    every = [(code_length(events, y, s), s) for size in range(5) for s in combinations(range(6), size)]
    found = smallest_sufficient(events, y)
    assert (found.length, found.members) == (pytest.approx(min(every)[0]), min(every)[1]) == (pytest.approx(found.length), (0, 2, 4))
    assert found.explained > 0.8


def test_a_rule_that_no_single_event_shows_is_found():
    on = coins(2_000, [0.5] * 12)
    y = on[:, 3] ^ on[:, 8]
    assert smallest_sufficient(Events.of(on), y).members == (3, 8)
    y = on[:, 3] ^ on[:, 8] ^ on[:, 10]  # nor does any pair
    assert smallest_sufficient(Events.of(on), y, beam=66).members == (3, 8, 10)


def test_order_of_events_and_rows_changes_nothing():
    on = coins(1_000, [0.2] * 8)
    y = on[:, [1, 4, 6]].sum(axis=1) >= 2
    generator = np.random.default_rng(3)
    rows, columns = generator.permutation(1_000), generator.permutation(8)
    found = smallest_sufficient(Events.of(on[rows][:, columns]), y[rows])
    assert sorted(columns[list(found.members)]) == [1, 4, 6]
    assert found.length == pytest.approx(smallest_sufficient(Events.of(on), y).length)


def test_nothing_is_found_where_there_is_nothing():
    on = coins(5_000, [0.2] * 30)
    events = Events.of(on)
    assert sum(len(smallest_sufficient(events, y).members) for y in coins(5_000, [0.2] * 20, seed=1).T) == 0
    for y in (np.zeros(5_000, bool), np.ones(5_000, bool)):
        assert smallest_sufficient(events, y) == Found(
            (), pytest.approx(code_length(events, y, ())), pytest.approx(code_length(events, y, ()))
        )


def test_ten_rows_in_which_a_constituent_fires_alone_are_enough():
    on = coins(20_000, [0.1, 0.1, 0.1])
    on[:, 1] = on[:, 0]
    on[:10, 0], on[:10, 1] = True, False
    on[10:20, 0], on[10:20, 1] = False, True
    assert smallest_sufficient(Events.of(on), on[:, 0] & on[:, 1]).members == (0, 1)


def test_events_that_never_part_are_interchangeable():
    on = coins(2_000, [0.1, 0.1, 0.3, 0.3])
    on[:, 1] = on[:, 0]
    events, y = Events.of(on), on[:, 0] & on[:, 1]
    found = smallest_sufficient(events, y)
    assert len(found.members) == 1
    assert set(found.members) | set(interchangeable(events, y, found)) == {0, 1}
    both = on[:, 2] & on[:, 3]
    assert interchangeable(events, both, smallest_sufficient(events, both)) == ()


def test_errors_of_reading_bring_in_bystanders_and_an_effect_size_keeps_them_out():
    generator = np.random.default_rng(0)
    cause = generator.random(20_000) < 0.3
    clean = np.stack([generator.random(20_000) < np.where(cause, 0.6, 0.1) for _ in range(8)], axis=1)
    y = clean[:, 0] & clean[:, 1]
    read = (clean & (generator.random(clean.shape) > 0.15)) | (generator.random(clean.shape) < 0.02)
    assert set(smallest_sufficient(Events.of(read), y).members) > {0, 1}
    assert smallest_sufficient(Events.of(read), y, effect=0.06).members == (0, 1)
    assert smallest_sufficient(Events.of(clean), y, effect=0.06).members == (0, 1)


def test_only_allowed_events_are_members_and_no_more_than_asked_for():
    on = coins(1_000, [0.4] * 5)
    y = on[:, 0] & on[:, 1]
    allowed = np.array([False, True, True, True, True])
    assert smallest_sufficient(Events.of(on), y, allowed=allowed).members == (1,)
    assert len(smallest_sufficient(Events.of(on), y, largest=1).members) == 1


def test_pruning_drops_what_is_not_needed():
    on = coins(2_000, [0.4] * 6)
    y = on[:, 0] & on[:, 1]
    events = Events.of(on)
    whole = Found((0, 1, 2, 5), code_length(events, y, (0, 1, 2, 5)), code_length(events, y, ()))
    assert pruned(events, y, whole).members == (0, 1)
    assert pruned(events, y, Found((), 1.0, 1.0)).members == ()


def test_told_share_is_one_for_functions_and_counts_errors():
    on = coins(2_000, [0.4] * 4)
    y = on[:, 0] & on[:, 1]
    events = Events.of(on)
    assert told_share(events, y, (0, 1)) == 1.0
    assert told_share(events, y, ()) == 0.0
    assert told_share(events, np.zeros(2_000, bool), (0,)) == 0.0
    alone = int((on[:, 0] & ~on[:, 1]).sum())
    assert told_share(events, y, (0,)) == pytest.approx(1 - min(alone, int(y.sum())) / int(y.sum()))
