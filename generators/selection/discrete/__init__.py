"""Discrete hierarchies: states composed by tables from tuples of states, selected by potentials on the tuples."""
