import json

import pytest
import torch

from evaluators.unlabelled.top_contexts import TopContexts
from testbed.contracts import Instance, InvalidInput, NotApplicable, Observed, Outcome, Sample, SparseRows, View

WINDOWS, LENGTH = 12, 10


class Counted(Instance):
    """Windows of ten tokens, "w.p" at position p of window w; positions 1 to 8 are rows."""

    def chunks(self, seed, part="train", start=0):
        window = torch.arange(WINDOWS).repeat_interleave(LENGTH - 2)
        position = torch.arange(1, LENGTH - 1).repeat(WINDOWS)
        rows = {"group": window // 4, "window": window % 4, "position": position}
        yield Sample(Observed({"x": View(torch.zeros(len(window), 1))}, rows))[start:]

    def context(self, rows, index, before, after):
        window, position = int(4 * rows["group"][index] + rows["window"][index]), int(rows["position"][index])
        first = max(0, position - before)
        return [f"{window}.{p}" for p in range(first, min(position + after + 1, LENGTH))], position - first


@pytest.fixture
def sample():
    return Counted().sample(WINDOWS * (LENGTH - 2), 0)


@pytest.fixture
def codes():
    """Code 0 never fires, 1 always, 2 twice in each of windows 3 and 5, 3 once."""
    codes = torch.zeros(WINDOWS * (LENGTH - 2), 4)
    codes[:, 1] = 1
    codes[3 * 8 + 2, 2], codes[3 * 8 + 3, 2] = 5.0, 4.0
    codes[5 * 8 + 0, 2], codes[5 * 8 + 7, 2] = 3.0, 6.0
    codes[7 * 8 + 4, 3] = 2.0
    return codes


def score(sample, found, /, **params):
    return TopContexts(**params).score(Outcome(found, sample, "x", instance=Counted()), seed=0)


def test_codes_come_by_frequency_times_strength_and_dense_ones_are_left_out(sample, codes):
    scores = score(sample, codes)
    assert [shown["code"] for shown in scores.details["codes"]] == [2, 3]
    assert scores.value == 3 / 4
    assert scores.parts == {"dense": 1 / 4}
    assert scores.details["codes"][0]["density"] == pytest.approx(4 / 96)
    assert scores.details["codes"][0]["max"] == 6.0
    assert [shown["code"] for shown in score(sample, codes, codes=2, densest=1.0).details["codes"]] == [1, 2]


def test_the_strongest_row_of_each_window_is_shown_with_its_neighbours(sample, codes):
    first, second = score(sample, codes, before=2, after=3).details["codes"][0]["contexts"]
    assert second == {
        "tokens": ["3.1", "3.2", "3.3", "3.4", "3.5", "3.6"],
        "at": 2,
        "activations": [0.0, 0.0, 5.0, 4.0, 0.0, 0.0],
        "value": 5.0,
    }
    assert first["value"] == 6.0
    assert first["tokens"] == ["5.6", "5.7", "5.8", "5.9"]
    assert first["activations"] == [0.0, 0.0, 6.0, None]  # position 9 gives no row


def test_tokens_whose_rows_are_not_in_the_sample_have_no_activation(sample, codes):
    part = slice(3 * 8 + 2, 3 * 8 + 3)
    first, second = score(sample[part], codes[part], before=1, after=1, densest=1.0).details["codes"]
    assert first["contexts"][0]["activations"] == [None, 5.0, None]
    assert second["contexts"][0]["activations"] == [None, 1.0, None]


def test_at_most_so_many_contexts_are_shown(sample):
    codes = torch.zeros(len(sample), 1)
    codes[::8, 0] = torch.arange(1.0, 13.0)
    (shown,) = score(sample, codes, contexts=3).details["codes"]
    assert [context["value"] for context in shown["contexts"]] == [12.0, 11.0, 10.0]


def test_sparse_codes_give_what_dense_ones_give_and_all_of_it_is_json(sample, codes):
    dense, sparse = score(sample, codes), score(sample, SparseRows.from_dense(codes))
    assert dense == sparse
    assert json.loads(json.dumps(dense.details, allow_nan=False)) == dense.details


def test_without_a_row_table_every_row_stands_alone(sample, codes):
    class Bare(Counted):
        def context(self, rows, index, before, after):
            return ["a", "b"], 1

    bare = Sample(Observed(sample.observed.views))
    scores = TopContexts().score(Outcome(codes, bare, "x", instance=Bare()), seed=0)
    assert [c["value"] for c in scores.details["codes"][0]["contexts"]] == [6.0, 5.0, 4.0, 3.0]
    assert scores.details["codes"][0]["contexts"][0]["activations"] == [None, 6.0]


def test_negative_activations_do_not_fire(sample):
    codes = torch.full((len(sample), 2), -1.0)
    scores = score(sample, codes)
    assert scores.value == 0
    assert scores.details["codes"] == []


def test_it_says_why_it_does_not_apply(sample, codes):
    with pytest.raises(NotApplicable, match="no text"):
        TopContexts().score(Outcome(codes, sample, "x"), seed=0)
    with pytest.raises(NotApplicable, match="no codes"):
        score(sample, codes[:, :0])
    with pytest.raises(InvalidInput, match="at least 1"):
        score(sample, codes, contexts=0)
    with pytest.raises(InvalidInput, match="rows"):
        score(sample, codes[:-1])


def test_it_reads_the_text_of_a_language_model():
    from generators.language_model import LanguageModel

    instance = LanguageModel.small().draw(0)
    sample = instance.sample(600, 0, "test")
    x = sample.observed.views["residual.0"].values
    codes = (x - x.mean(dim=0) - x.std(dim=0)).relu()
    details = TopContexts(codes=3, contexts=2).score(Outcome(codes, sample, "residual.0", instance=instance), seed=0).details
    assert len(details["codes"]) == 3
    for shown in details["codes"]:
        for context in shown["contexts"]:
            assert context["activations"][context["at"]] == context["value"]
            assert len(context["tokens"]) == len(context["activations"])
