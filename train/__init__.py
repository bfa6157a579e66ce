"""The training lab: one run, sweeps on one machine or many, and their run table."""
