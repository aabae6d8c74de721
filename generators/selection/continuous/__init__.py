"""Continuous hierarchies: real concepts whose constituents are selected together."""
