"""The training lab: one run, sweeps of runs on one machine or many, and the run table they make."""
