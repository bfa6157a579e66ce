"""Draws of the law, their file, groups never seen, convergence."""
