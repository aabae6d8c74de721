"""Sparse autoencoders and their kin."""
