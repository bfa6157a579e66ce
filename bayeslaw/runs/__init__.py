"""A valid table of runs, from any file."""
