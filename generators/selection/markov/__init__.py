"""Drawing from graphs with shared constituents that are too large to enumerate, by Markov chains that are checked for having mixed."""
