"""A generator, an estimator and an evaluator for the identifiability testbed, found by their entry points."""
