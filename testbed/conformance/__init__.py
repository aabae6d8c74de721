"""The contracts as checks that anyone can run on a component: `check_generator`, `check_estimator`, `check_evaluator`."""

from testbed.conformance.checks import Check, check_component
from testbed.conformance.estimators import check_estimator
from testbed.conformance.evaluators import check_evaluator
from testbed.conformance.generators import check_generator

__all__ = ["Check", "check_component", "check_estimator", "check_evaluator", "check_generator"]
