"""Evaluators: scores of codes, each read between a chance level and a ceiling on the very instance."""
