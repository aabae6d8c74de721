"""What every method must beat, and what none can: random and true dictionaries."""
