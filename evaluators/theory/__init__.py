"""What theorems assume of an instance."""
