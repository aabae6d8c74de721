"""Linear decompositions older than sparse autoencoders."""
