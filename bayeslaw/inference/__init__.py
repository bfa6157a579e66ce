"""A posterior from runs, by NUTS; the only package that loads JAX."""
