"""Intervals for means over instances, paired tests, rankings, sources of noise, and how many instances it takes."""

from testbed.stats.intervals import (
    BOOTSTRAP_FROM,
    LEVEL,
    Interval,
    differences,
    mean_interval,
    median_interval,
    paired_difference,
    proportion_interval,
)
from testbed.stats.nested import VarianceComponents, nested_bootstrap, variance_components
from testbed.stats.paired import PairedTest, holm, paired_test
from testbed.stats.power import Needed, seeds_needed
from testbed.stats.ranking import CriticalDifference, critical_difference

__all__ = [
    "BOOTSTRAP_FROM",
    "LEVEL",
    "CriticalDifference",
    "Interval",
    "Needed",
    "PairedTest",
    "VarianceComponents",
    "critical_difference",
    "differences",
    "holm",
    "mean_interval",
    "median_interval",
    "nested_bootstrap",
    "paired_difference",
    "paired_test",
    "proportion_interval",
    "seeds_needed",
    "variance_components",
]
