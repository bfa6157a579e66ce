"""Bayesian hierarchical scaling laws of optimizer hyperparameters."""
