"""How weights of sparse autoencoders are laid out on disk, one file per library."""
