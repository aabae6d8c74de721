"""Hierarchical selection models: constituents depend on each other because they are selected together."""
