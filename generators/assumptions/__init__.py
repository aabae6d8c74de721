"""What theorems assume, as objects: checked on an instance, broken by dials, with two truths of one law where nothing can be told."""
