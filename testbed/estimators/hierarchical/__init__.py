"""Hierarchies of concepts: a sparse dictionary per level, and the edges between levels by one of several learners."""
