"""Search for default settings, on instances that no suite uses."""
