"""Estimators of real concepts under nonlinear maps."""
