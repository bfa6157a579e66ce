"""Fit, choose, run, repeat."""
