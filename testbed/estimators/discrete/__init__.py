"""Hierarchies of states."""
