"""Peers' recipes: other people's synthetic data, reproduced so that results can be put beside published ones."""
