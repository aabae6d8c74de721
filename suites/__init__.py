"""Suites that come with the testbed, as TOML files."""
