"""Generators: data with known truth. Controls, selection hierarchies, and the pieces they share."""
