"""Codes as cards: tokens are neither lost nor invented, and firing shows."""

from testbed.report.codes import SIGNS, readings, visible


def test_tokens_of_a_context_read_on(hand):
    (reading,) = [r for r in readings(hand) if r.panels]
    tokens = hand.details[0]["details"]["codes"][0]["contexts"][0]["tokens"]
    _, stretches = reading.panels[0].cards[0].contexts[0]
    assert "".join(s.text for s in stretches).replace("␣", " ") == "".join(tokens).translate(SIGNS)


def test_strength_is_relative_to_the_largest_activation(hand):
    _, stretches = readings(hand)[0].panels[0].cards[0].contexts[0]
    strengths = {s.text: s.strength for s in stretches}
    assert strengths[" court"] == 1.0
    assert strengths["↵"] == 0.75
    assert [s.text for s in stretches if s.at] == [" court"]


def test_unknown_activations_are_not_zeros(hand):
    _, stretches = readings(hand)[0].panels[0].cards[0].contexts[0]
    assert stretches[-1].strength is None
    assert stretches[0].strength == 0.0


def test_what_a_model_says_of_itself_comes_first_and_digests_last(hand):
    about = readings(hand)[0].about
    assert [name for name, _, _ in about] == ["model", "note", "documents", "fingerprint"]
    assert [digest for _, _, digest in about] == [False, False, False, True]


def test_panels_beyond_the_budget_are_named(hand, monkeypatch):
    monkeypatch.setattr("testbed.report.codes.BUDGET", 60)
    (reading,) = readings(hand)
    assert len(reading.panels) + len(reading.left_out) == 4
    assert reading.left_out
    assert reading.panels[0].name == "good · fit seed 0"


def test_blank_tokens_show():
    assert visible("\n") == "↵"
    assert visible("  ", alone=True) == "␣␣"
    assert visible(" word", alone=True) == " word"
