"""What can be said of codes when nobody knows the truth."""
