"""Estimators that other libraries train, and weights in other libraries' formats."""
