"""Fit, choose, run, again."""
