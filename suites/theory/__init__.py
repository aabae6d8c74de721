"""Suites about what theorems assume."""
