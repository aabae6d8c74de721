"""Controls: the sparse family with one thing about it changed, on the same skeleton and with the same dictionary."""
