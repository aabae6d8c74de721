"""Settings of estimators that were found by search, per budget: one TOML file per preset, one table per class."""
