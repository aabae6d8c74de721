"""Shared mathematics: matching, matching pursuit, streaming moments, and the reading of data. Plain functions on tensors."""
