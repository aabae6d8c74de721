"""The violated inequality by linear programming: closed forms of the polytopes of AND, exclusive choice and shared constituents."""

import itertools

import numpy as np
import pytest

from generators.selection.certificate import violated


def polytope(composite):
    return np.array([[composite(v), *v] for v in itertools.product([0.0, 1.0], repeat=2)])


NAMES = ["rate(composite 0.0)", "rate(1.0)", "rate(1.1)"]
AND, ANY = polytope(lambda v: min(v)), polytope(lambda v: max(v))


@pytest.mark.parametrize(
    ("states", "rates", "words"),
    [
        (AND, [0.3, 0.2, 0.5], "rate(composite 0.0) <= rate(1.0) : 0.3 > 0.2"),
        (AND, [0.1, 0.8, 0.6], "rate(1.0) + rate(1.1) <= rate(composite 0.0) + 1 : 1.4 > 1.1"),
        (ANY, [0.9, 0.3, 0.4], "rate(composite 0.0) <= rate(1.0) + rate(1.1) : 0.9 > 0.7"),
        (ANY, [0.3, 0.35, 0.1], "rate(1.0) <= rate(composite 0.0) : 0.35 > 0.3"),
        (AND, [0.2, 0.2, 0.5], "rate(composite 0.0) < rate(1.0) : 0.2 = 0.2"),
    ],
)
def test_the_facet_that_is_violated_is_named(states, rates, words):
    rates = np.array(rates)
    assert violated(states, rates).words(NAMES, rates) == words


def test_rates_inside_violate_nothing():
    assert violated(AND, np.array([0.15, 0.3, 0.4])) is None


def test_what_is_named_holds_for_every_configuration_and_fails_for_the_rates():
    """On random polytopes in eight dimensions, whatever the facet."""
    g = np.random.default_rng(0)
    refused = 0
    for _ in range(30):
        states = (g.random((60, 8)) < 0.5).astype(float)
        rates = g.random(8)
        found = violated(states, rates)
        if found is None:
            continue
        refused += 1
        assert (states @ found.weights <= found.bound + 1e-9).all()
        assert found.weights @ rates > found.bound
    assert refused > 5
    inside = g.dirichlet(np.ones(60)) @ states
    assert violated(states, inside) is None
