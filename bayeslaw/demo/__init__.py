"""Two programs to look at."""
