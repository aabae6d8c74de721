"""Estimators that ship with the testbed."""
