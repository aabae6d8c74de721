"""The ceiling of evaluators of states: the most probable states that knowledge of the truth gives."""

from __future__ import annotations

from dataclasses import replace

from evaluators.calibration import true_structure, truth_of
from testbed.contracts import Outcome, Reference


def _states_oracle(outcome: Outcome, seed: int) -> Outcome:
    truth = truth_of(outcome)
    return replace(
        outcome,
        codes=truth.codes(outcome.sample.observed, outcome.view),
        dictionary=None,
        decode=None,
        encode=None,
        structure=true_structure(truth, tuple(range(len(truth.levels)))),
    )


STATES_ORACLE = Reference("states_oracle", "instance", _states_oracle)
"""The most probable state of every concept of every level given the row, with the true graph: hidden levels, too."""
