import pytest
import torch

from testbed.activations.hooks import collect
from testbed.activations.models import load_model
from testbed.activations.tiny import tiny
from testbed.activations.windows import Window, batches, cut, ordered, samples, table
from testbed.contracts import InvalidInput, concatenate


class Letters:
    """A tokenizer of letters that starts every text with token 1, as some do."""

    bos_token_id = 1

    def __call__(self, text, add_special_tokens=True, verbose=True):
        tokens = [ord(letter) for letter in text]
        return {"input_ids": [1, *tokens] if add_special_tokens else tokens}


@pytest.fixture(scope="module")
def lm():
    return load_model(tiny().model)


def test_windows_tile_a_document_and_start_as_the_tokenizer_starts():
    (windows,) = cut(Letters(), [("t", "abcdefgh")], context=4)
    assert [w.tokens for w in windows] == [(1, 97, 98, 99), (1, 100, 101, 102), (1, 103, 104)]
    assert [w.rows for w in windows] == [2, 2, 1]
    (windows,) = cut(Letters(), [("t", "abcd")], context=4)
    assert len(windows) == 1  # the rest, one letter, has no row
    with pytest.raises(InvalidInput, match="give 3 or more"):
        cut(Letters(), [("t", "abc")], context=2)


def test_every_row_is_inside_its_window_and_knows_its_next_token(lm):
    (windows,) = cut(lm.tokenizer, [("t", "The cat sees a mouse. " * 10)], context=16)
    tokens = [token for window in windows for token in window.tokens]
    rows = table(windows)
    assert rows["position"].min() == 1
    assert rows["position"].max() == 14
    for window, position, token, following in zip(rows["window"], rows["position"], rows["token"], rows["next"], strict=True):
        assert tokens[16 * window + position] == token
        assert tokens[16 * window + position + 1] == following


def test_the_beginning_of_the_order_covers_all_documents():
    windows = [[Window(d, i, (1, 2, 3)) for i in range(d + 1)] for d in range(10)]
    order = ordered(windows, seed=0)
    assert sorted((w.document, w.index) for w in order) == sorted((w.document, w.index) for own in windows for w in own)
    assert {w.document for w in order[:10]} == set(range(10))
    assert {w.document for w in order[10:19]} == set(range(1, 10))
    assert order == ordered(windows, seed=0)
    assert order != ordered(windows, seed=1)


def test_batches_are_fixed_groups_wherever_reading_starts():
    windows = [Window(0, i, tuple(range(3 + i % 3))) for i in range(10)]  # 1, 2, 3, 1, 2, 3 ... rows
    whole = list(batches(windows, 4))
    assert [row for row, _ in whole] == [0, 7, 15]
    assert list(batches(windows, 4, start=7)) == whole[1:]
    assert list(batches(windows, 4, start=6)) == whole
    assert list(batches(windows, 4, stop=8)) == whole[:2]
    assert list(batches(windows, 4, stop=7)) == whole[:1]


def test_rows_are_the_models_activations_and_the_batch_only_moves_rounding(lm):
    windows = ordered(cut(lm.tokenizer, [("a", "The cat sees a mouse. " * 7), ("b", "A prime needs the root. " * 5)], 16), 0)
    all_at_once = concatenate(list(samples(lm, "residual.0", windows, 64))).observed
    one_by_one = concatenate(list(samples(lm, "residual.0", windows, 1))).observed
    alone = torch.cat([collect(lm.model, torch.tensor([w.tokens]), ["residual.0"])["residual.0"][0, 1:-1] for w in windows])
    assert torch.equal(one_by_one.views["residual.0"].values, alone)
    assert torch.allclose(all_at_once.views["residual.0"].values, alone, atol=1e-5)
    assert all(torch.equal(all_at_once.rows[name], one_by_one.rows[name]) for name in all_at_once.rows)
    assert all_at_once.views["residual.0"].shows.layer == "model.layers.0"
